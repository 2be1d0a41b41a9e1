"""Answers of our own: read the body to its end, or to a bound, then answer; and say what became of it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from credgate.config.schema import PushPolicy
from credgate.git.authorize import Refuse
from credgate.git.push_stream import PushStream
from credgate.git.route import Kind
from credgate.service.sandbox.local_answer import LocalPage, RefusalAnswer
from credgate.values import Decision, Reason
from tests.fakes.relay import House, answers_in, commands, discover, login, only, post

if TYPE_CHECKING:
    from tests.fakes.wire import Wire

TEXT = Decision(allow=False, reason=Reason.READ_ONLY, rule="grants", text="no")


def refused(house: House, **more: object) -> tuple[Wire, bytes]:
    """Begin a push that is outside the session; return the client and the body that is still to come."""
    body = commands(b"refs/heads/a") + b"PACK" * 100
    whole = post(body, service=b"receive", repo=b"else/where", **more)  # type: ignore[arg-type]
    return house.say(whole[:-100]), whole[-100:]


def test_a_page_closes_or_keeps_the_connection() -> None:
    """The body is the same, and made once."""
    page = LocalPage(b'{"a":1}')
    assert list(page.read(b"anything")) == []
    closing, keeping = page.bytes(close=True), page.bytes(close=False)
    assert closing.endswith(b'\r\n\r\n{"a":1}')
    assert keeping.endswith(b'\r\n\r\n{"a":1}')
    assert b"Connection: close" in closing
    assert b"Connection: close" not in keeping


def test_a_refused_push_is_heard_out_and_told_by_ref() -> None:
    """The bytes are counted as bodies, without heads."""
    house = House()
    client, rest = refused(house)
    assert client.received == b""
    client.deliver(rest)
    house.settle()
    said = only(client, b"POST")
    assert b"ng refs/heads/a credgate: github.com/else/where is outside this session" in said.body
    (line,) = house.audit.events
    assert (line.reason, line.allow, line.status) == (Reason.OUTSIDE_SESSION, False, 200)
    assert (line.bytes_up, line.bytes_down) == (len(commands(b"refs/heads/a")) + 400, len(said.body))
    house.nothing_left()


def test_a_refused_push_with_a_broken_list_is_told_in_text() -> None:
    """No ref can be named; the refusal is the one that was decided."""
    house = House()
    client = house.say(post(b"zzzz" + b"x" * 100, service=b"receive", repo=b"else/where"))
    assert only(client, b"POST").status == 403
    assert house.reasons == [Reason.OUTSIDE_SESSION]


def test_a_list_is_read_to_its_end_and_no_further() -> None:
    """What follows is thrown away as it came: nothing is inflated for nothing."""
    answer = RefusalAnswer(Refuse(TEXT, 403, Kind.RECEIVE_PACK), PushStream(b"gzip"))
    squeezed = gzip.compress(commands(b"refs/heads/a"))
    assert list(answer.read(squeezed[:-8])) == []
    assert list(answer.read(b"no gzip at all")) == []
    assert b"ng refs/heads/a" in answer.bytes(close=False)


def test_reading_away_has_a_bound() -> None:
    """By session, not for ever."""
    house = House(max_drain=500)
    client, rest = refused(house)
    assert client.ended == ""
    client.deliver(rest)
    house.settle()
    assert client.ended == "reset"
    assert house.reasons == [Reason.OUTSIDE_SESSION]
    assert house.audit.events[0].status is None
    house.nothing_left()


@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_who_leaves_before_the_answer_is_written_down_without_one(how: str) -> None:
    """The decision is the line's, whoever heard it."""
    house = House()
    client, _ = refused(house)
    getattr(client, how)()
    house.settle()
    (line,) = house.audit.events
    assert (line.reason, line.status) == (Reason.OUTSIDE_SESSION, None)
    house.nothing_left()


def test_a_body_that_breaks_is_400() -> None:
    """Nothing was said yet, so it can be; the first reason is the one that counts."""
    house = House()
    client, _ = refused(house, chunked=True)
    list(client.protocol._exchange._answer.read(b""))
    client.deliver(b"x" * 100 + b"zz\r\nzz\r\n")
    house.settle()
    assert only(client, b"POST").status == 400
    (line,) = house.audit.events
    assert (line.reason, line.status) == (Reason.OUTSIDE_SESSION, 400)
    client.hang_up()
    house.nothing_left()


def test_a_body_that_stands_still_is_cut() -> None:
    """One that moves is not."""
    house = House(stall_timeout=20)
    client, rest = refused(house)
    for byte in rest[:5]:
        client.deliver(bytes([byte]))
        house.wait(15)
    assert client.ended == ""
    house.wait(8)
    assert client.ended == "reset"
    assert house.reasons == [Reason.OUTSIDE_SESSION]
    house.nothing_left()


@pytest.mark.parametrize("proved", [True, False])
def test_a_body_that_dribbles_is_waited_for_if_its_session_is_proved(*, proved: bool) -> None:
    """Else a byte now and then would hold a connection for ever; a slow push of a session is heard out."""
    house = House(head_timeout=10, stall_timeout=10)
    whole = post(commands(b"refs/heads/a") + b"PACK" * 10, service=b"receive", repo=b"else/where")
    if not proved:
        whole = whole.replace(login(), login("token", "wrong"))
    client = house.say(whole[:-20])
    for at in range(20, 10, -1):
        client.deliver(whole[-at : 1 - at])
        house.wait(3)
    assert client.ended == ("" if proved else "reset")
    assert house.reasons == ([] if proved else [Reason.BAD_CREDENTIAL])


def test_a_cut_says_nothing_more() -> None:
    """The session ended while its refusal waited for the body."""
    house = House()
    client, _ = refused(house)
    house.sessions.revoke(house.session)
    house.settle()
    assert (client.ended, client.received) == ("reset", b"")
    assert house.reasons == [Reason.OUTSIDE_SESSION]
    house.nothing_left()


def test_an_answer_counts_among_the_sessions_transfers_until_it_is_given() -> None:
    """Reading bodies away costs, too."""
    house = House(max_transfers_per_session=1)
    client, rest = refused(house)
    other = house.say(discover())
    assert only(other).status == 429
    client.deliver(rest)
    house.settle()
    other.deliver(discover())
    house.settle()
    assert len(house.forge.wires) == 1
    assert len(answers_in(other.received)) == 1


# Lists that are read in turns.

REFS = [b"refs/heads/branch-%05d" % number for number in range(20_000)]
LIST = commands(*REFS)


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_of_a_refused_push_names_are_kept_and_no_more_than_allowed(coding: bytes | None) -> None:
    """Each of those is told; the rest of the list is read away."""
    answer = RefusalAnswer(Refuse(TEXT, 403, Kind.RECEIVE_PACK), PushStream(coding, max_refs=50))
    sent = LIST if coding is None else gzip.compress(LIST)
    for at in range(0, len(sent), 8192):
        list(answer.read(sent[at : at + 8192]))
    assert answer._reading is None
    assert answer._push is not None
    assert list(answer._push.refs) == REFS[:50]
    said = answer.bytes(close=False)
    assert b"ng refs/heads/branch-00049 credgate: no" in said
    assert b"branch-00050" not in said


@pytest.mark.parametrize("end", ["answered", "left", "cut", "broken"])
def test_a_gzipped_list_is_read_in_turns(end: str) -> None:
    """The sandbox is held meanwhile; what ends the request ends the reading."""
    house = House()
    house.judge.authorizer = evolve(house.judge.authorizer, policy=PushPolicy(max_refs=20_000))
    body = gzip.compress(LIST + b"PACK")
    whole = post(body, b"Content-Encoding: gzip", service=b"receive", repo=b"else/where")
    client = house.client()
    client.bufferSize = len(whole)
    client.deliver(whole if end == "answered" else whole[:-30])
    assert not client.reading
    assert (client.received, house.reasons) == (b"", [])
    if end == "left":
        client.hang_up()
    elif end == "cut":
        house.sessions.revoke(house.session)
    house.settle()
    if end == "answered":
        said = only(client, b"POST")
        # a side-band packet may end inside a name
        assert (said.status, said.body.count(b"ng refs/heads/branch-") > 19_900) == (200, True)
    elif end == "broken":
        assert client.reading
        client.deliver(b"zz" * 15)
        house.settle()
        assert only(client, b"POST").status == 200
    else:
        assert client.received == b""
    assert house.reasons == [Reason.OUTSIDE_SESSION]
    client.hang_up()
    house.settle()
    house.nothing_left()
