"""The walls of ``credgate run --isolate``: what bubblewrap (bwrap(1)) is told.

A network namespace of its own, with loopback and nothing else: the one door is a listening socket on it that the keeper
outside accepts on (``inside``, ``keeper``). A process namespace, so that the caller's processes and their environments
are out of sight, no capability, and no way to gain privileges. Sockets with a path cross network namespaces, so the
places where they lie are taken away: ``/run``, ``/tmp``, ``/var/tmp``, and the control socket's directory wherever it
is. The file system is read-only but for the current directory and the command's own; well-known places of credentials
are empty. What else the caller's user may read, the command may read; it can send it nowhere but through the gateway.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import credgate
from credgate.cli.output import UNUSABLE, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMPTIED = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - emptied, not written to
SYSTEM = ("/etc/credgate", "/var/lib/credgate", "/root/.ssh", "/etc/ssl/private")
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
        ".mozilla",
        ".config/google-chrome",
        ".config/containers",
        ".gem/credentials",
        ".m2/settings.xml",
    ),
)
ROOT = Path(credgate.__file__).parents[1]
"""Where this credgate is imported from."""
_LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")


def bubblewrap() -> str:
    """Return the program. Raises Failed when it is not there, or not allowed to make namespaces."""
    found = shutil.which("bwrap")
    if found is None:
        raise Failed("--isolate needs bubblewrap, which is not here: install it (apt-get install bubblewrap)", UNUSABLE)
    tried = [
        found,
        "--unshare-user",
        "--unshare-net",
        "--unshare-pid",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "true",
    ]
    ran = subprocess.run(tried, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - found on the PATH
    if ran.returncode != 0:
        why = (ran.stderr.strip().splitlines() or ["it does not say why"])[0]
        raise Failed(f"--isolate: bubblewrap may not make namespaces here ({why}); allow user namespaces", UNUSABLE)
    return found


def same_terminal() -> bool:
    """Whether the command may share the caller's terminal session: not where it could type into it (TIOCSTI)."""
    try:
        return _LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def walls(  # noqa: PLR0913 - one thing each
    program: str, *, box: Path, cwd: Path, home: Path, hide: Iterable[Path], info_fd: int, share_terminal: bool
) -> list[str]:
    """Return the words before the command. Raises Failed when the current directory cannot be the writable one.

    ``box`` is the command's own directory, ``hide`` names more places to empty.
    """
    hidden = list(dict.fromkeys([*hide, *map(Path, SYSTEM), *(home / name for name in AT_HOME)]))
    check_place(cwd, [*map(Path, EMPTIED), *(one for one in hide if one.is_dir())])
    words = [program, "--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
    words += ["--as-pid-1", "--die-with-parent", "--cap-drop", "ALL", "--info-fd", str(info_fd)]
    words += [] if share_terminal else ["--new-session"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for place in EMPTIED:
        words += _emptied(Path(place))
    for place in _needed():
        words += ["--ro-bind", place, place]
    words += ["--bind", str(cwd), str(cwd)]
    for path in hidden:
        words += _emptied(path)
    return [*words, "--bind", str(box), str(box), "--chdir", str(cwd), "--"]


def check_place(cwd: Path, emptied: Sequence[Path]) -> None:
    """Refuse a current directory that holds what must be out of reach: binding it would bring that back."""
    for place in emptied:
        if place == cwd or cwd in place.parents:
            raise Failed(
                f"--isolate leaves the current directory writable, and {cwd} holds {place}: go to the project's own",
                UNUSABLE,
            )


def _emptied(path: Path) -> list[str]:
    try:
        real = path.resolve(strict=True)
    except OSError:
        return []
    return ["--tmpfs", str(real)] if real.is_dir() else ["--ro-bind", os.devnull, str(real)]


def _needed() -> list[str]:
    """Return what Python and credgate are read from, where that lies in a place that is emptied."""
    wanted = {sys.prefix, sys.base_prefix, str(ROOT), *(one for one in sys.path if Path(one).is_absolute())}
    emptied = [Path(one) for one in EMPTIED]
    there = [one for one in sorted(wanted) if Path(one).exists()]
    below = [one for one in there if any(e in Path(one).parents for e in emptied)]
    return [one for one in below if not any(Path(other) in Path(one).parents for other in below)]
