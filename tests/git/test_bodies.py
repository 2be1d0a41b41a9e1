"""Bodies come out as they went in, from a block that is open or closed, and only so many go in."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from credgate.git import bodies
from credgate.git.bodies import BLOCK, Bodies


@given(st.lists(st.binary(max_size=BLOCK // 3), max_size=12))
def test_every_body_comes_out_as_it_went_in(contents: list[bytes]) -> None:
    """Empty ones too, and those at a block's edge."""
    held = Bodies(1 << 30)
    numbers = [held.add(content) for content in contents]
    assert numbers == list(range(len(contents)))
    assert len(held) == len(contents)
    assert [held.get(number) for number in reversed(range(len(contents)))] == contents[::-1]


def test_many_blocks_are_opened_again_and_again() -> None:
    """More than are held open, in any order: the oldest is let go and read again."""
    held = Bodies(1 << 30)
    contents = [b"%d " % number * 400 for number in range(2000)]
    for content in contents:
        held.add(content)
    order = [*range(2000), *random.Random(1).sample(range(2000), 2000)]
    assert [held.get(number) for number in order] == [contents[number] for number in order]
    assert held.held < sum(map(len, contents)) / 10
    assert held._opened_bytes == sum(map(len, held._opened.values())) <= bodies.OPENED


def test_an_empty_body_at_a_block_s_edge() -> None:
    """It begins where one block ends and the next has not begun."""
    held = Bodies(1 << 30)
    for content in (b"x" * BLOCK, b"", b"y"):
        held.add(content)
    assert [held.get(number) for number in range(3)] == [b"x" * BLOCK, b"", b"y"]


def test_over_its_limit_it_takes_no_more_and_keeps_what_it_has() -> None:
    """A loss is told by ``None``, never by something else being dropped."""
    held = Bodies(1000)
    noise = random.Random(2).randbytes(BLOCK)
    assert held.add(noise) == 0
    assert held.held > 1000
    assert held.add(b"more") is None
    assert held.get(0) == noise
