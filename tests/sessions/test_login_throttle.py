"""Limits on wrong credentials."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.login_throttle import LoginThrottle


def test_ten_failures_block_until_the_oldest_leaves_the_window() -> None:
    """The wait is sent as Retry-After."""
    throttle = LoginThrottle(limit=10, window=60.0)
    for second in range(10):
        assert throttle.blocked("192.0.2.1", float(second)) == 0.0
        throttle.failed("192.0.2.1", float(second))
    assert throttle.blocked("192.0.2.1", 10.0) == 50.0
    assert throttle.blocked("192.0.2.1", 59.5) == 0.5
    assert throttle.blocked("192.0.2.1", 60.0) == 0.0


def test_each_expired_failure_allows_one_more_try() -> None:
    """The window slides: when one failure expires, the others still count."""
    throttle = LoginThrottle(limit=2, window=60.0)
    throttle.failed("a", 0.0)
    throttle.failed("a", 30.0)
    assert throttle.blocked("a", 61.0) == 0.0
    throttle.failed("a", 61.0)
    assert throttle.blocked("a", 61.0) == 29.0


def test_addresses_are_limited_separately() -> None:
    """One sandbox must not lock the others out."""
    throttle = LoginThrottle(limit=1, window=60.0)
    throttle.failed("192.0.2.1", 0.0)
    assert throttle.blocked("192.0.2.1", 1.0) > 0
    assert throttle.blocked("192.0.2.2", 1.0) == 0.0


def test_ipv6_counts_by_its_64_and_mapped_as_ipv4() -> None:
    """One host is assigned a /64; a dual-stack listener reports IPv4 clients as mapped."""
    throttle = LoginThrottle(limit=1, window=60.0)
    throttle.failed("2001:db8::1", 0.0)
    assert throttle.blocked("2001:db8::ffff:1", 1.0) > 0
    assert throttle.blocked("2001:db8:0:1::1", 1.0) == 0.0
    throttle.failed("::ffff:192.0.2.1", 0.0)
    assert throttle.blocked("192.0.2.1", 1.0) > 0


def test_peer_without_address_is_limited() -> None:
    """A peer of a UNIX socket has no address."""
    throttle = LoginThrottle(limit=1, window=60.0)
    throttle.failed("unix", 0.0)
    assert throttle.blocked("unix", 1.0) > 0


def test_prune_removes_only_expired_addresses() -> None:
    """Memory is released after an attack."""
    throttle = LoginThrottle(limit=3, window=60.0)
    throttle.failed("a", 0.0)
    throttle.failed("b", 10.0)
    throttle.failed("a", 20.0)
    throttle.prune(75.0)
    assert len(throttle) == 1
    throttle.prune(80.0)
    assert len(throttle) == 0


def test_oldest_address_is_evicted_beyond_the_maximum() -> None:
    """An attacker with many addresses must not grow the gateway."""
    throttle = LoginThrottle(limit=1, window=60.0, max_addresses=2)
    for number, address in enumerate(("a", "b", "c")):
        throttle.failed(address, float(number))
    assert len(throttle) == 2
    assert throttle.blocked("a", 3.0) == 0.0
    assert throttle.blocked("c", 3.0) > 0


def test_a_limit_below_one_still_allows_the_first_try() -> None:
    """Otherwise no login would be possible."""
    throttle = LoginThrottle(limit=0, window=60.0)
    assert throttle.blocked("a", 0.0) == 0.0
    throttle.failed("a", 0.0)
    assert throttle.blocked("a", 1.0) > 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=60), st.integers(1, 5))
def test_no_address_fails_more_than_its_limit_in_any_window(tries: list[tuple[str, float]], limit: int) -> None:
    """The invariant, against a plain list of all failures."""
    throttle, failures = LoginThrottle(limit, window=10.0), []
    for address, now in sorted(tries, key=lambda one: one[1]):
        recent = [when for who, when in failures if who == address and now < when + 10.0]
        assert (throttle.blocked(address, now) > 0) == (len(recent) >= limit)
        if len(recent) < limit:
            throttle.failed(address, now)
            failures.append((address, now))
        throttle.prune(now)
