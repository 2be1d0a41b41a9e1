"""One stall clock for relayed requests, local answers and LFS exchanges."""

from __future__ import annotations


class StallClock:
    """Measures how long a count of bytes has not changed; all times are the reactor's seconds."""

    __slots__ = ("_count", "_since")

    def __init__(self, now: float) -> None:
        self._count, self._since = 0, now

    def moved(self, count: int, now: float) -> bool:
        """Return whether ``count`` has changed since the last call; if so, the wait begins anew."""
        if count == self._count:
            return False
        self._count, self._since = count, now
        return True

    def overdue(self, now: float, limit: float) -> bool:
        """Whether nothing has moved for ``limit`` seconds."""
        return now - self._since >= limit
