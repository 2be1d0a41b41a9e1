"""The saved token of the next renewal: an encrypted file that is on disk before the token is used.

One file a forge, mode 0600, in the state directory (0700). The content is a Fernet token
(https://github.com/fernet/spec) under the operator's key, so a copy of the directory alone is useless. It includes a
digest of the first token.

A file that cannot be read or decrypted is an error. The functions block; callers use a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING

from attrs import field, frozen
from cryptography.fernet import Fernet, InvalidToken

from credgate.errors import ConfigError, StoreError
from credgate.private_file import prepare

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE = 64 * 1024
"""Maximum bytes of the file."""


@frozen(slots=True)
class SavedToken:
    """A token, and the end of its credential in seconds since the epoch."""

    token: str = field(repr=False)
    expires_at: float


def check_key(key: str) -> None:
    """Raise ``ConfigError`` (without a place) unless ``key`` is a Fernet key."""
    try:
        Fernet(key)
    except ValueError:
        raise ConfigError("expected a key of 32 bytes in URL-safe base64 (see docs/credentials.md)") from None


def write(path: Path, key: str, first: str, kept: SavedToken) -> None:
    """Write and sync the token. Raises ``StoreError``."""
    content = {"first": _digest(first), "token": kept.token, "expires_at": kept.expires_at}
    sealed = Fernet(key).encrypt(json.dumps(content).encode("ascii"))
    # Written under another name, synced and renamed: after a crash at any point the file is the old or the new one.
    draft = path.with_name(path.name + ".new")
    try:
        prepare(draft)
        flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(draft, flags), "wb") as file:  # noqa: PTH123 - a descriptor with flags that Path.open cannot give
            os.fchmod(file.fileno(), 0o600)
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        # The rename is durable only when the directory is synced, too.
        _sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})") from None


def read(path: Path, key: str, first: str) -> SavedToken | None:
    """Return the saved token; ``None``: none was saved for ``first``. Raises ``StoreError``."""
    try:
        sealed = _content(path)
        content = json.loads(Fernet(key).decrypt(sealed)) if sealed is not None else None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from None
    # Never treated as missing: the first token was used before, and a forge may treat its second use as theft.
    except (InvalidToken, ValueError):
        raise StoreError(f"{path} cannot be decrypted with the configured key") from None
    # If the operator has configured another first token, the saved one no longer applies.
    if content is None or content["first"] != _digest(first):
        return None
    return SavedToken(str(content["token"]), float(content["expires_at"]))


def _content(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise StoreError(f"{path} is not a regular file of credgate's user")
        return file.read(MAX_FILE)


def _digest(first: str) -> str:
    return hashlib.sha256(first.encode()).hexdigest()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
