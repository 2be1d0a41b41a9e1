"""``credgate run --isolate``: run a command in namespaces that bubblewrap (bwrap(1)) creates.

- Network: a namespace with a loopback interface only. The one connection to the outside is a listening socket on it,
  which the supervisor accepts on (``pid1``, ``supervisor``).
- Processes: a namespace of its own, no capability, and no way to gain one. The caller's processes are not visible.
- System calls: UNIX sockets with a path work across network namespaces, and a mount over such a socket does not cover
  its other names. A seccomp filter refuses to create them (``syscall_filter``).
- Files: ``mounts``.

What the command can read, it can send to the gateway only. bubblewrap is tried before a session is created: with a user
namespace first, then, for root, without one, because some machines allow no user namespaces. This module never falls
back to running the command without isolation.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.cli.output import UNUSABLE, CommandError
from credgate.cli.run import syscall_filter
from credgate.cli.run.mounts import ROOT
from credgate.cli.run.signals import SignalForwarder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from credgate.cli.run.mounts import FileSystem

# -P and -c: neither the current directory nor PYTHONPATH of the command decides what is imported.
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from credgate.cli.run.{0} import main; sys.exit(main({1}))"
"""The program that ``python -P -c`` runs to start a module of this package, with ROOT as its first argument."""
LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")
_UCRED = struct.Struct("3i")
"""``struct ucred``: process, user and group id."""

Bubblewrap = Callable[["FileSystem", int, bool], list[str]]
"""Returns the words of ``bwrap`` that precede a command: for a file system, the descriptor of the system call filter
(which the started process must inherit), and whether the command shares the terminal's session."""


def can_share_terminal() -> bool:
    """Whether the command may stay in the terminal's session: not if it could type into the terminal (TIOCSTI)."""
    try:
        return LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def find_bubblewrap(trial: FileSystem) -> Bubblewrap:
    """Return the invocation of bubblewrap that works on this machine. Raises CommandError with bubblewrap's message."""
    program = shutil.which("bwrap")
    if program is None:
        raise CommandError("--isolate needs bubblewrap: bwrap is not in PATH (apt-get install bubblewrap)", UNUSABLE)
    candidates: list[Bubblewrap] = [partial(bubblewrap, program)]
    # Root can create the namespaces itself where the machine allows no user namespaces.
    candidates += [partial(bubblewrap, program, user_namespace=False)] if os.geteuid() == 0 else []
    errors = []
    for candidate in candidates:
        with syscall_filter.opened() as filter_fd:
            error = _try([*candidate(trial, filter_fd, True), "true"], filter_fd)  # noqa: FBT003 - as Bubblewrap has it
        if not error:
            return candidate
        errors.append(error)
    raise CommandError(f"--isolate: bubblewrap failed: {'; '.join(dict.fromkeys(errors))}", UNUSABLE)


def _try(words: Sequence[str], filter_fd: int) -> str:
    """Run a command; return the first line of its error output, or "" if it succeeds."""
    completed = subprocess.run(  # noqa: S603 - bwrap from PATH
        words,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        pass_fds=[filter_fd],
    )
    if completed.returncode == 0:
        return ""
    lines = completed.stderr.strip().splitlines() or [f"exit status {completed.returncode}, no error message"]
    return lines[0].removeprefix("bwrap: ")


def bubblewrap(
    program: str,
    files: FileSystem,
    filter_fd: int,
    share_terminal: bool,  # noqa: FBT001 - as Bubblewrap has it
    *,
    user_namespace: bool = True,
) -> list[str]:
    """Return the words of bwrap(1) that precede the command."""
    words = [program, *(["--unshare-user"] if user_namespace else [])]
    words += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
    words += ["--as-pid-1", "--die-with-parent", "--cap-drop", "ALL", "--seccomp", str(filter_fd)]
    words += [] if share_terminal else ["--new-session"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for kind, path in files.mounts:
        words += {
            "empty": ["--tmpfs", path],
            "nothing": ["--ro-bind", os.devnull, path],
            "read": ["--ro-bind", path, path],
            "write": ["--bind", path, path],
        }[kind]
    return [*words, "--chdir", files.cwd, "--"]


def check_descriptors(descriptors: Sequence[int] = (0, 1, 2)) -> None:
    """Refuse standard descriptors through which the command could leave its namespaces. Raises CommandError.

    A socket belongs to the network namespace that created it. An IP socket, a UNIX datagram socket and an unconnected
    socket can be connected to another address from inside; a connected UNIX stream socket cannot. A directory gives
    access to the mounts outside.
    """
    for descriptor in descriptors:
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue  # closed
        if stat.S_ISDIR(mode) or (stat.S_ISSOCK(mode) and not _is_connected_stream(descriptor)):
            kind = "a directory" if stat.S_ISDIR(mode) else "a socket that can be connected to other addresses"
            raise CommandError(f"--isolate: standard descriptor {descriptor} is {kind}: redirect it", UNUSABLE)


def _is_connected_stream(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.family != socket.AF_UNIX or copy.type not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            return False
        try:
            copy.getpeername()
        except OSError:
            return False
        return True


def run(  # noqa: PLR0913 - keyword arguments
    bwrap: Sequence[str],
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    channel: int,
    port: int,
    inherited: Sequence[int] = (),
    started: Callable[[], None],
    share_terminal: bool,
) -> int:
    """Run an isolated command and return its exit status as a shell does. Raises CommandStartError.

    ``bwrap`` are the words that precede it, ``inherited`` the descriptors that these words name. ``channel`` is the
    descriptor of the socket to the supervisor, ``port`` the gateway's port inside. ``started`` is called once the
    command has its copy of ``channel``.
    """
    pid1 = [sys.executable, "-P", "-c", START.format("pid1", "sys.argv[1:]"), str(ROOT)]
    ours, theirs = socket.socketpair()
    with ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        forwarder = SignalForwarder()
        with theirs:
            child = forwarder.start(
                [*bwrap, *pid1, str(theirs.fileno()), str(channel), str(port), *command],
                environ,
                fds=(theirs.fileno(), channel, *inherited),
                # The terminal sends these to bubblewrap, too, which would end, and with it the command.
                ignore=(signal.SIGINT, signal.SIGQUIT),
                # When bubblewrap ends, process 1 is killed, and the kernel kills every other process of its namespace.
                die_with_us=True,
            )
        started()
        # Signals go to process 1 directly, not to bubblewrap.
        target = _receive_pid(ours) or child.pid
        return forwarder.wait(child, lambda: target, same_terminal=share_terminal)


def _receive_pid(connection: socket.socket) -> int:
    """Return the process id, outside, of process 1 inside; 0 if it did not start."""
    data, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(_UCRED.size))
    for level, kind, content in ancillary if data else ():
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid: int = _UCRED.unpack(content)[0]
            return pid
    return 0
