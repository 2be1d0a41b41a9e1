"""Refused connections as audit lines and numbers."""

from __future__ import annotations

import pytest

from credgate.audit.event import Event, Happening
from credgate.service.sandbox.refused_connections import Limit, RefusedConnections
from credgate.throttle import INTERVAL
from credgate.values import Reason
from tests.fakes.control import Auditor
from tests.fakes.sessions import LeaseClock


@pytest.mark.parametrize(
    ("limit", "happening", "reason", "status"),
    [
        (Limit.ADDRESS, Happening.CONNECTION, Reason.TOO_MANY_CONNECTIONS, 429),
        (Limit.TOTAL, Happening.CONNECTION, Reason.TOO_MANY_CONNECTIONS, 429),
        (Limit.DESCRIPTORS, Happening.CONNECTION, Reason.TOO_MANY_CONNECTIONS, 429),
        (Limit.USER, Happening.CONTROL, Reason.TOO_MANY_CONNECTIONS, 429),
        (Limit.FOREIGN, Happening.CONTROL, Reason.FOREIGN_PEER, 403),
    ],
)
def test_a_refusal_names_its_limit_and_is_counted(
    limit: Limit, happening: Happening, reason: Reason, status: int
) -> None:
    """Its line, that of those that followed, and the number for metrics."""
    audit, clock = Auditor(), LeaseClock()
    refused = RefusedConnections(audit, clock)
    for _ in range(3):
        refused.count(limit, "who")
    clock.pass_time(INTERVAL)
    refused.sweep()

    def line(text: str, wall: float) -> Event:
        return Event(
            wall=wall, event=happening, peer="who", allow=False, reason=reason, rule=limit, status=status, text=text
        )

    began = clock.now.wall - INTERVAL
    assert audit.events == [line("", began), line("2 more within 60 s", clock.now.wall)]
    assert refused.totals() == {one.value: 3 if one is limit else 0 for one in Limit}
