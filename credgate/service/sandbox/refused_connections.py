"""Connections that a limit refused: counted for metrics, and written to the audit log in bounded numbers.

The sandboxes' listener and the control socket have one ``RefusedConnections`` each; clients of the first are addresses
as the limits count them, of the second users. ``throttle.Refusals`` decides which refusals get an audit line.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from credgate.audit.event import Event, Happening
from credgate.throttle import INTERVAL, Refusals
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.sessions.lease_clock import LeaseReading


class Limit(StrEnum):
    """What refused a connection: the ``rule`` of its audit line, and the label of its metric."""

    ADDRESS = "max_connections_per_address"
    TOTAL = "max_connections"
    DESCRIPTORS = "RLIMIT_NOFILE"
    """``max_connections`` as it was lowered to what the process has file descriptors for."""
    USER = "control-connections"
    """Connections of one user to the control socket."""
    FOREIGN = "control-peer"
    """Not a number: a user who may not use the control socket."""


_CONTROL = {
    Limit.FOREIGN: (Happening.CONTROL, Reason.FOREIGN_PEER, 403),
    Limit.USER: (Happening.CONTROL, Reason.TOO_MANY_CONNECTIONS, 429),
}
_SANDBOX = (Happening.CONNECTION, Reason.TOO_MANY_CONNECTIONS, 429)


class Audit(Protocol):
    """The part of ``service.audit.log.AuditLog`` that is used."""

    def write(self, event: Event) -> None:
        """Write an event; never fails."""
        ...


@define(eq=False)
class RefusedConnections:
    """Counts refusals and writes them to ``audit``."""

    audit: Audit
    clock: Callable[[], LeaseReading]
    _refusals: Refusals = field(factory=Refusals, init=False)

    def count(self, limit: Limit, client: str) -> None:
        """Count a refused connection of ``client``; write its line unless it is one of many."""
        # In bounded numbers: a flood of connections must not fill the audit log.
        now = self.clock()
        named = self._refusals.refused(limit, client, now.boot)
        if named is not None:
            self._write(limit, named, now.wall)

    def sweep(self) -> None:
        """Write how many followed, where the interval is over. Called once a second."""
        now = self.clock()
        for more in self._refusals.over(now.boot):
            text = f"{more.count} more within {INTERVAL:.0f} s"
            self._write(Limit(more.limit), more.client, now.wall, text)

    def totals(self) -> dict[str, int]:
        """Return how many connections each limit has refused since the start."""
        return {limit.value: self._refusals.totals[limit] for limit in Limit}

    def _write(self, limit: Limit, client: str, wall: float, text: str = "") -> None:
        happening, reason, status = _CONTROL.get(limit, _SANDBOX)
        self.audit.write(
            Event(
                wall=wall,
                event=happening,
                peer=client,
                allow=False,
                reason=reason,
                rule=limit.value,
                status=status,
                text=text,
            )
        )
