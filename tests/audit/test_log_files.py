"""What lies beside an audit log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from credgate.audit.chain import Head, Link
from credgate.audit.log_files import drop, read_head, rotate, rotated, write_head

if TYPE_CHECKING:
    from pathlib import Path


def test_rotated_files_are_listed_oldest_first(tmp_path: Path) -> None:
    """By the number of their last line, which is in the name; what else lies there is nobody's."""
    log = tmp_path / "audit.log"
    for number in (20, 3, 10**12):
        log.touch()
        rotate(log, number)
    for other in ("audit.log.head", "audit.log.1", "audit.log.000000000001.gz", "other.log.000000000001"):
        (tmp_path / other).touch()
    assert [number for number, _ in rotated(log)] == [3, 20, 10**12]


def test_oldest_files_are_dropped(tmp_path: Path) -> None:
    """The number of the last removed line is returned."""
    log = tmp_path / "audit.log"
    for number in (10, 20, 30):
        log.touch()
        rotate(log, number)
    assert drop(log, 2) == 10
    assert drop(log, 2) == 0
    assert [number for number, _ in rotated(log)] == [20, 30]


def test_head_is_read_back(tmp_path: Path) -> None:
    """Written over the one before; what is no head is none."""
    log = tmp_path / "audit.log"
    assert read_head(log) is None
    for number in (99, 5):
        head = Head(Link(number, "ab" * 32), 3)
        write_head(log, head)
        assert read_head(log) == head
    (tmp_path / "audit.log.head").write_bytes(b"5\n")
    assert read_head(log) is None


def test_head_file_is_private_and_not_a_link(tmp_path: Path) -> None:
    """A link could redirect the write to another file."""
    log, elsewhere = tmp_path / "audit.log", tmp_path / "elsewhere"
    head = Head(Link(1, "ab" * 32), 3)
    before = os.umask(0)
    try:
        write_head(log, head)
    finally:
        os.umask(before)
    assert (tmp_path / "audit.log.head").stat().st_mode & 0o777 == 0o600
    elsewhere.write_bytes(b"kept")
    (tmp_path / "audit.log.head").unlink()
    (tmp_path / "audit.log.head").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        write_head(log, head)
    assert elsewhere.read_bytes() == b"kept"
