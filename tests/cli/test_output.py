"""The output of all commands."""

from __future__ import annotations

import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli import output


@pytest.mark.parametrize(
    ("seconds", "expected"),
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
def test_duration_has_its_two_largest_units(seconds: float, expected: str) -> None:
    """Negative durations are zero."""
    assert output.duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_size_has_binary_units(count: int, expected: str) -> None:
    """As in git's output."""
    assert output.size(count) == expected


@given(st.text())
def test_printable_text_is_one_line_of_ascii(text: str) -> None:
    """For any text."""
    shown = output.printable(text)
    assert shown.isascii()
    assert shown.isprintable() or not shown


def test_error_is_printed_as_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The text has the program's name."""
    assert output.print_error("no", 3, as_json=True) == 3
    assert json.loads(capsys.readouterr().err) == {"error": "no", "exit": 3}
    assert output.print_error("n\to", 1) == 1
    assert capsys.readouterr().err == "credgate: n\\to\n"


def test_table_in_a_pipe_is_not_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup and control characters in a cell have no effect."""
    output.console().print(output.table(("A", "B"), [("x" * 90, "[red]y[/red]\x1b[31m")]))
    result = capsys.readouterr().out
    assert "x" * 90 in result
    assert "[red]y[/red]\\x1b[31m" in result


def test_table_on_a_terminal_has_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe has a fixed width."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert output.console().width == 40
    monkeypatch.delenv("FORCE_COLOR")
    assert output.console().width == output.PIPE_WIDTH


@click.group(cls=output.Program)
def _program() -> None:
    """Contain the commands below."""


@_program.command()
def aborts() -> None:
    """End like after Ctrl-C."""
    raise click.Abort


@_program.command()
def fails() -> None:
    """End with an error."""
    raise output.CommandError("no\nway", 7)


def test_interrupted_command_has_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints nothing."""
    with pytest.raises(SystemExit) as caught:
        _program.main(["aborts"])
    assert (caught.value.code, capsys.readouterr()) == (130, ("", ""))


def test_error_is_raised_without_standalone_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """In standalone mode it is one line and an exit status."""
    with pytest.raises(output.CommandError):
        _program.main(["fails"], standalone_mode=False)
    with pytest.raises(SystemExit) as caught:
        _program.main(["fails"])
    assert (caught.value.code, capsys.readouterr().err) == (7, "credgate: no\\nway\n")
