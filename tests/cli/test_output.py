"""How the command line speaks."""

from __future__ import annotations

import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli import output


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (90, "1m 30s"),
        (3600, "1h"),
        (28740, "7h 59m"),
        (90000, "1d 1h"),
    ],
)
def test_lengths_of_time_are_said_as_people_do(seconds: float, said: str) -> None:
    """The two largest units that matter."""
    assert output.length(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_bytes_are_said_in_binary_units(count: int, said: str) -> None:
    """As git does."""
    assert output.size(count) == said


@given(st.text())
def test_an_error_is_one_line_of_ascii(text: str) -> None:
    """Whatever a server or a file says."""
    shown = output.printable(text)
    assert shown.isascii()
    assert shown.isprintable() or not shown


def test_an_error_says_its_status_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts; else with the program's name."""
    assert output.complain("no", 3, as_json=True) == 3
    assert json.loads(capsys.readouterr().err) == {"error": "no", "exit": 3}
    assert output.complain("n\to", 1) == 1
    assert capsys.readouterr().err == "credgate: n\\to\n"


def test_a_table_that_nobody_looks_at_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe has no width; and no text in a cell is markup."""
    output.console().print(output.table(("A", "B"), [("x" * 90, "[red]y[/red]\x1b[31m")]))
    told = capsys.readouterr().out
    assert "x" * 90 in told
    assert "[red]y[/red]\\x1b[31m" in told


def test_a_table_on_a_terminal_is_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it lines would break in their middle."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert output.console().width == 40
    monkeypatch.delenv("FORCE_COLOR")
    assert output.console().width == output._WIDE


@click.group(cls=output.Program)
def _program() -> None:
    """Hold the commands below."""


@_program.command()
def aborts() -> None:
    """End as on Ctrl-C."""
    raise click.Abort


@_program.command()
def fails() -> None:
    """End as a command does."""
    raise output.CommandError("no\nway", 7)


def test_a_command_that_was_interrupted_says_so_by_its_status_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """130, as a shell has it; whoever pressed Ctrl-C knows."""
    with pytest.raises(SystemExit) as caught:
        _program.main(["aborts"])
    assert (caught.value.code, capsys.readouterr()) == (130, ("", ""))


def test_another_program_that_calls_it_gets_the_error_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Click's own way to be called; by itself it is one line and a status."""
    with pytest.raises(output.CommandError):
        _program.main(["fails"], standalone_mode=False)
    with pytest.raises(SystemExit) as caught:
        _program.main(["fails"])
    assert (caught.value.code, capsys.readouterr().err) == (7, "credgate: no\\nway\n")
