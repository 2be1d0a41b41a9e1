"""Reads a pack as a stream: finds its end, checks its checksum, and extracts the bodies that its sink asks for.

    pack   = "PACK" version(2) count *entry checksum
    entry  = kind-and-size [base] zlib-stream                 ; base: a relative offset (OFS_DELTA) or an id (REF_DELTA)

Follows git's ``gitformat-pack`` and accepts what ``index-pack`` accepts. The end is found by counting entries and
inflating each. No other way is safe, because a client may send anything after the checksum. The reader holds one
partial entry at most: an :class:`ObjectSink` chooses the bodies to keep, and the others are inflated and dropped.

Work is done in bounded steps, so that the caller can pause between two. A step counts bytes read and bytes produced:
a few bytes of zlib data may produce a thousand times as many, or none at all.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from credgate.pack.objects import PackError

if TYPE_CHECKING:
    from credgate.pack.objects import ObjectFormat

# Default size of one step, in bytes read and produced: about 2 ms.
WORK = 256 * 1024
OFS_DELTA, REF_DELTA = 6, 7

_PIECE = 64 * 1024
_START = len(b"PACK") + 8
_MAGIC = b"PACK\x00\x00\x00\x02"
_DELTAS = frozenset({OFS_DELTA, REF_DELTA})
_KINDS = _DELTAS | {1, 2, 3, 4}
_MORE, _LOW = 0x80, 0x7F
_MAX_SHIFT = 60


class PackEntry(NamedTuple):
    """The header of a pack entry. ``base`` is an offset in the pack, an object id, or ``None`` for a whole object."""

    offset: int
    kind: int
    size: int
    base: int | bytes | None


class ObjectSink(Protocol):
    """Receives the bodies that it chooses from a pack."""

    @property
    def backlog(self) -> bool:
        """Whether :meth:`catch_up` has work to do."""
        ...

    def wants(self, entry: PackEntry) -> bool:
        """Whether to pass the inflated body (of a delta: the delta itself) to :meth:`take`."""
        ...

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Take a body that was asked for; return the bytes produced from it. May raise :class:`PackError`."""
        ...

    def catch_up(self) -> int:
        """Do one bounded piece of postponed work; return the bytes produced. May raise :class:`PackError`."""
        ...


class PackReader:
    """Reads one pack: alternate :meth:`receive` with :meth:`step`, which is repeated until it returns false."""

    def __init__(self, object_format: ObjectFormat, sink: ObjectSink, max_inflated: int = 1 << 40) -> None:
        """``max_inflated`` bounds the sum of the sizes that the entries announce."""
        self.done = False
        """The checksum was read and is correct."""
        self.objects = 0
        """Entries read so far."""
        self.inflated = 0
        """Inflated size of the entries begun so far, as they announce it."""
        self._size, self._checksum, self._sink = object_format.size, object_format.new(b""), sink
        self._max_inflated = max_inflated
        # The current bytes, the positions in them up to which they are parsed and hashed, and the bytes before them.
        self._data, self._at, self._hashed, self._before = b"", 0, 0, 0
        self._left = -1  # entries to come; -1 before the header
        self._entry: PackEntry | None = None
        self._inflate = zlib.decompressobj()
        self._missing = self._worked = 0
        self._backlog = False
        self._pieces: list[bytes] | None = None

    @property
    def passed(self) -> int:
        """Bytes of the pack that are parsed. The checksum is never part of them."""
        return self._before + self._at

    def receive(self, data: bytes) -> None:
        """Take the next bytes (keep them under 1 MiB); only after :meth:`step` returned false."""
        rest = self._data[self._at :]  # short: an incomplete header or checksum
        self._before += self._at
        self._data = rest + data if rest else data
        self._at = self._hashed = 0

    def step(self, work: int = WORK) -> bool:
        """Continue for about ``work`` bytes; return whether there is more to do before more bytes are needed.

        Raises :class:`PackError`; the reader cannot be used after that.
        """
        self._worked = 0
        while self._worked < work:
            if not self._advance():
                self._hash()
                return False
        return True

    def end(self) -> None:
        """Signal the end of the bytes. Raises :class:`PackError` if the pack is incomplete."""
        if not self.done:
            raise PackError("truncated pack")

    def _advance(self) -> bool:
        """Read the next part; return false when more bytes are needed."""
        if self._backlog:
            self._worked += 1 + self._sink.catch_up()
            self._backlog = self._sink.backlog
            return True
        if self._entry is not None:
            return self._body(self._entry)
        if self._left > 0:
            return self._head()
        return self._trailer() if self._left == 0 else self._start()

    def _hash(self) -> None:
        # Called when all bytes are parsed, not for each entry: hashing long pieces is faster.
        self._checksum.update(memoryview(self._data)[self._hashed : self._at])
        self._hashed = self._at

    def _start(self) -> bool:
        start = self._data[:_START]
        if len(start) < _START:
            return False
        if not start.startswith(_MAGIC):
            raise PackError("not a version 2 pack")
        self._left = int.from_bytes(start[len(_MAGIC) :], "big")
        self._at = _START
        return True

    def _trailer(self) -> bool:
        """Check the checksum. It does not count as passed, so that :class:`TrailerHold` can withhold it."""
        self._hash()
        trailer = self._data[self._at :]
        if len(trailer) > self._size:
            raise PackError("trailing data after the pack")
        if len(trailer) == self._size:
            if trailer != self._checksum.digest():
                raise PackError("pack checksum mismatch")
            self.done = True
        return False

    def _head(self) -> bool:
        offset = self._before + self._at
        try:
            kind, size, at = _kind_and_size(self._data, self._at)
            base: int | bytes | None = None
            if kind in _DELTAS:
                base, at = self._base(kind, at, offset)
        except IndexError:
            return False  # the header is parsed again when more bytes are here; it has less than 60
        self.inflated += size
        if self.inflated > self._max_inflated:
            raise PackError("the pack inflates to too many bytes")
        self._worked += at - self._at
        self._entry = entry = PackEntry(offset, kind, size, base)
        self._at, self._missing = at, size
        self._inflate = zlib.decompressobj()
        self._pieces = [] if self._sink.wants(entry) else None
        return self._body(entry)

    def _base(self, kind: int, at: int, offset: int) -> tuple[int | bytes, int]:
        """Read the base of the delta at ``offset``. Raises ``IndexError`` while bytes are missing."""
        if kind == OFS_DELTA:
            back, at = _distance(self._data, at)
            if not 0 < back < offset:
                raise PackError("delta base offset out of range")
            return offset - back, at
        oid = self._data[at : at + self._size]
        if len(oid) < self._size:
            raise IndexError
        return oid, at + self._size

    def _body(self, entry: PackEntry) -> bool:
        # At most one byte more than announced, which suffices to notice an object that is too long.
        # A window little larger than the missing bytes: zlib returns unused input as a copy.
        limit = min(self._missing + 1, _PIECE)
        window = self._data[self._at : self._at + min(self._missing + (self._missing >> 6) + 64, _PIECE)]
        inflate = self._inflate
        try:
            piece = inflate.decompress(window, limit)
        except zlib.error:
            raise PackError("corrupt zlib stream") from None
        # At the end of the stream zlib may report the same bytes as unused and as unconsumed.
        used = len(window) - len(inflate.unused_data if inflate.eof else inflate.unconsumed_tail)
        self._at += used
        self._worked += used + len(piece)
        self._missing -= len(piece)
        if self._missing < 0 or (inflate.eof and self._missing):
            raise PackError("object size mismatch")
        if self._pieces is not None:
            self._pieces.append(piece)
        if inflate.eof:
            self._finish(entry)
            return True
        # zlib may hold back output with no input left, but only if this piece reached the limit.
        return self._at < len(self._data) or len(piece) == limit

    def _finish(self, entry: PackEntry) -> None:
        self._entry = None
        self._left -= 1
        self.objects += 1
        if self._pieces is not None:
            self._worked += self._sink.take(entry, b"".join(self._pieces))
            self._backlog = self._sink.backlog
            self._pieces = None


def _kind_and_size(data: bytes, at: int) -> tuple[int, int, int]:
    """Read an entry's type and size, low bits first. Raises ``IndexError`` while bytes are missing."""
    byte = data[at]
    at += 1
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    if kind not in _KINDS:
        raise PackError("unknown object type")
    while byte & _MORE:
        byte = data[at]
        at += 1
        size |= (byte & _LOW) << shift
        shift += 7
        if shift > _MAX_SHIFT:
            raise PackError("object size out of range")
    return kind, size, at


def _distance(data: bytes, at: int) -> tuple[int, int]:
    """Read the distance to a delta's base: high bits first, plus one for each further byte. ``IndexError`` as above."""
    byte = data[at]
    at += 1
    back = byte & _LOW
    while byte & _MORE:
        byte = data[at]
        at += 1
        back = (back + 1) << 7 | byte & _LOW  # plus one: so no distance has two encodings
        if back >> _MAX_SHIFT:
            raise PackError("delta base offset out of range")
    return back, at
