"""Limits for DNS clients: datagrams a second, and distinct names or refusals a minute.

``TokenBucket`` limits the datagrams of one client (an IPv4 address, or an IPv6 /64). Above the rate a datagram is
dropped, but every second one gets a truncated reply, as in the response rate limiting of name servers: a real client
then uses TCP, where connections and queries are limited, and a forged source gets a reply no larger than its query.

``DistinctWindow`` counts the different values of a key in a minute. It has two uses. Tunnelling: the names that a
client has queried under one wildcard, so that ``<data>.allowed.example`` carries a few dozen labels a minute out and no
file. Audit: the refusals of a client that are logged.

Times are arguments, in seconds of a monotonic clock.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

SLIP = 2
"""One in this many datagrams above the rate gets a truncated reply."""


class TokenBucket:
    """The tokens of one client: ``rate`` a second, at most ``burst``. A rate of 0 means no limit."""

    __slots__ = ("_burst", "_over", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, max(burst, 1.0)
        self._tokens, self._stamp = self._burst, now
        self._over = 0

    def take(self, now: float) -> bool:
        """Take one token; return ``False`` if there is none."""
        if not self._rate:
            return True
        tokens = self._tokens + (now - self._stamp) * self._rate
        self._stamp = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = min(tokens, self._burst) - 1.0
        return True

    def slip(self) -> bool:
        """Return whether this datagram above the rate gets a truncated reply."""
        # As name servers do (response rate limiting): a real client repeats its query over TCP.
        self._over += 1
        return self._over % SLIP == 0


class Seen(Enum):
    """The result of counting one value."""

    NEW = auto()
    """First time in this window, within the limit."""
    AGAIN = auto()
    """Counted before in this window."""
    FULL = auto()
    """The first value above the limit; it gets one audit line."""
    OVER = auto()
    """Any further value above the limit."""


class DistinctWindow:
    """Counts at most ``limit`` distinct values for a key, in windows of ``seconds``."""

    def __init__(self, limit: int, seconds: float = 60.0, max_keys: int = 4096) -> None:
        self._limit, self._seconds, self._max_keys = limit, seconds, max_keys
        self._window = -1
        self._seen: dict[Hashable, set[Hashable]] = {}
        self._full: set[Hashable] = set()

    def see(self, key: Hashable, value: Hashable, now: float) -> Seen:
        """Count ``value`` for ``key``."""
        # All keys start a new window at the same time, so memory is bounded without a cleanup task.
        if (window := int(now // self._seconds)) != self._window:
            self._window = window
            self._seen.clear()
            self._full.clear()
        values = self._seen.get(key)
        if values is None:
            # A key that cannot be counted is above its limit: a flood of forged addresses must not free names.
            if len(self._seen) >= self._max_keys:
                return self._over(None)
            values = self._seen[key] = set()
        if value in values:
            return Seen.AGAIN
        if len(values) >= self._limit:
            return self._over(key)
        values.add(value)
        return Seen.NEW

    def _over(self, key: Hashable) -> Seen:
        if key in self._full:
            return Seen.OVER
        self._full.add(key)
        return Seen.FULL
