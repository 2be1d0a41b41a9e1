"""Both readers: collecting a head, counting a body, stopping at the end, and bounded cost."""

from __future__ import annotations

from time import thread_time

import pytest

from credgate.errors import RequestError, ResponseError
from credgate.http.grammar import END
from credgate.http.request import RequestReader
from credgate.http.response import ResponseReader
from tests.http.attack import GET, POST, head
from tests.http.hostile_responses import answer

MAX_HEAD = 16 * 1024


def readers() -> list[tuple[RequestReader | ResponseReader, bytes, bytes]]:
    """Return a new reader of each side, a message for it with two bytes of body, and its head alone."""
    request, response = head(POST, b"Content-Length: 2"), answer(b"Content-Length: 2")
    return [(RequestReader(MAX_HEAD), request + b"ab", request), (ResponseReader(b"GET"), response + b"ab", response)]


def test_message_is_read_and_whole_is_set() -> None:
    """The relay checks ``whole`` before it keeps a connection."""
    for reader, data, its_head in readers():
        assert not reader.whole
        assert len(reader.receive(its_head)) == 1
        assert not reader.whole
        assert reader.receive(data[len(its_head) :]) == [b"ab", END]
        assert reader.whole
        assert not reader.excess


def test_head_and_body_are_read_in_any_cut() -> None:
    """Every place where the network may cut."""
    for cut in range(1, len(readers()[0][1])):
        for reader, data, its_head in readers():
            events = reader.receive(data[:cut]) + reader.receive(data[cut:])
            assert len([event for event in events if not isinstance(event, bytes)]) == 2
            assert b"".join(event for event in events if isinstance(event, bytes)) == b"ab"
            assert (reader.whole, reader.excess) == (True, False)
            assert len(its_head) + 2 == len(data)


def test_chunked_body_is_decoded() -> None:
    """Both sides, in one piece and two, with data after it."""
    coding = b"Transfer-Encoding: chunked"
    for behind in (b"", b"x"):
        for reader, its_head in (
            (RequestReader(MAX_HEAD), head(POST, coding)),
            (ResponseReader(b"GET"), answer(coding)),
        ):
            events = reader.receive(its_head + b"2\r\nab") + reader.receive(b"\r\n0\r\n\r\n" + behind)
            assert events[1:] == [b"ab", END]
            assert reader.excess is bool(behind)


def test_message_without_body_ends_with_its_head() -> None:
    """No body is awaited that was not announced."""
    for reader, data in (
        (RequestReader(MAX_HEAD), head(GET)),
        (ResponseReader(b"GET"), answer(b"Content-Length: 0")),
    ):
        assert reader.receive(data)[1:] == [END]
        assert reader.receive(b"") == []
        assert (reader.whole, reader.excess) == (True, False)


def test_head_over_the_limit_is_refused_complete_or_not() -> None:
    """The limit bounds the memory for an unauthenticated peer."""
    long = b"X: " + b"a" * 40000
    for reader, data in ((RequestReader(MAX_HEAD), head(GET, long)), (ResponseReader(b"GET"), answer(long))):
        with pytest.raises((RequestError, ResponseError), match="head is too large"):
            reader.receive(data)
    for reader, data in ((RequestReader(MAX_HEAD), head(GET, long)), (ResponseReader(b"GET"), answer(long))):
        with pytest.raises((RequestError, ResponseError), match="head is too large"):
            reader.receive(data[:-5])


def test_incomplete_head_is_refused_at_the_limit() -> None:
    """No further byte is awaited; one byte earlier it could still be completed."""
    reader = RequestReader(MAX_HEAD)
    assert reader.receive(head(GET)[:-2] + b"X: " + b"a" * (MAX_HEAD - len(head(GET)) - 2)) == []
    with pytest.raises(RequestError, match="head is too large"):
        reader.receive(b"a")


def test_large_head_is_refused_for_its_first_fault_in_any_cut() -> None:
    """In one piece and byte by byte; the bytes are released."""
    data = head(GET, b"X: a\nb", b"Y: " + b"a" * MAX_HEAD)
    for pieces in ([data], [data[:-1], data[-1:]], [data[:200], data[200:]]):
        reader = RequestReader(MAX_HEAD)
        with pytest.raises(RequestError, match="CR LF"):
            list(map(reader.receive, pieces))
        assert reader.buffered == 0


def test_data_after_the_end_is_dropped_and_noted() -> None:
    """In any number of calls."""
    for reader, data, _ in readers():
        reader.receive(data)
        assert reader.receive(b"x") == []
        assert reader.receive(data) == []
        assert reader.excess
    for reader, data, _ in readers():
        assert reader.receive(data + b"x")[1:] == [b"ab", END]
        assert reader.excess


def test_interim_response_is_skipped() -> None:
    """Together with the final one, alone, and cut inside."""
    interim, final = answer(line=b"HTTP/1.1 103 Early Hints"), answer(b"Content-Length: 0")
    for cut in (0, 5, len(interim), len(interim) + 5):
        reader = ResponseReader(b"GET")
        data = interim + final
        events = reader.receive(data[:cut]) + reader.receive(data[cut:])
        assert (len(events), events[-1]) == (2, END)


def test_error_is_raised_again_on_every_call() -> None:
    """A caller that continues after an error gets no data."""
    for reader, data, _ in readers():
        for piece in (b"\0", data, data, b"x"):
            with pytest.raises((RequestError, ResponseError), match="head has"):
                reader.receive(piece)
        assert not reader.whole


def test_fault_is_refused_before_the_head_is_complete() -> None:
    """A slow client must not hold its connection until the deadline with an invalid head."""
    for reader, _, its_head in readers():
        reader.receive(its_head[:30])
        with pytest.raises((RequestError, ResponseError), match="CR LF"):
            reader.receive(b"\n")


def test_cost_of_a_head_byte_by_byte_is_linear() -> None:
    """A scan from the start for each byte would make 16 KiB cost 128 MiB of scanning."""
    data = head(GET, b"X: " + b"a" * 16000)
    begun = thread_time()
    reader = RequestReader(MAX_HEAD)
    events = [event for place in range(len(data)) for event in reader.receive(data[place : place + 1])]
    assert events[-1] is END
    assert thread_time() - begun < 0.5
