"""Values that are read from the parts of the gateway when metrics are scraped, so that requests do not pay for them.

Numbers and names of configured forges only. ``service.tap`` connects them to the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@frozen(slots=True)
class Pool:
    """Connections to forges."""

    busy: int
    idle: int


@frozen(slots=True)
class GcGauges:
    """Removals of expired sessions since the start; ``last_success`` is in seconds since the epoch, 0: none yet."""

    succeeded: int
    failed: int
    last_success: float


@frozen(slots=True)
class AuditState:
    """Lines since the start, lost events, and whether the log can be written."""

    lines: int
    lost: int
    writable: bool


@frozen(slots=True)
class HeldSessions:
    """One credential, without its id, since ids change with each value."""

    forge: str
    kind: str
    expires_at: float | None
    """Seconds since the epoch; ``None``: unknown."""
    in_trouble: bool


@frozen(slots=True)
class Gauges:
    """The sources of the gauges, called for each scrape."""

    sessions: Callable[[], int]
    max_sessions: int
    connections: Callable[[], int]
    transfers: Callable[[], int]
    pool: Callable[[], Pool]
    dns: Callable[[], Mapping[str, int]]
    """``DnsService.counters``; empty where there is no DNS server."""
    rounds: Callable[[], GcGauges]
    audit: Callable[[], AuditState]
    credentials: Callable[[], Iterable[HeldSessions]]
    timers: Callable[[], int]
    """Scheduled calls of the reactor."""
    threads: Callable[[], int]
    refused: Callable[[], Mapping[str, int]]
    """Refused connections by the name of the limit (``service.sandbox.refused_connections.Limit``)."""
