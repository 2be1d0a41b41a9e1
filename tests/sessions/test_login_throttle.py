"""The brake on wrong credentials."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.login_throttle import LoginThrottle


def test_ten_failures_block_until_the_oldest_leaves_the_window() -> None:
    """Guessing at wire speed ends after ten; the wait is what Retry-After says."""
    brake = LoginThrottle(limit=10, window=60.0)
    for second in range(10):
        assert brake.blocked("192.0.2.1", float(second)) == 0.0
        brake.failed("192.0.2.1", float(second))
    assert brake.blocked("192.0.2.1", 10.0) == 50.0
    assert brake.blocked("192.0.2.1", 59.5) == 0.5
    assert brake.blocked("192.0.2.1", 60.0) == 0.0


def test_after_the_wait_each_failure_frees_one_try_at_a_time() -> None:
    """A sliding window: waiting out one failure does not forgive the other nine."""
    brake = LoginThrottle(limit=2, window=60.0)
    brake.failed("a", 0.0)
    brake.failed("a", 30.0)
    assert brake.blocked("a", 61.0) == 0.0
    brake.failed("a", 61.0)
    assert brake.blocked("a", 61.0) == 29.0


def test_one_address_does_not_block_another() -> None:
    """One sandbox must not lock the others out."""
    brake = LoginThrottle(limit=1, window=60.0)
    brake.failed("192.0.2.1", 0.0)
    assert brake.blocked("192.0.2.1", 1.0) > 0
    assert brake.blocked("192.0.2.2", 1.0) == 0.0


def test_ipv6_counts_by_its_64_and_mapped_as_ipv4() -> None:
    """One host is handed a whole /64; a dual-stack listener shows IPv4 clients as mapped."""
    brake = LoginThrottle(limit=1, window=60.0)
    brake.failed("2001:db8::1", 0.0)
    assert brake.blocked("2001:db8::ffff:1", 1.0) > 0
    assert brake.blocked("2001:db8:0:1::1", 1.0) == 0.0
    brake.failed("::ffff:192.0.2.1", 0.0)
    assert brake.blocked("192.0.2.1", 1.0) > 0


def test_what_is_no_address_counts_as_itself() -> None:
    """A peer without an address is braked, too."""
    brake = LoginThrottle(limit=1, window=60.0)
    brake.failed("unix", 0.0)
    assert brake.blocked("unix", 1.0) > 0


def test_prune_forgets_only_what_has_left_the_window() -> None:
    """Memory goes back to nothing after an attack."""
    brake = LoginThrottle(limit=3, window=60.0)
    brake.failed("a", 0.0)
    brake.failed("b", 10.0)
    brake.failed("a", 20.0)
    brake.prune(75.0)
    assert len(brake) == 1
    brake.prune(80.0)
    assert len(brake) == 0


def test_more_addresses_than_the_cap_forget_the_oldest() -> None:
    """An attacker with many addresses must not grow the gateway."""
    brake = LoginThrottle(limit=1, window=60.0, max_addresses=2)
    for number, address in enumerate(("a", "b", "c")):
        brake.failed(address, float(number))
    assert len(brake) == 2
    assert brake.blocked("a", 3.0) == 0.0
    assert brake.blocked("c", 3.0) > 0


def test_a_limit_below_one_still_allows_the_first_try() -> None:
    """Nobody is wrong before having tried."""
    brake = LoginThrottle(limit=0, window=60.0)
    assert brake.blocked("a", 0.0) == 0.0
    brake.failed("a", 0.0)
    assert brake.blocked("a", 1.0) > 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=60), st.integers(1, 5))
def test_no_address_fails_more_than_its_limit_in_any_window(tries: list[tuple[str, float]], limit: int) -> None:
    """The invariant, against a plain list of all failures."""
    brake, failures = LoginThrottle(limit, window=10.0), []
    for address, now in sorted(tries, key=lambda one: one[1]):
        recent = [when for who, when in failures if who == address and now < when + 10.0]
        assert (brake.blocked(address, now) > 0) == (len(recent) >= limit)
        if len(recent) < limit:
            brake.failed(address, now)
            failures.append((address, now))
        brake.prune(now)
