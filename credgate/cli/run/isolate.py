"""The walls of ``credgate run --isolate``, built by bubblewrap (bwrap(1)).

A network namespace of its own, with loopback and nothing else: the one way out is a listening socket on it that the
keeper outside accepts on (``inside``, ``keeper``). A process namespace, so that the caller's processes and their
environments are out of sight, no capability, and no way to gain privileges. UNIX sockets with a path cross network
namespaces, and a mount over a socket's name does not hold for its other names: a system call filter refuses to create
such sockets (``syscall_filter``). The file system is read-only but for the current directory and the command's own;
``/run``, ``/tmp``, ``/var/tmp``, well-known places of credentials and the files that the private gateway's
configuration names are empty (``hidden``). What else the caller's user may read, the command may read; it can send it
nowhere but through the gateway.

bubblewrap is tried before anything is made: with a user namespace, and for root without one, where the machine allows
none.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

import credgate
from credgate.cli.output import UNUSABLE, CommandError
from credgate.cli.run import hidden_files, syscall_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credgate.config.named import Named

EMPTIED = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - emptied, not written to
SYSTEM = ("/etc/credgate", "/var/lib/credgate", "/root/.ssh", "/etc/ssl/private")
OF_ROOT = tuple(f"/proc/{name}" for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "asound"))
"""What of the whole machine is its root's to write without any capability: bubblewrap leaves ``/proc/sys`` so."""
AT_HOME = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".git-credentials", ".npmrc", ".pypirc"),
    *(".config/gh", ".config/glab-cli", ".config/git/credentials", ".config/gcloud", ".config/op", ".config/hub"),
    *(
        ".cargo/credentials",
        ".cargo/credentials.toml",
        ".local/share/keyrings",
        ".local/state/credgate",
        ".vault-token",
    ),
    *(
        ".password-store",
        ".1password",
        ".mozilla",
        ".config/google-chrome",
        ".config/containers",
        ".gem/credentials",
        ".m2/settings.xml",
    ),
)
ROOT = Path(credgate.__file__).parents[1]
"""Where this credgate is imported from."""
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from credgate.cli.run.{0} import main; sys.exit(main({1}))"
"""How a module of ours is started by ``python -P -c``, with ROOT as the first of its words."""
_LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")


@frozen
class Walls:
    """What is built: steps, each over what the ones before have made, and how the command starts.

    A step is a kind and an absolute path: ``empty`` (a directory), ``nothing`` (a file), ``read`` and ``write`` (what
    was there before the first step). The rest of the file system is read-only.
    """

    steps: tuple[tuple[str, str], ...]
    cwd: str
    own_session: bool


Builder = Callable[[Walls, int], list[str]]
"""Gives the words that stand before a command's, so that it runs behind such walls.

The second argument is the descriptor of the system call filter, which the process that is started must inherit.
"""


def same_terminal() -> bool:
    """Whether the command may share the caller's terminal session: not where it could type into it (TIOCSTI)."""
    try:
        return _LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def walls(  # noqa: PLR0913 - one thing each
    *, box: Path | None, cwd: Path, home: Path, hide: Sequence[Path], named: Named, share_terminal: bool
) -> Walls:
    """Return the walls. Raises Failed when the current directory cannot be the writable one, or a secret not hidden.

    ``box`` is the command's own directory, none for a mere try; ``hide`` names more places to empty, where they are
    there; ``named`` are the files of the private gateway's configuration, whose secrets must be hidden.
    """
    check_place(cwd, [*map(Path, EMPTIED), *(one.resolve() for one in hide if one.is_dir())])
    needed = _needed()
    taken = [*hide, *map(Path, SYSTEM), *(home / name for name in AT_HOME)]
    steps = [step for place in EMPTIED for step in hidden_files.emptied(Path(place))]
    steps += [("read", place) for place in (*needed, *(one for one in OF_ROOT if Path(one).exists()))]
    steps += [("write", str(cwd)), *(step for path in taken for step in hidden_files.emptied(path))]
    # What is run lies there: a secret beside it must not take it away.
    programs = [Path(one) for one in (*_of_python(), *os.get_exec_path()) if Path(one).is_absolute()]
    steps += hidden_files.concealed(named, keep=[cwd, home, *programs])
    steps += [("write", str(box))] if box is not None else []
    return Walls(tuple(dict.fromkeys(steps)), str(cwd), not share_terminal)


def builder(tried: Walls) -> Builder:
    """Return what builds such walls here. Raises Failed with bubblewrap's own words."""
    found = shutil.which("bwrap")
    if found is None:
        raise CommandError(
            "--isolate needs bubblewrap: bwrap is not on the PATH (apt-get install bubblewrap)", UNUSABLE
        )
    builders = [partial(bubblewrap, found)]
    # Root can make the namespaces itself where the machine allows no user namespaces.
    builders += [partial(bubblewrap, found, user=False)] if os.geteuid() == 0 else []
    reasons = []
    for build in builders:
        with syscall_filter.opened() as filter_file:
            why = _why_not([*build(tried, filter_file), "true"], filter_file)
        if not why:
            return build
        reasons.append(why)
    raise CommandError(
        f"--isolate: bubblewrap cannot build the walls here: {'; '.join(dict.fromkeys(reasons))}", UNUSABLE
    )


def _why_not(words: Sequence[str], filter_file: int) -> str:
    """Return why a try fails, in its own words; "" when it does not."""
    ran = subprocess.run(  # noqa: S603 - found on the PATH
        words,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        pass_fds=[filter_file],
    )
    if ran.returncode == 0:
        return ""
    said = ran.stderr.strip().splitlines() or ["it does not say why"]
    return said[0].removeprefix("bwrap: ")


def bubblewrap(program: str, walls: Walls, filter_file: int, *, user: bool = True) -> list[str]:
    """Return the words before the command, for bwrap(1)."""
    words = [program, *(["--unshare-user"] if user else [])]
    words += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
    words += ["--as-pid-1", "--die-with-parent", "--cap-drop", "ALL", "--seccomp", str(filter_file)]
    words += ["--new-session"] if walls.own_session else []
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for kind, place in walls.steps:
        words += {
            "empty": ["--tmpfs", place],
            "nothing": ["--ro-bind", os.devnull, place],
            "read": ["--ro-bind", place, place],
            "write": ["--bind", place, place],
        }[kind]
    return [*words, "--chdir", walls.cwd, "--"]


def check_place(cwd: Path, emptied: Sequence[Path]) -> None:
    """Refuse a current directory that holds what must be out of reach: binding it would bring that back."""
    for place in emptied:
        if place == cwd or cwd in place.parents:
            raise CommandError(
                f"--isolate leaves the current directory writable, and {cwd} holds {place}: go to the project's own",
                UNUSABLE,
            )


def check_descriptors(descriptors: Sequence[int] = (0, 1, 2)) -> None:
    """Refuse standard descriptors that lead out of the namespaces. Raises Failed.

    A socket belongs to the network namespace that made it. An IP socket, a UNIX datagram socket and one that is not
    connected can be connected to another place from inside; a connected UNIX stream cannot. A directory is a way to
    everything beside it, in the mounts of outside.
    """
    for descriptor in descriptors:
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue  # closed
        if stat.S_ISDIR(mode) or (stat.S_ISSOCK(mode) and not _is_connected_stream(descriptor)):
            kind = "a directory" if stat.S_ISDIR(mode) else "a socket that can be connected to other places"
            raise CommandError(
                f"--isolate: descriptor {descriptor} of the command would be {kind}: redirect it", UNUSABLE
            )


def _is_connected_stream(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as one:
        if one.family != socket.AF_UNIX or one.type not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            return False
        try:
            one.getpeername()
        except OSError:
            return False
        return True


def _of_python() -> list[str]:
    """Return what Python and credgate are read from."""
    wanted = {sys.prefix, sys.base_prefix, str(ROOT), *(one for one in sys.path if Path(one).is_absolute())}
    return [one for one in sorted(wanted) if Path(one).exists()]


def _needed() -> list[str]:
    """Return those of them that lie in a place that is emptied."""
    emptied = [Path(one) for one in EMPTIED]
    below = [one for one in _of_python() if any(e in Path(one).parents for e in emptied)]
    return [one for one in below if not any(Path(other) in Path(one).parents for other in below)]
