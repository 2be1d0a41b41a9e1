"""The chain of an audit log: each line carries its number and the digest of the line before it.

    line = {... , "seq": number, "prev": SHA-256 of the line before, in hexadecimal}     ; without its line feed

Whoever changes, removes or puts in a line breaks the link to the next one. What a chain cannot show by itself is that
its end was cut off: for that the number and digest of the last line (its head) are kept beside the log and can be asked
of the running gateway. The digest is of the line's bytes as they stand, so a line that a full disk cut off is in the
chain like any other. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import re

from attrs import frozen

_NONE = "0" * 64
_TAIL = re.compile(rb'.*,"seq":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})"\}', re.DOTALL)
_HEAD = re.compile(rb"([0-9]{20}) ([0-9a-f]{64}) ([0-9]{20})\n")


@frozen(slots=True)
class Link:
    """Where a chain stands: the number of its last line, and that line's digest."""

    seq: int = 0
    digest: str = _NONE

    def next(self, body: bytes) -> tuple[bytes, Link]:
        """Return ``body`` (a JSON object that is not empty, in one line) as the chain's next line, and its link."""
        line = b'%s,"seq":%d,"prev":"%s"}' % (body[:-1], self.seq + 1, self.digest.encode())
        return line, Link(self.seq + 1, digest(line))

    def over(self, fragment: bytes) -> Link:
        """Return the link behind a line that was cut off, and so has no number."""
        return Link(self.seq, digest(fragment))


@frozen(slots=True)
class Head:
    """The end of a log as its writer knows it; ``first`` is the number of the oldest line that is still kept."""

    last: Link
    first: int = 1

    def encode(self) -> bytes:
        """Write it, always in the same length."""
        return b"%020d %s %020d\n" % (self.last.seq, self.last.digest.encode(), self.first)

    @classmethod
    def parse(cls, text: bytes) -> Head | None:
        """Read it; None for anything else."""
        match = _HEAD.fullmatch(text)
        return None if match is None else cls(Link(int(match[1]), match[2].decode()), int(match[3]))


def digest(line: bytes) -> str:
    """Return the digest of a line, given without its line feed."""
    return hashlib.sha256(line).hexdigest()


def numbered(line: bytes) -> tuple[int, str] | None:
    """Return a line's number and the digest of the one before it; None when it is not in a chain."""
    match = _TAIL.fullmatch(line)
    return None if match is None else (int(match[1]), match[2].decode())
