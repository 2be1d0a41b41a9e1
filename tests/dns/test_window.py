"""Distinct things a key and window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.dns.window import DistinctWindow, Seen


def test_the_first_excess_is_told_apart() -> None:
    """One audit line when the limit is met, not one a packet."""
    window = DistinctWindow(2)
    assert [window.see("k", thing, 0.0) for thing in "abacd"] == [Seen.NEW, Seen.NEW, Seen.AGAIN, Seen.FULL, Seen.OVER]
    assert window.see("k", "a", 0.0) is Seen.AGAIN


def test_keys_are_counted_apart() -> None:
    """One sandbox's noise does not silence another."""
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


def test_what_cannot_be_counted_is_over() -> None:
    """A flood of forged keys buys nothing and costs no more memory."""
    window = DistinctWindow(5, max_keys=2)
    assert window.see("a", 1, 0.0) is window.see("b", 1, 0.0) is Seen.NEW
    assert window.see("c", 1, 0.0) is Seen.FULL
    assert window.see("d", 1, 0.0) is Seen.OVER
    assert window.see("a", 2, 0.0) is Seen.NEW


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(1, 4), st.integers(1, 4))
def test_never_more_than_the_limit_passes(sightings: list[tuple[int, int]], limit: int, keys: int) -> None:
    """The property that the tunnelling guard stands on."""
    window = DistinctWindow(limit, max_keys=keys)
    passed = {(k, t) for k, t in sightings if window.see(k, t, 0.0) in (Seen.NEW, Seen.AGAIN)}
    assert all(sum(1 for one, _ in passed if one == key) <= limit for key in range(6))
    assert len({key for key, _ in passed}) <= keys
