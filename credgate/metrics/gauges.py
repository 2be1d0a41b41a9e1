"""What is read from the gateway's parts when somebody asks: each as something to call, so that no request pays for it.

Numbers and names of configured forges only. Decides nothing; whoever makes one (``service.tap``) knows the parts.
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
    """Rounds over the sessions (GC) since the start; ``last_success`` is in seconds since the epoch, 0: none yet."""

    succeeded: int
    failed: int
    last_success: float


@frozen(slots=True)
class AuditState:
    """Lines since the start, events that were dropped, and whether what happens now can be told."""

    lines: int
    lost: int
    writable: bool


@frozen(slots=True)
class HeldSessions:
    """One credential that is held or wanted, without its id: ids change with each value."""

    forge: str
    kind: str
    expires_at: float | None
    """Seconds since the epoch; ``None``: nobody knows."""
    in_trouble: bool


@frozen(slots=True)
class Gauges:
    """The parts."""

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
    """Calls that the reactor has still to make."""
    threads: Callable[[], int]
    refused: Callable[[], Mapping[str, int]]
    """Connections that were refused, by the limit's name (``service.sandbox.refused_connections.Limit``)."""
