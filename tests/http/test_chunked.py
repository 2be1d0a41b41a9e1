"""The chunked coding: decoded as llhttp decodes it, strict, and bounded in cost."""

from __future__ import annotations

import sys
from itertools import pairwise
from time import thread_time
from typing import TYPE_CHECKING

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ProtocolError, RequestError, ResponseError
from credgate.http.chunked import LAST_CHUNK, ChunkedDecoder, frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEHIND = b"GET / HTTP/1.1\r\n\r\n"


def decode(pieces: Iterable[bytes | memoryview], *, extensions: bool = False) -> tuple[bytes, bytes | None]:
    """Return the body in ``pieces`` and the data after it (None: incomplete)."""
    decoder = ChunkedDecoder(extensions=extensions)
    body = b""
    rest = None
    for piece in pieces:
        if rest is not None:
            rest += piece
            continue
        parts, rest = decoder.receive(piece)
        body += b"".join(parts)
    return body, rest


def single(data: bytes) -> list[bytes]:
    """Return ``data`` byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]


def llhttp(data: bytes) -> tuple[bytes, bool]:
    """Return the body that llhttp decodes, and whether it is complete. Raises HttpParserError."""

    class Body:
        def __init__(self) -> None:
            self.body = b""
            self.whole = False

        def on_body(self, piece: bytes) -> None:
            self.body += piece

        def on_message_complete(self) -> None:
            self.whole = True

    found = Body()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    httptools.HttpResponseParser(found).feed_data(head + data)
    return found.body, found.whole


@pytest.mark.parametrize("extensions", [False, True])
@pytest.mark.parametrize("behind", [b"", BEHIND])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"4\r\nabcd\r\n0\r\n\r\n", b"abcd"),
        (b"0004\r\nabcd\r\n000\r\n\r\n", b"abcd"),
        (b"a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n", b"0123456789abcdefghij"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"1\r\nx\r\n0\r\nX-A: b\r\nX-C:\r\n\r\n", b"x"),
    ],
)
def test_body_is_decoded_in_any_cut(data: bytes, body: bytes, behind: bytes, *, extensions: bool) -> None:
    """The cut of the network changes nothing, and the bytes after the body are returned."""
    assert decode([data + behind], extensions=extensions) == (body, behind)
    assert decode(single(data + behind), extensions=extensions) == (body, behind)
    assert decode([memoryview(piece) for piece in (data[:5], data[5:] + behind)]) == (body, behind)
    assert decode([data[:-1]], extensions=extensions) == (body, None)


def test_chunk_extensions_are_dropped_from_forges_and_refused_from_sandboxes() -> None:
    """A hostile forge can echo the credential in them; a client can hide the end of a line in them."""
    data = b'4;a;b=c;d="e \tf"\r\nabcd\r\n0;e\r\n\r\n'
    assert decode([data], extensions=True) == (b"abcd", b"")
    assert decode(single(data), extensions=True) == (b"abcd", b"")
    with pytest.raises(RequestError, match="malformed chunk size"):
        decode([data])


@pytest.mark.parametrize(("extensions", "error"), [(False, RequestError), (True, ResponseError)])
def test_error_type_follows_the_side(*, extensions: bool, error: type[ProtocolError]) -> None:
    """A sandbox's error is answered with 400, a forge's with 502."""
    for data in (
        b"x",
        b"4\r\nabcdX",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: \0",
        b"0\r\nHost: x\r\n\r\n",
        b"0\r\n" + b"a" * 5000,
    ):
        with pytest.raises(error):
            decode([data], extensions=extensions)


@pytest.mark.parametrize("wrong", [b";", b"; ", b";a=", b";a;", b";a=b;", b';a="', b';a="b', b";a==b", b";\x00"])
def test_malformed_extension_is_refused(wrong: bytes) -> None:
    """A well-formed one of the same length is dropped."""
    whole = b";" + b"a" * (len(wrong) - 1) if len(wrong) > 1 else b";a"
    assert decode([b"1" + whole + b"\r\nx\r\n0\r\n\r\n"], extensions=True) == (b"x", b"")
    for size in (b"1", b"1;a=b"):
        with pytest.raises(ResponseError):
            decode([size + wrong + b"\r\nx\r\n0\r\n\r\n"], extensions=True)


def test_extensions_are_bounded_per_chunk_and_per_body() -> None:
    """Bytes that are dropped must be bounded, too."""
    one = b"1;" + b"a" * 255 + b"\r\nx\r\n"
    assert decode([one * 64 + b"0\r\n\r\n"], extensions=True) == (b"x" * 64, b"")
    with pytest.raises(ResponseError, match="extensions are too long"):
        decode([one * 65], extensions=True)
    with pytest.raises(ResponseError, match="extensions are too long"):
        decode([b"1;" + b"a" * 256 + b"\r\nx\r\n"], extensions=True)
    with pytest.raises(ResponseError, match="extensions are too long"):
        decode(single(b"1;" + b"a" * 1000), extensions=True)


def test_trailers_are_bounded() -> None:
    """They are dropped; at most 4 KiB are read."""
    fits = b"0\r\nX: " + b"a" * (4096 - len(b"X: \r\n\r\n")) + b"\r\n\r\n"
    assert decode([fits]) == (b"", b"")
    assert decode(single(fits)) == (b"", b"")
    for pieces in ([fits.replace(b"X: ", b"X: a")], single(fits.replace(b"X: ", b"X: a"))):
        with pytest.raises(RequestError, match="trailers are too long"):
            decode(pieces)
    assert decode([b"0\r\n" + b"X:\r\n" * 100 + b"\r\n"]) == (b"", b"")
    with pytest.raises(RequestError, match="too many trailers"):
        decode([b"0\r\n" + b"X:\r\n" * 101 + b"\r\n"])


def test_flood_of_one_byte_chunks_is_joined_and_cheap() -> None:
    """64 KiB of one-byte chunks take at most 20 ms and do not become 10,000 writes."""
    flood = b"1\r\nx\r\n" * 10922
    times = []
    for _ in range(3):
        decoder = ChunkedDecoder(extensions=False)
        begun = thread_time()
        parts, rest = decoder.receive(flood)
        times.append(thread_time() - begun)
        assert (parts, rest) == ([b"x" * 10922], None)
    traced = sys.gettrace() is not None  # coverage pays for each line that it sees
    assert min(times) < (0.200 if traced else 0.020)


def test_large_pieces_are_not_joined() -> None:
    """Joining them would copy a push once more."""
    data = b"".join(frame([bytes(65536)])) * 3
    parts, rest = ChunkedDecoder(extensions=False).receive(data)
    assert ([len(part) for part in parts], rest) == ([65536] * 3, None)


def test_frame_makes_one_chunk_without_joining_pieces() -> None:
    """Without data it makes no chunk."""
    assert frame([b"abc", b"", b"defghijk"]) == [b"b\r\n", b"abc", b"", b"defghijk", b"\r\n"]
    assert frame([]) == []
    assert frame([b""]) == []
    assert LAST_CHUNK == b"0\r\n\r\n"


@given(st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=6))
def test_framed_body_is_decoded_here_and_by_llhttp(chunks: Sequence[Sequence[bytes]]) -> None:
    """Encoder, decoder and an independent reader agree on any body."""
    body = b"".join(part for parts in chunks for part in parts)
    data = b"".join(piece for parts in chunks for piece in frame(parts)) + LAST_CHUNK
    assert decode([data]) == (body, b"")
    assert llhttp(data) == (body, True)


_size = st.one_of(
    st.integers(0, 20).map(lambda size: b"%x" % size), st.sampled_from([b"00", b"0x1", b"+1", b"-1", b" 1", b""])
)
_extension = st.one_of(
    st.just(b""),
    st.sampled_from(
        [b";", b";a", b";a=b", b';a="b"', b" ;a", b";a;b", b';a="\\""', b";a=", b"; a", b";a =b", b';a="b"c']
    ),
    st.binary(max_size=4).map(lambda tail: b";" + tail),
)
_trailer = st.sampled_from(
    [b"", b"", b"X: y\r\n", b"Content-Length: 1\r\n", b"X\r\n", b" x\r\n", b"Connection: upgrade\r\n"]
)
_end = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
_chunk = st.builds(
    lambda size, extension, end, data, last: size + extension + end + data + last,
    _size, _extension, _end, st.binary(max_size=20), _end,
)  # fmt: skip
_honest = st.builds(
    lambda data, extension: b"%x%b\r\n%b\r\n" % (len(data), extension, data),
    st.binary(min_size=1, max_size=20),
    _extension,
)
_bodies = st.builds(
    lambda chunks, trailer: b"".join(chunks) + b"0\r\n" + trailer + b"\r\n",
    st.lists(st.one_of(_honest, _honest, _honest, _chunk), max_size=4),
    _trailer,
)


@given(_bodies, st.booleans(), st.integers(0, 200), st.integers(0, 255))
def test_llhttp_agrees_on_every_accepted_body(data: bytes, mutate: bool, place: int, byte: int) -> None:  # noqa: FBT001
    """Two readers that see the end of a body at different places allow request smuggling."""
    if mutate and place < len(data):
        data = data[:place] + bytes([byte]) + data[place + 1 :]
    for extensions in (False, True):
        try:
            body, rest = decode([data], extensions=extensions)
        except ProtocolError:
            continue
        end = len(data) - len(rest or b"")
        assert llhttp(data[:end]) == (body, rest is not None)


@given(st.lists(_honest, max_size=4), st.lists(st.integers(0, 100), max_size=6))
def test_any_cut_gives_the_same_body_or_refusal(chunks: list[bytes], cuts: list[int]) -> None:
    """Any body, any cut."""
    data = b"".join(chunks) + LAST_CHUNK + BEHIND
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    outcomes = []
    for pieces in ([data], [data[begin:end] for begin, end in pairwise(places)], single(data)):
        try:
            outcomes.append(decode(pieces, extensions=True))
        except ResponseError as error:
            outcomes.append((str(error).encode(), None))
    assert outcomes[0] == outcomes[1] == outcomes[2]
