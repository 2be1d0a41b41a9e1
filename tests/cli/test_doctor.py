"""``credgate doctor``: every finding, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest_twisted

from credgate.cli import doctor
from credgate.cli.checks import OK, UNKNOWN, WRONG
from tests.fakes.cli import asked, borrow_reactor
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    import pytest

    from tests.fakes.control_gateway import Gateway


def states(told: Any) -> dict[str, str]:
    """Return each finding's state."""
    jsonschema.validate(told, schema("doctor"))
    return {one["what"]: one["state"] for one in told["findings"]}


@pytest_twisted.ensureDeferred
async def test_what_is_wrong_is_named_with_what_mends_it(gateway: Gateway) -> None:
    """Here nobody listens on the git port; the rest is well, and said to be."""
    gateway.ready["audit"] = False
    told = await asked("doctor", "--json")
    found = states(told.json)
    assert told.status == 1
    assert (found["gateway"], found["control socket"], found["sessions"]) == (OK, OK, OK)
    assert (found["ready: git"], found["ready: audit"], found["git port"]) == (OK, WRONG, WRONG)
    assert found["credential of git.example"] == UNKNOWN
    shown = (await asked("doctor")).out
    assert "free space on the audit log's disk" in shown
    assert all(one["mend"] for one in told.json["findings"] if one["state"] != OK)


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_is_not_there_is_a_finding(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error: it is what one asks a doctor about."""
    borrow_reactor(monkeypatch)
    told = await asked("doctor", "--socket", "none.sock", "--json")
    found = states(told.json)
    assert (told.status, found["control socket"], found["gateway"]) == (1, WRONG, WRONG)


VERDICT = {"repositories": ["octo/*"], "kind": "file", "state": "accepted", "text": "github.com answered"}


@pytest_twisted.ensureDeferred
async def test_each_forge_with_a_credential_is_asked_whether_it_accepts_it(gateway: Gateway) -> None:
    """With the command that mends a refusal, and the one that finds out more where it is not known."""
    gateway.verdicts += [
        VERDICT,
        VERDICT | {"state": "refused", "text": "github.com answered 401"},
        VERDICT | {"state": "unknown", "text": "it says neither"},
    ]
    told = await asked("doctor", "--json")
    states(told.json)
    found = [one for one in told.json["findings"] if one["what"] == "github.com accepts it"]
    assert [one["state"] for one in found] == [OK, WRONG, UNKNOWN]
    assert found[0]["text"] == "file for octo/*: github.com answered"
    assert found[1]["mend"] == 'replace the credential of forges."github.com" in credgate.toml'
    assert found[2]["mend"] == "credgate doctor --forge github.com --repo OWNER/REPO"
    assert gateway.checked == [("github.com", "")]


@pytest_twisted.ensureDeferred
async def test_a_repository_is_named_to_the_forge_where_it_is(gateway: Gateway) -> None:
    """The default one, or the one that is named; a name that is none is said to be."""
    await asked("doctor", "--repo", "octo/hello")
    await asked("doctor", "--repo", "octo/hello", "--forge", "git.example")
    assert gateway.checked == [("github.com", "octo/hello"), ("github.com", ""), ("git.example", "octo/hello")]
    told = await asked("doctor", "--repo", "octo/hello", "--forge", "elsewhere", "--json")
    (found,) = [one for one in told.json["findings"] if one["what"] == "elsewhere accepts it"]
    assert (found["state"], found["text"]) == (UNKNOWN, "No such forge")
    assert (await asked("doctor", "--forge", "git.example")).status == 2
    assert [one.state for one in doctor.accepted("x", [])] == [UNKNOWN]


def test_each_part_is_judged() -> None:
    """By what the gateway says of itself."""
    assert [one.state for one in doctor.ready({})] == [WRONG]
    assert [one.state for one in doctor.resolvers([])] == [WRONG]
    held = {"kind": "app", "id": "0a", "repositories": [], "expires_at": None, "trouble": ""}
    forge = {"name": "x", "credential": True, "credentials": [held, held | {"trouble": "401"}]}
    assert [one.state for one in doctor.forges([forge, {**forge, "credential": False, "credentials": []}])] == [
        *(OK, WRONG, UNKNOWN)
    ]
    assert doctor.room({"live": 3, "max": 3}).state == WRONG
