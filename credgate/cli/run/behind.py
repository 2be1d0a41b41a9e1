"""Running a command behind the walls of ``isolate``: its signals, its terminal, its status, and its end with ours.

The process that is 1 inside (``inside``) says so on a socket, and the kernel adds which process that is out here
(SCM_CREDENTIALS, unix(7)): signals go to it and to nobody between. Whatever builds the walls is killed when this
process ends, however that is, and takes all that is inside along: the end of a process namespace's 1 ends the others.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING

from credgate.cli.run import isolate
from credgate.cli.run.signals import SignalForwarder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CREDENTIALS = struct.Struct("3i")


def run(  # noqa: PLR0913 - one thing each
    words: Sequence[str],
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    door: int,
    port: int,
    inherited: Sequence[int] = (),
    started: Callable[[], None],
    share_terminal: bool,
) -> int:
    """Run it, and return what a shell would call its status.

    ``words`` stand before it and build the walls; ``door`` is the keeper's descriptor, ``port`` where the gateway is to
    be found inside. ``inherited`` are descriptors that ``words`` refer to. ``started`` is called once the command holds
    its side of the door.
    """
    inside = [sys.executable, "-P", "-c", isolate.START.format("inside", "sys.argv[1:]"), str(isolate.ROOT)]
    told, telling = socket.socketpair()
    with told:
        told.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        passing = SignalForwarder()
        with telling:
            # The terminal's Ctrl-C reaches who builds the walls as well, which would end by it, and all within.
            child = passing.start(
                [*words, *inside, str(telling.fileno()), str(door), str(port), *command],
                environ,
                fds=(telling.fileno(), door, *inherited),
                ignore=(signal.SIGINT, signal.SIGQUIT),
                die_with_us=True,
            )
        started()
        first = _first_inside(told) or child.pid
        return passing.wait(child, lambda: first, same_terminal=share_terminal)


def _first_inside(told: socket.socket) -> int:
    """Return the process id of process 1 inside, as it is out here; 0 when it did not start."""
    said, extra, _, _ = told.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    for level, kind, content in extra if said else ():
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid: int = _CREDENTIALS.unpack(content)[0]
            return pid
    return 0
