"""The lease clock: the time that a session has lived, independent of steps of the wall clock.

Within one boot of the machine, ``CLOCK_BOOTTIME`` decides: it counts suspended time, starts at boot and cannot be set,
so a step of the wall clock neither revives nor ends a session. Across boots only the wall clock is left: the elapsed
time is the difference between the wall clock at the last stored reading and now, but at least the age of the new boot.
The store writes a reading with every change, and the service writes one after every step, so that a step before a
reboot does not enter this difference.

Session times are seconds on the boot clock of the current boot; times from another boot are converted once, at load.
This module reads no clock: ``service.clock`` does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from credgate.sessions.model import Session


@frozen(slots=True)
class LeaseReading:
    """Readings of the clocks at one moment."""

    boot_id: str
    """The random id of this boot (``/proc/sys/kernel/random/boot_id``)."""
    boot: float
    """Seconds since this boot, including suspended time."""
    wall: float
    """Seconds since the epoch by the wall clock."""

    def usable(self) -> bool:
        """Return whether the reading has an id and finite numbers."""
        return bool(self.boot_id) and math.isfinite(self.boot) and math.isfinite(self.wall)


def same_clock(then: LeaseReading, now: LeaseReading) -> bool:
    """Return whether both readings are of the same boot clock."""
    # A boot clock never runs backwards, so a lower value with the same id is another clock (another time namespace, a
    # restored snapshot).
    return then.boot_id == now.boot_id and then.boot <= now.boot


def elapsed(then: LeaseReading, now: LeaseReading) -> float:
    """Return the seconds of session time from ``then`` to ``now``; never negative."""
    if same_clock(then, now):
        return now.boot - then.boot
    # The age of a new boot has certainly passed, even if the wall clock was set back.
    certain = now.boot if then.boot_id != now.boot_id else 0.0
    return max(0.0, certain, now.wall - then.wall)


def shift(then: LeaseReading, now: LeaseReading) -> float:
    """Return the difference to add to a time on the boot clock of ``then`` to convert it to that of ``now``."""
    # Only times from another boot are converted; those of this boot are on its clock already.
    return 0.0 if same_clock(then, now) else now.boot - then.boot - elapsed(then, now)


def rebase(session: Session, by: float) -> Session:
    """Return the session with its times moved by ``by`` seconds, a result of ``shift``."""
    return evolve(session, created=session.created + by, used=session.used + by)


def step(then: LeaseReading, now: LeaseReading) -> float:
    """Return the seconds by which the wall clock was set forward (negative: back) between readings of one boot."""
    return (now.wall - then.wall) - (now.boot - then.boot) if same_clock(then, now) else 0.0


def wall_time(moment: float, now: LeaseReading) -> float:
    """Convert a time on the current boot clock to seconds since the epoch, by the current wall clock."""
    return now.wall + (moment - now.boot)
