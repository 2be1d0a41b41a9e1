"""Run a ``cmd://`` command: a child in its own session, with limits for its time and its output.

The child gets ``/dev/null`` as standard input, ``PATH``, ``HOME`` and ``LANG`` as its environment, and no descriptor of
the gateway. Its standard error is discarded unread, because programs print secrets there when they fail; a failure is
therefore reported by its exit status only. When the command ends, the rest of its process group is killed. A descendant
that made its own session is not found, but nothing waits for it.

The child starts as a few lines of Python that execute the command. No secret is ever in an argument or in an
environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol

from credgate.errors import ConfigError, CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

TIME_LIMIT = 10.0
"""Seconds that a command may run."""
MAX_OUTPUT = 64 * 1024
"""Maximum bytes of output."""
KEPT = ("PATH", "HOME", "LANG")
"""The variables of the gateway's environment that a command sees."""

# Twisted starts processes in the gateway's own process group. These lines make a session, and undo Python's changes to
# signals and locale.
_LEAD = """
import os, signal, sys
os.setsid()
os.environ.pop("LC_CTYPE", None)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execv(sys.argv[1], sys.argv[2:])
except OSError:
    os._exit(127)
"""
_NO_EXEC = 127


def command(words: Sequence[str], environ: Mapping[str, str], reactor: Any) -> Callable[[], Deferred[bytes]]:  # noqa: ANN401 - as below
    """Find the program ``words[0]`` now; return a function that runs it. Raises ``ConfigError`` if there is none."""
    scrubbed = {name: environ[name] for name in KEPT if name in environ}
    path = shutil.which(words[0], path=scrubbed.get("PATH") or os.defpath)
    if path is None:
        raise ConfigError("the program of cmd:// does not exist or is not executable")
    return partial(run, path, words, scrubbed, reactor)


def run(path: str, words: Sequence[str], environ: Mapping[str, str], reactor: Any) -> Deferred[bytes]:  # noqa: ANN401 - IReactorProcess and IReactorTime
    """Run the program at ``path`` with ``words`` as its argv; fire with its output.

    Fails with ``CredentialError`` unless it ends with status 0 in time. Cancelling kills it.
    """
    command = _Command(reactor)
    scrubbed = {name: environ[name] for name in KEPT if name in environ}
    lead = [sys.executable, "-I", "-S", "-c", _LEAD, path, *words]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        reactor.spawnProcess(command, sys.executable, lead, scrubbed, path="/", childFDs={0: null, 1: "r", 2: null})
    except OSError as error:
        command.failed(f"it cannot be started: {os.strerror(error.errno or 0)}")
    finally:
        os.close(null)
    return command.printed


class _Command(ProcessProtocol):
    """One run."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - as above
        self.printed: Deferred[bytes] = Deferred(lambda _: self._kill())
        self._reactor = reactor
        self._output = bytearray()
        self._deadline: IDelayedCall | None = None
        self._pid = 0

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._pid = self.transport.pid
        self._deadline = self._reactor.callLater(TIME_LIMIT, self.failed, f"it did not end within {TIME_LIMIT:g} s")

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - Twisted's name
        if self.printed.called:
            return
        self._output += data
        if len(self._output) > MAX_OUTPUT:
            self.failed(f"it printed more than {MAX_OUTPUT} bytes")

    def processExited(self, reason: Failure) -> None:
        # Descendants that are left would keep the output open. After this the kernel may reuse the number.
        self._kill_group()
        self._pid = 0

    def processEnded(self, reason: Failure) -> None:
        if isinstance(reason.value, ProcessTerminated):
            # Standard error is discarded unread, so only the status can be reported.
            status, number = reason.value.exitCode, reason.value.signal
            ended = "it cannot be run" if status == _NO_EXEC else f"it ended with status {status}"
            self.failed(ended if number is None else f"it was ended by signal {number}")
        output = bytes(self._output)
        self._over()
        if not self.printed.called:
            self.printed.callback(output)

    def failed(self, text: str) -> None:
        """End with an error; ``text`` is for the operator."""
        self._kill()
        if not self.printed.called:
            self.printed.errback(CredentialError(text))

    def _kill(self) -> None:
        self._over()
        self._kill_group()
        if self.transport is not None:
            self.transport.loseConnection()  # a descendant in another session may still hold the other end

    def _over(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        self._output.clear()

    def _kill_group(self) -> None:
        """Kill the group, or only the child before it has made its session."""
        if not self._pid:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
            return
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
