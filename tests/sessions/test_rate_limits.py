"""Rate limits: no minute exceeds the limit, no wait is longer than needed, memory is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.rate_limits import Rates
from credgate.throttle import WIDTH, WINDOW, RateWindow
from credgate.values import Reason

LATE = WINDOW + WIDTH
gaps = st.lists(st.floats(0, 30, allow_nan=False), max_size=120)


def times(between: list[float]) -> list[float]:
    """Return moments with these gaps."""
    now, found = 0.0, []
    for gap in between:
        now += gap
        found.append(now)
    return found


def test_wait_ends_when_oldest_slice_leaves_window() -> None:
    """The wait ends when the oldest slice leaves the window."""
    window = RateWindow(3)
    for now in (0.0, 5.0, 12.0):
        assert window.wait("a", now) == 0.0
        window.spend("a", 1, now)
    assert window.wait("a", 20.0) == 50.0
    assert window.wait("a", 69.5) == 0.5
    assert window.wait("a", 70.0) == 0.0


def test_amounts_in_one_slice_are_all_counted() -> None:
    """More than there are slices, within one: each counts, and they leave the window together."""
    window = RateWindow(100)
    for _ in range(100):
        assert window.wait("a", 5.0) == 0.0
        window.spend("a", 1, 5.0)
    assert window.wait("a", 5.0) == 65.0
    window.spend("a", -50, 5.0)
    assert window.wait("a", 69.0) == 1.0
    assert window.wait("a", 70.0) == 0.0
    window.spend("a", 1, 70.0)
    assert window.wait("a", 70.0) == 0.0


def test_keys_are_limited_separately() -> None:
    """A sandbox with many requests must not delay another."""
    window = RateWindow(1)
    window.spend("a", 1, 0.0)
    assert window.wait("a", 1.0) > 0
    assert window.wait("b", 1.0) == 0.0


def test_limit_of_zero_records_nothing() -> None:
    """A limit that is off must cost no memory."""
    window = RateWindow(0)
    window.spend("a", 10**12, 0.0)
    assert window.wait("a", 0.0) == 0.0
    assert len(window) == 0


def test_amount_above_the_limit_waits_out_one_window() -> None:
    """One transfer may move more bytes than the limit; the wait does not grow with them."""
    window = RateWindow(1000)
    window.spend("a", 10**12, 3.0)
    assert window.wait("a", 4.0) == LATE - 4.0
    assert window.wait("a", LATE) == 0.0


def test_forgotten_key_starts_again() -> None:
    """A session that has ended must not occupy memory."""
    window = RateWindow(1)
    window.spend("a", 1, 0.0)
    window.forget("a")
    window.forget("never seen")
    assert (window.wait("a", 0.0), len(window)) == (0.0, 0)


@given(gaps, st.integers(1, 10))
def test_no_minute_exceeds_the_limit(between: list[float], limit: int) -> None:
    """For any arrival times, no admitted request has ``limit`` others in the minute before it."""
    window, admitted = RateWindow(limit), []
    for now in times(between):
        if window.wait("a", now) == 0.0:
            window.spend("a", 1, now)
            admitted.append(now)
    for at, now in enumerate(admitted):
        assert at < limit or admitted[at - limit] <= now - WINDOW


@given(gaps, st.integers(1, 10))
def test_refusal_implies_limit_requests_in_the_last_70_seconds(between: list[float], limit: int) -> None:
    """Older requests must not cause a wait, and no wait is longer than 70 seconds."""
    window, admitted = RateWindow(limit), []
    for now in times(between):
        wait = window.wait("a", now)
        if wait == 0.0:
            window.spend("a", 1, now)
            admitted.append(now)
        else:
            assert sum(1 for one in admitted if one > now - LATE) >= limit
            assert wait <= LATE


@given(gaps, st.integers(1, 10), st.integers(1, 5))
def test_wait_is_minimal(between: list[float], limit: int, amount: int) -> None:
    """At its end a request is admitted; a moment earlier it is not."""
    window = RateWindow(limit)
    now = 0.0
    for now in times(between):
        window.spend("a", amount, now)
    wait = window.wait("a", now)
    if wait > 0.01:
        early = RateWindow(limit)
        for moment in times(between):
            early.spend("a", amount, moment)
        assert early.wait("a", now + wait - 0.01) > 0
        assert window.wait("a", now + wait + 0.000001) == 0.0


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 30, allow_nan=False)), max_size=200))
def test_memory_is_bounded_by_keys(spending: list[tuple[str, float]]) -> None:
    """Beyond the maximum the key that was used longest ago is forgotten, and no longer waits."""
    window, now, order = RateWindow(1, max_keys=3), 0.0, []
    for key, gap in spending:
        now += gap
        window.spend(key, 1, now)
        order = [one for one in order if one != key] + [key]
        assert len(window) == len(order[-3:])
        assert all(window.wait(one, now) == 0.0 for one in order[:-3])
        assert window.wait(key, now) > 0.0
    window.prune(now + LATE)
    assert len(window) == 0


def test_prune_keeps_amounts_in_the_window() -> None:
    """Pruning must not reset a limit."""
    window = RateWindow(1)
    window.spend("old", 1, 0.0)
    window.spend("young", 1, 30.0)
    window.prune(75.0)
    assert len(window) == 1
    assert window.wait("young", 75.0) > 0


def test_requests_of_a_session_are_limited_across_addresses() -> None:
    """Refused requests do not count, so that early retries do not extend the wait."""
    rates = Rates(2, 0, 0)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    assert rates.admit("s-1", "10.0.0.2", 0.0) is None
    for _ in range(5):
        wait = rates.admit("s-1", "10.0.0.3", 9.5)
        assert wait is not None
        assert wait.seconds == 61
    assert wait.decision.reason is Reason.TOO_MANY_REQUESTS
    assert wait.decision.text == ("this session has made its limit of 2 requests within a minute; wait 61 s")
    assert rates.admit("s-2", "10.0.0.1", 9.5) is None
    assert rates.admit("s-1", "10.0.0.1", LATE) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [("10.0.0.1", "10.0.0.1"), ("10.0.0.1", "::ffff:10.0.0.1"), ("2001:db8::1", "2001:db8::2:3")],
)
def test_requests_of_an_address_are_limited_across_sessions(first: str, second: str) -> None:
    """The spelling of the address does not matter; IPv6 counts by /64."""
    rates = Rates(0, 1, 0)
    assert rates.admit("s-1", first, 0.0) is None
    wait = rates.admit("s-2", second, 0.0)
    assert wait is not None
    assert (wait.decision.reason, wait.decision.rule) == (Reason.TOO_MANY_REQUESTS, "limits")
    assert "this address has made its limit of 1 requests" in wait.decision.text
    assert rates.admit("s-1", "10.0.0.9", 0.0) is None


def test_bytes_delay_the_next_request_of_the_session() -> None:
    """Other sessions are not delayed."""
    rates = Rates(0, 0, 1000)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    rates.moved("s-1", 999, 0.0)
    assert rates.admit("s-1", "10.0.0.1", 1.0) is None
    rates.moved("s-1", 1, 1.0)
    wait = rates.admit("s-1", "10.0.0.1", 2.0)
    assert wait is not None
    assert wait.decision.reason is Reason.TOO_MANY_BYTES
    assert "its limit of 1000 bytes" in wait.decision.text
    assert rates.admit("s-2", "10.0.0.1", 2.0) is None


def test_request_refused_by_one_limit_counts_for_none() -> None:
    """Otherwise two limits together would be stricter than each alone."""
    rates = Rates(2, 1, 0)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    assert rates.admit("s-1", "10.0.0.1", 0.0) is not None
    assert rates.admit("s-1", "10.0.0.2", 0.0) is None


def test_without_limits_everything_is_admitted_and_nothing_recorded() -> None:
    """This is the default configuration."""
    rates = Rates(0, 0, 0)
    for now in range(1000):
        rates.moved("s-1", 10**9, float(now))
        assert rates.admit("s-1", "10.0.0.1", float(now)) is None
    assert len(rates) == 0


def test_ended_sessions_and_old_amounts_are_removed() -> None:
    """The gateway may run for years."""
    rates = Rates(1, 1, 1)
    rates.admit("s-1", "10.0.0.1", 0.0)
    rates.moved("s-1", 5, 0.0)
    rates.forget("s-1")
    assert len(rates) == 1  # the address
    rates.prune(LATE)
    assert len(rates) == 0
