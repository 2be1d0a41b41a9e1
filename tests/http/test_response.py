"""Responses of forges: no hostile one is taken for a complete one, each control is read correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.http import llhttp_check
from credgate.http.grammar import END, ResponseHead
from credgate.http.response import ResponseReader, judge
from credgate.values import Reason
from tests.http.hostile_responses import CHUNKED, CONTROLS, EXCESS, HOSTILE_RESPONSES, OK, SECRET, HostileAnswer, answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.http.response import Event


def read(pieces: Iterable[bytes], method: bytes = b"GET") -> tuple[list[Event], ResponseReader]:
    """Feed a new reader and return its events."""
    reader = ResponseReader(method)
    return [event for piece in pieces for event in reader.receive(piece)], reader


def to_the_end(pieces: Iterable[bytes]) -> None:
    """Feed a new reader, then close."""
    read(pieces)[1].at_eof()


def body(events: list[Event]) -> bytes:
    """Return the body in ``events``."""
    return b"".join(event for event in events if isinstance(event, bytes))


def single(data: bytes) -> list[bytes]:
    """Return ``data`` byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]


def test_tables_are_complete_and_without_duplicates() -> None:
    """A table that lost rows in a merge would test less than its name says."""
    assert len(HOSTILE_RESPONSES) >= 70
    assert len({attack.name for attack in HOSTILE_RESPONSES}) == len(HOSTILE_RESPONSES)
    assert len({attack.data for attack in HOSTILE_RESPONSES}) == len(HOSTILE_RESPONSES)


@pytest.mark.parametrize("attack", HOSTILE_RESPONSES, ids=lambda attack: attack.name)
def test_hostile_response_is_refused(attack: HostileAnswer) -> None:
    """In any cut it becomes a 502 with the reason code that operators watch."""
    reason = Reason.FORGE_CUT if attack.cut else Reason.FORGE_MALFORMED
    for pieces in ([attack.data], single(attack.data)):
        with pytest.raises(ResponseError, match=attack.text) as caught:
            to_the_end(pieces)
        assert (caught.value.reason, caught.value.status) == (reason, 502)
        assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(
    "attack", [attack for attack in HOSTILE_RESPONSES if not attack.cut], ids=lambda attack: attack.name
)
def test_nothing_is_read_after_a_refusal(attack: HostileAnswer) -> None:
    """Where the next response begins is unknown."""
    reader = ResponseReader(b"GET")
    with pytest.raises(ResponseError):
        reader.receive(attack.data)
    with pytest.raises(ResponseError, match=attack.text):
        reader.receive(CONTROLS["with a length"][0])
    with pytest.raises(ResponseError, match="before its response was complete"):
        reader.at_eof()


@pytest.mark.parametrize("name", CONTROLS)
def test_control_response_is_read_in_any_cut(name: str) -> None:
    """The positive control of the refusals above."""
    data, expected = CONTROLS[name]
    whole, reader = read([data])
    assert isinstance(whole[0], ResponseHead)
    assert (body(whole), whole[-1], reader.excess) == (expected, END, False)
    reader.at_eof()
    parts, reader = read(single(data))
    assert (parts[0], body(parts), parts[-1], reader.excess) == (whole[0], expected, END, False)
    reader.at_eof()


@pytest.mark.parametrize("name", EXCESS)
def test_data_after_a_response_closes_its_connection(name: str) -> None:
    """Else it would be read as the response to the next sandbox's request."""
    for pieces in ([EXCESS[name]], single(EXCESS[name])):
        events, reader = read(pieces)
        assert [event for event in events if isinstance(event, ResponseHead)] == events[:1]
        assert events[-1] is END
        assert b"second" not in body(events)
        assert reader.excess


def test_response_to_head_has_no_body() -> None:
    """RFC 9112 section 6.3: a body would be awaited for ever."""
    for framing in (b"Content-Length: 9", CHUNKED, b"X: y"):
        events, reader = read([answer(framing)], b"HEAD")
        assert isinstance(events[0], ResponseHead)
        assert (events[0].length, events[1:], reader.excess) == (0, [END], False)


def test_head_has_what_was_sent_and_repr_hides_it() -> None:
    """A hostile forge echoes the credential in any field, and a repr may end up in a log."""
    data = answer(b"X: " + SECRET, b"Set-Cookie: a", b"SET-COOKIE: b", b"Content-Length: 0", line=b"HTTP/1.0 404 x")
    found = judge(data, b"GET")
    assert found is not None
    assert (found.status, found.version, found.length, found.chunked) == (404, b"1.0", 0, False)
    assert (found.get(b"x"), found.all(b"set-cookie"), found.get(b"y")) == (SECRET, (b"a", b"b"), None)
    assert SECRET.decode() not in repr(found)


@pytest.mark.parametrize(
    ("fields", "line", "kept"),
    [
        ((), OK, True),
        ((b"Connection: keep-alive",), OK, True),
        ((b"Connection: close",), OK, False),
        ((b"Connection: Keep-Alive , Close",), OK, False),
        ((b"Connection: a", b"Connection: close"), OK, False),
        ((b"Connection: keep-alive",), b"HTTP/1.0 200 OK", False),
    ],
)
def test_connection_is_kept_on_http_1_1_without_close_only(
    fields: tuple[bytes, ...],
    line: bytes,
    kept: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A push on a connection that the forge is about to close would be lost."""
    found = judge(answer(*fields, b"Content-Length: 0", line=line), b"GET")
    assert found is not None
    assert found.keep_alive is kept


def test_sixth_interim_response_is_refused() -> None:
    """Five are allowed for each response."""
    interim = answer(line=b"HTTP/1.1 102 Processing")
    assert read([interim * 5 + answer(b"Content-Length: 0")])[0][-1] is END
    with pytest.raises(ResponseError, match="too many interim"):
        read([interim] * 6)


@pytest.mark.parametrize("opinion", [None, (2, 200, []), (1, 404, [])])
def test_head_that_llhttp_reads_differently_is_refused(monkeypatch: pytest.MonkeyPatch, opinion: object) -> None:
    """For the case that our own grammar is wrong."""
    data = CONTROLS["with length 0"][0]
    judge(data, b"GET")
    monkeypatch.setattr(llhttp_check, "response", lambda _head: opinion)
    with pytest.raises(ResponseError, match="ambiguous head"):
        judge(data, b"GET")


# Differential and random tests.

_lines = st.lists(
    st.builds(
        lambda name, colon, value: name + colon + value,
        st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-A", b"Upgrade", b"Trailer"]),
        st.sampled_from([b": ", b":", b" :"]),
        st.one_of(st.sampled_from([b"4", b"0", b"chunked", b"close", b"upgrade", b"a, b", b""]), st.binary(max_size=6)),
    ),
    max_size=4,
)
_heads = st.builds(
    lambda line, lines: answer(*lines, line=line),
    st.one_of(
        st.sampled_from([OK, b"HTTP/1.1 404", b"HTTP/1.0 500 No", b"HTTP/1.1 204 ", b"HTTP/1.1 101 x"]),
        st.binary(max_size=20),
    ),
    _lines,
)


@given(_heads)
def test_h11_agrees_on_every_accepted_head(data: bytes) -> None:
    """A response that two readers understand differently could reach another sandbox."""
    try:
        ours = judge(data, b"POST")
    except ResponseError:
        return
    assert ours is not None
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    theirs = connection.next_event()
    assert isinstance(theirs, h11.Response)
    assert (theirs.status_code, theirs.http_version) == (ours.status, ours.version)
    assert [(name, value) for name, value in theirs.headers] == list(ours.fields)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused_in_any_cut(data: bytes, chunks: bool) -> None:  # noqa: FBT001
    """The reader returns events or raises ResponseError, nothing else."""
    data = answer(CHUNKED) + data if chunks else data
    outcomes: list[object] = []
    for feed in ([data], single(data), [data[:30], data[30:]]):
        try:
            events, reader = read(feed)
        except ResponseError as error:
            outcomes.append((error.status, error.reason, str(error)))
        else:
            outcomes.append((events[:1], body(events), events[-1:] == [END], reader.excess))
    assert outcomes[0] == outcomes[1] == outcomes[2]
