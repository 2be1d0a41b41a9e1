"""Start a command and wait for it so that it behaves as if the caller's shell had started it.

The command stays in the process group of credgate, so it has the terminal and job control works. The kernel sends the
terminal's signals (Ctrl-C, a window size change) to the whole group, so these are not forwarded. A signal that another
process sends with kill(2) reaches credgate only and is forwarded. ``si_code`` tells them apart (sigaction(2)).

Signals are blocked and accepted with sigwaitinfo(2), not handled: none is lost between the start and the wait.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FORWARDED = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT),
}
_SI_KERNEL = 128
_PR_SET_PDEATHSIG = 1
"""Of prctl(2), which the standard library does not offer."""
_libc = ctypes.CDLL(None, use_errno=True)
# The exit statuses that POSIX shells use.
_NOT_FOUND, _NOT_EXECUTABLE, _SIGNALLED = 127, 126, 128


class CommandStartError(Exception):
    """The command could not be started. ``status`` is the exit status that a shell returns then: 127 or 126."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def prepare() -> None:
    """Make this process stop with its process group and receive the exit statuses of its children.

    To be called before any process is started.
    """
    # After vfork(2) the kernel suspends the parent until the child calls exec(2). If Ctrl-Z stops the child before
    # that, the parent cannot stop: the shell waits for it, and the terminal stays with a stopped job. After fork(2)
    # both stop. This switch is the one that subprocess documents.
    subprocess._USE_VFORK = False  # type: ignore[misc]  # noqa: SLF001 - typeshed calls it final, Python's documentation sets it
    # The parent may have left SIGCHLD ignored. Then the kernel keeps no exit status and sends no signal, so that the
    # wait for a command would not end.
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, process ``parent``, ends."""
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have ended before the call. Then this process has another parent and no signal would come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


class SignalForwarder:
    """Forwards signals to one command. It blocks them from its construction until the command has ended."""

    def __init__(self) -> None:
        self._original_mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})

    def start(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        fds: Sequence[int] = (),
        ignore: Sequence[signal.Signals] = (),
        die_with_us: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command with the signal mask that this process had before. Raises CommandStartError.

        ``ignore`` are signals that the command ignores. ``die_with_us``: it is killed when this process ends.
        """
        our_pid = os.getpid()

        def prepare_child() -> None:
            if die_with_us:
                die_with_parent(our_pid)
            for number in ignore:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)

        try:
            return subprocess.Popen(command, env=environ, pass_fds=fds, preexec_fn=prepare_child)  # noqa: S603, PLW1509 - the caller's own command; this process has one thread
        except FileNotFoundError:
            raise CommandStartError(f"{command[0]}: command not found", _NOT_FOUND) from None
        except OSError as error:
            raise CommandStartError(f"{command[0]}: {error.strerror}", _NOT_EXECUTABLE) from None

    def wait(
        self,
        child: subprocess.Popen[bytes],
        target: Callable[[], int],
        *,
        same_terminal: bool = True,
        reap: bool = False,
    ) -> int:
        """Forward signals to the process ``target()`` until ``child`` ends. Returns the exit status of a shell.

        ``same_terminal``: the target is in our process group and gets the terminal's signals from the kernel.
        ``reap``: also wait for orphaned processes, which is the duty of process 1.
        """
        while True:
            status = _status_if_ended(child, reap=reap)
            if status is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)
                return status
            received = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD})
            # SI_KERNEL: from the terminal, so the kernel has sent it to the whole process group.
            if received.si_signo == signal.SIGCHLD or (received.si_code == _SI_KERNEL and same_terminal):
                continue
            try:
                os.kill(target(), received.si_signo)
            except ProcessLookupError:
                continue


def _status_if_ended(child: subprocess.Popen[bytes], *, reap: bool) -> int | None:
    if not reap:
        # Not waitpid(-1): it would take the exit status of processes that other code waits for.
        code = child.poll()
        return None if code is None else shell_status(code)
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return shell_status(child.returncode or 0)
        if pid == 0:
            return None
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(wait_status)
            return shell_status(child.returncode)


def shell_status(code: int) -> int:
    """Convert a return code of ``subprocess``: 128 plus the signal's number for a command that a signal ended."""
    return _SIGNALLED - code if code < 0 else code
