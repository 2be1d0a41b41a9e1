"""Resumed downloads: which part of an object a client asks for, and whether an answer is that part.

RFC 9110 section 14, of which git-lfs uses one form: ``Range: bytes=FIRST-LAST`` (or ``FIRST-``) with the object's last
byte as the last, to go on where it stopped. Everything is written anew from numbers. A range that is anything else is
ignored, as the RFC has it: the whole object is sent then, and git-lfs begins anew.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

_RANGE: Final = re.compile(rb"bytes=(0|[1-9][0-9]{0,15})-([1-9][0-9]{0,15})?")
_CONTENT_RANGE: Final = re.compile(rb"bytes (0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})/(0|[1-9][0-9]{0,15}|\*)")


@frozen(slots=True)
class ByteRange:
    """A part of an object of ``size`` bytes, from ``first`` to its end; ``first`` 0 is the whole."""

    first: int
    size: int

    @property
    def length(self) -> int:
        """Bytes of the part."""
        return self.size - self.first

    @property
    def whole(self) -> bool:
        """Whether it is all of the object."""
        return not self.first

    @property
    def asked(self) -> bytes:
        """The value of ``Range`` that asks for it."""
        return b"bytes=%d-%d" % (self.first, self.size - 1)

    @property
    def content_range(self) -> bytes:
        """The value of ``Content-Range`` that says so."""
        return b"bytes %d-%d/%d" % (self.first, self.size - 1, self.size)

    def matches(self, content_range: bytes | None) -> bool:
        """Whether this ``Content-Range`` of an answer names exactly this part."""
        found = None if content_range is None else _CONTENT_RANGE.fullmatch(content_range)
        if found is None:
            return False
        first, last, size = found.groups()
        return (int(first), int(last)) == (self.first, self.size - 1) and size in (b"*", b"%d" % self.size)


def asked_part(value: bytes | None, size: int) -> ByteRange:
    """Return the part that a request's ``Range`` asks for, or the whole object."""
    found = None if value is None else _RANGE.fullmatch(value)
    if found is None:
        return ByteRange(0, size)
    first, last = int(found[1]), int(found[2] or size - 1)
    return ByteRange(first, size) if first < size and last == size - 1 else ByteRange(0, size)
