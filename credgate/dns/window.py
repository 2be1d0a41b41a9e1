"""How many different things one key may show in a window of time, with the first excess told apart.

Two uses. Tunnelling: the distinct names that a client has asked upstream under one wildcard; past the limit nothing
goes out, so ``<data>.allowed.example`` carries a few dozen labels a minute and no file. Audit: the distinct refusals of
a client that get a line. Windows are aligned (all keys start over together), so memory is bounded without a sweep:
at most ``max_keys`` keys of ``limit`` things; a key for which there is no room counts as over its limit. Refuse what
cannot be counted: a flood of forged addresses must not buy names.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Seen(Enum):
    """What the window says of one sighting."""

    NEW = auto()
    """First time in this window, within the limit."""
    AGAIN = auto()
    """Seen before in this window."""
    FULL = auto()
    """The first beyond the limit: worth one audit line."""
    OVER = auto()
    """Further beyond."""


class DistinctWindow:
    """Counts distinct things a key and window of ``seconds``."""

    def __init__(self, limit: int, seconds: float = 60.0, max_keys: int = 4096) -> None:
        self._limit, self._seconds, self._max_keys = limit, seconds, max_keys
        self._window = -1
        self._seen: dict[Hashable, set[Hashable]] = {}
        self._full: set[Hashable] = set()

    def see(self, key: Hashable, thing: Hashable, now: float) -> Seen:
        """Count ``thing`` for ``key`` at ``now`` (seconds, any steady clock)."""
        if (window := int(now // self._seconds)) != self._window:
            self._window = window
            self._seen.clear()
            self._full.clear()
        things = self._seen.get(key)
        if things is None:
            if len(self._seen) >= self._max_keys:
                return self._over(None)
            things = self._seen[key] = set()
        if thing in things:
            return Seen.AGAIN
        if len(things) >= self._limit:
            return self._over(key)
        things.add(thing)
        return Seen.NEW

    def _over(self, key: Hashable) -> Seen:
        if key in self._full:
            return Seen.OVER
        self._full.add(key)
        return Seen.FULL
