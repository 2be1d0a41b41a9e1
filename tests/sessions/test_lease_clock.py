"""The lease clock: what counts as time for a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.lease_clock import LeaseReading, elapsed, rebase, same_clock, shift, step, wall_time
from tests.fakes.sessions import DAY, session

THEN = LeaseReading(boot_id="boot-1", boot=5000.0, wall=1_800_000_000.0)

seconds = st.floats(min_value=0, max_value=1e9, allow_nan=False)
readings = st.builds(LeaseReading, boot_id=st.sampled_from(["boot-1", "boot-2"]), boot=seconds, wall=seconds)


def reading(boot_id: str = "boot-1", boot: float = 0.0, wall: float = 0.0) -> LeaseReading:
    """Make a reading ``boot`` and ``wall`` seconds after THEN; in another boot, ``boot`` is that boot's age."""
    return LeaseReading(boot_id, boot + (THEN.boot if boot_id == THEN.boot_id else 0.0), THEN.wall + wall)


def test_within_a_boot_the_wall_clock_does_not_count() -> None:
    """A step of a day either way is not a day in a session's life."""
    for wall in (60.0, 60.0 + DAY, 60.0 - DAY):
        assert elapsed(THEN, reading(boot=60.0, wall=wall)) == 60.0


def test_across_boots_the_wall_clock_bridges() -> None:
    """A machine that was off for an hour has aged its sessions by an hour."""
    assert elapsed(THEN, reading("boot-2", boot=10.0, wall=3600.0)) == 3600.0


def test_a_boot_that_has_run_for_longer_is_another_boot_all_the_same() -> None:
    """Its clock is ahead of the last one's, which says nothing of what lies between them."""
    now = reading("boot-2", boot=THEN.boot + 60.0, wall=DAY)
    assert not same_clock(THEN, now)
    assert elapsed(THEN, now) == DAY
    assert elapsed(THEN, reading("boot-2", boot=THEN.boot + 60.0, wall=-DAY)) == THEN.boot + 60.0
    assert step(THEN, now) == 0.0
    assert same_clock(THEN, THEN)


def test_across_boots_a_wall_clock_that_went_back_takes_no_time_back() -> None:
    """A board without a battery wakes up in 1970: what has passed for certain is the new boot's age."""
    assert elapsed(THEN, reading("boot-2", boot=10.0, wall=-DAY)) == 10.0


def test_a_boot_clock_that_went_back_is_another_clock() -> None:
    """A restored snapshot keeps its boot id: only the wall clock is left to tell."""
    now = LeaseReading("boot-1", THEN.boot - 1.0, THEN.wall + 600.0)
    assert not same_clock(THEN, now)
    assert elapsed(THEN, now) == 600.0
    assert elapsed(THEN, LeaseReading("boot-1", THEN.boot - 1.0, THEN.wall - 600.0)) == 0.0


def test_shift_keeps_a_session_s_age() -> None:
    """A session that was 1000 s old, then an hour away, is 4600 s old on the new boot's clock."""
    now = reading("boot-2", boot=10.0, wall=3600.0)
    moved = rebase(session(created=THEN.boot - 1000.0, used=THEN.boot - 400.0), shift(THEN, now))
    assert (now.boot - moved.created, now.boot - moved.used) == (4600.0, 4000.0)


def test_nothing_shifts_within_a_boot() -> None:
    """A restart of the process alone leaves every time as it is, to the last bit."""
    assert shift(THEN, reading(boot=60.0, wall=DAY)) == 0.0


def test_a_step_is_what_the_wall_clock_moved_beyond_time() -> None:
    """Steps are logged and written down; across boots there is nothing to compare with."""
    assert step(THEN, reading(boot=60.0, wall=60.0 - DAY)) == -DAY
    assert step(THEN, reading("boot-2", boot=60.0, wall=DAY)) == 0.0


def test_wall_time_follows_the_wall_clock_as_it_is_set_now() -> None:
    """People compare an expiry with the clock they see."""
    now = reading(boot=60.0, wall=DAY)
    assert wall_time(now.boot + 30.0, now) == now.wall + 30.0


def test_usable_readings_have_an_id_and_finite_numbers() -> None:
    """A damaged clock in the store must not turn into an eternal session."""
    assert THEN.usable()
    assert not LeaseReading("", 1.0, 1.0).usable()
    assert not LeaseReading("boot-1", float("inf"), 1.0).usable()
    assert not LeaseReading("boot-1", 1.0, float("nan")).usable()


@given(readings, readings)
def test_no_pair_of_readings_makes_a_session_younger(then: LeaseReading, now: LeaseReading) -> None:
    """Whatever the clocks say, an age never shrinks: nothing is revived."""
    assert elapsed(then, now) >= 0.0
    age_then = 50.0
    moved = rebase(session(created=then.boot - age_then, used=then.boot), shift(then, now))
    assert now.boot - moved.created >= age_then - 1e-3
