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


def test_wall_clock_is_ignored_within_a_boot() -> None:
    """A step of a day must not age a session."""
    for wall in (60.0, 60.0 + DAY, 60.0 - DAY):
        assert elapsed(THEN, reading(boot=60.0, wall=wall)) == 60.0


def test_wall_clock_counts_across_boots() -> None:
    """A machine that was off for an hour has aged its sessions by an hour."""
    assert elapsed(THEN, reading("boot-2", boot=10.0, wall=3600.0)) == 3600.0


def test_longer_new_boot_is_another_boot() -> None:
    """Its boot clock is ahead, which says nothing about the time between."""
    now = reading("boot-2", boot=THEN.boot + 60.0, wall=DAY)
    assert not same_clock(THEN, now)
    assert elapsed(THEN, now) == DAY
    assert elapsed(THEN, reading("boot-2", boot=THEN.boot + 60.0, wall=-DAY)) == THEN.boot + 60.0
    assert step(THEN, now) == 0.0
    assert same_clock(THEN, THEN)


def test_wall_clock_set_back_across_boots_does_not_rejuvenate() -> None:
    """A board without battery starts in 1970; at least the age of the new boot has passed."""
    assert elapsed(THEN, reading("boot-2", boot=10.0, wall=-DAY)) == 10.0


def test_boot_clock_set_back_is_another_clock() -> None:
    """A restored snapshot keeps its boot id."""
    now = LeaseReading("boot-1", THEN.boot - 1.0, THEN.wall + 600.0)
    assert not same_clock(THEN, now)
    assert elapsed(THEN, now) == 600.0
    assert elapsed(THEN, LeaseReading("boot-1", THEN.boot - 1.0, THEN.wall - 600.0)) == 0.0


def test_shift_preserves_the_age_of_a_session() -> None:
    """A session that was 1000 s old, then an hour away, is 4600 s old on the new boot's clock."""
    now = reading("boot-2", boot=10.0, wall=3600.0)
    moved = rebase(session(created=THEN.boot - 1000.0, used=THEN.boot - 400.0), shift(THEN, now))
    assert (now.boot - moved.created, now.boot - moved.used) == (4600.0, 4000.0)


def test_shift_is_zero_within_a_boot() -> None:
    """A restart of the process changes no time."""
    assert shift(THEN, reading(boot=60.0, wall=DAY)) == 0.0


def test_step_is_the_difference_between_wall_and_boot_clock() -> None:
    """Steps are logged and written down; across boots there is nothing to compare with."""
    assert step(THEN, reading(boot=60.0, wall=60.0 - DAY)) == -DAY
    assert step(THEN, reading("boot-2", boot=60.0, wall=DAY)) == 0.0


def test_wall_time_uses_the_current_wall_clock() -> None:
    """People compare an expiry with the clock that they see."""
    now = reading(boot=60.0, wall=DAY)
    assert wall_time(now.boot + 30.0, now) == now.wall + 30.0


def test_usable_reading_has_an_id_and_finite_numbers() -> None:
    """A damaged clock must not make a session eternal."""
    assert THEN.usable()
    assert not LeaseReading("", 1.0, 1.0).usable()
    assert not LeaseReading("boot-1", float("inf"), 1.0).usable()
    assert not LeaseReading("boot-1", 1.0, float("nan")).usable()


@given(readings, readings)
def test_elapsed_time_is_never_negative(then: LeaseReading, now: LeaseReading) -> None:
    """No session may be revived."""
    assert elapsed(then, now) >= 0.0
    age_then = 50.0
    moved = rebase(session(created=then.boot - age_then, used=then.boot), shift(then, now))
    assert now.boot - moved.created >= age_then - 1e-3
