"""The control socket's file: a safe directory, one owner at a time, and modes independent of the umask.

The directory is created with mode 0700. An existing one is used or refused, but never changed. Refused are a symbolic
link, a directory of another user or writable by group or others, and one below a directory in which every user may
rename entries.

A lock (flock(2)) on a file beside the socket decides whether the socket is stale. A socket that accepts connections is
never taken over, even without a lock.

The socket has mode 0600, or 0666 in a 0711 directory if more uids are admitted. Every error is a ConfigError of one
line.
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


MAX_PATH = 107
"""Bytes of ``sun_path`` without its final NUL (unix(7))."""
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@define
class SocketPlace:
    """The path of the control socket, and its lock.

    ``shared``: users other than the owner need access. ``complain`` makes an error from its text; the configuration
    adds file and line.
    """

    path: Path
    shared: bool = False
    complain: Callable[[str], ConfigError] = lambda text: ConfigError(text, key="listen.control")
    _lock: int = field(default=-1, init=False)

    @property
    def mode(self) -> int:
        """The mode of the socket's file."""
        # A mode cannot name a user: if more uids are admitted, SO_PEERCRED (``peer``) alone decides.
        return 0o666 if self.shared else 0o600

    def take(self) -> None:
        """Create or check the directory, take the lock, and remove a stale socket. Raises ConfigError."""
        if not self.path.is_absolute():
            raise self.wrong("the path must be absolute")
        if len(os.fsencode(self.path)) > MAX_PATH:
            raise self.wrong(f"the path is longer than {MAX_PATH} bytes")
        with self._converted_errors(), private_files(0o066 if self.shared else 0o077):
            self.path.parent.mkdir(mode=0o711 if self.shared else 0o700, parents=True, exist_ok=True)
            self._check_directory()
            self._take_lock()
        try:
            with self._converted_errors():
                self._remove_stale()
        except ConfigError:
            self.release()
            raise

    def check(self) -> None:
        """Check the owner and the mode of the bound socket. Raises ConfigError."""
        # Some file systems that are shared with another machine keep neither.
        with self._converted_errors():
            found = self.path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise self.wrong("the file system does not keep the owner of a socket; use another directory")
        if stat.S_IMODE(found.st_mode) != self.mode:
            raise self.wrong("the file system does not keep the mode of a socket; use another directory")

    def release(self) -> None:
        """Release the lock."""
        # Its file stays: removing it would race with another process that opens it.
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _check_directory(self) -> None:
        # Only checked, never changed: it may be the wrong path, and tightening /run would stop a machine.
        directory = self.path.parent
        found = directory.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise self.wrong(f"{directory} is a symbolic link; configure the directory itself")
        if found.st_uid != os.geteuid():
            raise self.wrong(f"{directory} belongs to uid {found.st_uid}, not to credgate's own {os.geteuid()}")
        if found.st_mode & _WRITABLE_BY_OTHERS:
            raise self.wrong(f"{directory} is writable by others (mode {stat.S_IMODE(found.st_mode):04o})")
        # In a directory that all may write to, only the sticky bit keeps others from renaming ours (inode(7)).
        for above in directory.resolve().parents:
            mode = above.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise self.wrong(f"its parent {above} is writable by every user")

    def _take_lock(self) -> None:
        # The kernel releases a lock with its process, however that ends. A pid in a file names another process after a
        # container is restarted.
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
            raise self.wrong("a file of this name exists that is not a socket; remove it")
        if _answers(self.path):
            raise self.wrong("another program is serving this socket")
        self.path.unlink()

    @contextmanager
    def _converted_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            raise self.wrong(f"{failed.strerror} ({failed.filename})") from failed

    def wrong(self, text: str) -> ConfigError:
        """Return an error about this socket."""
        return self.complain(f"{self.path}: {text}")


def bind(place: SocketPlace, listen: Callable[[], None]) -> None:
    """Call ``listen``, which binds the socket, with the lock held and a strict umask. Raises ConfigError."""
    place.take()
    try:
        with private_files(0o177):
            listen()
    except BaseException:
        place.release()
        raise


@contextmanager
def private_files(umask: int) -> Iterator[None]:
    """Set a strict umask for the duration of the block."""
    # It applies to the whole process, threads included, so it may only become stricter.
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
            return True  # its queue is full, so a process listens
    return True
