"""Renewal of credentials: single flight, cache, margins, failure memory, forced renewal and the timer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from credgate.errors import CredentialError
from credgate.service.credentials.renewal import (
    FORCED_SECONDS,
    LONGEST_HOLD,
    LONGEST_TIMER,
    CachedCredential,
    FailedFetch,
    Renewal,
    RenewalPolicy,
    SingleFlight,
    early,
)
from credgate.service.credentials.sources import Credential
from credgate.sessions.lease_clock import LeaseReading

if TYPE_CHECKING:
    from twisted.python.failure import Failure

SPAN = st.floats(0, 1e6)
COMMAND, TOKEN = RenewalPolicy.for_command("a"), RenewalPolicy.for_token("a", "ask")
BOTH = pytest.mark.parametrize("policy", [COMMAND, TOKEN], ids=["command", "token"])


class Runs:
    """A single flight whose runs end when the test says so."""

    def __init__(self) -> None:
        self.running: list[Deferred[str]] = []
        self.flight = SingleFlight(self.run)

    async def run(self) -> str:
        self.running.append(Deferred())
        return await self.running[-1]

    def join(self) -> list[Any]:
        """Wait; the list then holds the result."""
        results: list[Any] = []
        self.flight.join().addBoth(results.append)
        return results


def test_waiting_callers_share_one_run_and_later_callers_start_another() -> None:
    runs = Runs()
    first, second = runs.join(), runs.join()
    assert (len(runs.running), runs.flight.running, first) == (1, True, [])
    runs.running[0].callback("one")
    assert (first, second, runs.flight.running) == (["one"], ["one"], False)
    third = runs.join()
    runs.running[1].callback("two")
    assert (first, third) == (["one"], ["two"])


def test_a_failed_run_fails_all_waiting_callers_and_no_later_one() -> None:
    runs = Runs()
    waiting = [runs.join(), runs.join()]
    runs.running[0].errback(CredentialError("no"))
    for (failure,) in waiting:
        assert failure.value.text == "no"
    again = runs.join()
    runs.running[1].callback("one")
    assert again == ["one"]


def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    """A client that disconnects must not cost the others their credential."""
    runs = Runs()
    results: list[Any] = []
    leaving = runs.flight.join().addBoth(results.append)
    staying = runs.join()
    leaving.cancel()
    assert results[0].check(CancelledError)
    runs.running[0].callback("one")
    assert (staying, len(results)) == (["one"], 1)


def test_a_run_continues_without_callers() -> None:
    for end in (lambda one: one.callback("one"), lambda one: one.errback(CredentialError("no"))):
        runs = Runs()
        runs.flight.join().addErrback(lambda _: None).cancel()
        end(runs.running[0])
        assert not runs.flight.running


def test_a_defect_without_callers_is_logged(clean_reactor: list[Failure]) -> None:
    runs = Runs()
    runs.flight.join().addErrback(lambda _: None).cancel()
    runs.running[0].errback(RuntimeError("broken"))
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()


@pytest.mark.parametrize("fails", [False, True])
def test_a_caller_may_cancel_another_caller(*, fails: bool) -> None:
    """A request that ends its session cancels the session's other requests."""
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


@pytest.mark.parametrize(
    ("lifetime", "margin"), [(3600.0, 300.0), (7200.0, 300.0), (1200.0, 300.0), (600.0, 150.0), (8.0, 2.0)]
)
def test_the_margin_is_five_minutes_or_a_quarter_of_a_short_lifetime(lifetime: float, margin: float) -> None:
    assert early(lifetime) == margin


@given(boot=SPAN, lifetime=SPAN, margin=SPAN, wall=st.floats(-1e9, 1e9))
def test_a_lifetime_is_counted_from_the_request_by_the_boot_clock(
    boot: float, lifetime: float, margin: float, wall: float
) -> None:
    """Part of it has passed when the response arrives; a change of the wall clock has no effect."""
    held = CachedCredential.of(Credential("0a", "x"), lifetime, margin, LeaseReading("boot", boot, wall))
    assert held.ends == boot + lifetime
    assert held.due == held.ends - margin <= held.ends


def test_a_cached_credential_shows_no_secret() -> None:
    """Its ``repr`` appears in tracebacks."""
    held = CachedCredential.of(Credential("0a", "CANARY"), 3600, 300, LeaseReading("boot", 0, 0))
    assert "CANARY" not in repr(held)


@pytest.mark.parametrize(("asked", "held"), [(0, 1), (5, 5), (90, 90), (10**9, LONGEST_HOLD)])
def test_a_failure_is_remembered_for_its_retry_after_within_bounds(asked: int, held: float) -> None:
    """Ten requests a second must not become ten at the forge; "next year" must not end the service."""
    assert FailedFetch.at(1000.0, CredentialError("x", retry_after=asked)).until == 1000.0 + held


class Bench:
    """A renewal on a clock of its own; each fetch takes the next result, or waits for one."""

    def __init__(self, policy: RenewalPolicy, *results: float | CredentialError) -> None:
        self.clock, self.results, self.fetches = Clock(), list(results), 0
        self.hooks: list[Any] = []
        self.pending: Deferred[None] | None = None
        self.renewal = Renewal(
            "a",
            policy,
            self.produce,
            seconds=self.clock.seconds,
            lifetime_clock=self.clock.seconds,
            reactor=self.clock,
            on_failed=self.hooks.append,
            on_renewed=self.renewed,
        )

    async def produce(self) -> CachedCredential:
        """Make a credential with the next lifetime; it is due, and renewed, ten seconds before its end."""
        self.fetches += 1
        number = self.fetches
        if self.pending is not None:
            await self.pending
        result = self.results.pop(0)
        if isinstance(result, CredentialError):
            raise result
        ends = self.clock.seconds() + result
        return CachedCredential(Credential(str(number), "x"), ends - 10, ends, ends - 10)

    async def renewed(self, old: CachedCredential | None, new: CachedCredential) -> None:
        self.hooks.append((None if old is None else old.credential.id, new.credential.id))

    def fetch(self, refused: str = "") -> Any:
        """Return the id of the credential, the text of the error, or ``None`` while the fetch runs."""
        results: list[Any] = []
        Deferred.fromCoroutine(self.renewal.fetch(refused)).addBoth(results.append)
        if not results:
            return None
        return results[0].id if isinstance(results[0], Credential) else results[0].value.text


@BOTH
def test_a_credential_is_fetched_once_and_cached_until_it_is_due(policy: RenewalPolicy) -> None:
    bench = Bench(policy, 100, 100)
    assert (bench.renewal.cached(), bench.fetch(), bench.fetch(), bench.fetches) == (None, "1", "1", 1)
    bench.clock.advance(90)
    assert bench.renewal.cached() is None
    assert bench.fetch() == "2"
    assert bench.hooks == [(None, "1"), ("1", "2")]


@BOTH
def test_a_failure_is_repeated_and_a_usable_credential_preferred(policy: RenewalPolicy) -> None:
    bench = Bench(policy, 100, CredentialError("no", retry_after=5), CredentialError("still", retry_after=5), 100)
    assert bench.fetch() == "1"
    bench.clock.advance(92)
    assert [bench.fetch(), bench.fetch(), bench.fetches, bench.renewal.trouble] == ["1", "1", 2, "no"]
    bench.clock.advance(4)
    assert (bench.fetch(), bench.fetches) == ("1", 2)
    bench.clock.advance(4)
    assert [bench.fetch(), bench.fetch(), bench.fetches] == ["still", "still", 3]
    bench.clock.advance(5)
    assert [bench.fetch(), bench.renewal.trouble] == ["4", ""]
    assert [str(one.text) for one in bench.hooks if isinstance(one, CredentialError)] == ["no", "still"]


@pytest.mark.parametrize(
    ("policy", "first_wait", "used_while_refused"), [(COMMAND, FORCED_SECONDS, "1"), (TOKEN, 0, None)]
)
def test_a_refused_credential_is_renewed_at_most_every_thirty_seconds(
    policy: RenewalPolicy, first_wait: float, used_while_refused: str | None
) -> None:
    """For a command the interval begins with any fetch, and a refusal for one request does not discard the value."""
    bench = Bench(policy, 1000, 1000, CredentialError("no"), 1000)
    bench.fetch()
    if first_wait:
        assert bench.fetch("1") == policy.too_soon
        bench.clock.advance(first_wait)
    assert bench.fetch("1") == "2"
    bench.clock.advance(FORCED_SECONDS - 1)
    assert (bench.fetch("2"), bench.fetch("1")) == (policy.too_soon, "2")
    bench.clock.advance(1)
    assert bench.fetch("2") == "no"
    held = bench.renewal.cached()
    assert (None if held is None else held.id) == (used_while_refused and "2")


@BOTH
def test_requests_with_the_same_refusal_share_one_renewal(policy: RenewalPolicy) -> None:
    """The second must not fail because the first has caused a renewal a moment ago."""
    bench = Bench(policy, 1000, 1000)
    bench.fetch()
    bench.clock.advance(FORCED_SECONDS)
    bench.pending = Deferred()
    results: list[Any] = []
    for _ in range(2):
        Deferred.fromCoroutine(bench.renewal.fetch("1")).addBoth(results.append)
    bench.pending.callback(None)
    assert [one.id for one in results] == ["2", "2"]


@BOTH
def test_the_timer_renews_before_the_end_and_tries_again(policy: RenewalPolicy) -> None:
    bench = Bench(policy, 100, CredentialError("no"), 100)
    bench.renewal.start()
    assert bench.fetches == 1
    bench.clock.advance(90)
    assert bench.fetches == 2
    bench.clock.advance(policy.retry - 1)
    assert bench.fetches == 2
    bench.clock.advance(1)
    assert bench.fetches == 3
    bench.renewal.stop()
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("policy", "timers"), [(COMMAND, 0), (TOKEN, 1)])
def test_the_timer_repeats_a_failed_first_fetch_only_for_tokens(policy: RenewalPolicy, timers: int) -> None:
    """A command may ask a person, so it waits for a request; a token may be lost if it is not renewed."""
    bench = Bench(policy, CredentialError("no"))
    bench.renewal.start()
    assert len(bench.clock.getDelayedCalls()) == timers
    bench.renewal.stop()


def test_a_long_timer_is_split_and_does_not_renew_early() -> None:
    """A machine that was suspended must compare its clock now and then."""
    bench = Bench(TOKEN, 10 * LONGEST_TIMER)
    bench.renewal.start()
    bench.clock.pump([LONGEST_TIMER] * 9)
    assert bench.fetches == 1
    (timer,) = bench.clock.getDelayedCalls()
    assert timer.getTime() - bench.clock.seconds() <= LONGEST_TIMER
    bench.renewal.stop()


def test_a_credential_without_an_end_has_no_timer() -> None:
    bench = Bench(COMMAND, math.inf)
    bench.renewal.start()
    assert bench.clock.getDelayedCalls() == []


def test_a_cleared_renewal_forgets_credential_failures_and_refusals() -> None:
    bench = Bench(TOKEN, 1000, 1000, 1000, 1000)
    bench.fetch()
    bench.fetch("1")
    held = bench.renewal.clear()
    assert held is not None
    assert (held.credential.id, bench.renewal.held, bench.fetch(), bench.fetch("3")) == ("2", None, "3", "4")
