"""The lease clock: how long a session has lived, whatever the wall clock was told.

Within one boot of the machine the *boot clock* decides (``CLOCK_BOOTTIME``: it counts suspended time, starts at boot
and no one can set it), so a step of the wall clock neither revives nor ends a session. Across boots only the wall clock
is left: what has passed is the difference of the wall clocks at the last stored reading and now, but never less than
the new boot's own age, which has passed for certain, however wrong the wall clock is. The store writes a reading with
every change and the service one after every step, so a step before a reboot is no part of that difference.

Session times are seconds on the boot clock of the running boot; a session from another boot is shifted once, at load.
This module never reads a clock: the shell does (``service.clock``) and passes readings in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from credgate.sessions.model import Session


@frozen(slots=True)
class LeaseReading:
    """The clocks at one moment."""

    boot_id: str
    """The kernel's random id of this boot."""
    boot: float
    """Seconds since this boot, suspended time included."""
    wall: float
    """Seconds since the epoch, as the machine believes."""

    def usable(self) -> bool:
        """Whether the reading can be reckoned with: an id, and finite numbers."""
        return bool(self.boot_id) and math.isfinite(self.boot) and math.isfinite(self.wall)


def same_clock(then: LeaseReading, now: LeaseReading) -> bool:
    """Whether both readings are of one boot clock.

    One boot clock never runs backwards: a lower value under the same id (another time namespace, a restored
    snapshot) is another clock.
    """
    return then.boot_id == now.boot_id and then.boot <= now.boot


def elapsed(then: LeaseReading, now: LeaseReading) -> float:
    """Seconds of session time between two readings, ``then`` the earlier; never negative."""
    if same_clock(then, now):
        return now.boot - then.boot
    certain = now.boot if then.boot_id != now.boot_id else 0.0
    return max(0.0, certain, now.wall - then.wall)


def shift(then: LeaseReading, now: LeaseReading) -> float:
    """Return what to add to a time on ``then``'s boot clock to have it on ``now``'s; 0.0 within a boot."""
    return 0.0 if same_clock(then, now) else now.boot - then.boot - elapsed(then, now)


def rebase(session: Session, by: float) -> Session:
    """Return the session with its times moved by ``by`` seconds (see ``shift``)."""
    return evolve(session, created=session.created + by, used=session.used + by)


def step(then: LeaseReading, now: LeaseReading) -> float:
    """Seconds that the wall clock was set forward (negative: back) between two readings of one boot, else 0.0."""
    return (now.wall - then.wall) - (now.boot - then.boot) if same_clock(then, now) else 0.0


def wall_time(moment: float, now: LeaseReading) -> float:
    """Turn a time on the running boot's clock into seconds since the epoch, by the wall clock as it is set now."""
    return now.wall + (moment - now.boot)
