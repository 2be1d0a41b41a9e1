"""Connecting a request whose credential is not cached: waiting, cancelling, failures."""

from __future__ import annotations

from typing import Any

import pytest

from credgate.errors import CredentialError
from credgate.service.credentials.sources import Credential
from credgate.values import Access, Reason, RepoPath
from tests.fakes.relay import (
    LISTED,
    PACK,
    REPORTED,
    RESULT,
    House,
    answers_in,
    chunks,
    commands,
    discover,
    only,
    post,
    requests_in,
)

MINTED = Credential("minted-1", "minted-secret", "app", 1_800_000_000.0)
PUSH = post(commands() + PACK, service=b"receive")
ANSWERS = {b"discovery": LISTED, b"fetch": RESULT, b"push": REPORTED}
REQUESTS = {b"discovery": discover(), b"fetch": post(b"0000"), b"push": PUSH}


def late_house(**limits: Any) -> House:
    """Have no credential at hand."""
    house = House(**limits)
    house.credentials.late = True
    return house


@pytest.mark.parametrize("which", REQUESTS)
def test_a_request_waits_for_its_credential(which: bytes) -> None:
    """Then it goes as if it had been there; the audit line names what was used."""
    house = late_house()
    client = house.say(REQUESTS[which])
    assert (house.forge.wires, client.received) == ([], b"")
    ((wanted, refused),) = house.credentials.asked
    assert (wanted.repo, wanted.session, refused) == (RepoPath("github.com", "octo/hello"), house.session, "")
    assert wanted.access is (Access.WRITE if which == b"push" else Access.READ)
    house.credentials.come(MINTED)
    house.settle()
    assert house.forge.asked().whole
    house.forge.wire.deliver(ANSWERS[which])
    house.settle()
    assert only(client, REQUESTS[which][:4].strip()).status == 200
    (line,) = house.audit.events
    assert (line.credential, line.credential_kind, line.expires) == ("minted-1", "app", 1_800_000_000.0)
    house.nothing_left()


def test_body_is_not_read_while_the_credential_is_fetched() -> None:
    """Its sandbox is read no further: memory does not grow with its patience."""
    house = late_house()
    whole = post(b"0000" * 5, chunked=True)
    cut = whole.index(b"\r\n\r\n") + 4
    client = house.client()
    client.deliver(whole[:cut])
    house.settle()
    assert not client.reading
    client.deliver(whole[cut:])
    house.settle()
    house.credentials.come(MINTED)
    house.settle()
    assert house.forge.asked().body == b"0000" * 5
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").status == 200
    house.nothing_left()


def test_kept_connection_of_the_same_credential_is_used() -> None:
    """And of no other."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(LISTED)
    house.settle()
    held = house.credentials.held["github.com"]
    for credential, wires in ((held, 1), (MINTED, 2), (MINTED, 2), (held, 2)):
        house.credentials.late = True
        client.deliver(discover())
        house.settle()
        house.credentials.come(credential)
        house.settle()
        assert len(house.forge.wires) == wires
        house.forge.wires[0 if credential is held else 1].deliver(LISTED)
        house.settle()
    shown = [{one.field(b"authorization") for one in requests_in(wire.received)} for wire in house.forge.wires]
    assert [len(one) for one in shown] == [1, 1]
    assert shown[0] != shown[1]
    assert [one.status for one in answers_in(client.received)] == [200] * 5
    house.nothing_left()


@pytest.mark.parametrize("which", REQUESTS)
def test_client_that_leaves_while_the_credential_is_fetched_ends_the_request(which: bytes) -> None:
    """A credential that is fetched later is not used."""
    house = late_house()
    client = house.say(REQUESTS[which])
    client.reset()
    house.settle()
    assert (house.credentials.waiting, house.reasons) == ([], [Reason.CLIENT_LEFT])
    house.credentials.come(MINTED)
    house.settle()
    assert house.forge.wires == []
    house.nothing_left()


@pytest.mark.parametrize("which", REQUESTS)
def test_session_that_ends_while_the_credential_is_fetched_resets_the_connection(which: bytes) -> None:
    """No request reaches the forge."""
    house = late_house()
    client = house.say(REQUESTS[which])
    house.sessions.revoke(house.session)
    house.settle()
    assert (client.ended, house.credentials.waiting, house.reasons) == ("reset", [], [Reason.SESSION_ENDED])
    house.credentials.come(MINTED)
    house.settle()
    assert house.forge.wires == []
    house.nothing_left()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize(
    ("error", "reason", "status", "again"),
    [
        (CredentialError("the command ended with status 1"), Reason.CREDENTIAL_UNAVAILABLE, 502, None),
        (CredentialError("the forge's API limits us", retry_after=7), Reason.CREDENTIAL_UNAVAILABLE, 503, b"7"),
        (CredentialError("not so", reason=Reason.FORGE_REFUSED), Reason.FORGE_REFUSED, 502, None),
    ],
)
def test_unavailable_credential_is_refused_with_its_reason(
    which: bytes, error: CredentialError, reason: Reason, status: int, again: bytes | None
) -> None:
    """With the text of its source, in git's form, and Retry-After if the source knows it."""
    house = late_house()
    client = house.say(REQUESTS[which])
    house.credentials.fail(error)
    house.settle()
    said = only(client, REQUESTS[which][:4].strip())
    assert f"credgate: {error.text}; ask the operator of this gateway".encode() in said.body
    assert said.status == (status if which == b"discovery" else 200)
    assert said.field(b"retry-after") == (again if which == b"discovery" else None)
    assert (house.reasons, house.forge.wires) == ([reason], [])
    house.nothing_left()


def test_credential_that_does_not_come_in_time_is_refused() -> None:
    """The fetch is cancelled."""
    house = late_house(connect_timeout=30.0)
    client = house.say(discover())
    house.wait(29)
    assert client.received == b""
    house.wait(2)
    assert b"credgate: no credential came within 30 s" in only(client).body
    assert (only(client).status, only(client).field(b"retry-after")) == (503, b"30")
    assert (house.reasons, house.credentials.waiting) == ([Reason.CREDENTIAL_UNAVAILABLE], [])
    house.nothing_left()


def test_waiting_for_a_credential_does_not_count_as_stalled() -> None:
    """A sandbox that is held cannot send: it is not cut for that."""
    house = late_house(stall_timeout=5.0, forge_timeout=5.0, connect_timeout=60.0)
    client = house.client()
    client.deliver(post(b"", chunked=True).removesuffix(chunks()))
    house.wait(30)
    assert not client.ended
    house.credentials.come(MINTED)
    client.deliver(chunks(b"0000"))
    house.settle()
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").status == 200
    house.nothing_left()


def test_defect_of_a_source_resets_only_its_request(clean_reactor: list[Any]) -> None:
    """It is logged, and the next one may go well."""
    house = late_house()
    client = house.say(discover())
    house.credentials.fail(RuntimeError("broken"))
    house.settle()
    assert (client.ended, house.reasons) == ("reset", [Reason.INTERNAL])
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()
    house.nothing_left()
