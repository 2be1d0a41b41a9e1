"""Process 1 behind ``unshare``: builds the walls that bubblewrap would, and becomes what is to run behind them.

unshare(1) has made the namespaces and left this process the capabilities in them. The order is what matters: copies of
what stays reachable first, then everything read-only, then new file systems over what is taken away and the copies
over them. ``/proc`` is this process namespace's own; ``/dev`` has a few devices that do nothing, and terminals of its
own. Then every capability goes, so that nothing here can be undone.
Anything that fails ends it with a line, before the command: half a wall is none.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from credgate.cli import kernel

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_UNUSABLE = 2
"""``output.UNUSABLE``, whose module takes long to load."""


def main(words: list[str]) -> int:
    """Build and become; ``words`` are ``isolate.Walls`` in JSON, and the command."""
    plan, *command = words
    told = json.loads(plan)
    try:
        _build(told["steps"])
        os.chdir(told["cwd"])
        if told["own_session"]:
            os.setsid()
        kernel.give_up_privileges()
        os.execvp(command[0], command)  # noqa: S606 - our own program, or ``true`` for a try
    except OSError as error:
        sys.stderr.write(f"credgate: --isolate: {error.strerror}\n")
        return _UNUSABLE


def _build(steps: list[tuple[str, str]]) -> None:
    kernel.loopback_up()
    copies = [_copy(kind, place) for kind, place in steps]
    devices = [(name, kernel.copied(f"/dev/{name}")) for name in DEVICES]
    kernel.read_only("/")
    _own_devices(devices)
    kernel.mount("proc", "/proc", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    for (_, place), copy in zip(steps, copies, strict=True):
        _made(place, is_directory=copy is None or Path(f"/proc/self/fd/{copy}").is_dir())
        if copy is None:
            kernel.mount("tmpfs", place, kernel.NOSUID | kernel.NODEV, "mode=0755")
        else:
            kernel.attached(copy, place)


def _copy(kind: str, place: str) -> int | None:
    """Return what will lie over a place, as it is before anything changes; None for emptiness."""
    if kind == "empty":
        return None
    copy = kernel.copied(os.devnull if kind == "nothing" else place)
    if kind != "write":
        kernel.read_only(copy)
    return copy


def _made(place: str, *, is_directory: bool) -> None:
    """Make where something goes, if that is below a place that was emptied."""
    path = Path(place)
    if path.exists():
        return
    (path if is_directory else path.parent).mkdir(parents=True, exist_ok=True)
    if not is_directory:
        path.touch()


def _own_devices(devices: list[tuple[str, int]]) -> None:
    kernel.mount("tmpfs", "/dev", kernel.NOSUID | kernel.NOEXEC, "mode=0755")
    for name, copy in devices:
        Path("/dev", name).touch()
        kernel.attached(copy, f"/dev/{name}")
    for name, to in LINKS.items():
        Path("/dev", name).symlink_to(to)
    for name in ("pts", "shm"):
        Path("/dev", name).mkdir()
    kernel.mount("devpts", "/dev/pts", kernel.NOSUID | kernel.NOEXEC, "newinstance,ptmxmode=0666,mode=620")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
