"""The file that audit lines go to: append-only, whole lines, chained, rotated by size; says what could not be written.

Blocking, so it belongs in a thread. Lines are handed to the kernel with ``write(2)``: they outlive the process, however
it dies, and a power cut from the next ``sync`` on. Each is linked to the one before it (``chain``) as it is written, so
the chain is of what stands in the file: a disk that fills in the middle of a line leaves a fragment, which gets its end
and its place in the chain before the whole line is repeated behind it. A file renamed or removed by somebody else's
rotation is noticed at the next write. Each new file begins with an anchor, a line that says which line it goes on from.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.audit import kept
from credgate.audit.chain import Head, Link, digest, numbered
from credgate.audit.event import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_TAIL = 1024 * 1024
"""Bytes of an old log's end that are looked at for its last lines."""
STDERR = "stderr"


class LineFile:
    """Where lines go: a path, or ``stderr``. ``note`` makes a line's body of what there is to say about the log itself.

    ``max_bytes`` is the size from which on a file is rotated (0: never), ``keep`` how many such files stay (0: all).
    """

    def __init__(self, to: str, note: Callable[[Happening, str], bytes], *, max_bytes: int = 0, keep: int = 0) -> None:
        self._to, self._path, self._note = to, Path(to), note
        self._max_bytes, self._keep = max_bytes, keep
        self._fd = -1
        self._regular = self._stuck = False
        self._link: Link | None = None
        self._first = 1
        self._fragment = b""
        self._notes: list[bytes] = []

    @property
    def head(self) -> Head:
        """Where the chain stands."""
        return Head(self._link or Link(), self._first)

    def open(self) -> None:
        """Open it (a new file is 0600; an old one keeps its mode), unless it is open. Raises ``OSError``."""
        if self._fd >= 0:
            return
        if self._to == STDERR:
            self._fd = os.dup(2)
        else:
            self._fd = _open(self._to)
            self._take_up(os.fstat(self._fd))
        self._link = self._link or Link()

    def close(self) -> None:
        """Close it; the next :meth:`append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def sync(self) -> None:
        """Have the kernel write down what it was given. Raises ``OSError``."""
        if self._fd >= 0 and self._regular:
            os.fdatasync(self._fd)

    def append(self, bodies: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Write each of ``bodies`` (a JSON object, see ``Link.next``) as a line.

        Return how many are in whole, and what stopped the rest.
        """
        try:
            self._follow()
            self._mend()
        except OSError as error:
            return 0, error
        own = len(self._notes)
        links, lines = self._chained([*self._notes, *bodies])
        written, stopped = self._write(lines)
        whole = lines.count(b"\n", 0, written)
        self._fragment = lines[lines.rfind(b"\n", 0, written) + 1 : written]
        del self._notes[:whole]
        if whole:
            self._link = links[whole - 1]
            stopped = self._tell_head() or stopped
        return max(0, whole - own), stopped

    def _chained(self, bodies: Sequence[bytes]) -> tuple[list[Link], bytes]:
        link, links, lines = self._link or Link(), [], []
        for body in bodies:
            line, link = link.next(body)
            links.append(link)
            lines.append(line)
        return links, b"".join(b"%s\n" % line for line in lines)

    def _write(self, lines: bytes) -> tuple[int, OSError | None]:
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:])
        except OSError as error:
            return written, error
        return written, None

    def _mend(self) -> None:
        """End the fragment that an earlier failure left, and take it into the chain."""
        if self._fragment:
            os.write(self._fd, b"\n")
            self._cover()

    def _cover(self) -> None:
        if self._fragment:
            self._link = (self._link or Link()).over(self._fragment)
            self._fragment = b""

    def _tell_head(self) -> OSError | None:
        if self._regular:
            try:
                kept.write_head(self._path, self.head)
            except OSError as error:
                return error
        return None

    # From one file to the next.

    def _follow(self) -> None:
        """Open it if it is not open, if its path has come to name another file, or if it is large enough."""
        if self._fd >= 0 and self._to != STDERR:
            if not _same(self._fd, self._to):
                self._let_go()
            elif self._max_bytes and self._regular and os.fstat(self._fd).st_size >= self._max_bytes:
                self._rotate()
        self.open()

    def _let_go(self) -> None:
        self.close()
        self._cover()

    def _rotate(self) -> None:
        """Begin a new file. One that cannot be renamed is gone on with: an audit log too large is better than none."""
        try:
            kept.rotate(self._path, self.head.last.seq)
            gone = kept.drop(self._path, self._keep) if self._keep else 0
        except OSError as error:
            if not self._stuck:
                text = f"the log cannot be rotated: {error.strerror}"
                self._notes.append(self._note(Happening.AUDIT_GAP, text))
            self._stuck = True
            return
        self._stuck = False
        self._first = max(self._first, gone + 1)
        self._let_go()

    def _take_up(self, status: os.stat_result) -> None:
        """Go on where the chain ends: in this file, or before it if it is new."""
        self._regular = stat.S_ISREG(status.st_mode) and not self._path.is_symlink()
        if not self._regular:
            return
        known = self.head if self._link else kept.read_head(self._path)
        self._first = known.first if known else 1
        if status.st_size:
            self._go_on(known)
        elif known and known.last.seq:
            self._link = known.last
            self._notes.append(self._note(Happening.AUDIT_CONTINUED, f"goes on behind line {known.last.seq}"))

    def _go_on(self, known: Head | None) -> None:
        """Compare the end of the file with where the chain stood; a difference is told in the log itself."""
        found, self._fragment = _end_of(self._path)
        started = self._link is None
        self._link = found
        if known is None or found == known.last:
            return
        if started and found.seq > known.last.seq:  # a head is written behind its lines
            more = found.seq - known.last.seq
            text = f"{more} more lines than were noted: the gateway was killed as it wrote them, or they were added"
            self._notes.append(self._note(Happening.AUDIT_CONTINUED, text))
        else:
            self._link = Link(max(found.seq, known.last.seq), found.digest)
            text = f"the log does not end with line {known.last.seq} as it was written: it was changed meanwhile"
            self._notes.append(self._note(Happening.AUDIT_GAP, text))


def _end_of(path: Path) -> tuple[Link, bytes]:
    """Return the link of a log's last whole line, and the fragment behind it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        *lines, fragment = file.read().split(b"\n")
    numbers = [found[0] for found in map(numbered, lines) if found]
    if not lines:
        return Link(), fragment
    return Link(numbers[-1] if numbers else 0, digest(lines[-1])), fragment


def _open(path: str) -> int:
    """Open ``path`` without waiting: a FIFO that nobody reads is an error and not a hang."""
    fd = os.open(path, _FLAGS | os.O_NONBLOCK, 0o600)
    os.set_blocking(fd, True)
    return fd


def _same(fd: int, path: str) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116 - beside its fstat
    except FileNotFoundError:
        return False
