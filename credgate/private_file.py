"""Where a store's file may be: only where nobody but us can write.

The directory is made 0700 when it is missing; an existing one must be ours (or root's) and closed to other writers,
for whoever can write there can put a file of sessions in our file's place. The file is 0600, regular, ours and no
symbolic link.
Blocking; raises StoreError that names the path and what to do.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from credgate.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def prepare(path: Path) -> None:
    """Make sure of the directory and the file, and make both when they are missing."""
    try:
        _directory(path.parent)
        _file(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be used ({error.strerror}); give credgate's user the file and its directory"
        ) from error


def close_to_others(path: Path) -> None:
    """Make an existing file 0600; called once it is known to be ours, not another program's."""
    path.chmod(0o600)


def _directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        todo = "chown it to credgate's user and chmod it to 0700, or name a directory of its own"
        raise StoreError(f"{directory} can be written by others; {todo}")


def _file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise StoreError(f"{path} is not a regular file of credgate's user; name another path, or chown it")
    finally:
        # Before SQLite opens it: closing any descriptor of a file drops this process's POSIX locks on it.
        os.close(fd)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Put the file's name on the disk: SQLite syncs what is in it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
