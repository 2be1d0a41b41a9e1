"""Process 1 of ``credgate run --isolate``: opens the one door, then runs the command and passes signals on.

The door is a listening socket on the loopback of this network namespace. It is handed to the keeper outside
(SCM_RIGHTS, unix(7)), which accepts on it and carries the bytes to the gateway: a socket belongs to the namespace that
made it, whoever holds it. Nothing else of the network is here.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress

from credgate.cli.run.signals import NotRun, SignalForwarder

HOST = "127.0.0.1"


def main(words: list[str]) -> int:
    """Run; ``words`` are two descriptors, the wrapper's and the keeper's, the port, and the command.

    Return its exit status.
    """
    telling, descriptor, port, *command = words
    with socket.socket(fileno=int(telling)) as wrapper:
        wrapper.send(b"1")  # the kernel adds which process this is
    with (
        socket.socket(fileno=int(descriptor)) as keeper,
        socket.create_server((HOST, int(port)), backlog=128) as door,
        suppress(OSError),  # it may be gone: then git says that nobody answers
    ):
        socket.send_fds(keeper, [b"door"], [door.fileno()])
        keeper.recv(1)  # it accepts from now on
    passing = SignalForwarder()
    for number in (signal.SIGINT, signal.SIGQUIT):  # who built the walls was to ignore them; the command is not
        signal.signal(number, signal.SIG_DFL)
    try:
        child = passing.start(command, os.environ)
    except NotRun as error:
        sys.stderr.write(f"credgate: {error}\n")
        return error.status
    return passing.wait(child, lambda: child.pid, reap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
