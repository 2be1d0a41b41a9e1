"""Many small bodies held in little memory: compressed in blocks, found by number, up to a limit.

Deltas among a pack's commits and trees may name any earlier one as their base, so all of them are held until the push
is decided. Commits and trees resemble their neighbours: blocks of 16 KiB at zlib's fastest level hold three to ten
times as many, and a block is cheap to open again. Never drops what it took: over its limit it takes no more.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from threading import RLock

BLOCK = 16 * 1024
OPENED = 2 * 1024 * 1024
"""Bytes of blocks that stay open; the one opened last stays open whatever its size (one body may have 4 MiB)."""
SHARED = 256 * 1024 * 1024
"""Bytes that the bodies of all pushes may hold together."""
_LEVEL = 1


class Room:
    """What all pushes may hold together. No push takes more than it leaves free, so there is room for another."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._used = max_bytes, 0
        self._lock = RLock()  # the collector of cycles may end a push's bodies inside a call

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used

    @property
    def left(self) -> int:
        """Bytes that may yet be held."""
        return max(0, self._max_bytes - self._used)

    def take(self, count: int) -> None:
        """Count bytes that are held; less than zero: no longer."""
        with self._lock:  # two threads read packs
            self._used += count


ROOM = Room(SHARED)


class CompressedBodies:
    """Bodies by number, in the order in which they were added."""

    def __init__(self, max_bytes: int, room: Room = ROOM) -> None:
        """Hold at most about ``max_bytes``, counted as they are held; one block more at the most."""
        self._max_bytes, self._held, self._room = max_bytes, 0, room
        self._opened_bytes = 0
        self._ends = array("Q")
        self._blocks: list[bytes] = []
        self._block_starts = array("Q", [0])
        self._last = bytearray()
        self._opened: dict[int, bytes] = {}

    def __del__(self) -> None:
        # The only way that covers all ends of a push. Nothing refers back to this object, so it runs at once.
        self._room.take(-self._held - self._opened_bytes)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def held(self) -> int:
        """Bytes held, compressed."""
        return self._held + len(self._last)

    @property
    def full(self) -> bool:
        """The limit is reached: nothing more is taken."""
        return self._held >= min(self._max_bytes, self._room.left)

    def add(self, body: bytes) -> int | None:
        """Keep ``body`` and return its number, or ``None`` when the limit is reached."""
        if self.full:
            return None
        if len(body) >= BLOCK and self._last:
            self._close()  # a small body is not to be had only by opening a large one
        self._last += body
        self._ends.append((self._ends[-1] if self._ends else 0) + len(body))
        if len(self._last) >= BLOCK:
            self._close()
        return len(self._ends) - 1

    def get(self, number: int) -> bytes:
        """Return the body of that number."""
        start = self._ends[number - 1] if number else 0
        block = bisect_right(self._block_starts, start) - 1
        origin = self._block_starts[block]
        return bytes(self._open(block)[start - origin : self._ends[number] - origin])

    def _close(self) -> None:
        block = zlib.compress(self._last, _LEVEL)
        self._blocks.append(block)
        self._held += len(block)
        self._room.take(len(block))
        self._block_starts.append(self._ends[-1])
        self._last.clear()

    def _open(self, block: int) -> bytes | bytearray:
        """Return a block as it was, from the few that were opened last if it is among them."""
        if block == len(self._blocks):
            return self._last
        opened = self._opened
        content = opened.pop(block, None)
        if content is None:
            content = zlib.decompress(self._blocks[block])
            self._count_opened(len(content))
        opened[block] = content
        while self._opened_bytes > OPENED and len(opened) > 1:
            self._count_opened(-len(opened.pop(next(iter(opened)))))
        return content

    def _count_opened(self, count: int) -> None:
        self._opened_bytes += count
        self._room.take(count)
