"""Running a command as if it had been started directly: its signals, its terminal, its exit status.

The command stays in its starter's process group, so that it has the terminal as the starter had it, and job control
works on both. What the terminal sends (Ctrl-C, a changed size) the kernel gives to the whole group: then it is not sent
a second time. What a process sends (``kill``) reached the starter alone, and is passed on; which of the two it was says
``si_code`` (sigaction(2)). Signals are waited for, not handled, so none is lost between the start and the wait.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PASSED = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT),
}
_SI_KERNEL = 128
_PDEATHSIG = 1
"""``PR_SET_PDEATHSIG`` of prctl(2), which Python has no function for."""
_libc = ctypes.CDLL(None, use_errno=True)
_NOT_FOUND, _NOT_RUN, _SIGNALLED = 127, 126, 128


class NotRun(Exception):  # noqa: N818 - as the shell says it
    """The command cannot be started: ``status`` is the shell's for that, 127 or 126."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def die_with(parent: int) -> None:
    """Have this process killed when its parent, which is ``parent``, ends; at once if it has already."""
    if _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


class SignalForwarder:
    """Blocks the signals that are passed on, from the beginning to the end of one command."""

    def __init__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED | {signal.SIGCHLD})

    def start(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        fds: Sequence[int] = (),
        ignore: Sequence[signal.Signals] = (),
        die_with_us: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command, whose signals are as this process found them. Raises NotRun.

        ``die_with_us``: it is killed when this process ends, however that is.
        """
        ours = os.getpid()

        def as_found() -> None:
            if die_with_us:
                die_with(ours)
            for number in ignore:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

        try:
            return subprocess.Popen(command, env=environ, pass_fds=fds, preexec_fn=as_found)  # noqa: S603, PLW1509 - the caller's own command; no thread runs
        except FileNotFoundError:
            raise NotRun(f"{command[0]}: command not found", _NOT_FOUND) from None
        except OSError as error:
            raise NotRun(f"{command[0]}: {error.strerror}", _NOT_RUN) from None

    def wait(
        self, child: subprocess.Popen[bytes], to: Callable[[], int], *, same_terminal: bool = True, reap: bool = False
    ) -> int:
        """Pass signals to the process ``to()`` until ``child`` ends; return what a shell would call its status.

        ``same_terminal``: the kernel sends it the terminal's signals itself. ``reap``: wait for orphans, too, as a
        process 1 must.
        """
        while True:
            ended = _reaped(child, reap=reap)
            if ended is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
                return ended
            told = signal.sigwaitinfo(PASSED | {signal.SIGCHLD})
            if told.si_signo == signal.SIGCHLD or (told.si_code == _SI_KERNEL and same_terminal):
                continue
            try:
                os.kill(to(), told.si_signo)
            except ProcessLookupError:
                continue


def _reaped(child: subprocess.Popen[bytes], *, reap: bool) -> int | None:
    """Return the status of ``child`` if it has ended."""
    if not reap:
        code = child.poll()
        return None if code is None else status(code)
    while True:
        try:
            pid, word = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status(child.returncode or 0)
        if pid == 0:
            return None
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(word)
            return status(child.returncode)


def status(code: int) -> int:
    """Return the exit status that a shell would show: 128 and the signal's number for what a signal ended."""
    return _SIGNALLED - code if code < 0 else code
