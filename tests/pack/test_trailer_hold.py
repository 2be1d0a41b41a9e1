"""The trailer hold releases all bytes before the checksum unchanged, and nothing from the checksum on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack.objects import SHA1, PackError
from credgate.pack.trailer_hold import TrailerHold
from credgate.pack.walk import PackWalk
from tests.fakes import packs

PACK = packs.pack([packs.entry(packs.BLOB, b"x" * 300), packs.entry(packs.COMMIT, packs.commit(b"\xaa" * 20))])


@given(st.integers(1, len(PACK)), st.integers(1, 500))
def test_bytes_before_the_checksum_are_released(piece: int, work: int) -> None:
    """Whatever the size of pieces and steps."""
    walk, held, released = PackWalk(SHA1), TrailerHold(20), b""
    for at in range(0, len(PACK), piece):
        walk.receive(PACK[at : at + piece])
        held.receive(PACK[at : at + piece])
        more = True
        while more:
            more = walk.step(work)
            released += b"".join(held.advance(walk.passed, done=walk.done))
            assert released == PACK[: walk.passed]
            assert held.held == min(at + piece, len(PACK)) - len(released)
    assert (released, held.held, held.whole) == (PACK[:-20], 20, True)
    assert held.release() == PACK[-20:]
    assert (held.held, held.whole) == (0, True)


def test_byte_after_the_checksum_is_refused() -> None:
    """Before the walk found the end, and after."""
    held = TrailerHold(20)
    held.receive(PACK + b"x")
    with pytest.raises(PackError, match="trailing data"):
        held.advance(len(PACK) - 20, done=True)
    held = TrailerHold(20)
    held.receive(PACK)
    held.advance(len(PACK) - 20, done=True)
    held.receive(b"")
    with pytest.raises(PackError, match="trailing data"):
        held.receive(b"x")


def test_release_fails_before_the_end_is_known() -> None:
    """Twenty bytes in the middle of a pack are not a checksum: the pack may be truncated there."""
    held = TrailerHold(20)
    held.receive(PACK[:25])
    assert held.advance(5, done=False) == [PACK[:5]]
    assert (held.held, held.whole) == (20, False)
    with pytest.raises(PackError, match="truncated pack"):
        held.release()


def test_checksum_is_released_once_and_whole() -> None:
    """Not before the walk knows where it starts, and not twice."""
    held = TrailerHold(20)
    held.receive(PACK[:-1])
    held.advance(len(PACK) - 20, done=False)
    for last in (b"", PACK[-1:]):
        with pytest.raises(PackError, match="truncated"):
            held.release()
        held.receive(last)
    held.advance(len(PACK) - 20, done=True)
    assert held.release() == PACK[-20:]
    with pytest.raises(PackError, match="truncated"):
        held.release()
