"""Rates: never more than the limit in any minute, never a longer wait than needed, never more memory than said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.rate import SLICES, WIDTH, WINDOW, Rates, RateWindow
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


def test_so_many_requests_then_a_wait_then_more() -> None:
    """The wait ends when the oldest slice leaves the window."""
    window = RateWindow(3)
    for now in (0.0, 5.0, 12.0):
        assert window.wait("a", now) == 0.0
        window.spend("a", 1, now)
    assert window.wait("a", 20.0) == 50.0
    assert window.wait("a", 69.5) == 0.5
    assert window.wait("a", 70.0) == 0.0


def test_what_comes_all_at_once_is_counted_all() -> None:
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


def test_one_key_does_not_hold_up_another() -> None:
    """One sandbox's haste is not its neighbour's wait."""
    window = RateWindow(1)
    window.spend("a", 1, 0.0)
    assert window.wait("a", 1.0) > 0
    assert window.wait("b", 1.0) == 0.0


def test_no_limit_remembers_nothing() -> None:
    """And costs nothing."""
    window = RateWindow(0)
    window.spend("a", 10**12, 0.0)
    assert window.wait("a", 0.0) == 0.0
    assert len(window) == 0


def test_what_is_spent_at_once_may_be_more_than_the_limit() -> None:
    """Bytes of one transfer: they wait out one window, however many they were."""
    window = RateWindow(1000)
    window.spend("a", 10**12, 3.0)
    assert window.wait("a", 4.0) == LATE - 4.0
    assert window.wait("a", LATE) == 0.0


def test_forgetting_lets_a_key_begin_anew() -> None:
    """A session that ended leaves nothing behind."""
    window = RateWindow(1)
    window.spend("a", 1, 0.0)
    window.forget("a")
    window.forget("never seen")
    assert (window.wait("a", 0.0), len(window)) == (0.0, 0)


@given(gaps, st.integers(1, 10))
def test_no_minute_holds_more_than_the_limit(between: list[float], limit: int) -> None:
    """Whenever they come: of those let through, none has ``limit`` others in the minute before it."""
    window, let_through = RateWindow(limit), []
    for now in times(between):
        if window.wait("a", now) == 0.0:
            window.spend("a", 1, now)
            let_through.append(now)
    for at, now in enumerate(let_through):
        assert at < limit or let_through[at - limit] <= now - WINDOW


@given(gaps, st.integers(1, 10))
def test_nobody_waits_for_what_is_long_past(between: list[float], limit: int) -> None:
    """Who is refused made ``limit`` requests within the last 70 seconds, and waits no longer than that."""
    window, let_through = RateWindow(limit), []
    for now in times(between):
        wait = window.wait("a", now)
        if wait == 0.0:
            window.spend("a", 1, now)
            let_through.append(now)
        else:
            assert sum(1 for one in let_through if one > now - LATE) >= limit
            assert wait <= LATE


@given(gaps, st.integers(1, 10), st.integers(1, 5))
def test_a_wait_is_as_long_as_it_must_be(between: list[float], limit: int, amount: int) -> None:
    """At its end there is room; a moment before there is none."""
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
def test_memory_is_bounded_by_keys_and_slices(doings: list[tuple[str, float]]) -> None:
    """Of too many keys the ones that were idle longest are forgotten; a key is seven numbers at most."""
    window, now, order = RateWindow(5, max_keys=3), 0.0, []
    for key, gap in doings:
        now += gap
        window.spend(key, 1, now)
        order = [one for one in order if one != key] + [key]
        assert list(window._spent) == order[-3:]
        assert all(len(spent) <= SLICES + 1 for spent in window._spent.values())
    window.prune(now + LATE)
    assert len(window) == 0


def test_pruning_keeps_what_still_counts() -> None:
    """It must not be a way to a fresh start."""
    window = RateWindow(1)
    window.spend("old", 1, 0.0)
    window.spend("young", 1, 30.0)
    window.prune(75.0)
    assert len(window) == 1
    assert window.wait("young", 75.0) > 0


# The three together.


def test_a_session_has_its_requests_from_wherever_they_come() -> None:
    """And what is refused is not counted, so that asking in vain costs nothing."""
    rates = Rates(2, 0, 0)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    assert rates.admit("s-1", "10.0.0.2", 0.0) is None
    for _ in range(5):
        wait = rates.admit("s-1", "10.0.0.3", 9.5)
        assert wait is not None
        assert wait.seconds == 61
    assert wait.decision.reason is Reason.TOO_MANY_REQUESTS
    assert wait.decision.text == ("this session has made 2 requests, as many as it may, within a minute; wait 61 s")
    assert rates.admit("s-2", "10.0.0.1", 9.5) is None
    assert rates.admit("s-1", "10.0.0.1", LATE) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [("10.0.0.1", "10.0.0.1"), ("10.0.0.1", "::ffff:10.0.0.1"), ("2001:db8::1", "2001:db8::2:3")],
)
def test_an_address_has_its_requests_for_all_its_sessions(first: str, second: str) -> None:
    """However it is written; IPv6 counts by what one host is handed."""
    rates = Rates(0, 1, 0)
    assert rates.admit("s-1", first, 0.0) is None
    wait = rates.admit("s-2", second, 0.0)
    assert wait is not None
    assert (wait.decision.reason, wait.decision.rule) == (Reason.TOO_MANY_REQUESTS, "limits")
    assert "this address has made 1 requests" in wait.decision.text
    assert rates.admit("s-1", "10.0.0.9", 0.0) is None


def test_bytes_keep_the_next_request_waiting() -> None:
    """Of the session that moved them, in either direction."""
    rates = Rates(0, 0, 1000)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    rates.moved("s-1", 999, 0.0)
    assert rates.admit("s-1", "10.0.0.1", 1.0) is None
    rates.moved("s-1", 1, 1.0)
    wait = rates.admit("s-1", "10.0.0.1", 2.0)
    assert wait is not None
    assert wait.decision.reason is Reason.TOO_MANY_BYTES
    assert "more than the 1000 bytes" in wait.decision.text
    assert rates.admit("s-2", "10.0.0.1", 2.0) is None


def test_a_request_that_one_limit_holds_back_is_counted_by_none() -> None:
    """Else two limits together would be stricter than either."""
    rates = Rates(2, 1, 0)
    assert rates.admit("s-1", "10.0.0.1", 0.0) is None
    assert rates.admit("s-1", "10.0.0.1", 0.0) is not None
    assert rates.admit("s-1", "10.0.0.2", 0.0) is None


def test_no_limits_let_everything_through_and_keep_nothing() -> None:
    """The default."""
    rates = Rates(0, 0, 0)
    for now in range(1000):
        rates.moved("s-1", 10**9, float(now))
        assert rates.admit("s-1", "10.0.0.1", float(now)) is None
    assert [len(window) for window in (rates._requests, rates._by_address, rates._bytes)] == [0, 0, 0]


def test_an_ended_session_and_old_doings_are_forgotten() -> None:
    """Sessions come and go for years."""
    rates = Rates(1, 1, 1)
    rates.admit("s-1", "10.0.0.1", 0.0)
    rates.moved("s-1", 5, 0.0)
    rates.forget("s-1")
    assert (len(rates._requests), len(rates._bytes), len(rates._by_address)) == (0, 0, 1)
    rates.prune(LATE)
    assert len(rates._by_address) == 0
