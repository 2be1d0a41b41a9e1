"""Readings: calls that nobody makes until somebody asks, and values without a secret's name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import fields

from credgate.metrics.counters import EventCounters
from credgate.metrics.exposition import MetricsPage
from credgate.metrics.gauges import AuditState, Gauges, GcGauges, HeldSessions, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES: dict[str, Any] = {
    "pool": Pool(0, 0),
    "rounds": GcGauges(0, 0, 0.0),
    "audit": AuditState(0, 0, writable=True),
    "dns": {},
    "credentials": [],
    "refused": {},
}


def counted(called: Counter[str]) -> Gauges:
    """Make readings that count how often each is read."""

    def reading(name: str) -> Callable[[], Any]:
        def read() -> Any:
            called[name] += 1
            return VALUES.get(name, 0)

        return read

    names = [one.name for one in fields(Gauges) if one.name != "max_sessions"]
    return Gauges(max_sessions=1, **{name: reading(name) for name in names})


def test_each_is_read_once_a_scrape_and_never_before() -> None:
    """Parts are not started when the page is made, and no request pays for numbers that nobody asked for."""
    called: Counter[str] = Counter()
    page = MetricsPage(EventCounters([]), counted(called), "1")
    assert called == {}
    page({})
    assert called == {one.name: 1 for one in fields(Gauges) if one.name != "max_sessions"}


def test_a_credential_is_read_without_its_id_or_value() -> None:
    """An id is another with each value: as a label it would make a series an hour for as long as Prometheus keeps."""
    assert {one.name for one in fields(HeldSessions)} == {"forge", "kind", "expires_at", "in_trouble"}
