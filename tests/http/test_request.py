"""Requests of sandboxes: each hostile one is refused for its own reason, each control is read correctly."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.http import llhttp_check
from credgate.http.grammar import END, RequestHead
from credgate.http.request import RequestReader, judge
from credgate.values import Reason
from tests.http.attack import AUTHORIZATION, GET, POST, SMUGGLED, Hostile, head
from tests.http.hostile_requests import CONTROLS, HOSTILE_REQUESTS, PIPELINED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.http.request import Event

MAX_HEAD = 16 * 1024


def read(pieces: Iterable[bytes]) -> tuple[list[Event], RequestReader]:
    """Feed a new reader and return its events."""
    reader = RequestReader(MAX_HEAD)
    return [event for piece in pieces for event in reader.receive(piece)], reader


def _feed(reader: RequestReader, pieces: Iterable[bytes], events: list[Event]) -> None:
    for piece in pieces:
        events += reader.receive(piece)


def body(events: list[Event]) -> bytes:
    """Return the body in ``events``."""
    return b"".join(event for event in events if isinstance(event, bytes))


def single(data: bytes) -> list[bytes]:
    """Return ``data`` byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]


def test_tables_are_complete_and_without_duplicates() -> None:
    """A table that lost rows in a merge would test less than its name says."""
    assert len(HOSTILE_REQUESTS) >= 170
    assert len({attack.name for attack in HOSTILE_REQUESTS}) == len(HOSTILE_REQUESTS)
    assert len({attack.data for attack in HOSTILE_REQUESTS}) == len(HOSTILE_REQUESTS)


@pytest.mark.parametrize("trailing", [b"", SMUGGLED], ids=["alone", "with a request behind"])
@pytest.mark.parametrize("attack", HOSTILE_REQUESTS, ids=lambda attack: attack.name)
def test_hostile_request_is_refused_in_one_piece(attack: Hostile, trailing: bytes) -> None:
    """An ambiguous request is never guessed at, whatever follows it."""
    reader = RequestReader(MAX_HEAD)
    with pytest.raises(RequestError) as caught:
        reader.receive(attack.data + trailing)
    assert (caught.value.status, caught.value.reason) == (attack.status, attack.reason)
    assert attack.text in str(caught.value)


@pytest.mark.parametrize("attack", HOSTILE_REQUESTS, ids=lambda attack: attack.name)
def test_hostile_request_is_refused_byte_by_byte(attack: Hostile) -> None:
    """The cut changes neither the refusal nor its reason; nothing is read after it."""
    reader = RequestReader(MAX_HEAD)
    events: list[Event] = []
    with pytest.raises(RequestError) as caught:
        _feed(reader, single(attack.data), events)
    assert (caught.value.status, caught.value.reason) == (attack.status, attack.reason)
    assert attack.text in str(caught.value)
    assert END not in events
    with pytest.raises(RequestError, match=attack.text):
        reader.receive(SMUGGLED)
    with pytest.raises(RequestError, match="before the last one was answered"):
        reader.reset()


@pytest.mark.parametrize("attack", HOSTILE_REQUESTS, ids=lambda attack: attack.name)
def test_refusal_repeats_nothing_of_the_request(attack: Hostile) -> None:
    """Error texts go to logs and the audit."""
    with pytest.raises(RequestError) as caught:
        read([attack.data])
    assert str(caught.value).isascii()
    assert "secret" not in str(caught.value)
    assert AUTHORIZATION.decode() not in repr(caught.value)


@pytest.mark.parametrize("name", CONTROLS)
def test_control_request_is_read_in_any_cut(name: str) -> None:
    """The positive control of the refusals above."""
    whole, reader = read([CONTROLS[name]])
    assert isinstance(whole[0], RequestHead)
    assert whole[-1] is END
    assert not reader.excess
    parts, reader = read(single(CONTROLS[name]))
    assert (parts[0], body(parts), parts[-1]) == (whole[0], body(whole), END)
    assert not reader.excess
    reader.reset()


@pytest.mark.parametrize("name", PIPELINED)
def test_data_after_a_request_is_never_a_second_request(name: str) -> None:
    """It was not authenticated."""
    for pieces in ([PIPELINED[name]], single(PIPELINED[name])):
        events, reader = read(pieces)
        assert [event for event in events if isinstance(event, RequestHead)] == events[:1]
        assert events[-1] is END
        assert b"secret" not in body(events)
        assert reader.excess
        with pytest.raises(RequestError, match="before the last one was answered"):
            reader.reset()


def test_head_has_what_was_sent() -> None:
    """The relay decides by these attributes only."""
    events, _ = read([head(GET, b"ACCEPT: a/b", b"accept:  c/d\t", b"X-Empty:")])
    found = events[0]
    assert isinstance(found, RequestHead)
    assert (found.method, found.target) == (b"GET", b"/git/octo/hello.git/info/refs?service=git-upload-pack")
    assert (found.version, found.length, found.chunked) == (b"1.1", 0, False)
    assert (found.keep_alive, found.expect_continue) == (True, False)
    assert found.all(b"accept") == (b"a/b", b"c/d")
    assert found.get(b"accept") == b"a/b, c/d"
    assert found.get(b"x-empty") == b""
    assert found.get(b"x-none") is None
    assert found.all(b"x-none") == ()


def test_repr_of_a_head_has_no_fields() -> None:
    """Authorization is one of them, and a repr may end up in a log."""
    assert "YTpiOmM=" not in repr(read([CONTROLS["get"]])[0])


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (head(GET), True),
        (head(GET, b"Connection: keep-alive"), True),
        (head(GET, b"Connection: Close"), False),
        (head(GET, b"Connection: keep-alive , cLOSE"), False),
        (head(GET.replace(b"1.1", b"1.0")), False),
        (head(GET.replace(b"1.1", b"1.0"), b"Connection: keep-alive"), False),
    ],
)
def test_connection_is_kept_on_http_1_1_without_close_only(data: bytes, kept: bool) -> None:  # noqa: FBT001 - a parameter
    """RFC 9112 section 9.3; HTTP/1.0 proxies implement keep-alive wrongly."""
    assert judge(data).keep_alive is kept


@pytest.mark.parametrize(
    ("data", "expects"),
    [
        (head(POST, b"Content-Length: 4", b"Expect: 100-continue"), True),
        (head(POST, b"Transfer-Encoding: chunked", b"Expect: 100-continue"), True),
        (head(POST, b"Content-Length: 0", b"Expect: 100-continue"), False),
        (head(POST.replace(b"1.1", b"1.0"), b"Content-Length: 4", b"Expect: 100-continue"), False),
        (head(POST, b"Content-Length: 4"), False),
    ],
)
def test_expect_continue_is_set_only_for_waiting_clients(data: bytes, expects: bool) -> None:  # noqa: FBT001 - a parameter
    """RFC 9110 section 10.1.1: some clients read an unexpected 100 as the final response."""
    assert judge(data).expect_continue is expects


def test_three_requests_on_one_connection_are_read() -> None:
    """Each starts without state of the last, chunked or not."""
    reader = RequestReader(MAX_HEAD)
    for _ in range(3):
        for name in ("post with length", "chunked", "get"):
            events = [event for piece in single(CONTROLS[name]) for event in reader.receive(piece)]
            assert (body(events), events[-1]) == (b"" if name == "get" else b"0000", END)
            reader.reset()


def test_reset_inside_a_request_is_refused() -> None:
    """The rest of a body would be read as the next request."""
    _, reader = read([head(POST, b"Content-Length: 5") + b"0000"])
    assert not reader.whole
    with pytest.raises(RequestError, match="before the last one was answered"):
        reader.reset()


def test_empty_input_gives_no_event() -> None:
    """It must not end, begin or exceed anything."""
    reader = RequestReader(MAX_HEAD)
    assert reader.receive(b"") == []
    reader.receive(CONTROLS["get"])
    assert reader.receive(b"") == []
    assert not reader.excess


def test_body_of_known_length_is_not_copied() -> None:
    """A push may have gigabytes."""
    piece = bytes(65536)
    reader = RequestReader(MAX_HEAD)
    reader.receive(head(POST, b"Content-Length: 131072"))
    first, *_ = reader.receive(piece)
    last, end = reader.receive(piece)
    assert first is piece
    assert last is piece
    assert end is END


def test_head_of_exactly_the_limit_is_read() -> None:
    """The limit is inclusive."""
    data = head(GET, b"X: " + b"a" * (MAX_HEAD - len(head(GET)) - 5))
    assert len(data) == MAX_HEAD
    assert read([data])[0][-1] is END
    assert read(single(data))[0][-1] is END


@pytest.mark.parametrize("opinion", [None, (2, b"GET", b"/", []), (1, b"HEAD", b"/", [])])
def test_head_that_llhttp_reads_differently_is_refused(monkeypatch: pytest.MonkeyPatch, opinion: object) -> None:
    """For the case that our own grammar is wrong."""
    judge(CONTROLS["get"])
    monkeypatch.setattr(llhttp_check, "request", lambda _head: opinion)
    with pytest.raises(RequestError, match="ambiguous head") as caught:
        judge(CONTROLS["get"])
    assert (caught.value.status, caught.value.reason) == (400, Reason.MALFORMED_REQUEST)


# Differential and random tests.

_name = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"X-A",
        b"X_A",
        b"Accept",
        b"Upgrade",
        b"",
    ]
)
_value = st.one_of(
    st.sampled_from([b"gateway", b"4", b"0", b"chunked", b"close", b"100-continue", b"a, b", b"4, 4", b"", b"\t x \t"]),
    st.binary(max_size=8),
)
_line = st.builds(lambda name, colon, value: name + colon + value, _name, st.sampled_from([b": ", b":", b" :"]), _value)
_request_line = st.builds(
    lambda method, gap, target, version: method + gap + target + b" " + version,
    st.sampled_from([b"GET", b"POST", b"PUT", b"get", b"CONNECT", b"OPTIONS"]),
    st.sampled_from([b" ", b" ", b" ", b"  ", b"\t"]),
    st.one_of(st.sampled_from([b"/", b"/a/b?c=d", b"*", b"//x", b"/../x", b"http://a/"]), st.binary(max_size=6)),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"]),
)
_end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
_heads = st.builds(
    lambda line, lines, ends: b"".join(part + end for part, end in zip([line, *lines, b""], ends, strict=False)),
    _request_line,
    st.lists(_line, max_size=4),
    st.lists(_end, min_size=6, max_size=6),
)
_good_lines = st.builds(
    lambda name, value: name + b": " + value,
    st.from_regex(rb"\AX-[A-Za-z0-9-]{1,20}\Z"),
    st.from_regex(rb"\A[\x20-\x7e\t]{0,20}\Z"),
)
_good_heads = st.builds(
    lambda line, framing, lines: head(line, *([framing] if framing else []), *lines),
    st.sampled_from([GET, POST, GET.replace(b"1.1", b"1.0")]),
    st.sampled_from([b"", b"", b"Content-Length: 0", b"Connection: close", b"Connection: x, y"]),
    st.lists(_good_lines, max_size=6),
)


def _ours(data: bytes) -> RequestHead | None:
    try:
        return judge(data)
    except RequestError:
        return None


def _h11(data: bytes) -> tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    return request.method, request.target, request.http_version, [(name, value) for name, value in request.headers]


class _Llhttp:
    """What llhttp reads of the framing."""

    def __init__(self, data: bytes) -> None:
        self.whole = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.whole = True


@given(st.one_of(_heads, _good_heads))
def test_h11_and_llhttp_agree_on_every_accepted_head(data: bytes) -> None:
    """Two readers that differ allow request smuggling."""
    ours = _ours(data)
    if ours is None:
        return
    method, target, version, lines = _h11(data)
    assert (method, target, version) == (ours.method, ours.target, ours.version)
    assert lines == list(ours.fields)
    llhttp = _Llhttp(data)
    assert llhttp.whole is (ours.length == 0)


@given(_good_heads)
def test_ordinary_head_is_accepted(data: bytes) -> None:
    """The positive control of the differential test above."""
    assert _ours(data) is not None


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_are_read_or_refused_in_any_cut(data: bytes, cuts: list[int]) -> None:
    """The reader returns events or raises RequestError, nothing else."""
    data = head(POST, b"Transfer-Encoding: chunked") + data if len(data) % 2 else data
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    outcomes: list[object] = []
    for feed in ([data], pieces, single(data)):
        try:
            events, reader = read(feed)
        except RequestError as error:
            outcomes.append((error.status, error.reason, str(error)))
        else:
            outcomes.append((events[:1], body(events), events[-1:] == [END], reader.excess))
    assert outcomes[0] == outcomes[1] == outcomes[2]
