"""A pack, read as it passes: where it ends, that its checksum is right, and the bodies that somebody asks for.

    pack   = "PACK" version(2) count *entry checksum
    entry  = kind-and-size [base] zlib-stream                 ; base: an offset back (OFS_DELTA) or an id (REF_DELTA)

Follows git's ``gitformat-pack`` and reads what ``index-pack`` reads. The end is found by counting entries and inflating
each: no other way is safe, because a client may write anything behind the checksum. Nothing is kept here but one
partial entry: a :class:`ObjectSink` says which bodies it wants, the rest is inflated and dropped. Work is done in
bounded steps, counted in bytes read and bytes made, so that whoever runs it can stop between two: a few bytes of zlib
may make a thousand times as many, or none at all.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from credgate.pack.objects import PackError

if TYPE_CHECKING:
    from credgate.pack.objects import ObjectFormat

WORK = 256 * 1024
"""Bytes read and made in one step, unless the caller says otherwise: about 2 ms."""
OFS_DELTA, REF_DELTA = 6, 7

_PIECE = 64 * 1024
_START = len(b"PACK") + 8
_MAGIC = b"PACK\x00\x00\x00\x02"
_DELTAS = frozenset({OFS_DELTA, REF_DELTA})
_KINDS = _DELTAS | {1, 2, 3, 4}
_MORE, _LOW = 0x80, 0x7F
_MAX_SHIFT = 60


class PackEntry(NamedTuple):
    """One entry of a pack, as its head says: ``base`` is an offset in the pack, an object id, or ``None``."""

    offset: int
    kind: int
    size: int
    base: int | bytes | None


class ObjectSink(Protocol):
    """Whoever wants bodies out of a pack."""

    @property
    def backlog(self) -> bool:
        """Whether :meth:`catch_up` has something to do."""
        ...

    def wants(self, entry: PackEntry) -> bool:
        """Whether the inflated body (of a delta: the delta) is to be kept for :meth:`take`."""
        ...

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Take the body of an entry that was wanted; return the bytes made of it. May raise :class:`PackError`."""
        ...

    def catch_up(self) -> int:
        """Do one bounded thing that :meth:`take` put off; return the bytes made. May raise :class:`PackError`."""
        ...


class PackReader:
    """Reads one pack: :meth:`receive` bytes, then :meth:`step` until it returns false, and so on."""

    def __init__(self, object_format: ObjectFormat, sink: ObjectSink, max_inflated: int = 1 << 40) -> None:
        """``max_inflated`` bounds the sum of the sizes that the entries announce."""
        self.done = False
        """The checksum was read and is right."""
        self.objects = 0
        """Entries read so far."""
        self.inflated = 0
        """Bytes that the entries begun so far inflate to."""
        self._size, self._checksum, self._sink = object_format.size, object_format.new(b""), sink
        self._max_inflated = max_inflated
        self._data, self._at, self._hashed, self._before = b"", 0, 0, 0
        self._left = -1
        self._entry: PackEntry | None = None
        self._inflate = zlib.decompressobj()
        self._missing = self._worked = 0
        self._backlog = False
        self._pieces: list[bytes] | None = None

    @property
    def passed(self) -> int:
        """How many bytes of the pack are read for good: before its checksum, and never part of it."""
        return self._before + self._at

    def receive(self, data: bytes) -> None:
        """Take the next bytes (keep them under 1 MiB); only after :meth:`step` returned false."""
        rest = self._data[self._at :]
        self._before += self._at
        self._data = rest + data if rest else data
        self._at = self._hashed = 0

    def step(self, work: int = WORK) -> bool:
        """Read on for about ``work`` bytes; return whether there is more to do without more bytes.

        Raises :class:`PackError`; the reader is of no use then.
        """
        self._worked = 0
        while self._worked < work:
            if not self._advance():
                self._hash()
                return False
        return True

    def end(self) -> None:
        """Note the end of the bytes. Raises :class:`PackError` when the pack had not ended."""
        if not self.done:
            raise PackError("the pack is cut")

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
        self._checksum.update(memoryview(self._data)[self._hashed : self._at])
        self._hashed = self._at

    def _start(self) -> bool:
        start = self._data[:_START]
        if len(start) < _START:
            return False
        if not start.startswith(_MAGIC):
            raise PackError("not a pack of version 2")
        self._left = int.from_bytes(start[len(_MAGIC) :], "big")
        self._at = _START
        return True

    def _trailer(self) -> bool:
        """Check the checksum. It is not counted as passed: who may send it on is decided elsewhere."""
        self._hash()
        trailer = self._data[self._at :]
        if len(trailer) > self._size:
            raise PackError("bytes behind the end of the pack")
        if len(trailer) == self._size:
            if trailer != self._checksum.digest():
                raise PackError("the pack's checksum is wrong")
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
            return False
        self.inflated += size
        if self.inflated > self._max_inflated:
            raise PackError("the pack inflates too far")
        self._worked += at - self._at
        self._entry = entry = PackEntry(offset, kind, size, base)
        self._at, self._missing = at, size
        self._inflate = zlib.decompressobj()
        self._pieces = [] if self._sink.wants(entry) else None
        return self._body(entry)

    def _base(self, kind: int, at: int, offset: int) -> tuple[int | bytes, int]:
        """Read what the delta at ``offset`` is a delta of. ``IndexError`` when it is not all there yet."""
        if kind == OFS_DELTA:
            back, at = _distance(self._data, at)
            if not 0 < back < offset:
                raise PackError("a delta whose base lies outside the pack")
            return offset - back, at
        oid = self._data[at : at + self._size]
        if len(oid) < self._size:
            raise IndexError
        return oid, at + self._size

    def _body(self, entry: PackEntry) -> bool:
        # A window a little larger than what is missing: zlib hands back what it did not need as a copy.
        limit = min(self._missing + 1, _PIECE)
        window = self._data[self._at : self._at + min(self._missing + (self._missing >> 6) + 64, _PIECE)]
        inflate = self._inflate
        try:
            piece = inflate.decompress(window, limit)
        except zlib.error:
            raise PackError("an object that is not compressed as it should be") from None
        # At its end zlib may tell the same rest as unconsumed, too.
        used = len(window) - len(inflate.unused_data if inflate.eof else inflate.unconsumed_tail)
        self._at += used
        self._worked += used + len(piece)
        self._missing -= len(piece)
        if self._missing < 0 or (inflate.eof and self._missing):
            raise PackError("an object larger or smaller than it says")
        if self._pieces is not None:
            self._pieces.append(piece)
        if inflate.eof:
            self._finish(entry)
            return True
        # zlib may hold output back even with no input left, but only when a full piece was made.
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
    """Read an entry's kind and size, low bits first. ``IndexError`` when it is not all there yet."""
    byte = data[at]
    at += 1
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    if kind not in _KINDS:
        raise PackError("an object of no known kind")
    while byte & _MORE:
        byte = data[at]
        at += 1
        size |= (byte & _LOW) << shift
        shift += 7
        if shift > _MAX_SHIFT:
            raise PackError("an object of an impossible size")
    return kind, size, at


def _distance(data: bytes, at: int) -> tuple[int, int]:
    """Read how far back a delta's base is: high bits first, one added for each byte more. ``IndexError`` as above."""
    byte = data[at]
    at += 1
    back = byte & _LOW
    while byte & _MORE:
        byte = data[at]
        at += 1
        back = (back + 1) << 7 | byte & _LOW
        if back >> _MAX_SHIFT:
            raise PackError("a delta whose base lies outside the pack")
    return back, at
