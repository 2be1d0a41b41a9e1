"""``credgate audit verify``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from credgate.audit import log_files as kept
from credgate.audit.chain import Head, Link
from credgate.audit.file import LineFile
from credgate.cli import audit_verify
from credgate.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from credgate.audit.event import Happening
    from credgate.cli.audit_verify import ChainReport


def note(happening: Happening, text: str) -> bytes:
    """Return a line about the log itself."""
    return json.dumps({"event": happening.value, "text": text}).encode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write a log of thirty lines with rotated files."""
    path = tmp_path / "audit.jsonl"
    file = LineFile(str(path), note, max_bytes=1000)
    for number in range(30):
        assert file.append([b'{"event":"request","text":"number %d"}' % number]) == (1, None)
    file.close()
    return path


def verify(path: Path, *words: str) -> Result:
    """Run ``credgate audit verify``."""
    return CliRunner().invoke(main, ["audit", "verify", "--file", str(path), *words])


def last(result: Result) -> str:
    """Return the head that was printed."""
    return result.output.splitlines()[-1].removeprefix("head: ")


def test_intact_log_is_verified(log: Path) -> None:
    """Including its rotated files. The head is printed for later runs."""
    ran = verify(log)
    assert ran.exit_code == 0
    head = kept.read_head(log)
    assert head is not None
    files = len(kept.rotated(log)) + 1
    lines = 30 + files - 1  # an anchor in each but the first
    assert ran.output.splitlines() == [
        f"{lines} lines in {files} files, number 1 to {head.last.seq}: the chain is intact",
        f"head: {head.last.seq}:{head.last.digest}",
    ]
    assert verify(log, "--head", last(ran)).exit_code == 0


def test_changed_line_in_a_rotated_file_is_found(log: Path) -> None:
    """Exit status 1; the output has file and line."""
    (_, oldest), *_ = kept.rotated(log)
    oldest.write_bytes(oldest.read_bytes().replace(b"number 1", b"number 7"))
    ran = verify(log)
    assert ran.exit_code == 1
    assert ran.output.splitlines()[0] == (
        f"{oldest.name}:3: the line before this one was changed, or lines were inserted between them"
    )
    assert ran.output.splitlines()[-1].endswith("the chain is broken")


def test_missing_file_is_found(log: Path) -> None:
    """One in the middle, the oldest one, and the end of the newest one."""
    files = kept.rotated(log)
    for path, text in ((files[1][1], "removed before this one"), (files[0][1], "removed at the beginning")):
        content = path.read_bytes()
        path.unlink()
        ran = verify(log)
        assert (ran.exit_code, text in ran.output) == (1, True)
        path.write_bytes(content)
    assert verify(log).exit_code == 0
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert "1 line was removed at the end" in verify(log).output


def test_rewritten_log_is_found_with_an_earlier_head(log: Path) -> None:
    """Whoever can write the log can also write the head file, but not an earlier head that is kept elsewhere."""
    before = last(verify(log))
    for _, path in kept.rotated(log):
        path.unlink()
    lines, link = [], Link()
    for number in range(40):
        line, link = link.next(b'{"event":"forged","text":"number %d"}' % number)
        lines.append(line + b"\n")
    log.write_bytes(b"".join(lines))
    kept.write_head(log, Head(link))
    assert verify(log).exit_code == 0
    ran = verify(log, "--head", before)
    assert ran.exit_code == 1
    assert "is not the one that the gateway wrote" in ran.output


def test_missing_head_file_is_reported(log: Path) -> None:
    """Lines may have been removed at the end."""
    kept.head_file(log).unlink()
    ran = verify(log)
    assert ran.exit_code == 0
    assert ran.output.splitlines()[1] == "no head file: lines may have been removed at the end"


def test_json_output_has_the_same_result(log: Path) -> None:
    """Of an intact and of a broken log."""
    result = json.loads(verify(log, "--json").output)
    assert (result["whole"], result["end_known"], result["broken"], result["faults"]) == (True, True, 0, [])
    log.write_bytes(log.read_bytes() + b"{}\n")
    result = json.loads(verify(log, "--json").output)
    assert result["faults"][0]["text"] == "this line is not in the chain"


@pytest.mark.parametrize("word", ["5", "x:ab", "5:ab", f"5:{'G' * 64}"])
def test_invalid_head_is_refused(log: Path, word: str) -> None:
    """One line, exit status 2."""
    ran = verify(log, "--head", word)
    assert ran.exit_code == 2
    assert "expected NUMBER:DIGEST" in ran.output


def test_missing_log_is_one_line(tmp_path: Path) -> None:
    """No traceback."""
    ran = verify(tmp_path / "none")
    assert ran.exit_code == 2
    assert ran.output == f"credgate: {tmp_path}/none cannot be read: No such file or directory\n"


@pytest.mark.parametrize(("rotations", "reads"), [(1, 2), (50, audit_verify.MAX_READS)])
def test_log_that_is_rotated_meanwhile_is_read_again(
    log: Path, monkeypatch: pytest.MonkeyPatch, rotations: int, reads: int
) -> None:
    """A limited number of times."""
    check_files, file, left = audit_verify.check_files, LineFile(str(log), note, max_bytes=1000), [1] * rotations
    found: list[ChainReport] = []

    def check_and_rotate(*given: Any) -> ChainReport:
        found.append(check_files(*given))
        before = len(kept.rotated(log))
        while left and len(kept.rotated(log)) == before:
            assert file.append([b'{"event":"request","text":"meanwhile"}']) == (1, None)
        del left[:1]
        return found[-1]

    monkeypatch.setattr(audit_verify, "check_files", check_and_rotate)
    read = audit_verify.check(log, None)
    file.close()
    assert len(found) == reads
    assert read.verifier.broken == 0
