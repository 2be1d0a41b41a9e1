"""Limits on what a session, and an address, may request and transfer within a minute.

Three limits, each off at 0: requests of a session, requests of an address, bytes of a session in both directions
together. Only requests with a valid credential count (``login_throttle`` counts the others), and only those that are
admitted, so that a client that retries too early does not wait longer. Bytes are counted as they are transferred: a
running transfer is never cut, but the next request waits. An IPv6 client is counted by its /64.
"""

from __future__ import annotations

from attrs import frozen

from credgate.sessions.address import rate_key
from credgate.throttle import RateWindow
from credgate.values import Decision, Reason


@frozen(slots=True)
class RateWait:
    """A request must wait: ``decision`` has the reason, ``seconds`` (whole, at least 1) the time."""

    decision: Decision
    seconds: int


class Rates:
    """The three limits together, by session and address."""

    def __init__(self, requests: int, requests_by_address: int, bytes_moved: int) -> None:
        self._requests, self._by_address = RateWindow(requests), RateWindow(requests_by_address)
        self._bytes = RateWindow(bytes_moved)

    def admit(self, session_id: str, address: str, now: float) -> RateWait | None:
        """Admit and count a request of a session from ``address``; or return how long it must wait."""
        client = rate_key(address) if self._by_address.limit else ""
        checks = (
            (self._requests, session_id, Reason.TOO_MANY_REQUESTS, "this session has made its limit of {} requests"),
            (self._by_address, client, Reason.TOO_MANY_REQUESTS, "this address has made its limit of {} requests"),
            (self._bytes, session_id, Reason.TOO_MANY_BYTES, "this session has transferred its limit of {} bytes"),
        )
        for window, key, reason, text in checks:
            if window.limit and (wait := window.wait(key, now)) > 0:
                seconds = int(wait) + 1
                told = f"{text.format(window.limit)} within a minute; wait {seconds} s"
                return RateWait(Decision(allow=False, reason=reason, rule="limits", text=told), seconds)
        # Only admitted requests count, so that a client that retries too early does not wait longer.
        self._requests.spend(session_id, 1, now)
        self._by_address.spend(client, 1, now)
        return None

    def moved(self, session_id: str, size: int, now: float) -> None:
        """Count transferred bytes of either direction."""
        self._bytes.spend(session_id, size, now)

    def forget(self, session_id: str) -> None:
        """Remove a session that has ended."""
        self._requests.forget(session_id)
        self._bytes.forget(session_id)

    def prune(self, now: float) -> None:
        """Remove what is older than the window."""
        for window in (self._requests, self._by_address, self._bytes):
            window.prune(now)

    def __len__(self) -> int:
        """Return the number of recorded sessions and addresses."""
        return len(self._requests) + len(self._by_address) + len(self._bytes)
