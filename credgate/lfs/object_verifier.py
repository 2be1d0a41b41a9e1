"""Verifies the size and the SHA-256 digest of an object while it is streamed.

Git LFS names an object by the SHA-256 digest of its content. The last piece is released only if size and digest are
correct; otherwise the receiver, storage or client, gets an incomplete object, which it discards. Of a resumed download
only the size is verified here: git-lfs hashes the whole object itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from credgate.lfs.refusals import LfsError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable


class ObjectVerifier:
    """Verifies ``length`` bytes of the object ``oid`` (SHA-256 in hexadecimal); ``""``: the size only."""

    def __init__(self, length: int, oid: str) -> None:
        self._left, self._oid = length, oid
        self._digest = hashlib.sha256()
        self.done = False
        """All bytes were received and are correct."""

    def take(self, parts: Iterable[bytes]) -> list[bytes]:
        """Return the bytes that may be passed on. Raises LfsError for too many bytes or a wrong digest."""
        passed = []
        for part in parts:
            self._left -= len(part)
            if self._left < 0:
                raise _wrong("more bytes than the object has")
            # Hashing costs more than moving the bytes, so it is left out where no digest is known.
            if self._oid:
                self._digest.update(part)
            passed.append(part)
        if self._left == 0:
            self._judge()
        return passed

    def end(self) -> None:
        """Note the end of the body. Raises LfsError if bytes are missing."""
        if not self.done:
            self.take(())  # an empty object has no piece that completes it
        if not self.done:
            raise _wrong("bytes of the object are missing")

    def _judge(self) -> None:
        if self._oid and self._digest.hexdigest() != self._oid:
            raise _wrong("its bytes do not match the object's digest")
        self.done = True


def _wrong(text: str) -> LfsError:
    return LfsError(f"this transfer was cut: {text}", reason=Reason.LFS_MISMATCH, status=422)
