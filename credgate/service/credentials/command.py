"""Runs a ``cmd://`` command: a child in a session of its own, for a limited time, with a limited output.

It is given nothing: ``/dev/null`` to read, ``PATH``, ``HOME`` and ``LANG`` as environment, no descriptor of ours. What
it writes to stderr is thrown away unread, since programs print secrets there when they fail; so of a failure there is
an exit status and no more. When it ends, whatever it left in its process group is ended too; a descendant that made a
session of its own is not found, but can no longer hold up anybody.

The child begins as a few lines of Python, because Twisted starts processes in the gateway's own group: they make the
session, undo what Python does to signals and locale, and become the command. No secret is ever in an argument or in an
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
"""Seconds from its start to its end."""
MAX_OUTPUT = 64 * 1024
"""Bytes of its output."""
KEPT = ("PATH", "HOME", "LANG")
"""What of the gateway's environment it sees."""

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
    """Find the program that ``words`` begin with, now; return what runs it. Raises ``ConfigError`` if there is none."""
    scrubbed = {name: environ[name] for name in KEPT if name in environ}
    path = shutil.which(words[0], path=scrubbed.get("PATH") or os.defpath)
    if path is None:
        raise ConfigError("the program of cmd:// does not exist or is not executable")
    return partial(run, path, words, scrubbed, reactor)


def run(path: str, words: Sequence[str], environ: Mapping[str, str], reactor: Any) -> Deferred[bytes]:  # noqa: ANN401 - IReactorProcess and IReactorTime
    """Run the program at ``path`` with ``words`` as its argv; fire with what it printed.

    Fails with ``CredentialError`` unless it ends with status 0 in time. Cancelling ends it.
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
        """Begin to count its time."""
        assert self.transport is not None
        self._pid = self.transport.pid
        self._deadline = self._reactor.callLater(TIME_LIMIT, self.failed, f"it did not end within {TIME_LIMIT:g} s")

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - Twisted's name
        """Keep its output, so much of it."""
        if self.printed.called:
            return
        self._output += data
        if len(self._output) > MAX_OUTPUT:
            self.failed(f"it printed more than {MAX_OUTPUT} bytes")

    def processExited(self, reason: Failure) -> None:
        """End what it left running: that would hold its output open. From now on its number is no longer its own."""
        self._kill_group()
        self._pid = 0

    def processEnded(self, reason: Failure) -> None:
        """Say what it printed, or how it ended."""
        if isinstance(reason.value, ProcessTerminated):
            self.failed(_ending(reason.value.exitCode, reason.value.signal))
        output = bytes(self._output)
        self._over()
        if not self.printed.called:
            self.printed.callback(output)

    def failed(self, text: str) -> None:
        """Give it up; ``text`` says why, for people."""
        self._kill()
        if not self.printed.called:
            self.printed.errback(CredentialError(text))

    def _kill(self) -> None:
        self._over()
        self._kill_group()
        if self.transport is not None:
            self.transport.loseConnection()  # a descendant that got away may still hold the other end

    def _over(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        self._output.clear()

    def _kill_group(self) -> None:
        """End the group, or the child alone while it has none yet."""
        if not self._pid:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
            return
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


def _ending(status: int | None, number: int | None) -> str:
    if number is not None:
        return f"it was ended by signal {number}"
    return "it cannot be run" if status == _NO_EXEC else f"it ended with status {status}"
