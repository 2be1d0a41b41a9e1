"""``credgate audit``: the file, as people and scripts want it."""

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
from credgate.cli import client
from credgate.cli.audit import holds, parse, shown
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
    """Write a log with a fragment in it."""
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
def test_every_term_must_hold(file: Path, terms: list[str], found: list[int]) -> None:
    """Lines are printed as they stand; status 1 when there is none, as grep's."""
    told = credgate("audit", "grep", *terms, "--file", str(file), "--json")
    assert told.out.splitlines() == [line(EVENTS[number]) for number in found]
    assert told.status == (0 if found else 1)
    for one in told.out.splitlines():
        jsonschema.validate(json.loads(one), schema("audit"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_the_last_lines_are_read_from_the_end(file: Path, count: int) -> None:
    """However long the file is; a fragment is shown as it is."""
    told = credgate("audit", "tail", "-n", str(count), "--file", str(file), "--json")
    lines = file.read_text().splitlines()
    assert told.out.splitlines() == (lines[-count:] if count else [])


def test_a_long_log_is_not_read_whole(tmp_path: Path) -> None:
    """Blocks from the end, put together at lines."""
    path = tmp_path / "long"
    lines = [json.dumps({"event": "request", "ts": "x", "text": "y" * 3000, "n": number}) for number in range(200)]
    path.write_text("\n".join(lines) + "\n")
    assert credgate("audit", "tail", "-n", "50", "--file", str(path), "--json").out.splitlines() == lines[-50:]


def test_people_see_columns(file: Path) -> None:
    """What is not there leaves no gap; what a push moved is at the end."""
    told = credgate("audit", "tail", "--file", str(file)).out.splitlines()
    assert (
        told[0] == "1970-01-01T00:00:00.000Z  session-created  session=s-1  peer=uid:0  decision=allow  reason=allowed"
    )
    assert told[1] == '{"ts":"1970-01'
    assert told[2].endswith("repo=octo/hello  decision=allow  status=200  refs/heads/x create allowed")
    assert told[3].endswith("decision=deny  reason=read-only  (no)")


def test_a_line_of_another_s_moves_no_cursor() -> None:
    """A log file may hold anything."""
    assert shown("\x1b[2J") == "\\x1b[2J"
    assert not holds("[1]", [parse("1")])


@pytest_twisted.ensureDeferred
async def test_a_log_that_goes_to_stderr_is_read_where_that_goes(gateway: Gateway) -> None:
    """It is no file of ours: the refusal says where people look."""
    told = await asked("audit", "tail")
    assert (told.status, "goes to the gateway's stderr" in told.line) == (1, True)


@pytest.mark.parametrize("words", [["tail", "-n", "1"], ["grep", "s-2"]])
def test_the_gateway_says_where_its_file_is(file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """Nobody has to know."""
    monkeypatch.setattr(client.ControlSocket, "ask", lambda _, method, path: {"audit": str(file)})
    told = credgate("audit", *words, "--socket", "x", "--json")
    assert (told.status, told.json["session"]) == (0, "s-2")


@pytest.mark.usefixtures("interruptible")
def test_what_is_written_is_followed_over_a_rotation(file: Path) -> None:
    """Line by line, as it is written, a line in two pieces as one; between two names it waits. Ctrl-C is status 130."""
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
            log.write(line(EVENTS[2]) + "\n")  # by who had it open: it belongs to the log as well
        assert process.stdout.readline() == line(EVENTS[2]) + "\n"
        file.write_text(line(EVENTS[1]) + "\n")
        assert process.stdout.readline() == line(EVENTS[1]) + "\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), process.stdout.read()) == (130, "")
