"""References to secrets, and reading what they name.

The configuration says where a credential is, never what it is: ``env://NAME`` or ``file:///absolute/path``. A file is
read only if it can be trusted to have been written for this: not a symbolic link, a regular file, closed to everybody
but its owner and group, at most 64 KiB, one line. The ``Stamp`` of a file changes when its content may have: the shell
that watches for rotation compares stamps before it reads again.

No error here carries a value, nor a reference that did not parse: people paste tokens where references belong.
Reading blocks; shells call it in a thread.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SECRET_BYTES = 64 * 1024

_ENV = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]*)")
_FILE = re.compile(r"file://(/[^\x00-\x1f\x7f]+)")


@frozen(slots=True)
class Reference:
    """Where a secret is: ``target`` is a variable's name or an absolute path."""

    kind: Literal["env", "file"]
    target: str

    def __str__(self) -> str:
        return f"{self.kind}://{self.target}"


@frozen(slots=True)
class Stamp:
    """What of a file changes with its content: nanoseconds, inode, bytes."""

    mtime_ns: int
    inode: int
    size: int


def parse_reference(text: str) -> Reference:
    """Return the reference that ``text`` spells; raise ``ConfigError`` (without place) for anything else."""
    if name := _ENV.fullmatch(text):
        return Reference("env", name[1])
    if path := _FILE.fullmatch(text):
        return Reference("file", path[1])
    raise ConfigError('a reference is meant: "env://NAME" or "file:///absolute/path", never the secret itself')


def read_reference(reference: Reference, environ: Mapping[str, str]) -> str:
    """Return the secret that ``reference`` names. Blocks. Raises ``ConfigError`` without place."""
    if reference.kind == "file":
        return read_file(reference)[0]
    if not environ.get(reference.target):
        raise ConfigError(f"{reference} cannot be read: the variable is not set")
    return _one_line(environ[reference.target], reference)


def stamp(reference: Reference) -> Stamp | None:
    """Return the stamp of the file that ``reference`` names, ``None`` if there is none. Blocks."""
    try:
        return _stamp(os.lstat(reference.target))
    except OSError:
        return None


def read_file(reference: Reference) -> tuple[str, Stamp]:
    """Return the secret in a file and the stamp it had before the reading. Blocks. Raises ``ConfigError``.

    The stamp is taken first: a writer that is half-way leaves another one behind, so the file is read again.
    """
    try:
        # Without O_NONBLOCK a FIFO would hold the thread before fstat can refuse it.
        descriptor = os.open(reference.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_file(status, reference)
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{reference} cannot be read: {_why(error, reference)}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigError(f"{reference} is larger than {MAX_SECRET_BYTES} bytes; one line is expected")
    try:
        # Editors on Windows put a byte order mark first; sent along it would be a puzzling 401.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{reference} is not UTF-8 text") from None
    return _one_line(text, reference), _stamp(status)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_mtime_ns, status.st_ino, status.st_size)


def _why(error: OSError, reference: Reference) -> str:
    # ELOOP is O_NOFOLLOW's answer, and its own text would send the operator looking for a loop.
    if os.path.islink(reference.target):  # noqa: PTH114 - a path string is what was opened
        return "it is a symbolic link; name the file itself"
    return os.strerror(error.errno or 0)


def _check_file(status: os.stat_result, reference: Reference) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{reference} is not a regular file")
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"{reference} is open to every user (mode {status.st_mode & 0o777:04o}); chmod o-rw it")


def _one_line(text: str, reference: Reference) -> str:
    secret = text.strip()
    if not secret:
        raise ConfigError(f"{reference} is empty")
    if any(unicodedata.category(character) == "Cc" for character in secret):
        raise ConfigError(f"{reference} holds more than one line, or control characters")
    return secret
