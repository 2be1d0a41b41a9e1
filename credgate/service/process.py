"""Restricts the process before it holds a credential: no core dumps, not readable by its own user, a strict umask.

``prctl(PR_SET_DUMPABLE)`` prevents core dumps, and debuggers of the same user, on Linux. The limit on open files is
raised to the hard limit.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from credgate.errors import ConfigError

_PR_SET_DUMPABLE = 4
SPARE = 320
"""Descriptors for everything but the connections of sandboxes: up to 136 of the control socket, 128 of refused
connections, 16 of idle forge connections, 8 of the metrics page; the rest for listeners, store, audit log and programs
that print credentials. The DNS server's are added."""
BY_CONNECTION = 3
"""Descriptors for one connection of a sandbox: its own, the forge's, and that of a push inspection."""
FEWEST_CONNECTIONS = 8
"""With fewer connections the gateway does not start."""


def harden() -> None:
    """Restrict the process. Raises OSError if the kernel refuses to disable dumps."""
    os.umask(0o077)
    # A core dump, or a debugger of the same user, would show every credential.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # To the hard limit: the configuration limits connections, not the shell that started the gateway.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        undumpable()


def most_connections(wanted: int, dns: int) -> int:
    """Return how many of the ``wanted`` sandbox connections the descriptors allow, beside ``dns`` of the DNS server.

    Raises ConfigError when fewer than ``FEWEST_CONNECTIONS`` are left.
    """
    # More than these would leave none for the control socket, which must answer under a flood (docs/attacks.md,
    # row 58).
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
    """Keep other processes of this user from reading our memory, environment or descriptors, until we exec a program.

    Raises OSError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_DUMPABLE): {os.strerror(code)}")
