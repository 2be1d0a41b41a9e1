"""What lies beside an audit log: the files it was rotated into, and its head.

``audit.jsonl.000000012345`` ended with line 12345, so names in order are lines in order. ``audit.jsonl.head`` is where
the chain stands (``chain.Head``): with it a log whose end was cut off is told from a whole one. It is written behind
each batch of lines; a process that is killed between the two leaves it behind by that batch, and the next start, which
finds whole lines there, brings it up. Blocking, so it belongs in a thread.
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
    """Return the files that ``log`` was rotated into, oldest first, each with the number of its last line."""
    found = [(_NUMBER.fullmatch(path.name[len(log.name) :]), path) for path in log.parent.glob(f"{log.name}.*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def rotate(log: Path, last: int) -> None:
    """Rename ``log``, whose last line is number ``last``. Raises ``OSError``."""
    log.rename(log.with_name(f"{log.name}.{last:012d}"))


def drop(log: Path, keep: int) -> int:
    """Remove the oldest files beyond ``keep``; return the number of the last line that is gone, 0 for none."""
    files = rotated(log)
    gone = 0
    for last, path in files[: max(0, len(files) - keep)]:
        path.unlink(missing_ok=True)
        gone = last
    return gone


def head_file(log: Path) -> Path:
    """Name the file that says where the chain stands."""
    return log.with_name(f"{log.name}.head")


def read_head(log: Path) -> Head | None:
    """Return where the chain stood; None when nothing says so."""
    try:
        return Head.parse(head_file(log).read_bytes())
    except OSError:
        return None


def write_head(log: Path, head: Head) -> None:
    """Write it over the last one, which has the same length. Raises ``OSError``."""
    fd = os.open(head_file(log), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(fd, head.encode(), 0)
    finally:
        os.close(fd)
