"""The brake on wrong credentials: so many a window and address, then wait.

Counts failures only: a right credential costs nothing and git's first request without any is no failure. An IPv6 client
is counted by its /64, which is what one host is handed; IPv4-mapped addresses count as IPv4. Memory is bounded: an
address keeps at most ``limit`` times, and of more than ``max_addresses`` addresses those that failed longest ago are
forgotten. (Secrets carry 256 bits: forgetting one lets nobody in, it only keeps the log shorter.)

Time comes in as an argument, in seconds of any clock that does not step.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from credgate.sessions.address import rate_key


class LoginThrottle:
    """Failures by address within the last ``window`` seconds."""

    def __init__(self, limit: int, window: float = 60.0, max_addresses: int = 4096) -> None:
        self._limit, self._window, self._max_addresses = max(1, limit), window, max_addresses
        # Ordered by last failure, the oldest first: what is pruned and what is evicted is always at the front.
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def blocked(self, address: str, now: float) -> float:
        """Seconds that ``address`` has to wait; 0.0: it may try."""
        times = self._failures.get(rate_key(address))
        if times is None or len(times) < self._limit:
            return 0.0
        return max(0.0, times[0] + self._window - now)

    def failed(self, address: str, now: float) -> None:
        """Count one wrong credential from ``address``."""
        key = rate_key(address)
        self._failures.setdefault(key, deque(maxlen=self._limit)).append(now)
        self._failures.move_to_end(key)
        while len(self._failures) > self._max_addresses:
            self._failures.popitem(last=False)

    def prune(self, now: float) -> None:
        """Forget addresses whose last failure has left the window."""
        while self._failures:
            key, times = next(iter(self._failures.items()))
            if times[-1] + self._window > now:
                return
            del self._failures[key]

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._failures)
