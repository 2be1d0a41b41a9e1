"""Limits wrong credentials: so many from one address within a window, then the address must wait.

Only failures count: a valid credential costs nothing, and git's first request, which has none, is not a failure. An
IPv6 client is counted by its /64, IPv4-mapped addresses count as IPv4. Memory is bounded: ``limit`` times for each of
at most ``max_addresses`` addresses. Forgetting an address does not weaken the login (secrets have 256 bits); the limit
only bounds the work and the log. Times are arguments, in seconds of any clock that does not step.
"""

from __future__ import annotations

from collections import deque

from credgate.sessions.address import rate_key
from credgate.throttle import RecentKeys


class LoginThrottle:
    """Failed logins by address within the last ``window`` seconds."""

    def __init__(self, limit: int, window: float = 60.0, max_addresses: int = 4096) -> None:
        self._limit, self._window = max(1, limit), window
        # Forgetting an address does not weaken the login, since secrets have 256 bits; the limit only bounds the work
        # and the log.
        self._failures: RecentKeys[deque[float]] = RecentKeys(max_addresses)

    def blocked(self, address: str, now: float) -> float:
        """Return the seconds that ``address`` must wait; 0.0: it may log in now."""
        times = self._failures.get(rate_key(address))
        if times is None or len(times) < self._limit:
            return 0.0
        return max(0.0, times[0] + self._window - now)

    def failed(self, address: str, now: float) -> None:
        """Count one wrong credential from ``address``."""
        self._failures.use(rate_key(address), lambda: deque(maxlen=self._limit)).append(now)

    def prune(self, now: float) -> None:
        """Remove the addresses whose last failure is older than the window."""
        self._failures.prune(lambda times: times[-1] + self._window <= now)

    def __len__(self) -> int:
        """Return the number of recorded addresses."""
        return len(self._failures)
