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

from credgate.errors import ConfigError

_PR_SET_DUMPABLE = 4
SPARE = 320
"""Descriptors for all but connections of sandboxes: up to 136 of the control socket, 128 of refused connections that
are told so, 16 of idle forge connections, 8 of the metrics page; the rest for listeners, store, audit log and programs
that print credentials. The DNS server's come on top."""
BY_CONNECTION = 3
"""Descriptors that one connection of a sandbox may take: its own, the forge's, and that of an inquiry about a push."""
FEWEST_CONNECTIONS = 8
"""With fewer connections a gateway is of no use: it does not start."""


def harden() -> None:
    """Apply all of it. Raises OSError if the kernel refuses to switch dumps off."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        undumpable()


def most_connections(wanted: int, dns: int) -> int:
    """Return how many of the ``wanted`` sandbox connections the descriptors allow, beside ``dns`` of the DNS server.

    More than these would leave none for the control socket, which must answer under a flood (threats.md, row 58).
    Raises ConfigError when too few are left to be of use.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = SPARE + dns + BY_CONNECTION * min(wanted, FEWEST_CONNECTIONS)
    if soft < needed:
        raise ConfigError(
            f"the limit on open files of this process (RLIMIT_NOFILE) is {soft} and at least {needed} are needed: "
            "raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of docker)"
        )
    return min(wanted, (soft - SPARE - dns) // BY_CONNECTION)


def undumpable() -> None:
    """Let nobody of this process's own user read its memory, environment or descriptors, until it runs a program.

    Raises OSError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_DUMPABLE): {os.strerror(code)}")
