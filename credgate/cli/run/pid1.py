"""Process 1 of the process namespace of ``credgate run --isolate``.

It creates a listening socket on the loopback interface of the isolated network namespace and sends it to the supervisor
outside (SCM_RIGHTS, unix(7)). The supervisor accepts connections on it and forwards them to the gateway: a socket
belongs to the namespace that created it, no matter which process holds it. This socket is the only connection between
the two networks. Then the module runs the command, forwards signals to it and waits for orphaned processes.

It imports little, because it starts once for each command.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress

from credgate.cli.run.signals import CommandStartError, SignalForwarder

HOST = "127.0.0.1"


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status.

    ``arguments``: the descriptors of the sockets to the wrapper and to the supervisor, the port, the command.
    """
    wrapper_fd, supervisor_fd, port, *command = arguments
    with socket.socket(fileno=int(wrapper_fd)) as wrapper:
        # The kernel adds our process id as seen by the wrapper (SCM_CREDENTIALS).
        wrapper.send(b"1")
    with (
        socket.socket(fileno=int(supervisor_fd)) as supervisor,
        socket.create_server((HOST, int(port)), backlog=128) as listener,
        # If the supervisor has ended, the command runs without a gateway and git reports a refused connection.
        suppress(OSError),
    ):
        socket.send_fds(supervisor, [b"listener"], [listener.fileno()])
        # The answer means that the supervisor accepts connections: the command's first git must not be refused.
        supervisor.recv(1)
    forwarder = SignalForwarder()
    for number in (signal.SIGINT, signal.SIGQUIT):
        # bubblewrap ignores these signals, and its children inherit that. The command gets the default action.
        signal.signal(number, signal.SIG_DFL)
    try:
        child = forwarder.start(command, os.environ)
    except CommandStartError as error:
        sys.stderr.write(f"credgate: {error}\n")
        return error.status
    return forwarder.wait(child, lambda: child.pid, reap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
