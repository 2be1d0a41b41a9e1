"""Audit lines that do not belong to a request: start and stop of the gateway, and ended sessions.

Created and extended sessions are recorded by the control API.
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
    """Writes start, stop and ended sessions to ``audit``. ``started`` is the text of the start."""

    def __init__(self, audit: AuditLog, clock: Callable[[], LeaseReading], started: str) -> None:
        self._audit, self._clock, self._started = audit, clock, started

    def startService(self) -> None:
        """Record the start of the gateway."""
        super().startService()
        self._write(Happening.STARTED, text=self._started)

    def stopService(self) -> None:
        """Record the stop of the gateway."""
        super().stopService()
        self._write(Happening.STOPPED)

    def ended(self, session: Session, reason: str) -> None:
        """Record the end of a session; called by the registry."""
        event = Happening.SESSION_EXPIRED if reason == EXPIRED else Happening.SESSION_REVOKED
        self._write(event, session=session.id)

    def _write(self, event: Happening, **more: object) -> None:
        self._audit.write(Event(wall=self._clock().wall, event=event, **more))  # type: ignore[arg-type]  # its own keys
