"""Resumed downloads: one form of range is one, anything else is all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.lfs.ranges import ByteRange, asked_part


@pytest.mark.parametrize("value", [b"bytes=4-9", b"bytes=4-"])
def test_range_to_the_end_is_supported(value: bytes) -> None:
    """git-lfs 3 writes the last byte, others leave it out."""
    part = asked_part(value, 10)
    assert (part, part.length, part.whole) == (ByteRange(4, 10), 6, False)
    assert (part.asked, part.content_range) == (b"bytes=4-9", b"bytes 4-9/10")


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"bytes=0-9", b"bytes=0-", b"bytes=10-", b"bytes=4-8", b"bytes=4-10", b"bytes=-4", b"bytes=4-5,7-9",
        b"bytes=04-9", b"bytes= 4-9", b"Bytes=4-9", b"items=4-9", b"bytes=4-9 ", b"bytes=99999999999999999-", b"4-9",
    ],
)  # fmt: skip
def test_other_range_is_ignored(value: bytes | None) -> None:
    """As RFC 9110 section 14.2 lets a server do; git-lfs then begins anew."""
    assert asked_part(value, 10) == ByteRange(0, 10)


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (b"bytes 4-9/10", True), (b"bytes 4-9/*", True), (None, False), (b"bytes 3-9/10", False),
        (b"bytes 4-8/10", False), (b"bytes 4-9/11", False), (b"bytes */10", False), (b"4-9/10", False),
        (b"bytes 4-9/10 ", False), (b"bytes 04-9/10", False),
    ],
)  # fmt: skip
def test_content_range_must_match_the_request(told: bytes | None, *, right: bool) -> None:
    """Bytes from elsewhere would make another object of it."""
    assert ByteRange(4, 10).matches(told) is right


@given(st.integers(1, 10**15), st.integers(1, 10**15))
def test_written_content_range_is_accepted(first: int, more: int) -> None:
    """Both directions, any size."""
    part = ByteRange(first, first + more)
    assert asked_part(part.asked, part.size) == part
    assert part.matches(part.content_range)
