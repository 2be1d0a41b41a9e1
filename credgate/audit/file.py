"""The file of an audit log: append-only, complete lines, chained, rotated by size.

Blocking, so it runs in a thread. Lines are passed to the kernel with ``write(2)``: they survive the process however it
ends, and a power failure from the next ``sync`` on. Each line is linked to the previous one (``chain``) as it is
written, so the chain covers what the file contains: if the disk fills within a line, the incomplete line is terminated
and included in the chain before the line is repeated. If another program renames or removes the file, the next write
opens a new one. Each new file begins with a line that names the last line of the previous file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.audit import log_files
from credgate.audit.chain import Head, Link, digest, numbered
from credgate.audit.event import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
# Bytes at the end of an existing log that are searched for its last lines.
_TAIL = 1024 * 1024
STDERR = "stderr"


class LineFile:
    """The destination of lines: a path, or ``stderr``. ``note`` makes the body of a line about the log itself.

    A file is rotated at ``max_bytes`` (0: never); ``keep`` is the number of rotated files to keep (0: all).
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
        """The end of the chain."""
        return Head(self._link or Link(), self._first)

    def open(self) -> None:
        """Open the file if it is not open. A new file has mode 0600, an old one keeps its mode. Raises ``OSError``."""
        if self._fd >= 0:
            return
        if self._to == STDERR:
            self._fd = os.dup(2)
        else:
            self._fd = _open(self._to)
            self._continue_chain(os.fstat(self._fd))
        self._link = self._link or Link()

    def close(self) -> None:
        """Close the file; the next :meth:`append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def sync(self) -> None:
        """Synchronise written lines to the disk. Raises ``OSError``."""
        if self._fd >= 0 and self._regular:
            os.fdatasync(self._fd)

    def append(self, bodies: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Write each of ``bodies`` (a JSON object, see ``Link.next``) as a line.

        Return the number of complete lines, and the error that stopped the rest.
        """
        try:
            self._follow()
            if self._fragment:  # terminate the incomplete line that an earlier failure left, and chain it
                os.write(self._fd, b"\n")
                self._cover()
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
            stopped = self._write_head() or stopped
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

    def _cover(self) -> None:
        if self._fragment:
            self._link = (self._link or Link()).over(self._fragment)
            self._fragment = b""

    def _write_head(self) -> OSError | None:
        if self._regular:
            try:
                # The chain alone cannot show that its end was cut off, so its end is also stored beside the log.
                log_files.write_head(self._path, self.head)
            except OSError as error:
                return error
        return None

    # From one file to the next.

    def _follow(self) -> None:
        """Open the file if it is closed, reopen it if its path names another file, rotate it if it is large enough."""
        if self._fd >= 0 and self._to != STDERR:
            if not _same(self._fd, self._to):
                self._leave_file()
            elif self._max_bytes and self._regular and os.fstat(self._fd).st_size >= self._max_bytes:
                self._rotate()
        self.open()

    def _leave_file(self) -> None:
        self.close()
        self._cover()

    def _rotate(self) -> None:
        """Rename the file by its last line, and remove the oldest rotated files."""
        try:
            log_files.rotate(self._path, self.head.last.seq)
            gone = log_files.drop(self._path, self._keep) if self._keep else 0
        except OSError as error:
            # Writing continues: a log that is too large is better than none.
            if not self._stuck:
                text = f"the log cannot be rotated: {error.strerror}"
                self._notes.append(self._note(Happening.AUDIT_GAP, text))
            self._stuck = True
            return
        self._stuck = False
        self._first = max(self._first, gone + 1)
        self._leave_file()

    def _continue_chain(self, status: os.stat_result) -> None:
        """Continue the chain: from the end of this file, or from the previous file if this one is new."""
        self._regular = stat.S_ISREG(status.st_mode) and not self._path.is_symlink()
        if not self._regular:
            return
        known = self.head if self._link else log_files.read_head(self._path)
        self._first = known.first if known else 1
        if status.st_size:
            self._compare_end(known)
        elif known and known.last.seq:
            self._link = known.last
            self._notes.append(self._note(Happening.AUDIT_CONTINUED, f"continues after line {known.last.seq}"))

    def _compare_end(self, known: Head | None) -> None:
        """Compare the end of the file with the recorded head; a difference is written to the log itself."""
        found, self._fragment = _end_of(self._path)
        started = self._link is None
        self._link = found
        if known is None or found == known.last:
            return
        if started and found.seq > known.last.seq:  # the head is written after its lines
            more = found.seq - known.last.seq
            text = f"{more} more lines than recorded: the gateway was killed while writing them, or they were added"
            self._notes.append(self._note(Happening.AUDIT_CONTINUED, text))
        else:
            self._link = Link(max(found.seq, known.last.seq), found.digest)
            text = f"the log does not end with line {known.last.seq} as written: it was changed"
            self._notes.append(self._note(Happening.AUDIT_GAP, text))


def _end_of(path: Path) -> tuple[Link, bytes]:
    """Return the link of the last complete line of a log, and the incomplete line after it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        *lines, fragment = file.read().split(b"\n")
    numbers = [found[0] for found in map(numbered, lines) if found]
    if not lines:
        return Link(), fragment
    return Link(numbers[-1] if numbers else 0, digest(lines[-1])), fragment


def _open(path: str) -> int:
    """Open ``path`` to append to it. Raises ``OSError``."""
    # Without O_NONBLOCK, opening a FIFO without a reader would block; with it, that is an error.
    fd = os.open(path, _FLAGS | os.O_NONBLOCK, 0o600)
    os.set_blocking(fd, True)
    return fd


def _same(fd: int, path: str) -> bool:
    """Return whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))  # noqa: PTH116 - beside its fstat
    except FileNotFoundError:
        return False
