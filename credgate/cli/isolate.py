"""The walls of ``credgate run --isolate``, and who builds them: bubblewrap (bwrap(1)), or unshare(1) and ``walled``.

A network namespace of its own, with loopback and nothing else: the one door is a listening socket on it that the keeper
outside accepts on (``inside``, ``keeper``). A process namespace, so that the caller's processes and their environments
are out of sight, no capability, and no way to gain privileges. Sockets with a path cross network namespaces, so the
places where they lie are taken away: ``/run``, ``/tmp``, ``/var/tmp``, the control socket's directory wherever it is,
and each socket that somebody has bound elsewhere when it starts. The file system is read-only but for the current
directory and the command's own; well-known places of credentials are empty. What else the caller's user may read, the
command may read; it can send it nowhere but through the gateway.

The walls are the same whoever builds them, and each builder is tried before anything is made: bubblewrap, unshare with
a user namespace, and for root unshare without one, where the machine allows none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

import credgate
from credgate.cli.output import UNUSABLE, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from credgate.cli.{0} import main; sys.exit(main({1}))"
"""How a module of ours is started by ``python -P -c``, with ROOT as the first of its words."""
_SOCKETS, _WITH_A_PATH = Path("/proc/net/unix"), 8
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


Builder = Callable[[Walls], list[str]]
"""Gives the words that stand before a command's, so that it runs behind such walls."""


def same_terminal() -> bool:
    """Whether the command may share the caller's terminal session: not where it could type into it (TIOCSTI)."""
    try:
        return _LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:
        return False


def walls(*, box: Path | None, cwd: Path, home: Path, hide: Iterable[Path], share_terminal: bool) -> Walls:
    """Return the walls. Raises Failed when the current directory cannot be the writable one.

    ``box`` is the command's own directory, none for a mere try; ``hide`` names more places to empty.
    """
    called = sockets(_SOCKETS.read_text(encoding="utf-8", errors="surrogateescape"), cwd.resolve())
    hidden = list(dict.fromkeys([*hide, *called, *map(Path, SYSTEM), *(home / name for name in AT_HOME)]))
    check_place(cwd, [*map(Path, EMPTIED), *(one for one in hide if one.is_dir())])
    emptied = [step for place in EMPTIED for step in _emptied(Path(place))]
    needed = [("read", place) for place in _needed()]
    needed += [("read", place) for place in OF_ROOT if Path(place).exists()]
    taken = [step for path in hidden for step in _emptied(path)]
    own = [("write", str(box))] if box is not None else []
    return Walls((*emptied, *needed, ("write", str(cwd)), *taken, *own), str(cwd), not share_terminal)


def builder(tried: Walls) -> Builder:
    """Return the first builder that can build such walls here. Raises Failed with what each says."""
    reasons = []
    for name, package, builders in _builders():
        found = shutil.which(name)
        if found is None:
            reasons.append(f"{name} is not here (apt-get install {package})")
            continue
        for build in builders:
            why = _why_not([*build(found, tried), "true"])
            if not why:
                return partial(build, found)
            reasons.append(f"{name}: {why}")
    raise Failed(f"--isolate needs bubblewrap or util-linux, and to make namespaces: {'; '.join(reasons)}", UNUSABLE)


def _builders() -> Iterator[tuple[str, str, list[Callable[[str, Walls], list[str]]]]]:
    yield "bwrap", "bubblewrap", [bubblewrap]
    as_root = [partial(unshare, user=False)] if os.geteuid() == 0 else []
    yield "unshare", "util-linux", [unshare, *as_root]


def _why_not(words: Sequence[str]) -> str:
    """Return why a try fails, in its own words; "" when it does not."""
    ran = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - found on the PATH
    if ran.returncode == 0:
        return ""
    said = ran.stderr.strip().splitlines() or ["it does not say why"]
    return re.sub(r"^(credgate: --isolate|bwrap|unshare): ", "", said[0])


def bubblewrap(program: str, walls: Walls) -> list[str]:
    """Return the words before the command, for bwrap(1)."""
    words = [program, "--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
    words += ["--as-pid-1", "--die-with-parent", "--cap-drop", "ALL"]
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


def unshare(program: str, walls: Walls, *, user: bool = True) -> list[str]:
    """Return the words before the command: namespaces by util-linux (from 2.35 on), then ``walled`` in them."""
    words = [program, *(("--user", "--map-current-user", "--keep-caps") if user else ())]
    words += ["--net", "--pid", "--ipc", "--mount", "--cgroup", "--fork", "--kill-child", "--propagation", "private"]
    plan = json.dumps(asdict(walls))
    return [*words, "--", sys.executable, "-P", "-c", START.format("walled", "sys.argv[1:]"), str(ROOT), plan]


def check_place(cwd: Path, emptied: Sequence[Path]) -> None:
    """Refuse a current directory that holds what must be out of reach: binding it would bring that back."""
    for place in emptied:
        if place == cwd or cwd in place.parents:
            raise Failed(
                f"--isolate leaves the current directory writable, and {cwd} holds {place}: go to the project's own",
                UNUSABLE,
            )


def _emptied(path: Path) -> list[tuple[str, str]]:
    try:
        real = path.resolve(strict=True)
    except OSError:
        return []
    return [("empty" if real.is_dir() else "nothing", str(real))]


def sockets(listing: str, cwd: Path) -> list[Path]:
    """Return where sockets lie that ``/proc/net/unix`` lists (unix(7)), but for places that are emptied and stay so.

    A socket on a read-only file system can be connected to.
    """
    found = []
    for line in listing.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == _WITH_A_PATH and fields[-1].startswith("/"):
            with suppress(OSError):  # not there in our mounts, or out of the caller's own reach
                path = Path(fields[-1]).resolve(strict=True)
                emptied = any(Path(place) in path.parents for place in EMPTIED) and cwd not in path.parents
                if path.is_socket() and not emptied:
                    found.append(path)
    return list(dict.fromkeys(found))


def _needed() -> list[str]:
    """Return what Python and credgate are read from, where that lies in a place that is emptied."""
    wanted = {sys.prefix, sys.base_prefix, str(ROOT), *(one for one in sys.path if Path(one).is_absolute())}
    emptied = [Path(one) for one in EMPTIED]
    there = [one for one in sorted(wanted) if Path(one).exists()]
    below = [one for one in there if any(e in Path(one).parents for e in emptied)]
    return [one for one in below if not any(Path(other) in Path(one).parents for other in below)]
