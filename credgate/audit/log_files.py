"""The files beside an audit log: its rotated files, and its head.

``audit.jsonl.000000012345`` ends with line 12345, so the order of names is the order of lines. ``audit.jsonl.head``
contains the end of the chain (``chain.Head``), which shows whether the end of a log was cut off. It is written after
each batch of lines. If the process is killed between the two, the head lacks that batch; the next start finds the
complete lines and updates it. Blocking, so it runs in a thread.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from credgate.audit.chain import Head

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER = re.compile(r"\.([0-9]{12,20})")


def rotated(log: Path) -> list[tuple[int, Path]]:
    """Return the rotated files of ``log``, the oldest first, each with the number of its last line."""
    found = [(_NUMBER.fullmatch(path.name[len(log.name) :]), path) for path in log.parent.glob(f"{log.name}.*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def rotate(log: Path, last: int) -> None:
    """Rename ``log``, whose last line is number ``last``. Raises ``OSError``."""
    # Named by its last line, so that the order of names is the order of lines.
    log.rename(log.with_name(f"{log.name}.{last:012d}"))


def drop(log: Path, keep: int) -> int:
    """Remove the oldest rotated files beyond ``keep``; return the number of the last removed line, or 0."""
    files = rotated(log)
    gone = 0
    for last, path in files[: max(0, len(files) - keep)]:
        path.unlink(missing_ok=True)
        gone = last
    return gone


def head_file(log: Path) -> Path:
    """Return the path of the file with the head."""
    return log.with_name(f"{log.name}.head")


def read_head(log: Path) -> Head | None:
    """Return the recorded head, or None if there is none."""
    try:
        return Head.parse(head_file(log).read_bytes())
    except OSError:
        return None


def write_head(log: Path, head: Head) -> None:
    """Overwrite the recorded head. Raises ``OSError``."""
    fd = os.open(head_file(log), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # All heads have the same length, so nothing of the old one remains after the new one.
        os.pwrite(fd, head.encode(), 0)
    finally:
        os.close(fd)
