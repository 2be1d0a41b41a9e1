"""gzip bodies: the same bytes in any cut, in bounded steps, one member, bounded growth."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.git.gzip_body import FREE, MAX_GROWTH, PIECE, Gunzip, is_gzip
from credgate.values import Reason

MIB = 1024 * 1024


def inflate(*pieces: bytes, limit: int = PIECE) -> list[bytes]:
    """Decode a body that comes in ``pieces``."""
    gunzip = Gunzip()
    out = [decoded for piece in pieces for decoded in gunzip.receive(piece, limit)]
    gunzip.end()
    return out


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (b"", False), (b"identity", False), (b"Identity", False), (b"gzip", True), (b"x-gzip", True),
     (b"GZIP", True), (b" gzip ", True)],
)  # fmt: skip
def test_supported_codings_are_accepted(value: bytes | None, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Git sends none or gzip; x-gzip is its old name (RFC 9110 section 8.4.1.3)."""
    assert is_gzip(value) == expected


@pytest.mark.parametrize(
    "value", [b"deflate", b"br", b"zstd", b"gzip, gzip", b"gzip,br", b"identity, gzip", b"gzip;q=1", b"g zip", b"*"]
)
def test_other_codings_are_415(value: bytes) -> None:
    """A body that cannot be read cannot be judged."""
    with pytest.raises(RequestError) as caught:
        is_gzip(value)
    assert (caught.value.reason, caught.value.status) == (Reason.UNSUPPORTED_CODING, 415)


@given(st.binary(max_size=3000), st.integers(1, 9), st.integers(1, 300), st.integers(1, 700))
def test_body_is_complete_in_any_cut(data: bytes, level: int, size: int, limit: int) -> None:
    """No byte is lost between two pieces."""
    body = gzip.compress(data, level)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    out = inflate(*pieces, limit=limit)
    assert b"".join(out) == data
    assert all(0 < len(piece) <= limit for piece in out)


@pytest.mark.parametrize("limit", [1, 7, 4096])
def test_body_is_decoded_byte_by_byte(limit: int) -> None:
    """The slowest sender."""
    data = os.urandom(300) + b"a" * 2000
    body = gzip.compress(data)
    assert b"".join(inflate(*(body[at : at + 1] for at in range(len(body))), limit=limit)) == data


def test_member_with_all_header_fields_is_read() -> None:
    """RFC 1952's extra, name, comment and header CRC."""
    body = gzip.compress(b"hello", mtime=1)
    extra = b"\x02\x00ab" + b"name\x00" + b"comment\x00"
    head = body[:3] + b"\x1e" + body[4:10] + extra
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    assert inflate(head + body[10:]) == [b"hello"]


@pytest.mark.parametrize("pieces", [1, 2, 100])
@pytest.mark.parametrize("tail", [b"x", b"\x00", gzip.compress(b"more", mtime=0)])
def test_data_after_the_member_is_refused(tail: bytes, pieces: int) -> None:
    """Git http-backend reads one member and drops the rest: two readers, two bodies."""
    body = gzip.compress(b"hello") + tail
    size = max(1, len(body) // pieces)
    with pytest.raises(RequestError, match="after the end"):
        inflate(*(body[at : at + size] for at in range(0, len(body), size)))


@pytest.mark.parametrize(
    "body",
    [b"hello world", b"\x78\x9c\x03\x00\x00\x00\x00\x01", b"PACK", zlib.compress(b"x"), b"\x1f\x8b\x09" + b"0" * 20],
)
def test_other_formats_are_refused(body: bytes) -> None:
    """Zlib's own format and raw deflate are other codings."""
    with pytest.raises(RequestError, match="not gzip"):
        inflate(body)


def test_wrong_checksum_is_refused() -> None:
    """It proves that the member is complete."""
    body = bytearray(gzip.compress(b"hello"))
    body[-5] ^= 1
    with pytest.raises(RequestError, match="not gzip"):
        inflate(bytes(body))


def test_cut_body_is_refused_at_its_end() -> None:
    """However much was decoded."""
    body = gzip.compress(b"hello")
    for at in range(len(body)):
        with pytest.raises(RequestError, match="was cut"):
            inflate(body[:at])
    assert inflate(body) == [b"hello"]


def test_decompression_bomb_is_refused_and_costs_no_memory() -> None:
    """A gigabyte of zeros in a megabyte: refused at a hundredfold growth, a few pieces in memory."""
    bomb = gzip.compress(bytes(256 * MIB), 9)
    gunzip = Gunzip()
    sizes: list[int] = []
    pieces = (piece for at in range(0, len(bomb), PIECE) for piece in gunzip.receive(bomb[at : at + PIECE]))
    tracemalloc.start()
    with pytest.raises(RequestError, match="grows too much") as caught:
        sizes.extend(map(len, pieces))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.status == 413
    assert FREE < sum(sizes) <= FREE + MAX_GROWTH * PIECE
    assert peak < MIB


def test_long_list_of_refs_passes() -> None:
    """The positive control: 20,000 deletions, the most compressible push."""
    lines = b"".join(b"%040x %040d refs/heads/agent/%d" % (at, 0, at) for at in range(20_000))
    assert b"".join(inflate(gzip.compress(lines, 9))) == lines


def test_growth_of_a_small_body_is_not_limited() -> None:
    """Up to the free megabyte."""
    assert sum(map(len, inflate(gzip.compress(bytes(FREE))))) == FREE


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """RequestError or bytes, nothing else."""
    with suppress(RequestError):
        inflate(b"\x1f\x8b" + data)
