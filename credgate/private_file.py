"""Prepares the place of a private file: only credgate's user may be able to write there.

A missing directory is created with mode 0700. An existing one must belong to this user or root and must not be writable
by others, since whoever can write there could replace the file. The file has mode 0600 and must be a regular file of
this user, not a symbolic link. Blocking. Raises StoreError that names the path and the remedy.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from credgate.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def prepare(path: Path) -> None:
    """Check the directory and the file, and create both if they are missing."""
    try:
        _directory(path.parent)
        _file(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be used ({error.strerror}); make the file and its directory writable for credgate's user"
        ) from error


def close_to_others(path: Path) -> None:
    """Set the mode of an existing file to 0600. The caller has checked that it is not another program's file."""
    path.chmod(0o600)


def _directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        todo = "chown it to credgate's user and chmod it to 0700, or configure another directory"
        raise StoreError(f"{directory} can be written by others; {todo}")


def _file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise StoreError(f"{path} is not a regular file of credgate's user; configure another path, or chown it")
    finally:
        # Closing any descriptor of a file releases the process's POSIX locks on it, so this must precede SQLite's open.
        os.close(fd)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Synchronise the name of the file to the disk; SQLite synchronises only the content."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
