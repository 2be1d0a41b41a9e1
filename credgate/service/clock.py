"""Reads the clocks for session times; no other module does. ``sessions.lease_clock`` defines what readings mean.

The boot id is the kernel's (``/proc/sys/kernel/random/boot_id``).
"""

from __future__ import annotations

import time
import uuid
from functools import cache
from pathlib import Path

from credgate.sessions.lease_clock import LeaseReading

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# CLOCK_BOOTTIME counts suspended time, unlike CLOCK_MONOTONIC: two days of a suspended laptop age its sessions by two
# days.
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_lease_clock() -> LeaseReading:
    """Read all clocks, in microseconds and without blocking; the boot id is read once a process."""
    return LeaseReading(boot_id=boot_id(), boot=time.clock_gettime(_BOOT_CLOCK), wall=time.time())


@cache
def boot_id() -> str:
    """Return the kernel's id of this boot, or an id of this process where there is none."""
    try:
        text = BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    # Where it cannot be read (a masked /proc) every process counts as a new boot: the wall clock then bridges restarts.
    return text or f"process-{uuid.uuid4()}"
