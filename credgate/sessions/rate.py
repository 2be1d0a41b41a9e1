"""How much a session, and an address, may ask for and move within a minute; more waits.

Three limits, each off at 0: requests of a session, requests of an address, bytes of a session both ways together. Only
requests with a right credential count (wrong ones are the ``brake``'s), and of these only those that are let through,
so that who asks too early does not wait the longer for it. Bytes are told as they move: they cut nothing that runs,
they keep the next request waiting. An IPv6 client is counted by its /64.

A window slides in slices of ten seconds: what counts are the last 60 seconds and at most ten more. So no minute ever
holds more requests than the limit, and nobody waits longer than 70 s. Memory is bounded: seven slices a key, and of too
many keys those that were used longest ago are forgotten. Time comes in as an argument, in seconds of any clock that
does not step.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.sessions.address import rate_key
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 60.0
SLICES = 6
WIDTH = WINDOW / SLICES
MAX_KEYS = 4096


class RateWindow:
    """What each key spent lately; ``limit`` 0 remembers nothing and never waits."""

    def __init__(self, limit: int, max_keys: int = MAX_KEYS) -> None:
        self.limit, self._max_keys = limit, max_keys
        # (slice, amount), the oldest first; keys in the order of their last spending.
        self._spent: OrderedDict[str, deque[list[int]]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Return the seconds after which ``key`` may spend again; 0.0: now."""
        spent = self._spent.get(key)
        if spent is None:
            return 0.0
        first = int(now / WIDTH) - SLICES
        while spent and spent[0][0] < first:
            spent.popleft()
        total = sum(amount for _, amount in spent)
        if total < self.limit:
            return 0.0
        slices, at = iter(spent), first
        while total >= self.limit:  # without any of it there is room: a limit is more than nothing
            at, amount = next(slices)
            total -= amount
        return max(0.0, (at + SLICES + 1) * WIDTH - now)

    def spend(self, key: str, amount: int, now: float) -> None:
        """Note what ``key`` spent."""
        if not self.limit or amount <= 0:
            return
        spent = self._spent.setdefault(key, deque(maxlen=SLICES + 1))
        self._spent.move_to_end(key)
        at = int(now / WIDTH)
        if spent and spent[-1][0] >= at:
            spent[-1][1] += amount
        else:
            spent.append([at, amount])
        while len(self._spent) > self._max_keys:
            self._spent.popitem(last=False)

    def forget(self, key: str) -> None:
        """Drop what is known of ``key``."""
        self._spent.pop(key, None)

    def prune(self, now: float) -> None:
        """Drop keys that spent nothing that still counts."""
        first = int(now / WIDTH) - SLICES
        while self._spent:
            key, spent = next(iter(self._spent.items()))
            if spent[-1][0] >= first:
                return
            del self._spent[key]

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._spent)


@frozen(slots=True)
class RateWait:
    """Not now: ``decision`` says why, ``seconds`` (whole, at least 1) when."""

    decision: Decision
    seconds: int


class Rates:
    """The three limits together."""

    def __init__(self, requests: int, requests_by_address: int, bytes_moved: int) -> None:
        self._requests, self._by_address = RateWindow(requests), RateWindow(requests_by_address)
        self._bytes = RateWindow(bytes_moved)

    def admit(self, session_id: str, address: str, now: float) -> RateWait | None:
        """Let a session's request from ``address`` through, and count it; or say how long it has to wait."""
        place = rate_key(address) if self._by_address.limit else ""
        checks: tuple[tuple[RateWindow, str, Reason, Callable[[int], str]], ...] = (
            (self._requests, session_id, Reason.TOO_MANY_REQUESTS, _requests),
            (self._by_address, place, Reason.TOO_MANY_REQUESTS, _requests_by_address),
            (self._bytes, session_id, Reason.TOO_MANY_BYTES, _bytes),
        )
        for window, key, reason, text in checks:
            if window.limit and (wait := window.wait(key, now)) > 0:
                seconds = int(wait) + 1
                said = f"{text(window.limit)} within a minute; wait {seconds} s"
                return RateWait(Decision(allow=False, reason=reason, rule="limits", text=said), seconds)
        self._requests.spend(session_id, 1, now)
        self._by_address.spend(place, 1, now)
        return None

    def moved(self, session_id: str, size: int, now: float) -> None:
        """Count bytes, of either direction."""
        self._bytes.spend(session_id, size, now)

    def forget(self, session_id: str) -> None:
        """Drop a session that ended."""
        self._requests.forget(session_id)
        self._bytes.forget(session_id)

    def prune(self, now: float) -> None:
        """Drop whatever no longer counts."""
        for window in (self._requests, self._by_address, self._bytes):
            window.prune(now)


def _requests(limit: int) -> str:
    return f"this session has made {limit} requests, as many as it may,"


def _requests_by_address(limit: int) -> str:
    return f"this address has made {limit} requests, as many as it may,"


def _bytes(limit: int) -> str:
    return f"this session has moved more than the {limit} bytes that it may"
