"""HTTP on the control socket: every odd byte is answered with JSON, and nothing of a body touches the disk."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource

from credgate.service.control import http_server as channel_module
from credgate.service.control.http_server import MAX_BODY, MAX_BY_USER, MAX_LISTED, MAX_TURNED_AWAY
from credgate.service.control.peer import Peer, PeerRule
from credgate.service.sandbox.refused_connections import Limit
from tests.fakes.control import HEALTH, Desk, Wire, answers, post

CREATE = b'{"container_ip": "10.0.0.7"}'
FOREIGN = Peer(65534, 65534)


def sized(body: bytes, *fields: bytes) -> bytes:
    """Make the same with Content-Length."""
    return post(body, b"Content-Length: %d" % len(body), *fields)


def chunked(*chunks: bytes) -> bytes:
    """Make the same in chunks."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return post(framed + b"0\r\n\r\n", b"Transfer-Encoding: chunked")


# Bodies.


@pytest.mark.parametrize(
    "request_bytes", [sized(CREATE), chunked(CREATE), chunked(*[CREATE[i : i + 1] for i in range(28)])]
)
def test_body_is_read_with_either_framing(request_bytes: bytes) -> None:
    """This is the positive control of the refusals below."""
    (answer,) = Desk().ask(request_bytes)
    assert answer.status == 201


def test_body_at_the_limit_is_read() -> None:
    """The limit is the last size that works."""
    body = CREATE.ljust(MAX_BODY)
    assert [Desk().ask(sized(body))[0].status, Desk().ask(chunked(body[:9], body[9:]))[0].status] == [201, 201]


@pytest.mark.parametrize("request_bytes", [sized(CREATE.ljust(MAX_BODY + 1)), chunked(CREATE.ljust(MAX_BODY), b" ")])
def test_body_above_the_limit_is_answered_413(request_bytes: bytes) -> None:
    """With a length and without one; the connection ends."""
    desk = Desk()
    channel, wire = desk.connect()
    channel.dataReceived(request_bytes)
    (answer,) = answers(wire.value())
    assert (answer.status, answer.error) == (413, "the body is larger than 65536 bytes")
    assert (answer.fields["connection"], wire.half_closed) == ("close", True)
    assert desk.registry.sessions == {}


def test_declared_length_above_the_limit_is_refused_at_once() -> None:
    """Nothing is buffered, and Expect gets no 100."""
    channel, wire = Desk().connect()
    channel.dataReceived(post(b"", b"Content-Length: 99999999999", b"Expect: 100-continue"))
    (answer,) = answers(wire.value())
    assert answer.status == 413


def test_expect_is_answered_with_100_continue() -> None:
    """Curl sends Expect for larger bodies."""
    channel, wire = Desk().connect()
    request = sized(CREATE, b"Expect: 100-continue")
    channel.dataReceived(request[: -len(CREATE)])
    assert wire.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.clear()
    channel.dataReceived(CREATE)
    assert answers(wire.value())[0].status == 201


@pytest.mark.parametrize(
    "request_bytes",
    [
        sized(CREATE.ljust(MAX_BODY)),
        chunked(CREATE.ljust(MAX_BODY)),
        chunked(b"x"),
        chunked(b"x" * MAX_BODY, b"x" * MAX_BODY),
    ],
)
def test_body_is_never_written_to_disk(request_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted would write it to a temporary file, and it may contain a secret."""

    def spooled(*_: object, **__: object) -> None:
        pytest.fail("a temporary file was opened")

    monkeypatch.setattr(tempfile, "TemporaryFile", spooled)
    channel, _ = Desk().connect()
    channel.dataReceived(request_bytes[:-1])
    assert type(channel.requests[-1].content) is BytesIO
    channel.dataReceived(request_bytes[-1:])


@pytest.mark.parametrize("more", [b"1\r\nx\r\n0\r\n\r\n", b"zz\r\n"])
def test_data_after_a_refused_chunk_is_ignored(more: bytes) -> None:
    """Twisted's decoder continues, but there is one response only."""
    desk = Desk()
    (answer,) = desk.ask(chunked(b"x" * MAX_BODY, b"x").removesuffix(b"0\r\n\r\n") + more)
    assert (answer.status, desk.registry.sessions) == (413, {})


def test_data_after_a_refusal_is_discarded_up_to_a_limit() -> None:
    """Memory does not grow with what a refused client goes on sending, and the client cannot go on for ever."""
    channel, wire = Desk().connect()
    channel.dataReceived(post(b"", b"Transfer-Encoding: chunked") + b"20000\r\n" + b"x" * 0x20000)
    before = wire.value()
    for _ in range(15):
        channel.dataReceived(b"x" * 0x10000)
    assert (wire.value(), wire.aborted) == (before, False)
    channel.dataReceived(b"x" * 0x10001)
    channel.dataReceived(b"x")
    assert wire.aborted


def test_refused_client_is_cut_after_linger() -> None:
    """It has two seconds to read its answer."""
    desk = Desk()
    channel, wire = desk.connect()
    channel.dataReceived(b"nonsense\r\n\r\n")
    desk.clock.advance(channel_module.LINGER - 0.1)
    assert not wire.aborted
    desk.clock.advance(0.2)
    assert wire.aborted


def test_refused_client_that_disconnects_leaves_no_timer() -> None:
    """No timer outlives its connection."""
    desk = Desk()
    channel, _ = desk.connect()
    channel.dataReceived(b"nonsense\r\n\r\n")
    channel.connectionLost(Failure(ConnectionLost()))
    assert (desk.clock.getDelayedCalls(), channel.site.channels) == ([], set())


def test_pipelined_request_after_a_refusal_is_not_served() -> None:
    """What follows a body that was not read is no request."""
    desk = Desk()
    (answer,) = desk.ask(post(HEALTH * 2, b"Content-Length: 70000"))
    assert answer.status == 413


# Peers.


@pytest.mark.parametrize("path", [b"/", b"/health", b"/v1/ready", b"/v1/sessions", b"/session/x", b"/nowhere"])
@pytest.mark.parametrize("peer", [FOREIGN, None])
def test_foreign_peer_is_refused_on_every_path(path: bytes, peer: Peer | None) -> None:
    """One check covers all routes, future ones too."""
    desk = Desk(peer=peer)
    (answer,) = desk.ask(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    assert (answer.status, answer.error) == (403, "Session management not authorized")
    assert desk.turned_away == [(Limit.FOREIGN, str(peer) if peer else "unknown")]


def test_body_of_a_foreign_peer_is_not_read() -> None:
    """The peer is refused when it connects."""
    desk = Desk(peer=FOREIGN)
    channel, wire = desk.connect()
    (answer,) = answers(wire.value())
    assert (answer.status, wire.half_closed) == (403, True)
    channel.dataReceived(sized(CREATE) + HEALTH)
    assert answers(wire.value()) == [answer]
    assert (desk.registry.sessions, desk.turned_away) == ({}, [(Limit.FOREIGN, str(FOREIGN))])


@define
class Door:
    """One site whose peers the test names, and its open connections."""

    peer: Peer | None = None
    told: list[tuple[Limit, str]] = field(factory=list)
    site: Any = None

    def __attrs_post_init__(self) -> None:
        """Make the site: uid 1000 is our own, 7 to 9 are listed."""
        self.site = channel_module.ControlSite(
            Resource(),
            PeerRule((7, 8, 9), lambda: 1000),
            Clock(),  # type: ignore[arg-type]
            refused=lambda limit, client: self.told.append((limit, client)),
            read_peer=lambda _transport: self.peer,
        )

    def connect(self, uid: int) -> tuple[Any, Wire]:
        """Connect a user."""
        self.peer = Peer(uid, uid)
        channel, wire = self.site.buildProtocol(None), Wire()
        channel.makeConnection(wire)
        return channel, wire

    def leave(self, channel: Any) -> None:
        """End a connection."""
        channel.connectionLost(Failure(ConnectionDone()))


def test_connections_are_limited_by_user() -> None:
    """Root and credgate's own user are served whatever others hold."""
    door = Door()
    held = [door.connect(7) for _ in range(MAX_BY_USER)]
    assert all(wire.value() == b"" for _, wire in held)
    refused, wire = door.connect(7)
    (answer,) = answers(wire.value())
    assert (answer.status, answer.error) == (
        429,
        "too many connections of this user to the control socket; close some, or wait",
    )
    for uid in (0, 1000, 8):
        assert door.connect(uid)[1].value() == b""
    assert door.told == [(Limit.USER, "uid:7")]
    door.leave(refused)
    door.leave(held[0][0])
    assert door.connect(7)[1].value() == b"", "one that ends makes room"


def test_listed_users_share_a_limit() -> None:
    """They must leave descriptors for the sandboxes."""
    door = Door()
    for number in range(MAX_LISTED):
        assert door.connect(7 + number % 3)[1].value() == b""
    assert answers(door.connect(9)[1].value())[0].status == 429
    for uid in (0, 1000):
        assert door.connect(uid)[1].value() == b""


def test_only_some_refused_connections_get_a_response() -> None:
    """Refused connections must not use up descriptors."""
    door = Door()
    told = [door.connect(4711) for _ in range(MAX_TURNED_AWAY)]
    assert {answers(wire.value())[0].status for _, wire in told} == {403}
    channel, wire = door.connect(4711)
    assert (wire.value(), wire.aborted) == (b"", True)
    door.leave(channel)
    for each, _ in told:
        door.leave(each)
    assert answers(door.connect(4711)[1].value())[0].status == 403
    assert (door.site.turned_away, dict(door.site._by_user)) == (1, {})


def test_own_user_is_served() -> None:
    """This is the positive control."""
    desk = Desk()
    assert (desk.ask(HEALTH)[0].status, desk.turned_away) == (200, [])


# Lifetime of a connection.


def test_idle_connection_is_closed_without_a_log_line(logged: list[dict[str, Any]]) -> None:
    """Neither a log line nor a descriptor is left of a client that forgot its connection."""
    desk = Desk()
    channel, wire = desk.connect()
    channel.dataReceived(HEALTH)
    desk.clock.advance(channel_module.IDLE_TIMEOUT + 1)
    assert (wire.aborted, logged) == (True, [])


def test_connection_that_waits_for_a_response_is_not_idle() -> None:
    """A create may wait for the disk."""
    desk = Desk()
    desk.registry.hold = Deferred()
    channel, wire = desk.connect()
    channel.dataReceived(sized(CREATE))
    desk.clock.advance(channel_module.IDLE_TIMEOUT * 2)
    desk.registry.hold.callback(None)
    assert answers(wire.value())[0].status == 201


def test_request_is_not_logged_and_repr_hides_the_url(logged: list[dict[str, Any]]) -> None:
    """The ancestor's DELETE has the token in its URL."""
    token = "T" * 43
    desk = Desk()
    channel, wire = desk.connect()
    seen: list[str] = []
    desk.registry.on_question = lambda: seen.append(repr(channel.requests[0]))
    channel.dataReceived(b"DELETE /session/%s HTTP/1.1\r\nHost: x\r\n\r\n" % token.encode())
    assert answers(wire.value())[0].status == 404
    assert seen == ["<ControlRequest of uid:1000>"]
    assert logged == []


def test_repr_of_a_twisted_request_shows_the_url() -> None:
    """This is the positive control."""
    channel, _ = Desk().connect()
    assert "uri=" in http.Request.__repr__(http.Request(channel))


def test_overridden_methods_exist_in_twisted() -> None:
    """One of them is private; if it were renamed, empty 400 responses would return."""
    for name in ("_respondToBadRequestAndDisconnect", "headerReceived", "lineLengthExceeded", "timeoutConnection"):
        assert hasattr(http.HTTPChannel, name)


def test_error_within_klein_is_answered_500_in_json(
    monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    """Twisted would answer with its HTML page."""
    desk = Desk()
    channel, wire = desk.connect()

    def fall(_request: object) -> None:
        raise ZeroDivisionError("a token perhaps")

    monkeypatch.setattr(channel.site.resource, "render", fall)
    channel.dataReceived(HEALTH)
    (answer,) = answers(wire.value())
    assert (answer.status, answer.error) == (500, "Internal server error")
    assert [event["type"] for event in logged] == ["ZeroDivisionError"]
    assert "log_failure" not in logged[0]
