"""Rate limiting by key, in bounded memory: what sessions, logins and refused connections are counted with.

``RecentKeys`` holds a value for each of the keys that were used last. ``RateWindow`` limits the amount that a key may
spend in a minute. ``Refusals`` limits how many audit lines repeated refusals cause. Nothing here reads a clock: times
are arguments, in seconds of any clock that does not step.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WINDOW = 60.0
SLICES = 6
WIDTH = WINDOW / SLICES
MAX_KEYS = 4096

INTERVAL = 60.0
MAX_CLIENTS = 256
OTHERS = "others"


class RecentKeys(Generic[T]):
    """A value by key, for at most ``max_keys`` keys; beyond that the key that was used longest ago is forgotten."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        # In the order of last use, so that what is pruned or evicted is always at the front.
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        """Return the value without counting this as a use."""
        return self._values.get(key)

    def use(self, key: str, make: Callable[[], T]) -> T:
        """Return the value, made by ``make`` if there is none, and count this as a use."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > self._max_keys:
            self._values.popitem(last=False)
        return value

    def forget(self, key: str) -> None:
        """Remove a key, if it is known."""
        self._values.pop(key, None)

    def prune(self, expired: Callable[[T], bool]) -> None:
        """Remove the keys at the front whose value has expired."""
        while self._values:
            key, value = next(iter(self._values.items()))
            if not expired(value):
                return
            del self._values[key]

    def __len__(self) -> int:
        """Return the number of known keys."""
        return len(self._values)


class RateWindow:
    """What each key spent in the last minute. With a ``limit`` of 0 nothing is recorded and nothing waits.

    The window slides in slices of ten seconds: the last 60 seconds count, and up to ten more. So no minute exceeds the
    limit, and nobody waits longer than 70 s. Each key needs seven slices of memory.
    """

    def __init__(self, limit: int, max_keys: int = MAX_KEYS) -> None:
        self.limit = limit
        # Pairs of slice number and amount, the oldest first.
        self._spent: RecentKeys[deque[list[int]]] = RecentKeys(max_keys)

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
        # Find the slice after whose end the rest is below the limit; the limit is positive, so the loop ends.
        slices, at = iter(spent), first
        while total >= self.limit:
            at, amount = next(slices)
            total -= amount
        return max(0.0, (at + SLICES + 1) * WIDTH - now)

    def spend(self, key: str, amount: int, now: float) -> None:
        """Record what ``key`` spent."""
        if not self.limit or amount <= 0:
            return
        spent = self._spent.use(key, lambda: deque(maxlen=SLICES + 1))
        at = int(now / WIDTH)
        if spent and spent[-1][0] >= at:
            spent[-1][1] += amount
        else:
            spent.append([at, amount])

    def forget(self, key: str) -> None:
        """Remove the record of ``key``."""
        self._spent.forget(key)

    def prune(self, now: float) -> None:
        """Remove the keys that spent nothing in the window."""
        first = int(now / WIDTH) - SLICES
        self._spent.prune(lambda spent: spent[-1][0] < first)

    def __len__(self) -> int:
        """Return the number of recorded keys."""
        return len(self._spent)


@frozen(slots=True)
class More:
    """The number of refusals that followed the one that was reported."""

    limit: str
    client: str
    count: int


class Refusals:
    """Decides which refused connections are reported, by limit and client.

    The first refusal of a client by a limit is reported at once. Those that follow within ``INTERVAL`` are counted and
    reported as one number after it, so a client causes at most two reports in an interval for each limit. At most
    ``MAX_CLIENTS`` are distinguished; the others share one entry, whose client is ``OTHERS``.
    """

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        """Refusals by limit since the start, for metrics."""
        # Start of the interval and number of further refusals, the oldest first.
        self._open: dict[tuple[str, str], list[float]] = {}

    def refused(self, limit: str, client: str, now: float) -> str | None:
        """Count a refusal; return the client to report, or None if it was reported in this interval."""
        self.totals[limit] += 1
        key = (limit, client)
        if key not in self._open and len(self._open) >= MAX_CLIENTS:
            key = (limit, OTHERS)
        entry = self._open.get(key)
        if entry is not None:
            entry[1] += 1
            return None
        self._open[key] = [now, 0]
        return key[1]

    def over(self, now: float) -> list[More]:
        """Return and forget what followed in the intervals that are over."""
        found = []
        while self._open:
            (limit, client), (began, count) = next(iter(self._open.items()))
            if began + INTERVAL > now:
                break
            del self._open[limit, client]
            if count:
                found.append(More(limit, client, int(count)))
        return found
