"""Lines for what is no request: the gateway's start and stop, and sessions that end."""

from __future__ import annotations

import pytest

from credgate.audit.event import Happening
from credgate.service.audit.audited import SessionAudit
from credgate.service.registry import EXPIRED, REVOKED
from tests.fakes.relay import Audit
from tests.fakes.sessions import LeaseClock, session


def test_start_and_stop_are_recorded() -> None:
    """With the hash of the configuration and the wall clock."""
    audit, clock = Audit(), LeaseClock()
    service = SessionAudit(audit, clock, "configuration abc")  # type: ignore[arg-type]
    service.startService()
    clock.pass_time(60)
    service.stopService()
    first, last = audit.events
    assert (first.event, first.text, first.wall) == (Happening.STARTED, "configuration abc", 1_800_000_000.0)
    assert (last.event, last.text, last.wall) == (Happening.STOPPED, "", 1_800_000_060.0)


@pytest.mark.parametrize(
    ("reason", "event"), [(EXPIRED, Happening.SESSION_EXPIRED), (REVOKED, Happening.SESSION_REVOKED)]
)
def test_ended_session_is_recorded_by_its_id(reason: str, event: Happening) -> None:
    """The line contains nothing else of it."""
    audit = Audit()
    SessionAudit(audit, LeaseClock(), "").ended(session(7), reason)  # type: ignore[arg-type]
    (told,) = audit.events
    assert (told.event, told.session, told.text, told.peer) == (event, session(7).id, "", "")
