"""Every hostile request of the table, sent to the real process: none reaches the forge, each is answered and closed.

Judged by what the forge received (read by h11) and what the client received (read by h11), never by what credgate
reports. A request with a fault in its body may reach the forge in part, but must never be complete there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.attacks.conftest import CONTROL, REPO, Field
from tests.attacks.rawclient import RawClient, ask
from tests.http.attack import AUTHORIZATION, Hostile
from tests.http.hostile_requests import CONTROLS, HOSTILE_REQUESTS, PIPELINED

if TYPE_CHECKING:
    from tests.attacks.scripted import Asked

TYPE = b"Content-Type: application/x-git-upload-pack-request"
CANONICAL = re.compile(
    rb"(?:GET /octo/hello\.git/info/refs\?service=git-upload-pack|POST /octo/hello\.git/git-upload-pack) HTTP/1\.1\r\n"
    rb"Host: 127\.0\.0\.1:[0-9]+\r\nAuthorization: Basic [A-Za-z0-9+/=]+\r\n"
    rb"(?:(?:User-Agent|Accept|Accept-Language|Pragma|Git-Protocol|Content-Type): [ -~]+\r\n)*"
    rb"Accept-Encoding: (?:gzip|identity)\r\n(?:Content-Length: [0-9]+\r\n|Transfer-Encoding: chunked\r\n)?\r\n"
)
"""What an upstream head may look like: ours in every byte but the values of six closed fields."""
CUT = re.compile("peer (?:unexpectedly closed|closed connection without sending complete message body)")
"""What h11 says of a body that ends too early."""


def armed(data: bytes, field: Field) -> bytes:
    """Insert a live session, and what else a fetch needs to be admitted: the fault must be all that is wrong."""
    line = field.authorization
    if data.startswith(b"POST /git/octo/hello.git/git-upload-pack "):
        line += b"\r\n" + TYPE
    return data.replace(AUTHORIZATION, line)


def sent_upstream(field: Field) -> list[Asked]:
    """Show whole requests that reached the forge, the control left out; heads must be canonical."""
    broken = {one.broken for one in field.forge.conversations}
    assert all(not why or CUT.match(why) for why in broken), "a body may be cut; nothing may be unreadable"
    heads = re.findall(rb"(?:GET|POST) /octo/hello[^\r]*\r\n(?:[^\r]+\r\n)*\r\n", field.forge.heard)
    assert all(CANONICAL.fullmatch(head) for head in heads), heads
    assert sum(one.heads for one in field.forge.conversations) <= 2
    return [asked for asked in field.forge.asked if CONTROL.encode() not in asked.target]


def test_there_are_enough_attacks() -> None:
    """At least 150."""
    assert len(HOSTILE_REQUESTS) >= 150


@pytest.mark.parametrize("attack", HOSTILE_REQUESTS, ids=lambda attack: attack.name)
def test_hostile_request_is_refused_closed_and_never_complete_at_the_forge(arena: Field, attack: Hostile) -> None:
    """Nothing ambiguous is sent to the forge, and nothing after it is parsed."""
    heard = ask(arena.gateway.port, armed(attack.data, arena))
    arena.control()
    assert sent_upstream(arena) == []
    assert heard.end in {"closed", "reset"}, "a connection that broke the protocol must end"
    assert (heard.only.status, heard.only.whole) == (attack.status, True)
    assert heard.only.body.startswith(b"credgate: ")
    assert attack.text.encode() in heard.only.body
    assert heard.only.get(b"connection") == b"close"


@pytest.mark.parametrize("name", CONTROLS)
def test_same_request_without_the_fault_is_accepted(arena: Field, name: str) -> None:
    """Positive control of the tests above: a valid request reaches the forge once, in canonical form."""
    data = armed(CONTROLS[name], arena)
    if name == "head":
        data = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    # An answer to HEAD has no body, whatever length it names: the connection's end says where it ends.
    heard = ask(arena.gateway.port, data, answers=0 if name == "head" else 1)
    arena.control()
    sent = sent_upstream(arena)
    line = data.partition(b"\r\n")[0]
    if line.endswith(b"HTTP/1.1") and f"/git/{REPO}.git/".encode() in line:
        assert heard.only.status == 200
        assert len(sent) == 1
    else:
        assert heard.answers[0].status in {200, 403, 404, 405, 505}
        assert sent == []


@pytest.mark.parametrize("name", PIPELINED)
def test_what_follows_a_request_is_never_read_as_another(arena: Field, name: str) -> None:
    """The first is answered, the connection closed, and the forge has heard of one request only."""
    heard = ask(arena.gateway.port, armed(PIPELINED[name], arena))
    arena.control()
    assert len(sent_upstream(arena)) <= 1
    assert b"secret" not in arena.forge.heard
    assert heard.end in {"closed", "reset"}
    assert heard.only.status in {200, 404, 405}


@pytest.mark.parametrize("name", ["get", "post with length", "chunked", "expect"])
def test_client_that_disconnects_leaves_no_complete_request(arena: Field, name: str) -> None:
    """The client disconnects after every few bytes; the forge never receives a complete request."""
    data = armed(CONTROLS[name], arena)
    for end in range(1, len(data), 17):
        arena.forge.clear()
        with RawClient(arena.gateway.port) as client:
            client.send(data[:end])
            client.reset()
        arena.control()
        assert sent_upstream(arena) == []
