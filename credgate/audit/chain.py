"""The chain of an audit log: each line contains its number and the digest of the previous line.

    line = {... , "seq": number, "prev": SHA-256 of the previous line, in hexadecimal}     ; without its line feed

A line that is changed, removed or inserted breaks the link of the next one. The chain alone cannot show that its end
was cut off, so the number and digest of the last line (the head) are stored beside the log, and the running gateway
reports them.
"""

from __future__ import annotations

import hashlib
import re

from attrs import frozen

_NONE = "0" * 64
_TAIL = re.compile(rb'.*,"seq":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})"\}', re.DOTALL)
# Of a fixed width, so that a new head overwrites the old one completely.
_HEAD = re.compile(rb"([0-9]{20}) ([0-9a-f]{64}) ([0-9]{20})\n")


@frozen(slots=True)
class Link:
    """The end of a chain: the number and the digest of its last line."""

    seq: int = 0
    digest: str = _NONE

    def next(self, body: bytes) -> tuple[bytes, Link]:
        """Return ``body`` (a non-empty JSON object in one line) as the next line of the chain, and the new end."""
        line = b'%s,"seq":%d,"prev":"%s"}' % (body[:-1], self.seq + 1, self.digest.encode())
        return line, Link(self.seq + 1, digest(line))

    def over(self, fragment: bytes) -> Link:
        """Return the end of the chain after an incomplete line, which has no number."""
        # The digest covers bytes, so a line that a full disk left incomplete is in the chain like any other.
        return Link(self.seq, digest(fragment))


@frozen(slots=True)
class Head:
    """The end of a log as its writer recorded it; ``first`` is the number of the oldest line that still exists."""

    last: Link
    first: int = 1

    def encode(self) -> bytes:
        """Return it as text, to be read again by ``parse``."""
        return b"%020d %s %020d\n" % (self.last.seq, self.last.digest.encode(), self.first)

    @classmethod
    def parse(cls, text: bytes) -> Head | None:
        """Return the head in ``text``, or None if it is not one."""
        match = _HEAD.fullmatch(text)
        return None if match is None else cls(Link(int(match[1]), match[2].decode()), int(match[3]))


def digest(line: bytes) -> str:
    """Return the digest of a line, given without its line feed."""
    return hashlib.sha256(line).hexdigest()


def numbered(line: bytes) -> tuple[int, str] | None:
    """Return the number of a line and the digest of the previous line; None if it is not in a chain."""
    match = _TAIL.fullmatch(line)
    return None if match is None else (int(match[1]), match[2].decode())
