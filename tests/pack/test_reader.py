"""The pack reader finds the end of a pack: read whole and byte by byte, malformed and hostile."""

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
    """A sink that wants every body, or none, and records all calls."""

    def __init__(self, *, wants: bool = True) -> None:
        self.heads: list[PackEntry] = []
        self.bodies: list[bytes] = []
        self.backlog = False
        self._wants = wants

    def wants(self, entry: PackEntry) -> bool:
        """Record the header."""
        self.heads.append(entry)
        return self._wants

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Record the body."""
        assert entry == self.heads[-1]
        self.bodies.append(body)
        return 0

    def catch_up(self) -> int:
        """Fail: there is no backlog."""
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
def test_result_does_not_depend_on_piece_or_step_size(piece: int, work: int) -> None:
    """Whole or byte by byte, in tiny steps or one: the same headers, bodies and end."""
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


def test_unwanted_bodies_are_not_passed_on() -> None:
    """They are inflated only to find their end."""
    taker = Taker(wants=False)
    reader = PackReader(SHA1, taker)
    reader.receive(packs.pack(ENTRIES))
    while reader.step():
        pass
    assert (reader.done, taker.bodies, len(taker.heads)) == (True, [], 6)


def test_sha256_pack_has_longer_ids_and_checksum() -> None:
    """The format comes from the push."""
    data = packs.pack([packs.entry(REF, b"x", b"\xcd" * 32)], 32)
    reader, taker = read(data, 3, object_format=SHA256)
    assert (reader.done, reader.passed, taker.heads[0].base) == (True, len(data) - 32, b"\xcd" * 32)
    with pytest.raises(PackError):
        read(data)


def test_empty_pack_ends_after_its_header() -> None:
    """Git sends one when it pushes a commit that the forge has."""
    reader, _ = read(packs.pack([]))
    assert (reader.done, reader.passed) == (True, 12)


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("entries", [[], ENTRIES])
def test_byte_after_the_checksum_is_refused(piece: int, entries: Sequence[bytes]) -> None:
    """``receive-pack`` moves refs before it reads such a byte."""
    data = packs.pack(entries)
    with pytest.raises(PackError, match="trailing data"):
        read(data + b"x", piece)
    assert read(data, piece)[0].done


@pytest.mark.parametrize("piece", [1, 33, 1 << 20])
def test_checksum_never_counts_as_passed(piece: int) -> None:
    """Passed bytes are sent to the forge at once."""
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
        (packs.pack([])[:-1] + b"\0", "checksum mismatch"),
        (packs.pack(ENTRIES)[:-1] + b"\0", "checksum mismatch"),
        (packs.pack(ENTRIES[:2], count=1), "trailing data|checksum mismatch"),
        (b"PUCK" + packs.pack([])[4:], "not a version 2 pack"),
        (packs.pack([]).replace(b"\0\2", b"\0\3", 1), "not a version 2 pack"),
        (packs.pack([packs.entry(0, b"")]), "unknown object type"),
        (packs.pack([packs.entry(5, b"")]), "unknown object type"),
        (packs.pack([b"\x9f" + b"\xff" * 12]), "size out of range"),
        (packs.pack([packs.head(BLOB, 3) + zlib.compress(b"four")]), "object size mismatch"),
        (packs.pack([packs.head(BLOB, 5) + zlib.compress(b"four")]), "object size mismatch"),
        (packs.pack([packs.head(BLOB, 1) + zlib.compress(b"")]), "object size mismatch"),
        (packs.pack([packs.head(BLOB, 0) + zlib.compress(b"x" * 100_000)]), "object size mismatch"),
        (packs.pack([packs.head(BLOB, 4) + b"fourandmore"]), "corrupt zlib stream"),
        (packs.pack([packs.head(BLOB, 4) + zlib.compress(b"four")[:-1] + b"\0"]), "corrupt zlib stream"),
        (packs.pack([packs.entry(OFS, b"x", packs.distance(0))]), "base offset out of range"),
        (packs.pack([packs.entry(OFS, b"x", packs.distance(12))]), "base offset out of range"),
        (packs.pack([packs.entry(OFS, b"x", b"\xff" * 12)]), "base offset out of range"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_malformed_pack_is_refused(broken: bytes, why: str, piece: int) -> None:
    """Read whole and byte by byte."""
    with pytest.raises(PackError, match=why):
        read(broken, piece)


@pytest.mark.parametrize("cut", [0, 3, 11, 12, 20, 2000, -21, -1])
def test_truncated_pack_is_not_done(cut: int) -> None:
    """The client or the forge closed the connection."""
    reader, _ = read(packs.pack(ENTRIES)[:cut])
    assert not reader.done
    with pytest.raises(PackError, match="truncated"):
        reader.end()


def test_zip_bomb_takes_many_bounded_steps() -> None:
    """The caller can pause between two steps."""
    bomb = packs.pack([packs.entry(BLOB, bytes(64 << 20))])
    assert len(bomb) < 70_000
    reader = PackReader(SHA1, Taker(wants=False))
    reader.receive(bomb)
    steps = 0
    while reader.step(256 * 1024):
        steps += 1
    assert (reader.done, 200 < steps < 300) == (True, True)


def test_input_without_output_counts_as_work() -> None:
    """A zlib stream of empty blocks produces no output, however long it is."""
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


def test_announced_size_over_the_limit_is_refused() -> None:
    """The sum of the announced sizes is limited."""
    data = packs.pack([packs.entry(BLOB, b"x" * 100)] * 2)
    reader = PackReader(SHA1, Taker(), max_inflated=199)
    reader.receive(data)
    with pytest.raises(PackError, match="inflates to too many bytes"):
        reader.step()
    reader = PackReader(SHA1, Taker(), max_inflated=200)
    reader.receive(data)
    assert (reader.step(), reader.done) == (False, True)


def test_backlog_is_worked_off_before_the_next_entry() -> None:
    """Within the same limit of work."""

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
def test_arbitrary_bytes_raise_only_pack_error(data: bytes, framed: bool, count: int) -> None:  # noqa: FBT001 - hypothesis passes it
    """With the same result read whole and byte by byte."""
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
def test_corrupted_pack_is_refused(data: st.DataObject) -> None:
    """At the latest by the checksum."""
    whole = bytearray(packs.pack(ENTRIES[:2] + ENTRIES[3:]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        done = read(bytes(whole))[0].done
    except PackError:
        done = False
    assert not done
