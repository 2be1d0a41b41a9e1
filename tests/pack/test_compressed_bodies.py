"""Bodies come out as they went in, from a block that is open or closed, and only so many go in."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from credgate.pack import compressed_bodies
from credgate.pack.compressed_bodies import BLOCK, CompressedBodies, Room


@given(st.lists(st.binary(max_size=BLOCK // 3), max_size=12))
def test_every_body_comes_out_as_it_went_in(contents: list[bytes]) -> None:
    """Empty ones too, and those at a block's edge."""
    held = CompressedBodies(1 << 30)
    numbers = [held.add(content) for content in contents]
    assert numbers == list(range(len(contents)))
    assert len(held) == len(contents)
    assert [held.get(number) for number in reversed(range(len(contents)))] == contents[::-1]


def test_many_blocks_are_opened_again_and_again() -> None:
    """More than are held open, in any order: the oldest is let go and read again."""
    held = CompressedBodies(1 << 30)
    contents = [b"%d " % number * 400 for number in range(2000)]
    for content in contents:
        held.add(content)
    order = [*range(2000), *random.Random(1).sample(range(2000), 2000)]
    assert [held.get(number) for number in order] == [contents[number] for number in order]
    assert held.held < sum(map(len, contents)) / 10
    assert held._opened_bytes == sum(map(len, held._opened.values())) <= compressed_bodies.OPENED


def test_an_empty_body_at_a_block_s_edge() -> None:
    """It begins where one block ends and the next has not begun."""
    held = CompressedBodies(1 << 30)
    for content in (b"x" * BLOCK, b"", b"y"):
        held.add(content)
    assert [held.get(number) for number in range(3)] == [b"x" * BLOCK, b"", b"y"]


def test_over_its_limit_it_takes_no_more_and_keeps_what_it_has() -> None:
    """A loss is told by ``None``, never by something else being dropped."""
    held = CompressedBodies(1000)
    noise = random.Random(2).randbytes(BLOCK)
    assert held.add(noise) == 0
    assert held.held > 1000
    assert held.add(b"more") is None
    assert held.get(0) == noise


def test_large_blocks_do_not_stay_open() -> None:
    """So many bytes of them, or the last one: a hundred of 4 MiB compress to nothing."""
    room = Room(1 << 30)
    held = CompressedBodies(1 << 30, room)
    for number in range(20):
        held.add(b"%d" % number * compressed_bodies.OPENED)
    for number in range(20):
        held.get(number)
    assert len(held._opened) == 1
    assert room.used == held._held + held._opened_bytes < 3 * compressed_bodies.OPENED


def test_a_large_body_has_a_block_of_its_own() -> None:
    """Or small ones beside it would be had only by opening 4 MiB."""
    held = CompressedBodies(1 << 30)
    for body in (b"small", b"large" * BLOCK, b"after"):
        held.add(body)
    held.get(0)
    assert list(map(len, held._opened.values())) == [5]
    assert [held.get(number) for number in range(3)] == [b"small", b"large" * BLOCK, b"after"]


def test_all_pushes_share_a_room_and_each_leaves_as_much_as_it_takes() -> None:
    """The next one has room, too, and what a push held is free when it is gone."""
    chance = random.Random(3)
    room = Room(64 * BLOCK)
    pushes = [CompressedBodies(1 << 30, room) for _ in range(4)]
    for held in pushes:
        while held.add(chance.randbytes(BLOCK)) is not None:
            pass
    sizes = [held.held // BLOCK for held in pushes]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] >= 32
    assert sizes[-1] >= 4
    assert room.used <= 65 * BLOCK
    held = None
    pushes.clear()
    assert room.used == 0
