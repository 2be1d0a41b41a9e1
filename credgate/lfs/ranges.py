"""Ranges of resumed downloads (RFC 9110, section 14).

git-lfs uses one form: ``Range: bytes=FIRST-LAST`` (or ``FIRST-``), where LAST is the last byte of the object. Any other
range is ignored, as section 14.2 allows: the whole object is sent, and git-lfs starts again. Both fields are written
anew from the numbers.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

_RANGE: Final = re.compile(rb"bytes=(0|[1-9][0-9]{0,15})-([1-9][0-9]{0,15})?")
_CONTENT_RANGE: Final = re.compile(rb"bytes (0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})/(0|[1-9][0-9]{0,15}|\*)")


@frozen(slots=True)
class ByteRange:
    """The part of an object of ``size`` bytes from the offset ``first`` to its end."""

    first: int
    size: int

    @property
    def length(self) -> int:
        """The bytes of the part."""
        return self.size - self.first

    @property
    def whole(self) -> bool:
        """Whether the part is the whole object."""
        return not self.first

    @property
    def asked(self) -> bytes:
        """The value of ``Range`` that requests this part."""
        return b"bytes=%d-%d" % (self.first, self.size - 1)

    @property
    def content_range(self) -> bytes:
        """The value of ``Content-Range`` for this part."""
        return b"bytes %d-%d/%d" % (self.first, self.size - 1, self.size)

    def matches(self, content_range: bytes | None) -> bool:
        """Whether the ``Content-Range`` of an answer names exactly this part."""
        found = None if content_range is None else _CONTENT_RANGE.fullmatch(content_range)
        if found is None:
            return False
        first, last, size = found.groups()
        return (int(first), int(last)) == (self.first, self.size - 1) and size in (b"*", b"%d" % self.size)


def asked_part(value: bytes | None, size: int) -> ByteRange:
    """Return the part that the ``Range`` of a request names, or the whole object."""
    found = None if value is None else _RANGE.fullmatch(value)
    if found is None:
        return ByteRange(0, size)
    # The patterns bound the digits, because int() is quadratic in them.
    first, last = int(found[1]), int(found[2] or size - 1)
    return ByteRange(first, size) if first < size and last == size - 1 else ByteRange(0, size)
