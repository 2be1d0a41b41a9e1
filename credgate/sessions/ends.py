"""When sessions end at the earliest: a binary heap that also finds an entry by its session.

``heapq`` cannot remove an entry from the middle. Entries of revoked sessions would stay until their time comes, and a
gateway that makes and revokes many sessions would keep them all. So each entry's position is kept beside the heap:
``put`` and ``drop`` cost O(log n), ``first`` O(1), and there is one entry a session.

A use or an extension moves a session's end later and does not touch the heap. The noted time is therefore a lower
bound: whoever takes ``first`` compares it with the session and puts it back if the session lives on. Time comes in as
an argument.
"""

from __future__ import annotations


class Ends:
    """Session ids by the time of their end."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, int] = {}
        """The position in the heap, by id."""

    def put(self, key: str, end: float) -> None:
        """Note an end, in place of the one that was noted before."""
        position = self._at.get(key)
        if position is None:
            position = len(self._heap)
            self._heap.append((end, key))
            self._at[key] = position
        else:
            self._heap[position] = (end, key)
        self._settle(position)

    def drop(self, key: str) -> None:
        """Forget an id; one that is not there is no error."""
        position = self._at.pop(key, None)
        if position is None:
            return
        last = self._heap.pop()
        if position < len(self._heap):
            self._heap[position] = last
            self._at[last[1]] = position
            self._settle(position)

    def first(self, now: float) -> str | None:
        """Return the id whose noted end is the earliest, if that time has come."""
        return self._heap[0][1] if self._heap and self._heap[0][0] <= now else None

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
        self._at.clear()

    def __len__(self) -> int:
        """How many ids are noted."""
        return len(self._heap)

    def _settle(self, position: int) -> None:
        """Move the entry at ``position`` up or down to where the heap's order holds again."""
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
