"""The output of all commands: tables for people, JSON for scripts, one line for an error.

Exit statuses are the same for every command (``run`` returns that of its command): 0 success; 1 refused, not found, or
a check failed; 2 invalid command line, file or configuration; 3 no gateway answers; 130 interrupted. An error is one
line on standard error, ``credgate: TEXT``, or with ``--json`` ``{"error": TEXT, "exit": N}``. Texts of servers and
files are converted to ASCII.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REFUSED, UNUSABLE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
PIPE_WIDTH = 200
"""Columns of a table that is written to a file or a pipe."""
_KIBI = 1024


class CommandError(click.ClickException):
    """Ends a command with a message and an exit status."""

    def __init__(self, text: str, status: int = REFUSED) -> None:
        super().__init__(printable(text))
        self.status = status


class GatewayUnreachableError(CommandError):
    """No gateway answers."""

    def __init__(self, text: str) -> None:
        super().__init__(text, UNREACHABLE)


class Program(click.Group):
    """A command group that prints each error as one line, including click's own errors."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **named: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 - click's, its other arguments by name
        """Run the command and exit with its status."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **named)
        words = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(words, standalone_mode=False, **named)
        except click.ClickException as error:
            # After "--" the words belong to the command of ``credgate run``.
            as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
            status = error.status if isinstance(error, CommandError) else error.exit_code
            sys.exit(print_error(_message(error), status, as_json=as_json))
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _message(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError):
        return error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and isinstance(error.ctx.command, click.Group):
        return f"missing command: {error.ctx.command_path} {'|'.join(error.ctx.command.commands)}"
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{text} (see {error.ctx.command_path} --help)" if error.ctx is not None else text


def print_error(text: str, status: int, *, as_json: bool = False) -> int:
    """Print an error on one line of standard error; return its exit status."""
    line = printable(text)
    click.echo(json.dumps({"error": line, "exit": status}) if as_json else f"credgate: {line}", err=True)
    return status


def printable(text: str) -> str:
    """Escape everything in a text that is not printable ASCII, newlines included."""
    # Texts of servers and files must not contain control sequences for the terminal.
    return "".join(char if char.isascii() and char.isprintable() else ascii(char)[1:-1] for char in text)


def print_json(value: object) -> None:
    """Print a JSON value on one line, in ASCII."""
    click.echo(json.dumps(value))


def console() -> Console:
    """Return the console for tables, as wide as the terminal, or ``PIPE_WIDTH`` if there is no terminal."""
    # No markup: the texts of servers and files may contain square brackets.
    made = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def table(heads: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> Table:
    """Return a table with column heads. A ``str`` is escaped, a ``Text`` has a style of its own."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    return _filled(made, rows)


def pairs(rows: Iterable[Iterable[str | Text]]) -> Table:
    """Return a table of names and values, without column heads."""
    return _filled(Table.grid(padding=(0, 2)), rows)


def _filled(made: Table, rows: Iterable[Iterable[str | Text]]) -> Table:
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def duration(seconds: float) -> str:
    """Format a duration with its two largest units: ``7h 59m``."""
    whole = max(0, int(seconds))
    for unit, name, smaller_unit, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller_unit
            return f"{whole // unit}{name}{f' {rest}{smaller_name}' if rest else ''}"
    return f"{whole}s"


def size(count: float) -> str:
    """Format a number of bytes with binary units: ``5.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KIBI:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIBI
    return f"{count:.1f} TiB"
