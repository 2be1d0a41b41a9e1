"""The earliest ends of sessions: a binary heap that can also remove an entry by session id.

``heapq`` cannot remove an entry from the middle, so entries of revoked sessions would stay until their time comes, and
a gateway that creates and revokes many sessions would keep them all. Here the position of each entry is stored too:
``put`` and ``drop`` take O(log n), ``first`` O(1), and there is one entry for each session.

A use or an extension moves the end of a session without changing the heap, so a recorded end is a lower bound: the
caller of ``first`` checks the session and records its end again if it is still live.
"""

from __future__ import annotations


class Ends:
    """Session ids ordered by the time of their end."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        # Position in the heap, by id.
        self._at: dict[str, int] = {}

    def put(self, key: str, end: float) -> None:
        """Record the end of an id, replacing its earlier one."""
        position = self._at.get(key)
        if position is None:
            position = len(self._heap)
            self._heap.append((end, key))
            self._at[key] = position
        else:
            self._heap[position] = (end, key)
        self._settle(position)

    def drop(self, key: str) -> None:
        """Remove an id; an unknown id is ignored."""
        position = self._at.pop(key, None)
        if position is None:
            return
        last = self._heap.pop()
        if position < len(self._heap):
            self._heap[position] = last
            self._at[last[1]] = position
            self._settle(position)

    def first(self, now: float) -> str | None:
        """Return the id with the earliest recorded end, if that is at or before ``now``."""
        # A lower bound: a use or an extension moves the end of a session without changing the heap.
        return self._heap[0][1] if self._heap and self._heap[0][0] <= now else None

    def clear(self) -> None:
        """Remove all ids at once."""
        self._heap.clear()
        self._at.clear()

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self._heap)

    def _settle(self, position: int) -> None:
        """Move the entry at ``position`` up or down until the heap is ordered again."""
        heap, at = self._heap, self._at
        entry = heap[position]
        while position and entry < heap[(position - 1) // 2]:
            parent = (position - 1) // 2
            heap[position] = heap[parent]
            at[heap[position][1]] = position
            position = parent
        while (child := 2 * position + 1) < len(heap):
            if child + 1 < len(heap) and heap[child + 1] < heap[child]:
                child += 1
            if entry <= heap[child]:
                break
            heap[position] = heap[child]
            at[heap[position][1]] = position
            position = child
        heap[position] = entry
        at[entry[1]] = position
