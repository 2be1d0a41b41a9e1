"""The sandbox side of the relay: one request at a time, deadlines, and what ends a connection how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credgate.service.sandbox.connection import LINGER_BYTES
from credgate.service.upstream.flow import BUFFER_SIZE, CAREFUL_SIZE, GROWN_SIZE
from credgate.values import Reason
from tests.fakes.relay import (
    ADVERTISED,
    KIB64,
    LISTED,
    RESULT,
    House,
    answers_in,
    ask,
    busy_house,
    discover,
    login,
    only,
    post,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

FETCH = b"Content-Type: application/x-git-upload-pack-request"
WHOAMI = ask(b"GET /whoami")
HEALTH = ask(b"GET /health", auth=b"")
WRONG = login("token", "wrong")


# One request after the other.


def test_small_packets_are_sent_at_once() -> None:
    """Every one of git's small requests waits for its answer."""
    assert House().client().nodelay


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_requests_are_answered_one_by_one_however_they_are_cut(step: int) -> None:
    """On one connection, which stays."""
    house = House()
    client = house.client()
    for request in (HEALTH, WHOAMI, ask(b"GET /nowhere"), HEALTH):
        for at in range(0, len(request), step):
            client.deliver(request[at : at + step])
        house.settle()
    assert [one.status for one in answers_in(client.received)] == [200, 200, 404, 200]
    assert client.ended == ""
    assert house.reasons == [Reason.ALLOWED, Reason.ALLOWED, Reason.NOT_FOUND, Reason.ALLOWED]
    house.nothing_left()


def test_a_body_is_read_in_small_pieces_until_it_shows_that_it_is_cheap() -> None:
    """A turn of the reactor reads from everybody: what an attacker's piece costs, a neighbour waits for."""
    house = House()
    client = house.client()
    sizes = [client.bufferSize]
    client.deliver(ask(b"POST /git/octo/hello/git-upload-pack", FETCH, b"Transfer-Encoding: chunked"))
    sizes.append(client.bufferSize)
    for body in (b"2000\r\n" + b"x" * 8192 + b"\r\n", b"1\r\nx\r\n" * 1000, b"0\r\n\r\n"):
        client.deliver(body)
        sizes.append(client.bufferSize)
    assert sizes == [CAREFUL_SIZE, CAREFUL_SIZE, GROWN_SIZE, CAREFUL_SIZE, CAREFUL_SIZE]


def test_a_coded_body_never_shows_that_it_is_cheap() -> None:
    """It may grow a hundredfold; one of known length that is not coded is what it says."""
    for coding, size in ((b"Content-Encoding: gzip", CAREFUL_SIZE), (b"X-Coding: none", BUFFER_SIZE)):
        client = House().client()
        client.deliver(ask(b"POST /git/octo/hello/git-upload-pack", FETCH, b"Content-Length: 90000", coding))
        assert client.bufferSize == size
        client.deliver(b"x" * 8192)
        assert client.bufferSize == size


@pytest.mark.parametrize("fields", [{"version": b"1.0"}, {"close": True}])
def test_who_wants_to_leave_is_let_go(fields: dict[str, object]) -> None:
    """HTTP/1.0 and ``Connection: close``: everything is sent, then the connection is closed."""
    house = House()
    extra = [b"Connection: close"] if fields.pop("close", False) else []
    client = house.say(ask(b"GET /health", *extra, **fields))  # type: ignore[arg-type]
    assert only(client).field(b"connection") == b"close"
    assert client.ended == "closed"
    house.nothing_left()


def test_a_relayed_answer_to_who_wants_to_leave_says_close() -> None:
    """And ends when all of it is taken."""
    house = House()
    client = house.say(discover(b"upload", b"octo/hello", b"Connection: close"))
    house.forge.wire.deliver(LISTED)
    house.settle()
    assert (only(client).field(b"connection"), only(client).body) == (b"close", ADVERTISED)
    assert client.ended == "closed"
    house.nothing_left()


def test_git_over_http_1_0_is_refused() -> None:
    """An answer of unknown length could be cut without a trace."""
    house = House()
    client = house.say(discover(version=b"1.0"))
    assert only(client).status == 505
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    assert house.forge.wires == []


def test_a_head_gets_a_head_only() -> None:
    """Whatever the refusal's body would be."""
    house = House()
    client = house.say(ask(b"HEAD /health") + b"")
    (said,) = answers_in(client.received, b"HEAD")
    assert (said.status, said.body) == (405, b"")
    assert client.received.endswith(b"\r\n\r\n")
    client.deliver(HEALTH)
    house.settle()
    assert [one.status for one in answers_in(client.received, b"HEAD", b"GET")] == [405, 200]


# Malformed heads.


@pytest.mark.parametrize(
    "broken", [b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /\n", b"\x16\x03\x01\x02\x00"]
)
def test_a_malformed_head_is_answered_and_the_connection_ends(broken: bytes) -> None:
    """Half of it at once, the rest when the peer has read the reply or two seconds have passed."""
    house = House()
    client = house.say(broken)
    assert only(client).status == 400
    assert client.half_closed
    assert client.ended == ""
    house.wait(3)
    assert client.ended == "reset"
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    assert house.audit.events[0].status == 400
    house.nothing_left()


def test_a_head_that_is_too_large_is_431() -> None:
    """Whatever follows is not looked at."""
    house = House(max_head=1000)
    client = house.say(ask(b"GET /health", b"X-Fill: " + b"x" * 1000))
    assert only(client).status == 431
    assert house.reasons == [Reason.HEAD_TOO_LARGE]
    assert only(House(max_head=2000).say(ask(b"GET /health", b"X-Fill: " + b"x" * 1000))).status == 200


def test_what_follows_a_last_reply_is_read_so_far_only() -> None:
    """So that the peer reads the reply before the reset; but nobody may pour for ever."""
    house = House()
    client = house.say(b"GET /\n")
    for _ in range(LINGER_BYTES // KIB64):
        client.deliver(b"x" * KIB64)
    house.settle()
    assert client.ended == ""
    client.deliver(b"x")
    house.settle()
    assert client.ended == "reset"
    house.nothing_left()


# Deadlines.


def test_a_head_must_be_whole_in_time_however_it_dribbles() -> None:
    """An absolute deadline: bytes do not put it off."""
    house = House(head_timeout=10)
    client = house.client()
    for byte in HEALTH[:9]:
        client.deliver(bytes([byte]))
        house.wait(1)
    assert client.received == b""
    house.wait(2)
    assert only(client).status == 408
    assert house.reasons == [Reason.HEAD_TIMEOUT]
    house.wait(3)
    assert client.ended == "reset"
    house.nothing_left()


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    """Nobody asked anything, so nothing is logged."""
    house = House(head_timeout=10)
    client = house.client()
    house.wait(9)
    assert client.ended == ""
    house.wait(2)
    assert client.ended == "closed"
    assert (client.received, house.reasons) == (b"", [])
    house.nothing_left()


@pytest.mark.parametrize("idle", [10, 30])
def test_the_next_head_has_its_own_deadline(idle: int) -> None:
    """From its first byte, however long the connection had been idle; also when both are equally long."""
    house = House(head_timeout=10, idle_timeout=idle)
    client = house.say(HEALTH)
    house.wait(9)
    client.deliver(HEALTH[:5])
    house.wait(8)
    client.deliver(HEALTH[5:])
    house.settle()
    assert [one.status for one in answers_in(client.received)] == [200, 200]
    house.wait(idle - 1)
    assert client.ended == ""
    house.wait(2)
    assert client.ended == "closed"
    assert house.reasons == [Reason.ALLOWED] * 2


def test_an_idle_connection_is_closed_not_reset() -> None:
    """The client may still be reading what is on its way: a reset would take the end of its pack away."""
    house = House(idle_timeout=30, stall_timeout=120)
    client = house.say(post(b"0000"))
    client.stall()
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert client.unsent
    house.wait(32)
    assert client.ended == ""
    client.resume()
    house.settle()
    assert only(client, b"POST").body == b"packed"
    assert client.ended == "closed"
    house.nothing_left()


def test_a_closing_that_nobody_lets_happen_is_a_reset_in_the_end() -> None:
    """The kernel would keep the bytes, and we the connection."""
    house = House(idle_timeout=30, stall_timeout=120)
    client = house.say(HEALTH)
    client.stall()
    client.deliver(HEALTH)
    house.settle()
    house.wait(30 + 118)
    assert client.ended == ""
    house.wait(3)
    assert client.ended == "reset"
    house.nothing_left()


# A client that asks and does not read.


def test_answers_do_not_pile_up_for_who_does_not_read_them() -> None:
    """The next request is not even read before the answers so far are taken."""
    house = House()
    client = house.client()
    client.stall()
    sent = 0
    while client.reading and sent < 10_000:
        client.deliver(WHOAMI)
        house.settle()
        sent += 1
    assert len(client.unsent) < KIB64 + 2000
    assert sent < 1000
    client.deliver(WHOAMI)
    client.resume()
    house.settle()
    assert client.reading
    assert [one.status for one in answers_in(client.received)] == [200] * (sent + 1)
    house.nothing_left()


def test_who_never_reads_is_cut() -> None:
    """After the time that any stalled transfer has."""
    house = House(stall_timeout=120)
    client = house.client()
    client.stall()
    while client.reading:
        client.deliver(WHOAMI)
        house.settle()
    house.wait(119)
    assert client.ended == ""
    house.wait(3)
    assert client.ended == "reset"
    house.nothing_left()


def test_next_relay_waits_for_a_client_that_has_not_read() -> None:
    """A client that is full from the start holds its forge back from the start."""
    house, client = busy_house()
    client.stall()
    client.deliver(discover())
    house.settle()
    client.protocol._full = True
    house.forge.wire.deliver(LISTED[:-1])
    house.settle()
    assert not house.forge.wire.reading
    client.protocol._client_drained()
    assert house.forge.wire.reading


# Expect.


def test_refused_upload_gets_no_100_continue() -> None:
    """The answer comes at once, no body is read, and the connection ends."""
    house = House()
    head = post(b"x" * 100, b"Expect: 100-continue", repo=b"else/where")[:-100]
    client = house.say(head)
    assert b"outside this session" in only(client, b"POST").body
    assert b"100 Continue" not in client.received
    assert client.half_closed
    assert house.reasons == [Reason.OUTSIDE_SESSION]
    client.hang_up()
    house.nothing_left()


def test_body_of_a_refused_upload_is_read_to_its_end() -> None:
    """The positive control: git takes an early refusal of a push for success."""
    house = House()
    whole = post(b"x" * 100, repo=b"else/where")
    client = house.say(whole[:-50])
    assert client.received == b""
    client.deliver(whole[-50:])
    house.settle()
    assert b"outside this session" in only(client, b"POST").body
    assert client.ended == ""


# Who is not proved gets no patience.


@pytest.mark.parametrize("auth", [b"", WRONG])
def test_an_unproved_client_may_send_little(auth: bytes) -> None:
    """Git's probe and small fetches are answered after their body, and the connection stays."""
    house = House()
    whole = post(b"x" * 1000, auth=auth)
    client = house.say(whole[:-1])
    assert client.received == b""
    client.deliver(whole[-1:])
    house.settle()
    assert only(client, b"POST").status == 401
    assert only(client, b"POST").field(b"connection") is None
    assert client.ended == ""
    house.nothing_left()


@pytest.mark.parametrize("auth", [b"", WRONG])
@pytest.mark.parametrize("whole", [post(b"x" * (KIB64 + 1), auth=b"@"), post(b"x", auth=b"@", chunked=True)])
def test_an_unproved_client_may_not_send_much(auth: bytes, whole: bytes) -> None:
    """Or what has no known end: it is answered at once and shown the door."""
    house = House()
    head = whole[: whole.index(b"\r\n\r\n") + 4].replace(b"@\r\n", auth + b"\r\n" if auth else b"")
    client = house.say(head)
    assert only(client, b"POST").status == 401
    assert only(client, b"POST").field(b"connection") == b"close"
    assert client.half_closed
    client.hang_up()
    house.nothing_left()


def test_an_unproved_body_has_the_time_of_a_head() -> None:
    """Absolutely, dribble or not; a proved one only has to move."""
    for auth, patient in ((b"", False), (None, True)):
        house = House(head_timeout=10, stall_timeout=120)
        client = house.say(post(b"x" * 100, auth=auth, repo=b"else/where")[:-100])
        for _ in range(12):
            client.deliver(b"x")
            house.wait(1)
        assert (client.ended == "") is patient


# Ends.


def test_ending_the_session_does_not_touch_an_idle_connection() -> None:
    """The next request on it is refused as any other."""
    house, client = busy_house()
    house.sessions.revoke(house.session)
    house.settle()
    assert client.ended == ""
    client.deliver(discover())
    house.settle()
    assert only(client).status == 401


def test_cutting_an_idle_connection_says_nothing() -> None:
    """There is no request to tell of."""
    house = House()
    client = house.client()
    client.protocol.cut(Reason.SHUTDOWN)
    house.settle()
    assert client.ended == "reset"
    assert house.reasons == []
    house.nothing_left()


def test_a_sweep_right_after_an_abort_adds_nothing() -> None:
    """The connection is gone, although the reactor has not said so yet."""
    house = House()
    client = house.say(discover())
    house.reactor.advance(100)
    house.sessions.revoke(house.session)
    house.service.sweep()
    house.settle()
    assert house.reasons == [Reason.SESSION_ENDED]
    assert client.received == b""
    house.nothing_left()


def test_connection_closes_after_its_answer_while_credgate_stops() -> None:
    """Nothing new begins while the gateway stops."""
    house = House()
    client = house.client()
    house.transfers.closing = True
    client.deliver(HEALTH)
    house.settle()
    assert only(client).status == 200
    assert client.ended == "closed"


# Defects of our own.


def test_internal_error_at_the_head_is_audited_and_cut(clean_reactor: list[Failure]) -> None:
    """Before there is an exchange that could tell of it."""
    house = House()
    house.credentials.held["github.com"] = type(house.credentials.held["github.com"])("id", "a\nb")
    house.drivers["github.com"] = house.drivers["lab"]
    object.__setattr__(house.judge.authorizer, "brake", None)
    client = house.say(discover(auth=WRONG))
    assert client.ended == "reset"
    assert client.received == b""
    assert house.reasons == [Reason.INTERNAL]
    house.nothing_left()
    assert [failure.type for failure in clean_reactor] == [AttributeError]
    clean_reactor.clear()


def test_internal_error_in_an_exchange_cuts_both_sides(clean_reactor: list[Failure]) -> None:
    """The forge's connection does not stay behind."""
    house = House()
    client = house.say(post(b"x" * 10)[:-5])
    client.protocol._exchange._upload._request = None
    client.deliver(b"x")
    house.settle()
    assert client.ended == "reset"
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.INTERNAL]
    house.nothing_left()
    clean_reactor.clear()


def test_internal_error_in_a_cut_still_ends_the_connection(clean_reactor: list[Failure]) -> None:
    """What could not end itself is told again when the connection is gone."""
    house = House()
    client = house.say(post(b"x" * 10)[:-5])
    exchange = client.protocol._exchange
    broken = exchange.cut
    exchange.cut = exchange._upload._request = None
    with pytest.raises(TypeError):
        client.deliver(b"x")
    exchange.cut = broken
    house.settle()
    assert client.ended == "reset"
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.CLIENT_LEFT]
    house.nothing_left()
    clean_reactor.clear()
