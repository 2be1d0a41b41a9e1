"""The file that audit lines go to: append-only, whole lines, follows a rotation, says what could not be written.

Blocking, so it belongs in a thread. Lines are handed to the kernel with ``write(2)`` and not synchronised: they outlive
the process, however it dies, but not a power cut. A disk that fills in the middle of a line leaves a fragment; the
next successful write puts it on a line of its own and repeats the whole line behind it, so that every line which is
valid JSON is whole. A file renamed or removed by a log rotation is noticed at the next write; no signal is needed.
"""

from __future__ import annotations

import os

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
STDERR = "stderr"


class LineFile:
    """Where lines go: a path, or ``stderr``."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._fd = -1
        self._torn = False

    def open(self) -> None:
        """Open it (a new file is 0600; an old one keeps its mode), unless it is open. Raises ``OSError``."""
        if self._fd < 0:
            self._fd = os.dup(2) if self._to == STDERR else _open(self._to)

    def close(self) -> None:
        """Close it; the next :meth:`append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, lines: bytes) -> tuple[int, OSError | None]:
        r"""Write ``lines`` (each ended by ``\n``): how many bytes of whole lines are in, and what stopped the rest."""
        written = 0
        try:
            self._follow()
            self._mend()
            while written < len(lines):
                written += os.write(self._fd, lines[written:])
        except OSError as error:
            whole = lines.rfind(b"\n", 0, written) + 1
            self._torn = self._torn or whole < written
            return whole, error
        return written, None

    def _follow(self) -> None:
        """Open it if it is not open, or if its path has come to name another file."""
        if self._fd >= 0 and self._to != STDERR and not _same(self._fd, self._to):
            self.close()
            self._torn = False
        self.open()

    def _mend(self) -> None:
        """End the fragment that an earlier failure left."""
        if self._torn:
            os.write(self._fd, b"\n")
            self._torn = False


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
