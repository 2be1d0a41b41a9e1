"""Lines for what is no request: the gateway's start and stop, and sessions that end."""

from __future__ import annotations

import pytest

from credgate.audit.event import Happening
from credgate.service.audit.audited import SessionAudit
from credgate.service.registry import EXPIRED, REVOKED
from tests.fakes.relay import Audit
from tests.fakes.sessions import LeaseClock, session


def test_the_start_and_the_stop_are_told() -> None:
    """With the configuration that it was started with, and the wall clock's time."""
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
def test_a_session_that_ends_is_told_by_its_public_id(reason: str, event: Happening) -> None:
    """Nothing else of it is in the line."""
    audit = Audit()
    SessionAudit(audit, LeaseClock(), "").ended(session(7), reason)  # type: ignore[arg-type]
    (told,) = audit.events
    assert (told.event, told.session, told.text, told.peer) == (event, session(7).id, "", "")
