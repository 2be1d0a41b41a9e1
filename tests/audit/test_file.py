"""The audit file: whole lines, the rest told, rotations followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.audit.file import LineFile

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = "/dev/full"
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the log."""
    return tmp_path / "audit.log"


@pytest.fixture
def file(path: Path) -> Iterator[LineFile]:
    """Make an open log."""
    made = LineFile(str(path))
    made.open()
    yield made
    made.close()


def test_lines_are_appended(path: Path, file: LineFile) -> None:
    """What was there stays; what comes is behind it."""
    path.write_text("old\n")
    assert file.append(b"one\ntwo\n") == (8, None)
    assert file.append(b"three\n") == (6, None)
    assert path.read_text() == "old\none\ntwo\nthree\n"


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    """Repository names and addresses are nobody else's business, unless the operator opened the file to a group."""
    old = tmp_path / "old"
    old.touch(0o640)
    old.chmod(0o640)
    for name in ("new", "old"):
        file = LineFile(str(tmp_path / name))
        file.open()
        file.close()
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")] == [0o600, 0o640]


def test_opening_and_closing_twice_is_once(path: Path, file: LineFile) -> None:
    """Descriptors neither leak nor are closed under another's feet."""
    before = len(list(DESCRIPTORS.iterdir()))
    file.open()
    assert len(list(DESCRIPTORS.iterdir())) == before
    file.close()
    file.close()
    assert len(list(DESCRIPTORS.iterdir())) == before - 1
    assert file.append(b"again\n") == (6, None)
    assert path.read_text() == "again\n"


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_rotation_is_followed(path: Path, file: LineFile, how: str) -> None:
    """Logrotate renames; the next line goes to a new file, the old one stays as it was."""
    file.append(b"one\n")
    kept = path.rename(path.with_suffix(".1")) if how == "renamed" else path.unlink()
    assert file.append(b"two\n") == (4, None)
    assert path.read_text() == "two\n"
    assert kept is None or kept.read_text() == "one\n"


def test_a_full_disk_is_told_and_recovered_from(path: Path) -> None:
    """/dev/full answers as a full disk does; once the path leads elsewhere the same lines go in whole."""
    path.symlink_to(FULL)
    file = LineFile(str(path))
    taken, error = file.append(b"one\ntwo\n")
    assert taken == 0
    assert error is not None
    assert error.errno == errno.ENOSPC
    path.unlink()
    assert file.append(b"one\ntwo\n") == (8, None)
    assert path.read_text() == "one\ntwo\n"
    file.close()


def test_a_missing_directory_is_told_and_recovered_from(tmp_path: Path) -> None:
    """A log volume that comes back is used again without a restart."""
    path = tmp_path / "volume" / "audit.log"
    file = LineFile(str(path))
    taken, error = file.append(b"one\n")
    assert (taken, error and error.errno) == (0, errno.ENOENT)
    path.parent.mkdir()
    assert file.append(b"one\n") == (4, None)
    file.close()


def write_at_most(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """Let each write take so many bytes, then fail as a full disk does; then all is well."""
    real, left = os.write, list(sizes)

    def write(fd: int, data: bytes) -> int:
        if not left:
            return real(fd, data)
        size = left.pop(0)
        if size == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:size])

    monkeypatch.setattr(os, "write", write)


def test_short_writes_are_gone_on_with(path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given, and that is no failure."""
    write_at_most(monkeypatch, 1, 2, 3)
    assert file.append(b"one\ntwo\n") == (8, None)
    assert path.read_text() == "one\ntwo\n"


def test_a_torn_line_stands_alone_and_comes_again_whole(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills inside a line: lines before it count, the fragment is ended, the line is repeated."""
    write_at_most(monkeypatch, 6, 0)
    taken, error = file.append(b"one\ntwo\n")
    assert (taken, error and error.errno) == (4, errno.ENOSPC)
    assert file.append(b"two\n") == (4, None)
    assert path.read_text() == "one\ntw\ntwo\n"


def test_a_fragment_is_remembered_over_more_failures(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk stays full nothing is written, and the fragment still gets its end."""
    write_at_most(monkeypatch, 2, 0, 0, 0)
    for _ in range(3):
        assert file.append(b"one\n")[0] == 0
    assert file.append(b"one\n") == (4, None)
    assert path.read_text() == "on\none\n"


def test_a_fragment_in_a_rotated_file_is_no_business_of_the_next(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file begins with a whole line, not with an empty one."""
    write_at_most(monkeypatch, 2, 0)
    file.append(b"one\n")
    path.rename(path.with_suffix(".1"))
    assert file.append(b"one\n") == (4, None)
    assert path.read_text() == "one\n"


def test_a_pipe_that_nobody_reads_is_an_error(path: Path) -> None:
    """Opening it must not hang the start."""
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        LineFile(str(path)).open()


def test_stderr_is_the_process_own(capfd: pytest.CaptureFixture[str]) -> None:
    """The container's log: no path, no rotation, and closing it closes a copy."""
    file = LineFile("stderr")
    assert file.append(b"one\n") == (4, None)
    assert file.append(b"two\n") == (4, None)
    file.close()
    assert capfd.readouterr().err == "one\ntwo\n"
    os.fstat(2)
