"""``credgate audit verify`` finds what was changed, and says when nothing was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from credgate.audit import kept
from credgate.audit.chain import Head, Link
from credgate.audit.file import LineFile
from credgate.cli import audit_verify
from credgate.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from credgate.audit.event import Happening
    from credgate.cli.audit_verify import ChainReport


def note(happening: Happening, text: str) -> bytes:
    """Make a line about the log itself."""
    return json.dumps({"event": happening.value, "text": text}).encode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write a log of thirty lines in several files."""
    path = tmp_path / "audit.jsonl"
    file = LineFile(str(path), note, max_bytes=1000)
    for number in range(30):
        assert file.append([b'{"event":"request","text":"number %d"}' % number]) == (1, None)
    file.close()
    return path


def verify(path: Path, *words: str) -> Result:
    """Run it."""
    return CliRunner().invoke(main, ["audit", "verify", "--file", str(path), *words])


def last(result: Result) -> str:
    """Return the head that it printed."""
    return result.output.splitlines()[-1].removeprefix("head: ")


def test_a_whole_log_is_whole(log: Path) -> None:
    """The rotated files are read with it, and the head that may be kept elsewhere is printed."""
    ran = verify(log)
    assert ran.exit_code == 0
    head = kept.read_head(log)
    assert head is not None
    files = len(kept.rotated(log)) + 1
    lines = 30 + files - 1  # an anchor in each but the first
    assert ran.output.splitlines() == [
        f"{lines} lines in {files} files, number 1 to {head.last.seq}: the chain is whole",
        f"head: {head.last.seq}:{head.last.digest}",
    ]
    assert verify(log, "--head", last(ran)).exit_code == 0


def test_a_changed_line_is_found_in_a_rotated_file(log: Path) -> None:
    """Exit status 1, and the place."""
    (_, oldest), *_ = kept.rotated(log)
    oldest.write_bytes(oldest.read_bytes().replace(b"number 1", b"number 7"))
    ran = verify(log)
    assert ran.exit_code == 1
    assert ran.output.splitlines()[0] == (
        f"{oldest.name}:3: the line before this one was changed, or lines were put in between"
    )
    assert ran.output.splitlines()[-1].endswith("the chain is broken")


def test_a_missing_file_is_found(log: Path) -> None:
    """One in the middle, the oldest one, the end of the last one."""
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


def test_a_log_written_anew_is_found_by_a_head_kept_elsewhere(log: Path) -> None:
    """Who can write the log can write the head beside it; an older run's last line is out of their reach."""
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


def test_without_a_head_it_says_what_it_cannot_know(log: Path) -> None:
    """A copy of the files alone."""
    kept.head_file(log).unlink()
    ran = verify(log)
    assert ran.exit_code == 0
    assert ran.output.splitlines()[1] == "nothing says where it ends: lines may have been removed there"


def test_scripts_get_json(log: Path) -> None:
    """The same facts."""
    told = json.loads(verify(log, "--json").output)
    assert (told["whole"], told["end_known"], told["broken"], told["faults"]) == (True, True, 0, [])
    log.write_bytes(log.read_bytes() + b"{}\n")
    told = json.loads(verify(log, "--json").output)
    assert told["faults"][0]["text"] == "this line is in no chain"


@pytest.mark.parametrize("word", ["5", "x:ab", "5:ab", f"5:{'G' * 64}"])
def test_a_head_of_another_form_is_refused(log: Path, word: str) -> None:
    """One line, exit status 2."""
    ran = verify(log, "--head", word)
    assert ran.exit_code == 2
    assert "NUMBER:DIGEST is meant" in ran.output


def test_a_missing_log_is_told(tmp_path: Path) -> None:
    """No traceback."""
    ran = verify(tmp_path / "none")
    assert ran.exit_code == 2
    assert ran.output == f"credgate: {tmp_path}/none cannot be read: No such file or directory\n"


@pytest.mark.parametrize(("rotations", "reads"), [(1, 2), (50, audit_verify._TRIES)])
def test_a_log_that_goes_on_is_read_again_and_whole(
    log: Path, monkeypatch: pytest.MonkeyPatch, rotations: int, reads: int
) -> None:
    """A file that was renamed in between would be read twice, or not at all; but nobody reads for ever."""
    once, file, left = audit_verify._once, LineFile(str(log), note, max_bytes=1000), [1] * rotations
    found: list[ChainReport] = []

    def going_on(*given: Any) -> ChainReport:
        found.append(once(*given))
        before = len(kept.rotated(log))
        while left and len(kept.rotated(log)) == before:
            assert file.append([b'{"event":"request","text":"meanwhile"}']) == (1, None)
        del left[:1]
        return found[-1]

    monkeypatch.setattr(audit_verify, "_once", going_on)
    read = audit_verify.check(log, None)
    file.close()
    assert len(found) == reads
    assert read.verifier.broken == 0
