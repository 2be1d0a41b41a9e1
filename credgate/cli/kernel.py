"""What Linux is asked for that Python has no function for: mounts, privileges, and dying with a parent.

Thin: one function a call, its numbers from the kernel's own headers, OSError when it refuses. Mounts are copied and
attached by open_tree(2), move_mount(2) and mount_setattr(2), which need Linux 5.12 and have the same numbers on every
architecture but Alpha; mount(2), prctl(2) and capset(2) are the C library's. Nothing here decides anything.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path

NOSUID, NODEV, NOEXEC = 2, 4, 8
"""Flags of mount(2)."""
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_HERE, _EMPTY_PATH, _RECURSIVE, _CLONE, _FROM_EMPTY_PATH, _READ_ONLY = -100, 0x1000, 0x8000, 1, 4, 1
_PDEATHSIG, _BOUNDING_DROP, _NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR = 1, 24, 38, 47, 4
_CAPABILITIES = 0x20080522
"""The version of capset(2)'s argument."""
_INTERFACE_FLAGS, _UP_RUNNING = 0x8914, 0x41

_libc = ctypes.CDLL(None, use_errno=True)


def _asked(what: str, answer: int) -> int:
    """Return an answer. Raises OSError for what the kernel refuses."""
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return answer


def mount(kind: str, place: str, flags: int, words: str = "") -> None:
    """Mount a new file system of this kind."""
    told = [one.encode() for one in (kind, place, kind)]
    _asked(f"mount {kind} at {place}", _libc.mount(*told, ctypes.c_ulong(flags), words.encode()))


def copied(place: str) -> int:
    """Return a descriptor of what is mounted at and below a place: a copy that is nowhere yet."""
    flags = _CLONE | _RECURSIVE | os.O_CLOEXEC
    return _asked(f"open_tree {place}", _libc.syscall(_OPEN_TREE, _HERE, os.fsencode(place), flags))


def attached(tree: int, place: str) -> None:
    """Put such a copy over a place, and close its descriptor."""
    words = (tree, b"", _HERE, os.fsencode(place), _FROM_EMPTY_PATH)
    _asked(f"move_mount to {place}", _libc.syscall(_MOVE_MOUNT, *words))
    os.close(tree)


def read_only(place: int | str) -> None:
    """Take writing away from a copy, or from what is mounted at and below a place."""
    attributes = struct.pack("=4Q", _READ_ONLY, 0, 0, 0)
    tree, path, flags = (place, b"", _EMPTY_PATH) if isinstance(place, int) else (_HERE, os.fsencode(place), 0)
    words = (tree, path, flags | _RECURSIVE, attributes, len(attributes))
    _asked(f"mount_setattr {place}", _libc.syscall(_MOUNT_SETATTR, *words))


def loopback_up() -> None:
    """Switch this network namespace's loopback on: a new one has it off."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _INTERFACE_FLAGS, struct.pack("16sH14x", b"lo", _UP_RUNNING))


def give_up_privileges() -> None:
    """Drop every capability for good: no program that is run from here on gets any, root's or setuid ones neither."""
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii")) + 1):
        _asked("prctl(PR_CAPBSET_DROP)", _libc.prctl(_BOUNDING_DROP, number, 0, 0, 0))
    _asked("prctl(PR_CAP_AMBIENT)", _libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0))
    _asked("capset", _libc.capset(struct.pack("Ii", _CAPABILITIES, 0), bytes(24)))
    _asked("prctl(PR_SET_NO_NEW_PRIVS)", _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def die_with(parent: int) -> None:
    """Have this process killed when its parent, which is ``parent``, ends; at once if it has already."""
    _asked("prctl(PR_SET_PDEATHSIG)", _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
