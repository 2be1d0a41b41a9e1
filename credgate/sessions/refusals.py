"""Which refused connections get an audit line, so that a flood of them does not become a flood of lines.

The first refusal of a client by a limit is told at once; the ones that follow within ``INTERVAL`` are counted, and
told as one number when the interval is over. So a client makes at most two lines an interval for each limit. At most
``MAX_CLIENTS`` are told apart; the others share one entry, whose client is ``OTHERS``. Every refusal is counted in
``totals``, for metrics. Time comes in as an argument, in seconds of any clock that does not step.
"""

from __future__ import annotations

from collections import Counter

from attrs import frozen

INTERVAL = 60.0
MAX_CLIENTS = 256
OTHERS = "others"


@frozen(slots=True)
class More:
    """How many refusals followed the one that was told."""

    limit: str
    client: str
    count: int


class Refusals:
    """Refused connections, by limit and client."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        """By limit, since the start."""
        # When each began and how many followed; the oldest first.
        self._open: dict[tuple[str, str], list[float]] = {}

    def refused(self, limit: str, client: str, now: float) -> str | None:
        """Count a refusal; return the client to name in an audit line, or None if it was told already."""
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
        """Return what followed within the intervals that are over, and forget them."""
        found = []
        while self._open:
            (limit, client), (began, count) = next(iter(self._open.items()))
            if began + INTERVAL > now:
                break
            del self._open[limit, client]
            if count:
                found.append(More(limit, client, int(count)))
        return found
