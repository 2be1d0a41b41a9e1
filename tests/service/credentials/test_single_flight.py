"""One run for all who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from credgate.errors import CredentialError
from credgate.service.credentials.single_flight import SingleFlight

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class Runs:
    """A flight whose runs end when the test says so."""

    def __init__(self) -> None:
        self.running: list[Deferred[str]] = []
        self.flight = SingleFlight(self.run)

    async def run(self) -> str:
        """Begin one."""
        self.running.append(Deferred())
        return await self.running[-1]

    def join(self) -> list[Any]:
        """Wait; the list then holds the result."""
        results: list[Any] = []
        self.flight.join().addBoth(results.append)
        return results


def test_who_waits_shares_one_run_and_who_comes_later_starts_another() -> None:
    """A command is not run once a request."""
    runs = Runs()
    first, second = runs.join(), runs.join()
    assert (len(runs.running), runs.flight.aloft, first) == (1, True, [])
    runs.running[0].callback("one")
    assert (first, second, runs.flight.aloft) == (["one"], ["one"], False)
    third = runs.join()
    runs.running[1].callback("two")
    assert (first, third) == (["one"], ["two"])


def test_a_failure_is_everybodys() -> None:
    """And not the next one's."""
    runs = Runs()
    waiting = [runs.join(), runs.join()]
    runs.running[0].errback(CredentialError("no"))
    for (failure,) in waiting:
        assert failure.value.text == "no"
    again = runs.join()
    runs.running[1].callback("one")
    assert again == ["one"]


def test_who_leaves_takes_nothing_away() -> None:
    """A client that hangs up must not cost the others their credential."""
    runs = Runs()
    results: list[Any] = []
    leaving = runs.flight.join().addBoth(results.append)
    staying = runs.join()
    leaving.cancel()
    assert results[0].check(CancelledError)
    runs.running[0].callback("one")
    assert (staying, len(results)) == (["one"], 1)


def test_the_run_goes_on_for_nobody() -> None:
    """What it gets is there for the next request; that it failed is told by whoever keeps it."""
    for end in (lambda one: one.callback("one"), lambda one: one.errback(CredentialError("no"))):
        runs = Runs()
        runs.flight.join().addErrback(lambda _: None).cancel()
        end(runs.running[0])
        assert not runs.flight.aloft


def test_a_defect_that_nobody_waits_for_is_logged(clean_reactor: list[Failure]) -> None:
    """It would be lost."""
    runs = Runs()
    runs.flight.join().addErrback(lambda _: None).cancel()
    runs.running[0].errback(RuntimeError("broken"))
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()


@pytest.mark.parametrize("fails", [False, True])
def test_one_who_is_told_may_send_another_away(*, fails: bool) -> None:
    """A request that ends its session ends the others that wait."""
    runs = Runs()
    second: list[Any] = []
    first = runs.flight.join()
    other = runs.flight.join().addBoth(second.append)
    first.addBoth(lambda _: other.cancel())
    if fails:
        runs.running[0].errback(CredentialError("no"))
    else:
        runs.running[0].callback("one")
    assert second[0].check(CancelledError)
