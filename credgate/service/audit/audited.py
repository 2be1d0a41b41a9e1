"""Audit lines for what is no request of a sandbox.

The gateway's start and stop, and sessions that ended. What was asked for on the control socket is told there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service

from credgate.audit.event import Event, Happening
from credgate.service.registry import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.service.audit.log import AuditLog
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session


class SessionAudit(Service):
    """Writes them to ``audit``; ``started`` tells what the gateway was started with."""

    def __init__(self, audit: AuditLog, clock: Callable[[], LeaseReading], started: str) -> None:
        self._audit, self._clock, self._started = audit, clock, started

    def startService(self) -> None:
        """Tell of the start."""
        super().startService()
        self._write(Happening.STARTED, text=self._started)

    def stopService(self) -> None:
        """Tell of the stop."""
        super().stopService()
        self._write(Happening.STOPPED)

    def ended(self, session: Session, reason: str) -> None:
        """Tell of a session that is no more."""
        event = Happening.SESSION_EXPIRED if reason == EXPIRED else Happening.SESSION_REVOKED
        self._write(event, session=session.id)

    def _write(self, event: Happening, **more: object) -> None:
        self._audit.write(Event(wall=self._clock().wall, event=event, **more))  # type: ignore[arg-type]  # its own keys
