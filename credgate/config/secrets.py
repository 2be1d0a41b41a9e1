"""Reads the secrets that references name in files and variables: ``env://``, ``file://`` and ``systemd://``.

A file is read only if it is safe: a regular file, not a symbolic link, not accessible to users other than its owner and
group, at most 64 KiB, one line (``read_document``: several, for keys in PEM). The ``Stamp`` of a file changes when its
content may have changed: callers that watch for rotation compare stamps before they read again. Commands and keyrings
need a process and are not read here.

No error contains a value. Reading blocks; callers run it in a thread.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from credgate.config.references import Reference, parse_reference
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_SECRET_BYTES",
    "Reference",
    "Stamp",
    "located",
    "parse_reference",
    "read_document",
    "read_file",
    "read_reference",
    "stamp",
]

MAX_SECRET_BYTES = 64 * 1024

_SYSTEMD = "CREDENTIALS_DIRECTORY"


@frozen(slots=True)
class Stamp:
    """Attributes of a file that change when its content is replaced."""

    mtime_ns: int
    inode: int
    size: int


def located(reference: Reference, environ: Mapping[str, str]) -> Reference:
    """Return a ``systemd://`` reference as the ``file://`` reference that it stands for; others unchanged."""
    if reference.kind != "systemd":
        return reference
    directory = environ.get(_SYSTEMD, "")
    if not directory.startswith("/"):
        remedy = f"add LoadCredential={reference.target}:/path to the unit"
        raise ConfigError(f"{reference} cannot be read: {_SYSTEMD} is not set; {remedy}")
    return evolve(reference, kind="file", target=f"{directory.rstrip('/')}/{reference.target}")


def read_reference(reference: Reference, environ: Mapping[str, str]) -> str:
    """Return the secret of one line that ``reference`` names. Blocks. Raises ``ConfigError`` without file and line."""
    return _one_line(_read(reference, environ), reference)


def read_document(reference: Reference, environ: Mapping[str, str]) -> str:
    """Return the secret of several lines (a key in PEM) that ``reference`` names. Blocks; raises as above."""
    if text := _read(reference, environ).strip():
        return text + "\n"
    raise ConfigError(f"{reference} is empty")


def _read(reference: Reference, environ: Mapping[str, str]) -> str:
    reference = located(reference, environ)
    if reference.kind == "file":
        return _content(reference)[0]
    if reference.kind != "env":
        raise ConfigError(f"{reference.kind}:// cannot be used here; write an env://, file:// or systemd:// reference")
    if not environ.get(reference.target):
        raise ConfigError(f"{reference} cannot be read: the variable is not set")
    return environ[reference.target]


def stamp(reference: Reference) -> Stamp | None:
    """Return the stamp of the file that ``reference`` names, ``None`` if it does not exist. Blocks."""
    try:
        return _stamp(os.lstat(reference.target))
    except OSError:
        return None


def read_file(reference: Reference) -> tuple[str, Stamp]:
    """Return the secret in a file and the file's stamp before reading. Blocks. Raises ``ConfigError``."""
    # The stamp is taken first: if a program is still writing the file, the stamp changes and the file is read again.
    text, seen = _content(reference)
    return _one_line(text, reference), seen


def _content(reference: Reference) -> tuple[str, Stamp]:
    try:
        # Without O_NONBLOCK, opening a FIFO would block the thread before fstat can refuse it.
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
        # Editors on Windows add a byte order mark; sent as part of the token, it would cause an unexplained 401.
        return content.decode("utf-8-sig"), _stamp(status)
    except UnicodeDecodeError:
        raise ConfigError(f"{reference} is not UTF-8 text") from None


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_mtime_ns, status.st_ino, status.st_size)


def _why(error: OSError, reference: Reference) -> str:
    # O_NOFOLLOW fails with ELOOP, whose text ("too many levels of symbolic links") would mislead the operator.
    if os.path.islink(reference.target):  # noqa: PTH114 - a path string is what was opened
        return "it is a symbolic link; set the path of the file itself"
    return os.strerror(error.errno or 0)


def _check_file(status: os.stat_result, reference: Reference) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{reference} is not a regular file")
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"{reference} is accessible to every user (mode {status.st_mode & 0o777:04o}); chmod o-rw it")


def _one_line(text: str, reference: Reference) -> str:
    secret = text.strip()
    if not secret:
        raise ConfigError(f"{reference} is empty")
    if any(unicodedata.category(character) == "Cc" for character in secret):
        raise ConfigError(f"{reference} contains more than one line, or control characters")
    return secret
