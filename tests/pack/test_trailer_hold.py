"""Nothing from the checksum on leaves before the verdict, and all before it does, unchanged."""

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
def test_the_bytes_before_the_checksum_pass_and_it_waits(piece: int, work: int) -> None:
    """However they come and however far the walk is."""
    walk, held, given_out = PackWalk(SHA1), TrailerHold(20), b""
    for at in range(0, len(PACK), piece):
        walk.receive(PACK[at : at + piece])
        held.receive(PACK[at : at + piece])
        more = True
        while more:
            more = walk.step(work)
            given_out += b"".join(held.advance(walk.passed, done=walk.done))
            assert given_out == PACK[: walk.passed]
            assert held.held == min(at + piece, len(PACK)) - len(given_out)
    assert (given_out, held.held, held.whole) == (PACK[:-20], 20, True)
    assert held.release() == PACK[-20:]
    assert (held.held, held.whole) == (0, True)


def test_a_byte_behind_the_checksum_is_refused_whenever_it_comes() -> None:
    """Before the walk found the end, and after."""
    held = TrailerHold(20)
    held.receive(PACK + b"x")
    with pytest.raises(PackError, match="bytes behind the end"):
        held.advance(len(PACK) - 20, done=True)
    held = TrailerHold(20)
    held.receive(PACK)
    held.advance(len(PACK) - 20, done=True)
    held.receive(b"")
    with pytest.raises(PackError, match="bytes behind the end"):
        held.receive(b"x")


def test_what_is_as_long_as_a_checksum_is_none_before_the_end_is_known() -> None:
    """Twenty bytes in the middle of a pack are the pack's, and it may be cut there."""
    held = TrailerHold(20)
    held.receive(PACK[:25])
    assert held.advance(5, done=False) == [PACK[:5]]
    assert (held.held, held.whole) == (20, False)
    with pytest.raises(PackError, match="the pack is cut"):
        held.release()


def test_the_checksum_is_not_released_before_all_of_it_is_here() -> None:
    """Nor before the walk knows where it begins, nor twice."""
    held = TrailerHold(20)
    held.receive(PACK[:-1])
    held.advance(len(PACK) - 20, done=False)
    for last in (b"", PACK[-1:]):
        with pytest.raises(PackError, match="cut"):
            held.release()
        held.receive(last)
    held.advance(len(PACK) - 20, done=True)
    assert held.release() == PACK[-20:]
    with pytest.raises(PackError, match="cut"):
        held.release()
