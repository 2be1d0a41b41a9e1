"""The token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.dns.rate import Bucket


def test_a_burst_then_the_rate() -> None:
    """Ten at once, then one each tenth of a second."""
    bucket = Bucket(10.0, 10.0, 0.0)
    assert [bucket.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [bucket.take(0.1), bucket.take(0.1), bucket.take(0.25)] == [True, False, True]


def test_tokens_do_not_pile_up() -> None:
    """An hour of silence buys one burst."""
    bucket = Bucket(10.0, 3.0, 0.0)
    assert [bucket.take(3600.0) for _ in range(4)] == [True, True, True, False]


def test_no_rate_is_no_limit() -> None:
    """``rate = 0``."""
    bucket = Bucket(0.0, 1.0, 0.0)
    assert all(bucket.take(0.0) for _ in range(1000))


def test_every_second_excess_slips() -> None:
    """A real client gets a truncated answer and goes to TCP."""
    bucket = Bucket(1.0, 1.0, 0.0)
    assert [bucket.slip() for _ in range(4)] == [False, True, False, True]


@given(st.floats(1, 1000), st.floats(1, 1000), st.lists(st.floats(0, 0.1), max_size=200))
def test_never_more_than_burst_and_rate(rate: float, burst: float, gaps: list[float]) -> None:
    """Whatever the gaps between datagrams."""
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6
