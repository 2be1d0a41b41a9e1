"""``credgate doctor``: findings and repairs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import pytest_twisted

from credgate.cli import doctor
from credgate.cli.checks import OK, UNKNOWN, WRONG
from tests.fakes.cli import asked, borrow_reactor
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.control_gateway import Gateway


def states(result: Any) -> dict[str, str]:
    """Return the state of each finding."""
    jsonschema.validate(result, schema("doctor"))
    return {one["what"]: one["state"] for one in result["findings"]}


@pytest.fixture
def reserved() -> Iterator[socket.socket]:
    """Bind a port, so that no other process gets it. It refuses connections until the test calls listen."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


@pytest_twisted.ensureDeferred
async def test_each_problem_has_a_repair(gateway: Gateway, reserved: socket.socket) -> None:
    """Here the git port is closed and the audit log does not work. When the port is open, it is no problem."""
    gateway.git = f"127.0.0.1:{reserved.getsockname()[1]}"
    gateway.ready["audit"] = False
    result = await asked("doctor", "--json")
    found = states(result.json)
    assert result.status == 1
    assert (found["gateway"], found["control socket"], found["sessions"]) == (OK, OK, OK)
    assert (found["ready: git"], found["ready: audit"], found["git port"]) == (OK, WRONG, WRONG)
    assert found["credential of git.example"] == UNKNOWN
    shown = (await asked("doctor")).out
    assert "free space on the audit log's disk" in shown
    assert all(one["mend"] for one in result.json["findings"] if one["state"] != OK)
    reserved.listen()
    assert states((await asked("doctor", "--json")).json)["git port"] == OK


@pytest_twisted.ensureDeferred
async def test_missing_gateway_is_a_finding(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not an error of the command."""
    borrow_reactor(monkeypatch)
    result = await asked("doctor", "--socket", "none.sock", "--json")
    found = states(result.json)
    assert (result.status, found["control socket"], found["gateway"]) == (1, WRONG, WRONG)


VERDICT = {"repositories": ["octo/*"], "kind": "file", "state": "accepted", "text": "github.com answered"}


@pytest_twisted.ensureDeferred
async def test_each_forge_is_asked_about_its_credential(gateway: Gateway) -> None:
    """A refusal and an unknown answer have different repairs."""
    gateway.verdicts += [
        VERDICT,
        VERDICT | {"state": "refused", "text": "github.com answered 401"},
        VERDICT | {"state": "unknown", "text": "it says neither"},
    ]
    result = await asked("doctor", "--json")
    states(result.json)
    found = [one for one in result.json["findings"] if one["what"] == "github.com accepts it"]
    assert [one["state"] for one in found] == [OK, WRONG, UNKNOWN]
    assert found[0]["text"] == "file for octo/*: github.com answered"
    assert found[1]["mend"] == 'replace the credential of forges."github.com" in credgate.toml'
    assert found[2]["mend"] == "credgate doctor --forge github.com --repo OWNER/REPO"
    assert gateway.checked == [("github.com", "")]


@pytest_twisted.ensureDeferred
async def test_repository_is_used_for_its_forge_only(gateway: Gateway) -> None:
    """The default forge, or the named one; an unknown forge is a finding."""
    await asked("doctor", "--repo", "octo/hello")
    await asked("doctor", "--repo", "octo/hello", "--forge", "git.example")
    assert gateway.checked == [("github.com", "octo/hello"), ("github.com", ""), ("git.example", "octo/hello")]
    result = await asked("doctor", "--repo", "octo/hello", "--forge", "elsewhere", "--json")
    (found,) = [one for one in result.json["findings"] if one["what"] == "elsewhere accepts it"]
    assert (found["state"], found["text"]) == (UNKNOWN, "No such forge")
    assert (await asked("doctor", "--forge", "git.example")).status == 2
    assert [one.state for one in doctor.judge_acceptance("x", [])] == [UNKNOWN]


def test_findings_for_the_gateways_status() -> None:
    """Readiness, resolvers, credentials and sessions."""
    assert [one.state for one in doctor.judge_readiness({})] == [WRONG]
    assert [one.state for one in doctor.check_resolvers([])] == [WRONG]
    held = {"kind": "app", "id": "0a", "repositories": [], "expires_at": None, "trouble": ""}
    forge = {"name": "x", "credential": True, "credentials": [held, held | {"trouble": "401"}]}
    assert [
        one.state for one in doctor.judge_credentials([forge, {**forge, "credential": False, "credentials": []}])
    ] == [*(OK, WRONG, UNKNOWN)]
    assert doctor.judge_sessions({"live": 3, "max": 3}).state == WRONG
