"""Every hostile answer of the table, given by a forge to a discovery, a fetch and a push through the real process.

The sandbox must get a refusal of ours or a connection that visibly broke, never something that looks whole and is the
forge's; the connection that carried the anomaly must not be used again; and the next request must get its own answer.
The forge echoes the credential that it was shown wherever the table says SECRET: no dress of it may reach the sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from tests.attacks.conftest import CONTROL, REPO, Field
from tests.attacks.rawclient import Answer, Heard, ask
from tests.attacks.scripted import Said
from tests.fakes.canary import traces
from tests.fakes.waiting import wait_until
from tests.http.hostile_responses import CONTROLS, EXCESS, HOSTILE_RESPONSES, KIND, SECOND, SECRET, HostileAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.scripted import Conversation

ZERO, ONE = b"0" * 40, b"1" * 40
COMMAND = b"%b %b refs/heads/x\0 report-status side-band-64k" % (ZERO, ONE)
PUSH = b"%04x%b0000PACK" % (len(COMMAND) + 4, COMMAND)
FETCH = b"0014command=ls-refs\n0000"


@frozen
class Request:
    """One of the three requests that a forge answers, and how its answer is typed."""

    make: Callable[[Field], bytes]
    kind: bytes


REQUESTS = {
    "discovery": Request(lambda field: field.discovery(REPO), b"application/x-git-upload-pack-advertisement"),
    "fetch": Request(lambda field: field.post("git-upload-pack", FETCH), b"application/x-git-upload-pack-result"),
    "push": Request(lambda field: field.post("git-receive-pack", PUSH), b"application/x-git-receive-pack-result"),
}


def typed(data: bytes, request: Request, field: Field) -> bytes:
    """Give the answer the type that is expected, so that nothing but its fault is wrong, and the live credential."""
    return data.replace(KIND, b"Content-Type: " + request.kind).replace(SECRET, field.secret.encode())


def answered(field: Field, request: Request, data: bytes, end: str = "leaves") -> tuple[Heard, list[Conversation]]:
    """Ask while the forge answers ``data``; what the client heard, and the connections that carried it."""
    field.forge.script = lambda _: Said([data], end)
    heard = ask(field.gateway.port, request.make(field), answers=1)
    carried = [one for one in field.forge.conversations if one.asked]
    return heard, carried


def refuses(answer: Answer) -> bool:
    """Whether it is a refusal of ours: a status with our text, an ERR packet, or a report of a refused push."""
    if not answer.whole:
        return False
    if answer.status >= 400:
        return answer.body.startswith(b"credgate: ")
    if answer.get(b"content-type") == b"application/x-git-upload-pack-result":
        return answer.body[4:].startswith(b"ERR credgate: ")
    return b"ng refs/heads/x credgate: " in answer.body and b"ok refs/heads/x" not in answer.body


def broken(heard: Heard) -> bool:
    """Whether the connection ended so that no client can take what came for whole."""
    return heard.end != "open" and all(not answer.whole for answer in heard.answers)


def check_sandbox(field: Field, heard: Heard) -> None:
    """Assert that the credential is nowhere in what the client received, and that it was where the canary sees it."""
    assert traces(field.secret, heard.data) == set()
    assert traces(field.secret, field.forge.heard), "the forge was shown the credential"
    assert field.lease.secret.encode() not in field.forge.heard


def test_there_are_enough_answers() -> None:
    """At least 60."""
    assert len(HOSTILE_RESPONSES) >= 60


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("attack", HOSTILE_RESPONSES, ids=lambda attack: attack.name)
def test_hostile_answer_never_looks_complete(arena: Field, attack: HostileAnswer, kind: str) -> None:
    """A broken answer is our refusal or a broken connection, and its connection to the forge is never used again."""
    request = REQUESTS[kind]
    heard, carried = answered(arena, request, typed(attack.data, request, arena), "cuts" if attack.cut else "leaves")
    assert refuses(heard.answers[0]) if heard.end == "open" else broken(heard) or refuses(heard.only)
    assert b"second" not in heard.data
    check_sandbox(arena, heard)
    assert 1 <= len(carried) <= (1 if kind == "push" else 2), "a push is never asked twice"
    wait_until(lambda: all(one.closed for one in carried), "the gateway lets go of the connection")
    arena.control()


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("attack", [one for one in HOSTILE_RESPONSES if one.cut], ids=lambda attack: attack.name)
def test_reset_never_looks_complete(arena: Field, attack: HostileAnswer, kind: str) -> None:
    """A crashed forge resets its connections instead of closing them."""
    request = REQUESTS[kind]
    heard, _ = answered(arena, request, typed(attack.data, request, arena), "resets")
    assert refuses(heard.answers[0]) if heard.end == "open" else broken(heard) or refuses(heard.only)
    check_sandbox(arena, heard)
    arena.control()


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("name", CONTROLS)
def test_same_answer_without_the_fault_is_relayed_or_explained(arena: Field, name: str, kind: str) -> None:
    """With git's own type it passes to the byte; anything else becomes a refusal, and neither shows the credential.

    A discovery's body is read here as well: of these only a lone flush, an empty repository's, is an advertisement.
    """
    request = REQUESTS[kind]
    data, body = CONTROLS[name]
    heard, _ = answered(arena, request, typed(data, request, arena))
    if KIND in data and (kind != "discovery" or body == b"0000"):
        assert (heard.only.status, heard.only.body, heard.only.whole) == (200, body, True)
        assert heard.only.get(b"content-type") == request.kind
    else:
        assert refuses(heard.only)
    assert heard.end == "open"
    check_sandbox(arena, heard)
    arena.control()


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("name", EXCESS)
def test_bytes_after_an_answer_are_not_relayed(arena: Field, name: str, kind: str) -> None:
    """The answer is relayed or refused, what follows is dropped with its connection."""
    request = REQUESTS[kind]
    heard, carried = answered(arena, request, typed(EXCESS[name], request, arena))
    assert heard.only.whole
    assert b"second" not in heard.data
    wait_until(lambda: all(one.closed for one in carried), "the gateway lets go of the connection")
    assert b"second" not in arena.control().data


def test_unsolicited_answer_is_not_relayed(arena: Field) -> None:
    """Data that a forge sends on an idle connection must not answer the next sandbox's request."""
    arena.control()
    idle = arena.forge.blurt(SECOND)
    assert idle
    wait_until(lambda: all(one.closed for one in idle), "the gateway leaves connections that speak unasked")
    assert b"second" not in arena.control().data


@pytest.mark.parametrize("kind", ["discovery", "fetch"])
def test_closed_pooled_connection_is_replaced(arena: Field, kind: str) -> None:
    """The only case in which a request is repeated: a pooled connection closed without a byte of an answer."""
    request = REQUESTS[kind]
    arena.control()
    refused = iter(["resets"])
    good = arena.forge.script

    def once(asked: object) -> Said:
        return Said([], "resets") if next(refused, "") else good(asked)  # type: ignore[arg-type]

    arena.forge.clear()
    arena.forge.script = once
    heard = ask(arena.gateway.port, request.make(arena), answers=1)
    assert (heard.only.status, heard.only.whole) == (200, True)
    assert not refuses(heard.only)
    assert len([asked for asked in arena.forge.asked if CONTROL.encode() not in asked.target]) == 2
