"""Counters derived from audit events, so that no place has to count separately.

``EventCounters.observe`` runs for every request: a few additions in dictionaries, no lock, no I/O, and it never raises.
The dictionaries cannot grow with what clients send: every key is from a closed enumeration (operations, reason codes,
names of configured forges), and any other value is counted as ``other``. Sessions, repositories, addresses, refs and
texts are not used. Bytes and durations are those of completed requests. Counters start at zero with the process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

from attrs import define, field

from credgate.audit.event import Event, Happening
from credgate.lfs.target import Call
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

# Every other value, such as the operation of a request that was refused before it was parsed.
OTHER: Final = "other"

_SERVICES = ("git-upload-pack", "git-receive-pack")
_PAGES = ("health", "whoami")
OPERATIONS: Final = frozenset(
    [*_SERVICES, *(f"{service}-advertisement" for service in _SERVICES), *(call.value for call in Call), *_PAGES]
)
REASONS: Final = frozenset(reason.value for reason in Reason)
ALLOW: Final = "allow"
DENY: Final = "deny"

# Upper bounds in seconds: a ref advertisement takes tenths, a push as long as its upload.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@define(slots=True)
class Durations:
    """A histogram of durations. The last of ``counts`` is for durations above all ``BUCKETS``."""

    counts: list[int] = field(factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0
    """Seconds, together."""

    def add(self, seconds: float) -> None:
        """Count one duration; a negative one counts as zero."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += max(seconds, 0.0)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return each bound, as text, with the count of durations up to it; the last bound is ``+Inf``."""
        found, so_far = [], 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class EventCounters:
    """Counters of events. ``forges`` are the names of the configured forges."""

    def __init__(self, forges: Iterable[str]) -> None:
        self._forges = frozenset(forges)
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By operation, decision and reason."""
        self.bytes_up = self.bytes_down = 0
        self.upstream: dict[tuple[str, str], Durations] = {}
        """By forge and operation."""
        self.sessions_created = self.sessions_extended = 0
        self.sessions_ended: Counter[str] = Counter({"revoked": 0, "expired": 0})
        self.minted: Counter[str] = Counter()
        """By forge, like the next two."""
        self.taken_back: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        """By forge and reason."""

    def observe(self, event: Event) -> None:
        """Count ``event``; kinds without a counter are ignored."""
        match event.event:
            case Happening.REQUEST:
                self._request(event)
            case Happening.SESSION_CREATED:
                self.sessions_created += 1
            case Happening.SESSION_EXTENDED:
                self.sessions_extended += 1
            case Happening.SESSION_REVOKED:
                self.sessions_ended["revoked"] += 1
            case Happening.SESSION_EXPIRED:
                self.sessions_ended["expired"] += 1
            case Happening.CREDENTIAL_MINTED:
                self.minted[self._forge(event)] += 1
            case Happening.CREDENTIAL_REVOKED if event.allow:  # otherwise the revocation failed
                self.taken_back[self._forge(event)] += 1
            case Happening.CREDENTIAL_FAILED:
                self.failures[self._forge(event), event.reason if event.reason in REASONS else OTHER] += 1
            case _:
                pass

    def _request(self, event: Event) -> None:
        # Values outside of a closed enumeration are counted as one, so that clients cannot make the dictionaries grow.
        operation = event.operation if event.operation in OPERATIONS else OTHER
        reason = event.reason if event.reason in REASONS else OTHER
        self.requests[operation, ALLOW if event.allow else DENY, reason] += 1
        self.bytes_up += event.bytes_up or 0
        self.bytes_down += event.bytes_down or 0
        if event.answered is not None:
            key = (self._forge(event), operation)
            durations = self.upstream.get(key)
            if durations is None:
                durations = self.upstream[key] = Durations()
            durations.add(event.answered)

    def _forge(self, event: Event) -> str:
        return event.forge if event.forge in self._forges else OTHER
