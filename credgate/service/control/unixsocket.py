"""The place of the control socket: a safe directory, one owner at a time, and modes that no umask widens.

The directory is made 0700. One that is there already is used as it is, or refused: a symbolic link, another's, one that
group or others may write to, or one below a directory where anybody may rename things. Nothing is repaired: a wrong
directory may be a wrong path, and tightening ``/run`` would stop a machine.

Whether a socket file is stale is decided by a lock (flock(2)) beside it, held as long as the process lives: the kernel
drops it with the process, however that ends, and it means the same in a container that was started anew, where a pid
in a file names some other process. A socket that answers is never taken over, lock or no lock.

Modes: the socket is 0600. Where more uids are admitted it is 0666 in a 0711 directory, since a mode cannot name a
user; SO_PEERCRED (``peer``) then decides alone. Every error here is a ConfigError of one line.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define, field

from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _config_error(text: str) -> ConfigError:
    return ConfigError(text, key="listen.control")


MAX_PATH = 107
"""Bytes of ``sun_path`` without its NUL (unix(7))."""
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@define
class SocketPlace:
    """Where the control socket is, and the lock that says whose it is.

    ``shared``: users other than its owner are to reach the socket. ``complain`` makes the error from its text: the
    configuration knows the file and line.
    """

    path: Path
    shared: bool = False
    complain: Callable[[str], ConfigError] = _config_error
    _lock: int = field(default=-1, init=False)

    @property
    def mode(self) -> int:
        """The socket's mode."""
        return 0o666 if self.shared else 0o600

    def take(self) -> None:
        """Make or check the directory, take the lock, and remove a stale socket. Raises ConfigError."""
        if not self.path.is_absolute():
            raise self.wrong("the path must be absolute")
        if len(os.fsencode(self.path)) > MAX_PATH:
            raise self.wrong(f"the path is longer than {MAX_PATH} bytes")
        with self._telling(), private_files(0o066 if self.shared else 0o077):
            self.path.parent.mkdir(mode=0o711 if self.shared else 0o700, parents=True, exist_ok=True)
            self._check_directory()
            self._take_lock()
        try:
            with self._telling():
                self._remove_stale()
        except ConfigError:
            self.release()
            raise

    def check(self) -> None:
        """Look at the socket that was just bound: some shared file systems keep neither owner nor mode.

        Raises ConfigError.
        """
        with self._telling():
            found = self.path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise self.wrong("the file system does not keep a socket's owner; choose another directory")
        if stat.S_IMODE(found.st_mode) != self.mode:
            raise self.wrong("the file system does not keep a socket's mode; choose another directory")

    def release(self) -> None:
        """Let another take the place. The lock's file stays: removing it would race with whoever waits for it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _check_directory(self) -> None:
        directory = self.path.parent
        found = directory.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise self.wrong(f"{directory} is a symbolic link; name the directory itself")
        if found.st_uid != os.geteuid():
            raise self.wrong(f"{directory} belongs to uid {found.st_uid}, not to credgate's own {os.geteuid()}")
        if found.st_mode & _WRITABLE_BY_OTHERS:
            raise self.wrong(f"{directory} is writable by others (mode {stat.S_IMODE(found.st_mode):04o})")
        for above in directory.resolve().parents:
            mode = above.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise self.wrong(f"{above} above it is writable by everybody")

    def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(self.path.with_name(self.path.name + ".lock"), flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise self.wrong("another credgate is serving this socket") from None
        self._lock = lock

    def _remove_stale(self) -> None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise self.wrong("there is a file of that name which is no socket; remove it")
        if _answers(self.path):
            raise self.wrong("another program is serving this socket")
        self.path.unlink()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            raise self.wrong(f"{failed.strerror} ({failed.filename})") from failed

    def wrong(self, text: str) -> ConfigError:
        """Return the error that says what is wrong with this place."""
        return self.complain(f"{self.path}: {text}")


def bind(place: SocketPlace, listen: Callable[[], None]) -> None:
    """Call ``listen``, which binds the socket, where the place is ours and no umask widens it. Raises ConfigError."""
    place.take()
    try:
        with private_files(0o177):
            listen()
    except BaseException:
        place.release()
        raise


@contextmanager
def private_files(umask: int) -> Iterator[None]:
    """Whatever the process's umask, use this one for a moment. It is the whole process's: no thread's file widens."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # its queue is full: somebody listens
    return True
