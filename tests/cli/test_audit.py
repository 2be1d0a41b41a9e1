"""``credgate audit tail`` and ``grep``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest
import pytest_twisted

from credgate.audit.event import Event, Happening, RefChange, line
from credgate.cli import gateway_options
from credgate.cli.audit import format_line, matches, parse_term
from tests.fakes.cli import asked, credgate
from tests.fakes.gateway import clean_environment
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway

MOVE = RefChange(ref="refs/heads/x", old="0" * 40, new="1" * 40, verb="create", reason="allowed")
EVENTS = [
    Event(wall=0.0, event=Happening.SESSION_CREATED, session="s-1", peer="uid:0", allow=True, reason="allowed"),
    Event(wall=1.0, event=Happening.REQUEST, session="s-1", repo="octo/hello", allow=True, status=200, refs=(MOVE,)),
    Event(
        wall=2.0, event=Happening.REQUEST, session="s-2", repo="octo/docs", allow=False, reason="read-only", text="no"
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a log that has an incomplete line."""
    path = tmp_path / "audit.jsonl"
    lines = [line(event) for event in EVENTS]
    path.write_text("\n".join([lines[0], '{"ts":"1970-01', *lines[1:]]) + "\n")
    return path


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        (["session=s-1"], [0, 1]),
        (["session=s"], []),
        (["session~s-[12]", "repo~^octo/"], [1, 2]),
        (["decision=deny"], [2]),
        (["status=200"], [1]),
        (["octo/docs"], [2]),
        (["refs/heads/x", "session=s-2"], []),
        (["repo~"], [1, 2]),
        (["nothing=x"], []),
    ],
)
def test_grep_prints_lines_that_match_every_expression(file: Path, terms: list[str], found: list[int]) -> None:
    """Unchanged; the exit status is 1 if there are none."""
    result = credgate("audit", "grep", *terms, "--file", str(file), "--json")
    assert result.out.splitlines() == [line(EVENTS[number]) for number in found]
    assert result.status == (0 if found else 1)
    for one in result.out.splitlines():
        jsonschema.validate(json.loads(one), schema("audit"))


@pytest.mark.parametrize("fragment", ["[" * 1_000_000, '{"a":' * 200_000, "9" * 1_000_000], ids=lambda text: text[:5])
def test_fragment_that_python_cannot_parse_is_skipped(file: Path, fragment: str) -> None:
    """JSON nested too deeply, or a number with too many digits. The lines after it are found."""
    file.write_text(fragment + "\n" + file.read_text())
    assert credgate("audit", "grep", "session=s-2", "--file", str(file), "--json").out.splitlines() == [line(EVENTS[2])]
    assert credgate("audit", "tail", "-n", "9", "--file", str(file)).status == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_tail_prints_the_last_lines(file: Path, count: int) -> None:
    """An incomplete line is printed, too."""
    result = credgate("audit", "tail", "-n", str(count), "--file", str(file), "--json")
    lines = file.read_text().splitlines()
    assert result.out.splitlines() == (lines[-count:] if count else [])


def test_tail_of_a_long_log_joins_blocks(tmp_path: Path) -> None:
    """Lines may be longer than a block boundary."""
    path = tmp_path / "long"
    lines = [json.dumps({"event": "request", "ts": "x", "text": "y" * 3000, "n": number}) for number in range(200)]
    path.write_text("\n".join(lines) + "\n")
    assert credgate("audit", "tail", "-n", "50", "--file", str(path), "--json").out.splitlines() == lines[-50:]


def test_lines_are_printed_in_columns(file: Path) -> None:
    """Missing values leave no gap. Ref updates are at the end."""
    result = credgate("audit", "tail", "--file", str(file)).out.splitlines()
    assert (
        result[0]
        == "1970-01-01T00:00:00.000Z  session-created  session=s-1  peer=uid:0  decision=allow  reason=allowed"
    )
    assert result[1] == '{"ts":"1970-01'
    assert result[2].endswith("repo=octo/hello  decision=allow  status=200  refs/heads/x create allowed")
    assert result[3].endswith("decision=deny  reason=read-only  (no)")


def test_control_characters_in_lines_are_escaped() -> None:
    """The log file may contain any bytes."""
    assert format_line("\x1b[2J") == "\\x1b[2J"
    assert not matches("[1]", [parse_term("1")])


@pytest_twisted.ensureDeferred
async def test_log_on_stderr_is_an_error(gateway: Gateway) -> None:
    """The message says where to read it."""
    result = await asked("audit", "tail")
    assert (result.status, "is written to the gateway's stderr" in result.line) == (1, True)


@pytest.mark.parametrize("words", [["tail", "-n", "1"], ["grep", "s-2"]])
def test_log_file_is_that_of_the_gateway(file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """If no file was named."""
    monkeypatch.setattr(gateway_options.ControlSocket, "ask", lambda _, method, path: {"audit": str(file)})
    result = credgate("audit", *words, "--socket", "x", "--json")
    assert (result.status, result.json["session"]) == (0, "s-2")


def test_follow_continues_after_a_rotation(file: Path) -> None:
    """A line in two writes is printed once. Ctrl-C ends with status 130."""
    command = [
        sys.executable,
        "-m",
        "credgate.cli.main",
        "audit",
        "tail",
        "-n",
        "1",
        "-f",
        "--json",
        "--file",
        str(file),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["session"] == "s-2"
        with file.open("a") as log:
            log.write(line(EVENTS[0]) + "\n")
        assert process.stdout.readline() == line(EVENTS[0]) + "\n"
        file.rename(file.with_name("old"))
        with file.with_name("old").open("a") as log:
            log.write(line(EVENTS[2]) + "\n")  # by a process that had it open: part of the log
        assert process.stdout.readline() == line(EVENTS[2]) + "\n"
        file.write_text(line(EVENTS[1]) + "\n")
        assert process.stdout.readline() == line(EVENTS[1]) + "\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), process.stdout.read()) == (130, "")
