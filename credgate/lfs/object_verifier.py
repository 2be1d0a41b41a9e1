"""An object on its way: counted, hashed, and its last bytes held back until it is known to be what it is called.

Git LFS names an object by the SHA-256 of its content, so a wrong byte, a missing one or one too many can be told
without anybody's word. The last piece goes on only if size and digest are right; else neither the storage nor the
client ever has a whole object, and throws away what came. Of a resumed download only the size can be told here: git-lfs
itself hashes what it put together.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from credgate.lfs.refusals import LfsError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable


class ObjectVerifier:
    """``length`` bytes of the object ``oid`` (SHA-256 in hexadecimal); ``""``: its digest cannot be told."""

    def __init__(self, length: int, oid: str) -> None:
        self._left, self._oid = length, oid
        self._digest = hashlib.sha256()
        self.done = False
        """All bytes came and were right."""

    def take(self, parts: Iterable[bytes]) -> list[bytes]:
        """Return the bytes that may go on. Raises LfsError for a byte too many, or a wrong last one."""
        passed = []
        for part in parts:
            self._left -= len(part)
            if self._left < 0:
                raise _wrong("more bytes came than the object has")
            if self._oid:
                self._digest.update(part)
            passed.append(part)
        if self._left == 0:
            self._judge()
        return passed

    def end(self) -> None:
        """Take the end. Raises LfsError if bytes are missing."""
        if not self.done:
            self.take(())  # an object without bytes
        if not self.done:
            raise _wrong("bytes of the object are missing")

    def _judge(self) -> None:
        if self._oid and self._digest.hexdigest() != self._oid:
            raise _wrong("its bytes are not the object that was named")
        self.done = True


def _wrong(text: str) -> LfsError:
    return LfsError(f"this transfer was cut: {text}", reason=Reason.LFS_MISMATCH, status=422)
