"""The pack reader finds the end of a pack and nothing else of it escapes: whole, byte by byte, broken, hostile."""

from __future__ import annotations

import zlib
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack.objects import SHA1, SHA256, ObjectFormat, PackError
from credgate.pack.reader import PackEntry, PackReader
from tests.fakes import packs
from tests.fakes.packs import BLOB, COMMIT, OFS, REF, TREE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Taker:
    """A sink that wants what it is told to want, and writes everything down."""

    def __init__(self, *, wants: bool = True) -> None:
        self.heads: list[PackEntry] = []
        self.bodies: list[bytes] = []
        self.backlog = False
        self._wants = wants

    def wants(self, entry: PackEntry) -> bool:
        """Write the head down."""
        self.heads.append(entry)
        return self._wants

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Write the body down."""
        assert entry == self.heads[-1]
        self.bodies.append(body)
        return 0

    def catch_up(self) -> int:
        """Do nothing; there is no backlog."""
        raise AssertionError


def read(
    data: bytes, piece: int = 1 << 20, work: int = 1 << 30, object_format: ObjectFormat = SHA1
) -> tuple[PackReader, Taker]:
    """Read all of ``data`` in pieces."""
    taker = Taker()
    reader = PackReader(object_format, taker)
    for at in range(0, len(data), piece):
        reader.receive(data[at : at + piece])
        while reader.step(work):
            pass
    return reader, taker


LARGE = bytes(range(256)) * 300
ENTRIES = [
    packs.entry(BLOB, b""),
    packs.entry(COMMIT, b"hello"),
    packs.entry(TREE, LARGE, level=0),
    packs.entry(BLOB, LARGE, level=9),
    packs.entry(OFS, b"delta", packs.distance(200)),
    packs.entry(REF, b"other", b"\xab" * 20),
]
BODIES = [b"", b"hello", LARGE, LARGE, b"delta", b"other"]


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("work", [1, 1000, 1 << 30])
def test_every_entry_is_read_however_the_bytes_come(piece: int, work: int) -> None:
    """Whole or byte by byte, in tiny steps or one: the same heads, the same bodies, the same end."""
    data = packs.pack(ENTRIES)
    reader, taker = read(data, piece, work)
    assert reader.done
    reader.end()
    assert taker.bodies == BODIES
    offsets = [12 + sum(map(len, ENTRIES[:at])) for at in range(len(ENTRIES))]
    bases = [None, None, None, None, offsets[4] - 200, b"\xab" * 20]
    kinds = [BLOB, COMMIT, TREE, BLOB, OFS, REF]
    expected = [PackEntry(*row) for row in zip(offsets, kinds, map(len, BODIES), bases, strict=True)]
    assert taker.heads == expected
    assert (reader.passed, reader.objects, reader.inflated) == (len(data) - 20, 6, sum(map(len, BODIES)))


def test_bodies_that_nobody_wants_are_inflated_and_dropped() -> None:
    """A blob is read only to find its end."""
    taker = Taker(wants=False)
    reader = PackReader(SHA1, taker)
    reader.receive(packs.pack(ENTRIES))
    while reader.step():
        assert reader._pieces is None
    assert (reader.done, taker.bodies, len(taker.heads)) == (True, [], 6)


def test_a_sha256_pack_has_longer_ids_and_a_longer_checksum() -> None:
    """The format comes from the push."""
    data = packs.pack([packs.entry(REF, b"x", b"\xcd" * 32)], 32)
    reader, taker = read(data, 3, object_format=SHA256)
    assert (reader.done, reader.passed, taker.heads[0].base) == (True, len(data) - 32, b"\xcd" * 32)
    with pytest.raises(PackError):
        read(data)


def test_an_empty_pack_ends_behind_its_head() -> None:
    """Git sends one with a push of a commit that the forge has."""
    reader, _ = read(packs.pack([]))
    assert (reader.done, reader.passed) == (True, 12)


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("entries", [[], ENTRIES])
def test_a_byte_behind_the_checksum_is_refused(piece: int, entries: Sequence[bytes]) -> None:
    """``receive-pack`` moves refs before it looks at such a byte."""
    data = packs.pack(entries)
    with pytest.raises(PackError, match="bytes behind the end"):
        read(data + b"x", piece)
    assert read(data, piece)[0].done


@pytest.mark.parametrize("piece", [1, 33, 1 << 20])
def test_nothing_of_the_checksum_ever_counts_as_passed(piece: int) -> None:
    """What has passed goes to the forge at once."""
    data = packs.pack(ENTRIES)
    reader = PackReader(SHA1, Taker())
    for at in range(0, len(data), piece):
        reader.receive(data[at : at + piece])
        while reader.step(100):
            assert reader.passed <= len(data) - 20
        assert reader.passed <= min(at + piece, len(data) - 20)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (packs.pack([])[:-1] + b"\0", "checksum is wrong"),
        (packs.pack(ENTRIES)[:-1] + b"\0", "checksum is wrong"),
        (packs.pack(ENTRIES[:2], count=1), "bytes behind the end|checksum is wrong"),
        (b"PUCK" + packs.pack([])[4:], "not a pack"),
        (packs.pack([]).replace(b"\0\2", b"\0\3", 1), "not a pack of version 2"),
        (packs.pack([packs.entry(0, b"")]), "no known kind"),
        (packs.pack([packs.entry(5, b"")]), "no known kind"),
        (packs.pack([b"\x9f" + b"\xff" * 12]), "impossible size"),
        (packs.pack([packs.head(BLOB, 3) + zlib.compress(b"four")]), "larger or smaller"),
        (packs.pack([packs.head(BLOB, 5) + zlib.compress(b"four")]), "larger or smaller"),
        (packs.pack([packs.head(BLOB, 1) + zlib.compress(b"")]), "larger or smaller"),
        (packs.pack([packs.head(BLOB, 0) + zlib.compress(b"x" * 100_000)]), "larger or smaller"),
        (packs.pack([packs.head(BLOB, 4) + b"fourandmore"]), "not compressed"),
        (packs.pack([packs.head(BLOB, 4) + zlib.compress(b"four")[:-1] + b"\0"]), "not compressed"),
        (packs.pack([packs.entry(OFS, b"x", packs.distance(0))]), "outside the pack"),
        (packs.pack([packs.entry(OFS, b"x", packs.distance(12))]), "outside the pack"),
        (packs.pack([packs.entry(OFS, b"x", b"\xff" * 12)]), "outside the pack"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_what_is_no_pack_is_refused(broken: bytes, why: str, piece: int) -> None:
    """Each with our reason, whole and byte by byte."""
    with pytest.raises(PackError, match=why):
        read(broken, piece)


@pytest.mark.parametrize("cut", [0, 3, 11, 12, 20, 2000, -21, -1])
def test_a_cut_pack_is_not_done(cut: int) -> None:
    """The client left, or the forge did: the end says so."""
    reader, _ = read(packs.pack(ENTRIES)[:cut])
    assert not reader.done
    with pytest.raises(PackError, match="cut"):
        reader.end()


def test_a_few_bytes_that_make_a_gigabyte_cost_many_small_steps() -> None:
    """Whoever runs the walk can stop between two: a step makes what it was asked to, and a piece more."""
    bomb = packs.pack([packs.entry(BLOB, bytes(64 << 20))])
    assert len(bomb) < 70_000
    reader = PackReader(SHA1, Taker(wants=False))
    reader.receive(bomb)
    steps = 0
    while reader.step(256 * 1024):
        steps += 1
        assert reader._worked < 256 * 1024 + 2 * 65536
    assert (reader.done, 200 < steps < 300) == (True, True)


def test_bytes_that_make_nothing_cost_steps_too() -> None:
    """A zlib stream of empty blocks makes no output, however long it is."""
    packer = zlib.compressobj()
    stream = (
        packer.compress(b"x") + packer.flush(zlib.Z_FULL_FLUSH) + b"\x00\x00\x00\xff\xff" * 100_000 + packer.flush()
    )
    reader = PackReader(SHA1, Taker())
    reader.receive(packs.pack([packs.head(BLOB, 1) + stream]))
    steps = 0
    while reader.step(10_000):
        steps += 1
    assert (reader.done, steps > 7) == (True, True)


def test_a_pack_that_inflates_too_far_is_refused_before_it_does() -> None:
    """The sum of what the entries announce is bounded."""
    data = packs.pack([packs.entry(BLOB, b"x" * 100)] * 2)
    reader = PackReader(SHA1, Taker(), max_inflated=199)
    reader.receive(data)
    with pytest.raises(PackError, match="inflates too far"):
        reader.step()
    reader = PackReader(SHA1, Taker(), max_inflated=200)
    reader.receive(data)
    assert (reader.step(), reader.done) == (False, True)


def test_a_backlog_is_worked_off_before_the_next_entry() -> None:
    """And within the same bound."""

    class Late(Taker):
        left = 3

        def take(self, entry: PackEntry, body: bytes) -> int:
            self.backlog = True
            return super().take(entry, body)

        def catch_up(self) -> int:
            self.left -= 1
            self.backlog = self.left > 0
            return 1000

    late = Late()
    reader = PackReader(SHA1, late)
    reader.receive(packs.pack([packs.entry(BLOB, b"one")]))
    assert [reader.step(1000) for _ in range(4)] == [True, True, True, False]
    assert (reader.done, late.left) == (True, 0)


@given(st.binary(max_size=200), st.booleans(), st.integers(0, 3))
def test_any_bytes_raise_the_declared_error_or_none(data: bytes, framed: bool, count: int) -> None:  # noqa: FBT001 - hypothesis passes it
    """Whole and byte by byte alike: the same verdict on the same bytes."""
    if framed:
        data = b"PACK\0\0\0\2" + count.to_bytes(4, "big") + data
        data += sha1(data).digest()
    ends = set()
    for piece in (1, 1 << 20):
        try:
            ends.add(read(data, piece)[0].done)
        except PackError:
            ends.add(None)
    assert len(ends) == 1


@given(st.data())
def test_a_pack_with_bytes_changed_is_refused(data: st.DataObject) -> None:
    """The checksum sees to that, and whatever else is found first."""
    whole = bytearray(packs.pack(ENTRIES[:2] + ENTRIES[3:]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        done = read(bytes(whole))[0].done
    except PackError:
        done = False
    assert not done
