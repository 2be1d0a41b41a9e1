"""How many datagrams a second one client may send: a token bucket, and what is done above it.

Above the rate a datagram is dropped, but every second one is answered with a truncated reply ("slip", as response rate
limiting does it): a real client turns to TCP, where connections and pipelines are bounded, while a forged source gets
nothing larger than it sent. One bucket for an IPv4 address, one for an IPv6 /64. Time comes in as an argument.
"""

from __future__ import annotations

SLIP = 2
"""One in so many datagrams over the rate is answered with TC."""


class Bucket:
    """One client's tokens: ``rate`` a second, ``burst`` at most; a rate of 0 means no limit."""

    __slots__ = ("_burst", "_over", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, max(burst, 1.0)
        self._tokens, self._stamp = self._burst, now
        self._over = 0

    def take(self, now: float) -> bool:
        """Take one token; ``False`` if there is none."""
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
        """Whether this datagram over the rate is one that gets a truncated answer."""
        self._over += 1
        return self._over % SLIP == 0
