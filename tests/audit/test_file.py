"""The audit file: whole lines, the rest told, rotations followed."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.audit import log_files
from credgate.audit.chain import Head, Link
from credgate.audit.file import LineFile
from credgate.audit.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.audit.event import Happening

FULL = "/dev/full"
DESCRIPTORS = Path("/proc/self/fd")


def note(happening: Happening, text: str) -> bytes:
    """Make a line about the log itself."""
    return json.dumps({"event": happening.value, "text": text}).encode()


def bodies(*names: str) -> list[bytes]:
    """Make lines that can be told from others."""
    return [b'{"is":"%s"}' % name.encode() for name in names]


def told(path: Path) -> list[str]:
    """Read them back: what each is, or says of the log, or the fragment that it is."""
    lines = path.read_text().split("\n")
    assert lines.pop() == ""
    return [_told(line) for line in lines]


def _told(line: str) -> str:
    try:
        held = json.loads(line)
    except ValueError:
        return line
    return str(held.get("is", held.get("text")))


def judge(*files: Path, head: Head | None = None) -> Verifier:
    """Verify the chain over these files."""
    verifier = Verifier(head)
    for file in files:
        for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
            verifier.feed(file.name, number, line)
    verifier.end()
    return verifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the log."""
    return tmp_path / "audit.log"


@pytest.fixture
def file(path: Path) -> Iterator[LineFile]:
    """Make an open log."""
    made = opened(path)
    yield made
    made.close()


def opened(path: Path, **limits: int) -> LineFile:
    """Open a log as a new process does."""
    made = LineFile(str(path), note, **limits)
    made.open()
    return made


def test_lines_are_appended(path: Path, file: LineFile) -> None:
    """Each is what it was, with its number and the digest of the one before it."""
    assert file.append(bodies("one", "two")) == (2, None)
    assert file.append(bodies("three")) == (1, None)
    assert told(path) == ["one", "two", "three"]
    assert judge(path, head=file.head).faults == []
    assert log_files.read_head(path) == file.head


def test_log_without_a_chain_is_continued(path: Path) -> None:
    """Its lines are covered from now on."""
    path.write_text('{"is":"old"}\n')
    file = opened(path)
    file.append(bodies("new"))
    assert told(path) == ["old", "new"]
    assert judge(path, head=file.head).faults == []
    path.write_text(path.read_text().replace("old", "odd"))
    assert judge(path, head=file.head).broken == 1


def test_new_file_is_private_and_old_one_keeps_its_mode(tmp_path: Path) -> None:
    """The operator may have opened it to a group."""
    old = tmp_path / "old"
    old.touch(0o640)
    old.chmod(0o640)
    for name in ("new", "old"):
        file = opened(tmp_path / name)
        file.append(bodies("one"))
        file.close()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old", "new.head", "old.head")]
    assert modes == [0o600, 0o640, 0o600, 0o600]


def test_opening_and_closing_are_idempotent(path: Path, file: LineFile) -> None:
    """Descriptors neither leak nor are closed under another's feet."""
    before = len(list(DESCRIPTORS.iterdir()))
    file.open()
    assert len(list(DESCRIPTORS.iterdir())) == before
    file.close()
    file.close()
    assert len(list(DESCRIPTORS.iterdir())) == before - 1
    assert file.append(bodies("again")) == (1, None)
    assert told(path) == ["again"]


# The chain, from one process and file to the next.


def test_next_process_continues_the_chain(path: Path, file: LineFile) -> None:
    """Lines must not be removable at a restart."""
    file.append(bodies("one"))
    again = opened(path)
    again.append(bodies("two"))
    assert told(path) == ["one", "two"]
    assert judge(path, head=again.head).faults == []


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_rotation_by_another_program_is_followed(path: Path, file: LineFile, how: str) -> None:
    """The new file begins with an anchor."""
    file.append(bodies("one"))
    old = path.rename(path.with_suffix(".1")) if how == "renamed" else path.unlink()
    assert file.append(bodies("two")) == (1, None)
    assert told(path) == ["continues after line 1", "two"]
    if old is None:
        assert judge(path, head=file.head).faults[0].text == "1 line was removed at the beginning"
    else:
        assert told(old) == ["one"]
        assert judge(old, path, head=file.head).faults == []


def test_large_file_is_rotated(path: Path) -> None:
    """Each file begins where the one before it ended; the oldest go, and the head says what remains."""
    file = opened(path, max_bytes=300, keep=2)
    for number in range(30):
        file.append(bodies(f"number {number}"))
    files = [found for _, found in log_files.rotated(path)]
    assert len(files) == 2
    assert files[-1].name == f"audit.log.{int(told(path)[0].split()[-1]):012d}"
    assert told(path)[-1] == "number 29"
    assert file.head.first > 1
    assert judge(*files, path, head=file.head).faults == []
    assert judge(files[1], path, head=file.head).broken == 1


def test_all_rotated_files_are_kept_with_zero(path: Path) -> None:
    """Zero is no limit."""
    file = opened(path, max_bytes=1)
    for number in range(5):
        file.append(bodies(f"number {number}"))
    files = [found for _, found in log_files.rotated(path)]
    assert len(files) == 4
    assert judge(*files, path, head=file.head).faults == []


def test_log_that_cannot_be_rotated_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported once."""

    def fails(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(log_files, "rotate", fails)
    file = opened(path, max_bytes=1)
    for name in ("one", "two", "three"):
        assert file.append(bodies(name)) == (1, None)
    assert told(path) == ["one", "the log cannot be rotated: Permission denied", "two", "three"]
    monkeypatch.undo()
    file.append(bodies("four"))
    assert told(path) == ["continues after line 4", "four"]


@pytest.mark.parametrize("how", ["cut", "changed", "emptied"])
def test_log_changed_while_stopped_is_reported(path: Path, file: LineFile, how: str) -> None:
    """The verifier finds the place."""
    file.append(bodies("one", "two"))
    first, second = path.read_bytes().splitlines(keepends=True)
    left = {"cut": first, "changed": first + second.replace(b"two", b"too"), "emptied": b""}[how]
    path.write_bytes(left)
    again = opened(path)
    again.append(bodies("three"))
    meant = "the log does not end with line 2 as written: it was changed"
    assert told(path)[-2] == ("continues after line 2" if how == "emptied" else meant)
    assert judge(path, head=again.head).broken == (0 if how == "changed" else 1)


def test_lines_after_the_head_are_reported(path: Path, file: LineFile) -> None:
    """They may be from a killed process or an attacker."""
    file.append(bodies("one"))
    head = log_files.read_head(path)
    assert head is not None
    file.append(bodies("two", "three"))
    log_files.write_head(path, head)
    again = opened(path)
    again.append(bodies("four"))
    assert told(path)[3].startswith("2 more lines than recorded: the gateway was killed")
    assert judge(path, head=again.head).faults == []


def test_incomplete_line_of_a_dead_process_is_terminated(path: Path, file: LineFile) -> None:
    """The next line covers it."""
    file.append(bodies("one"))
    with path.open("ab") as log:
        log.write(b'{"is":"tw')
    again = opened(path)
    again.append(bodies("three"))
    assert told(path) == ["one", '{"is":"tw', "three"]
    assert judge(path, head=again.head).faults == []


def test_log_of_one_incomplete_line_is_terminated(path: Path) -> None:
    """The first line of all was cut."""
    path.write_bytes(b'{"is')
    file = opened(path)
    file.append(bodies("one"))
    assert told(path) == ['{"is', "one"]
    assert judge(path, head=file.head).faults == []


# What cannot be written.


def test_full_disk_is_reported_and_recovered(path: Path) -> None:
    """/dev/full answers as a full disk does; once the path leads elsewhere the same lines go in whole."""
    path.symlink_to(FULL)
    file = LineFile(str(path), note)
    taken, error = file.append(bodies("one", "two"))
    assert taken == 0
    assert error is not None
    assert error.errno == errno.ENOSPC
    path.unlink()
    assert file.append(bodies("one", "two")) == (2, None)
    assert told(path) == ["one", "two"]
    file.close()


def test_missing_directory_is_reported_and_recovered(tmp_path: Path) -> None:
    """A volume that returns is used without a restart."""
    path = tmp_path / "volume" / "audit.log"
    file = LineFile(str(path), note)
    taken, error = file.append(bodies("one"))
    assert (taken, error and error.errno) == (0, errno.ENOENT)
    path.parent.mkdir()
    assert file.append(bodies("one")) == (1, None)
    file.close()


def test_head_that_cannot_be_written_is_reported(path: Path, file: LineFile) -> None:
    """The lines are written and not repeated."""
    log_files.head_file(path).mkdir()
    taken, error = file.append(bodies("one"))
    assert (taken, error and error.errno) == (1, errno.EISDIR)
    assert told(path) == ["one"]


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


LINE = len(Link().next(b'{"is":"one"}')[0]) + 1
"""Bytes of a line here."""


def test_short_writes_are_continued(path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given, and that is no failure."""
    write_at_most(monkeypatch, 1, 2, 3)
    assert file.append(bodies("one", "two")) == (2, None)
    assert told(path) == ["one", "two"]


def test_incomplete_line_is_terminated_and_repeated(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills inside a line: lines before it count, the fragment is ended and covered, the line repeated."""
    write_at_most(monkeypatch, LINE + 6, 0)
    taken, error = file.append(bodies("one", "two"))
    assert (taken, error and error.errno) == (1, errno.ENOSPC)
    assert file.append(bodies("two")) == (1, None)
    assert told(path) == ["one", '{"is":', "two"]
    assert judge(path, head=file.head).faults == []


def test_incomplete_line_is_terminated_after_more_failures(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk stays full nothing is written, and the fragment still gets its end."""
    write_at_most(monkeypatch, 2, 0, 0, 0)
    for _ in range(3):
        assert file.append(bodies("one"))[0] == 0
    assert file.append(bodies("one")) == (1, None)
    assert told(path) == ['{"', "one"]
    assert judge(path, head=file.head).faults == []


def test_incomplete_line_does_not_affect_the_next_file(
    path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file begins with a whole line, not with an empty one."""
    file.append(bodies("zero"))
    write_at_most(monkeypatch, 2, 0)
    file.append(bodies("one"))
    path.rename(path.with_suffix(".1"))
    assert file.append(bodies("one")) == (1, None)
    assert told(path) == ["continues after line 1", "one"]


def test_fifo_without_reader_is_an_error(path: Path) -> None:
    """Opening it must not block the start."""
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        opened(path)


def test_only_regular_files_are_synchronised(path: Path) -> None:
    """A terminal or a pipe cannot be; a file is."""
    path.symlink_to(FULL)
    file = opened(path)
    file.sync()
    file.close()
    file.sync()
    path.unlink()
    with_file = opened(path)
    with_file.sync()
    with_file.close()


def test_stderr_is_neither_rotated_nor_closed(capfd: pytest.CaptureFixture[str]) -> None:
    """The container's log: no path, no rotation, and closing it closes a copy."""
    file = LineFile("stderr", note, max_bytes=1)
    assert file.append(bodies("one")) == (1, None)
    assert file.append(bodies("two")) == (1, None)
    file.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["is"] for line in lines] == ["one", "two"]
    assert [line["seq"] for line in lines] == [1, 2]
    os.fstat(2)
