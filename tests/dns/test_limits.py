"""Limits for DNS clients: the token bucket and the window of distinct values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.dns.limits import DistinctWindow, Seen, TokenBucket


def test_burst_then_rate() -> None:
    """Ten at once, then one each tenth of a second."""
    bucket = TokenBucket(10.0, 10.0, 0.0)
    assert [bucket.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0.1), bucket.take(0.1), bucket.take(0.25)] == [True, False, True]


def test_tokens_are_limited_to_the_burst() -> None:
    """After an hour without queries there is one burst."""
    bucket = TokenBucket(10.0, 3.0, 0.0)
    assert [bucket.take(3600.0) for _ in range(4)] == [True, True, True, False]


def test_rate_zero_means_no_limit() -> None:
    """``rate = 0``."""
    bucket = TokenBucket(0.0, 1.0, 0.0)
    assert all(bucket.take(0.0) for _ in range(1000))


def test_every_second_excess_datagram_slips() -> None:
    """A real client gets a truncated reply and switches to TCP."""
    bucket = TokenBucket(1.0, 1.0, 0.0)
    assert [bucket.slip() for _ in range(4)] == [False, True, False, True]


@given(st.floats(1, 1000), st.floats(1, 1000), st.lists(st.floats(0, 0.1), max_size=200))
def test_never_more_than_burst_and_rate(rate: float, burst: float, gaps: list[float]) -> None:
    """Whatever the gaps between datagrams."""
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6


def test_first_excess_is_distinguished() -> None:
    """One audit line when the limit is reached, not one for each packet."""
    window = DistinctWindow(2)
    assert [window.see("k", thing, 0.0) for thing in "abacd"] == [Seen.NEW, Seen.NEW, Seen.AGAIN, Seen.FULL, Seen.OVER]
    assert window.see("k", "a", 0.0) is Seen.AGAIN


def test_keys_are_counted_separately() -> None:
    """One client does not use up the limit of another."""
    window = DistinctWindow(1)
    assert window.see("one", "a", 0.0) is Seen.NEW
    assert window.see("one", "b", 0.0) is Seen.FULL
    assert window.see("other", "b", 0.0) is Seen.NEW


def test_a_window_ends() -> None:
    """After its seconds everything starts over."""
    window = DistinctWindow(1, seconds=60.0)
    window.see("k", "a", 1.0)
    assert window.see("k", "b", 59.9) is Seen.FULL
    assert window.see("k", "b", 60.0) is Seen.NEW


def test_key_that_cannot_be_counted_is_over_its_limit() -> None:
    """A flood of forged keys frees no names and uses no more memory."""
    window = DistinctWindow(5, max_keys=2)
    assert window.see("a", 1, 0.0) is window.see("b", 1, 0.0) is Seen.NEW
    assert window.see("c", 1, 0.0) is Seen.FULL
    assert window.see("d", 1, 0.0) is Seen.OVER
    assert window.see("a", 2, 0.0) is Seen.NEW


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(1, 4), st.integers(1, 4))
def test_never_more_than_the_limit_passes(sightings: list[tuple[int, int]], limit: int, keys: int) -> None:
    """The property that limits tunnelling."""
    window = DistinctWindow(limit, max_keys=keys)
    passed = {(k, t) for k, t in sightings if window.see(k, t, 0.0) in (Seen.NEW, Seen.AGAIN)}
    assert all(sum(1 for one, _ in passed if one == key) <= limit for key in range(6))
    assert len({key for key, _ in passed}) <= keys
