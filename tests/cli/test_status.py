"""``credgate status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest_twisted

from credgate import __version__
from credgate.cli.status import _readiness, format_credential, is_ready, rows
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway


@pytest_twisted.ensureDeferred
async def test_status_is_a_table_of_names_and_values(gateway: Gateway) -> None:
    """One line for each."""
    result = await asked("status")
    lines = {line.split("  ")[0].strip(): line for line in result.out.splitlines()}
    assert result.status == 0
    assert f"{__version__}, up " in lines["credgate"]
    assert lines["ready"].split() == ["ready", "yes"]
    assert lines["git listener"].split()[-1] == "127.0.0.1:8080"
    assert "github, https://github.com, the default, file 0a1b2c3d" in lines["forge github.com"]
    assert "no credential: anonymous reads only" in lines["forge git.example"]
    assert "0 of at most 3" in lines["sessions"]
    assert lines["audit head"].split()[-1] == f"12:{'ab' * 32}"


@pytest_twisted.ensureDeferred
async def test_failed_readiness_check_is_status_1(gateway: Gateway) -> None:
    """The output names it."""
    gateway.ready["git"] = False
    result = await asked("status")
    assert (result.status, "no: git" in result.out) == (1, True)
    result = await asked("status", "--json")
    assert (result.status, result.json["ready"]) == (1, {"git": False})
    jsonschema.validate(result.json, schema("status"))
    gateway.ready.clear()
    assert "no: readiness" in (await asked("status")).out
    assert str(_readiness({})) == "no: the checks timed out"


def test_credential_is_described_without_its_value() -> None:
    """Kind, id, repositories and expiry."""
    held = {"kind": "app", "id": "0a", "repositories": ["octo/*"], "expires_at": "2026-01-31T13:00:00Z", "trouble": ""}
    assert format_credential(held) == "app 0a for octo/* until 2026-01-31T13:00:00Z"
    assert format_credential(held | {"id": "", "repositories": ["**"], "expires_at": None}) == "app"


def test_credential_problems_are_shown() -> None:
    """Such as one that cannot be renewed."""
    held = {"kind": "file", "id": "0a", "repositories": [], "expires_at": None, "trouble": "it cannot be read"}
    forge = {"name": "x", "kind": "generic", "url": "https://x", "credential": True, "credentials": [held, held]}
    result: dict[str, Any] = {
        "version": "1",
        "uptime": 1,
        "ready": {"git": True},
        "listeners": {"git": ""},
        "configuration": "a",
        "policy": "b",
        "audit": "stderr",
        "audit_head": "",
        "sessions": {"live": 0, "max": 1},
        "connections": 0,
        "transfers": 0,
        "forges": [forge],
        "default_forge": "y",
        "dns": {"counters": {"refused": 2}, "upstream": ["192.0.2.1#53"]},
    }
    shown = {name: str(value) for name, value in rows(result)}
    assert shown["forge x"] == "generic, https://x, file 0a (it cannot be read); file 0a (it cannot be read)"
    assert (shown["git listener"], shown["dns"], shown["dns upstream"]) == ("not bound", "refused 2", "192.0.2.1#53")
    assert shown["audit head"] == "no lines yet"
    assert is_ready(result)
    assert not is_ready(result | {"ready": {}})
