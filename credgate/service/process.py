"""What the process itself gives up before it holds a credential: core dumps, being read by its own user, and umask.

A core dump or a debugger of the same user would show every credential, so both are switched off
(``prctl(PR_SET_DUMPABLE)``, Linux). File descriptors are raised to the hard limit: connection limits are the
configuration's matter, not the shell's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4
SPARE = 256
"""Descriptors for all but what sandboxes take: listeners, control socket, store, audit, DNS, idle forge connections."""


def harden() -> None:
    """Apply all of it. Raises OSError if the kernel refuses to switch dumps off."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        undumpable()


def most_connections() -> int:
    """Return how many sandbox connections the descriptors allow; each may need another one, to its forge.

    More than these would leave none for the control socket, which must answer under a flood (threats.md, row 58).
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, (soft - SPARE) // 2)


def undumpable() -> None:
    """Let nobody of this process's own user read its memory, environment or descriptors, until it runs a program.

    Raises OSError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_DUMPABLE): {os.strerror(code)}")
