"""Many small bodies held in little memory: compressed in blocks, found by number, up to a limit.

Deltas among a pack's commits and trees may name any earlier one as their base, so all of them are held until the push
is decided. Commits and trees resemble their neighbours: blocks of 16 KiB at zlib's fastest level hold three to ten
times as many, and a block is cheap to open again. Never drops what it took: over its limit it takes no more.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right

BLOCK = 16 * 1024
_OPEN_BLOCKS = 128
_LEVEL = 1


class Bodies:
    """Bodies by number, in the order in which they were added."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most about ``max_bytes``, counted as they are held; one block more at the most."""
        self._max_bytes, self._held = max_bytes, 0
        self._ends = array("Q")
        self._blocks: list[bytes] = []
        self._block_starts = array("Q", [0])
        self._last = bytearray()
        self._opened: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def held(self) -> int:
        """Bytes held, compressed."""
        return self._held + len(self._last)

    @property
    def full(self) -> bool:
        """The limit is reached: nothing more is taken."""
        return self._held >= self._max_bytes

    def add(self, body: bytes) -> int | None:
        """Keep ``body`` and return its number, or ``None`` when the limit is reached."""
        if self.full:
            return None
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
        self._block_starts.append(self._ends[-1])
        self._last.clear()

    def _open(self, block: int) -> bytes | bytearray:
        """Return a block as it was, from the few that were opened last if it is among them."""
        if block == len(self._blocks):
            return self._last
        opened = self._opened
        content = opened.pop(block, None) or zlib.decompress(self._blocks[block])
        opened[block] = content
        if len(opened) > _OPEN_BLOCKS:
            del opened[next(iter(opened))]
        return content
