"""The checks of readiness: each by itself, and named when it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from credgate.service.control.readiness import TIMEOUT, Readiness
from credgate.service.control.routes import READY_TIMEOUT
from credgate.service.metrics.scrape import CHECKS_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Show what was logged."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def holds() -> Deferred[bool]:
    """Hold."""
    return succeed(True)  # noqa: FBT003 - Twisted's own


def fails() -> Deferred[bool]:
    """Do not hold."""
    return succeed(False)  # noqa: FBT003 - Twisted's own


def raises() -> Deferred[bool]:
    """Break."""
    raise AttributeError("doWrite")


def asked(clock: Clock, **checks: Callable[[], Any]) -> tuple[list[Any], Deferred[Any]]:
    """Ask; what is answered is in the list once it is there."""
    got: list[Any] = []
    asking = ensureDeferred(Readiness(checks, clock)()).addBoth(got.append)
    return got, asking


def test_checks_are_reported_by_name() -> None:
    """In order."""
    got, _ = asked(Clock(), serving=lambda: True, dns=fails)
    assert got == [{"serving": True, "dns": False}]
    assert list(got[0]) == ["serving", "dns"]


def test_failing_check_is_false_and_hides_no_other(logged: list[dict[str, Any]]) -> None:
    """The log names it and the type of the error."""
    got, _ = asked(Clock(), git=holds, dns=raises, audit=holds)
    assert got == [{"git": True, "dns": False, "audit": True}]
    assert [(event["name"], event["type"]) for event in logged] == [("dns", "AttributeError")]


def test_hanging_check_is_false_and_hides_no_other(logged: list[dict[str, Any]]) -> None:
    """It is told within the time that those who ask wait for all."""
    assert min(READY_TIMEOUT, CHECKS_TIMEOUT) > TIMEOUT
    clock, waiting = Clock(), Deferred[bool]()
    got, _ = asked(clock, git=lambda: waiting, audit=holds)
    assert got == []
    clock.advance(TIMEOUT)
    assert got == [{"git": False, "audit": True}]
    assert clock.getDelayedCalls() == []
    assert [event["name"] for event in logged] == ["git"]


def test_disconnect_cancels_all_checks(logged: list[dict[str, Any]]) -> None:
    """Nothing is logged."""
    clock, waiting = Clock(), Deferred[bool]()
    got, asking = asked(clock, git=lambda: waiting, audit=holds)
    asking.cancel()
    assert waiting.called
    assert clock.getDelayedCalls() == []
    assert got[0].check(CancelledError)
    assert logged == []
