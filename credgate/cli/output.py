"""How the command line speaks: tables for people, JSON for scripts, one line for what failed.

Exit statuses, the same for every command (``run`` passes on its command's): 0 done; 1 refused, not found, or a finding
that is not good; 2 the command line, a file or the configuration cannot be used; 3 no gateway answers. An error is one
line on standard error, ``credgate: TEXT``, or ``{"error": TEXT, "exit": N}`` where ``--json`` was asked for. What a
server or a file says is shown in ASCII, so that nothing in it moves a terminal's cursor. Decides nothing else.
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
_WIDE = 200
"""Columns of a table that goes to a file or a pipe: nobody's window cuts it."""


class CommandError(click.ClickException):
    """What ends a command: a line and an exit status."""

    def __init__(self, text: str, status: int = REFUSED) -> None:
        super().__init__(printable(text))
        self.status = status


class GatewayUnreachable(CommandError):
    """No gateway answers."""

    def __init__(self, text: str) -> None:
        super().__init__(text, UNREACHABLE)


class Program(click.Group):
    """A group whose errors are one line each, whatever click would make of them."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **named: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 - click's, its other arguments by name
        """Run, and exit."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **named)
        words = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(words, standalone_mode=False, **named)
        except click.ClickException as error:
            as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
            status = error.status if isinstance(error, CommandError) else error.exit_code
            sys.exit(complain(_told(error), status, as_json=as_json))
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _told(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError):
        return error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and isinstance(error.ctx.command, click.Group):
        return f"say which: {error.ctx.command_path} {'|'.join(error.ctx.command.commands)}"
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{text} (see {error.ctx.command_path} --help)" if error.ctx is not None else text


def complain(text: str, status: int, *, as_json: bool = False) -> int:
    """Tell an error in one line; return its exit status."""
    line = printable(text)
    click.echo(json.dumps({"error": line, "exit": status}) if as_json else f"credgate: {line}", err=True)
    return status


def printable(text: str) -> str:
    """Keep a text one line, in ASCII: it may be another's."""
    return "".join(char if char.isascii() and char.isprintable() else ascii(char)[1:-1] for char in text)


def as_json(value: object) -> str:
    """Return one JSON value on one line, in ASCII."""
    return json.dumps(value)


def say_json(value: object) -> None:
    """Print it."""
    click.echo(as_json(value))


def console(*, err: bool = False) -> Console:
    """Return where tables go: as wide as the window, or wide enough where there is none."""
    where = sys.stderr if err else sys.stdout
    made = Console(file=where, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def table(heads: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> Table:
    """Return a table. A ``str`` in it is shown as it is, a ``Text`` in its style."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    return _filled(made, rows)


def pairs(rows: Iterable[Iterable[str | Text]]) -> Table:
    """Return names and their values, without heads."""
    return _filled(Table.grid(padding=(0, 2)), rows)


def _filled(made: Table, rows: Iterable[Iterable[str | Text]]) -> Table:
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def length(seconds: float) -> str:
    """Say a length of time as people do: the two largest units that matter."""
    whole = max(0, int(seconds))
    for unit, name, small, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // small
            return f"{whole // unit}{name}{f' {rest}{below}' if rest else ''}"
    return f"{whole}s"


def size(count: float) -> str:
    """Say a number of bytes, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - what makes the next unit
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
