"""Where end-to-end tests keep what is large or flushed often: in memory, where the machine has room for it.

A gibibyte that is written and removed again makes some disks stall every flush for a minute, and each session that is
made is one. Nothing here needs a disk: a process that is killed loses nothing that it gave to the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30
"""Bytes; the tests take less than half of it."""


def make() -> Path:
    """Make a folder of mode 0700 with a short name: the paths of UNIX sockets must be short."""
    return Path(tempfile.mkdtemp(prefix="cg-", dir=MEMORY if _has_room() else None))


def remove(folder: Path) -> None:
    """Remove it; what a process of git's that lives on writes meanwhile is nobody's."""
    shutil.rmtree(folder, ignore_errors=True)


def _has_room() -> bool:
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return False
    found = re.search(r"MemAvailable: +([0-9]+) kB", Path("/proc/meminfo").read_text())
    available = int(found[1]) * 1024 if found else 0
    return min(shutil.disk_usage(MEMORY).free, available) >= ROOM
