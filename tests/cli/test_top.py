"""``credgate top`` (on a real terminal: ``test_terminal``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import click
import jsonschema
import pytest_twisted
from rich.console import Console

from credgate.cli import output
from credgate.cli.control_client import ControlClient
from credgate.cli.top import bytes_moved, rate
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    import pytest

    from tests.fakes.control_gateway import Gateway

RUNNING: dict[str, Any] = {
    "session": "s-0123456789abcdef",
    "forge": "github.com",
    "repo": "octo/hello",
    "operation": "git-upload-pack",
    "peer": "10.0.0.7",
    "seconds": 90.0,
    "bytes_up": 1024,
    "bytes_down": 5 << 20,
}


@pytest_twisted.ensureDeferred
async def test_one_snapshot_is_printed_without_a_terminal(gateway: Gateway) -> None:
    """Sessions and transfers, in columns."""
    gateway.transfers.append(RUNNING)
    await asked("session", "create", "--repo", "octo/hello", "--label", "box")
    for words in ((), ("--once",)):
        result = await asked("top", *words)
        assert result.out.startswith("credgate: 1 sessions, 1 requests running\n")
        (line,) = [line for line in result.out.splitlines() if "git-upload-pack" in line]
        assert line.split() == [
            *("s-0123456789abcdef", "octo/hello", "git-upload-pack", "10.0.0.7", "1m", "30s"),
            *("1.0", "KiB", "5.0", "MiB"),
        ]
        assert " box " in result.out
    result = await asked("top", "--json")
    jsonschema.validate(result.json, schema("top"))


@pytest_twisted.ensureDeferred
async def test_terminal_is_redrawn_until_ctrl_c(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the alternate screen. Ctrl-C is not a failure."""
    drawn = io.StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(file=drawn, force_terminal=True, width=200))
    gateway.transfers.append(RUNNING)
    looks: list[float] = []

    async def wait(_: ControlClient, seconds: float) -> None:
        looks.append(seconds)
        gateway.transfers[0] = gateway.transfers[0] | {"bytes_down": 1 << 40}
        if len(looks) == 3:
            raise click.Abort

    monkeypatch.setattr(ControlClient, "wait", wait)
    result = await asked("top", "--interval", "0.1")
    assert (result.status, looks) == (0, [0.1] * 3)
    before, _, after = drawn.getvalue().rpartition("\x1b[?1049l")
    assert before.startswith("\x1b[?1049h")
    assert before.count("requests running") == 3
    assert "TiB/s" in before
    assert "requests running" not in after


def test_rate_is_computed_from_two_snapshots() -> None:
    """Of the same transfer; it is never negative."""
    before = bytes_moved({"sessions": [], "transfers": [RUNNING]})
    now = RUNNING | {"bytes_down": RUNNING["bytes_down"] + (1 << 20)}
    assert rate(now, before, 2.0) == "512.0 KiB/s"
    assert rate(RUNNING | {"bytes_down": 0}, before, 2.0) == "0 B/s"
    assert rate(RUNNING | {"peer": "10.0.0.8"}, before, 2.0) == ""
    assert rate(now, before, 0.0) == ""
