"""The page of metrics as an answer: with the checks, or without them, but always there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

from credgate.service.metrics.scrape import CHECKS_TIMEOUT, Scrape

if TYPE_CHECKING:
    from collections.abc import Mapping


def page(checks: Mapping[str, bool]) -> bytes:
    """Show which checks were told."""
    return repr(sorted(checks.items())).encode()


def scraped(readiness: Any, clock: Clock) -> list[bytes]:
    """Scrape; the page is in the list once it is there."""
    got: list[bytes] = []
    ensureDeferred(Scrape(page, readiness, clock)()).addCallback(got.append)  # type: ignore[arg-type]  # fakes
    return got


def test_page_contains_the_checks() -> None:
    """They equal those of ``/v1/ready``."""
    assert scraped(lambda: succeed({"git": True, "audit": False}), Clock()) == [b"[('audit', False), ('git', True)]"]


def test_failing_checks_leave_the_other_metrics() -> None:
    """The page is needed most when something fails."""

    def broken() -> Any:
        raise ZeroDivisionError

    assert scraped(broken, Clock()) == [b"[]"]


def test_hanging_checks_time_out() -> None:
    """Prometheus would otherwise give up first."""
    clock, waiting = Clock(), Deferred[Any]()
    got = scraped(lambda: waiting, clock)
    assert got == []
    clock.advance(CHECKS_TIMEOUT)
    assert len(got) == 1
    assert clock.getDelayedCalls() == []
