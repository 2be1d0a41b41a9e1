"""``credgate audit``: print and search the audit log.

The commands read the log file, so they also work without a running gateway; without ``--file`` they ask the gateway for
its path. ``--json`` prints lines unchanged. An incomplete line (after a full disk) is printed by ``tail`` and never
matched by ``grep``. ``audit_verify`` checks whether lines were changed.
"""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from credgate.cli import output
from credgate.cli.gateway_options import gateway_options

if TYPE_CHECKING:
    from credgate.cli.gateway_options import ControlSocket

_BLOCK = 64 * 1024
_POLL_INTERVAL = 0.25
_SHOWN = ("session", "peer", "forge", "repo", "moved_from", "operation", "decision", "reason", "status", "text")


@click.group()
def audit() -> None:
    """Read the audit log."""


def log_file(gateway: ControlSocket, file: Path | None) -> Path:
    """Return the log file: ``file``, or the one that the gateway reports. Raises CommandError."""
    if file is not None:
        return file
    destination = gateway.ask("GET", "/v1/status")["audit"]
    if destination == "stderr":
        raise output.CommandError("the audit log is written to the gateway's stderr: read that log (journalctl)")
    return Path(destination)


_file_option = click.option("--file", type=click.Path(path_type=Path), help="The log file (default: the gateway's).")


@audit.command()
@click.option("-n", "count", type=click.IntRange(0), default=10, show_default=True, help="Number of lines.")
@click.option("-f", "--follow", is_flag=True, help="Continue with each new line, also after a rotation.")
@_file_option
@gateway_options
def tail(gateway: ControlSocket, file: Path | None, count: int, *, follow: bool, as_json: bool) -> None:
    """Print the last lines."""
    path = log_file(gateway, file)
    lines, end = _last_lines(path, count)
    for line in lines:
        click.echo(format_line(line, as_json=as_json))
    if follow:
        _follow(path, end, as_json=as_json)


@audit.command()
@click.argument("expressions", metavar="EXPR...", nargs=-1, required=True)
@_file_option
@gateway_options
def grep(gateway: ControlSocket, expressions: tuple[str, ...], file: Path | None, *, as_json: bool) -> None:
    """Print the lines that match every EXPR.

    KEY=VALUE: the key has this value. KEY~REGEX: its value matches. A plain word: the line contains it.

    Exit status 1 if no line matches.
    """
    # An incomplete line, such as after a full disk, is not JSON and never matches.
    terms, found = [parse_term(text) for text in expressions], False
    with _open(log_file(gateway, file)) as log:
        for raw in log:
            line = raw.decode(errors="replace").rstrip("\n")
            if matches(line, terms):
                found = True
                click.echo(format_line(line, as_json=as_json))
    raise SystemExit(0 if found else output.REFUSED)


@frozen
class Term:
    """A condition of ``grep``. ``key`` is "" if the pattern may match anywhere in the line."""

    key: str
    pattern: re.Pattern[str]


def parse_term(text: str) -> Term:
    """Parse one EXPR. Raises click.UsageError."""
    match = re.fullmatch(r"([a-z_]+)([=~])(.*)", text, re.DOTALL)
    if match is None:
        return Term("", re.compile(re.escape(text)))
    key, operator, value = match.groups()
    try:
        return Term(key, re.compile(value if operator == "~" else rf"\A{re.escape(value)}\Z"))
    except re.error as error:
        raise click.UsageError(f"invalid regular expression {value}: {error}") from None


def matches(line: str, terms: list[Term]) -> bool:
    """Whether a line is an audit event and all terms match it."""
    event = _parse_event(line)
    return event is not None and all(_matches(line, event, term) for term in terms)


def _matches(line: str, event: dict[str, Any], term: Term) -> bool:
    if not term.key:
        return term.pattern.search(line) is not None
    return term.key in event and term.pattern.search(str(event[term.key])) is not None


def _parse_event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # not an event; RecursionError: brackets nested too deeply
        return None
    return event if isinstance(event, dict) and "event" in event else None


def format_line(line: str, *, as_json: bool = False) -> str:
    """Return a line unchanged (``as_json``, or if it is not an event), or in columns."""
    event = _parse_event(line)
    if as_json or event is None:
        return output.printable(line)
    words = [
        f"{key}={event[key]}" if key != "text" else f"({event[key]})"
        for key in _SHOWN
        if event.get(key) not in {None, ""}
    ]
    updates = [f"{one.get('ref')} {one.get('verb')} {one.get('reason')}" for one in event.get("refs", [])]
    return output.printable("  ".join([str(event.get("ts", "")), str(event["event"]), *words, *updates]))


def _open(path: Path) -> Any:  # noqa: ANN401 - a binary file
    try:
        return path.open("rb")
    except OSError as error:
        raise output.CommandError(f"{path} cannot be read: {error.strerror}", output.UNUSABLE) from None


def _last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines and the position after them."""
    # From the end, block by block: the file may contain years of events.
    with _open(path) as file:
        start, data = file.seek(0, os.SEEK_END), b""
        end = start
        while start and data.count(b"\n") <= count:
            step = min(_BLOCK, start)
            start -= step
            file.seek(start)
            data = file.read(step) + data
    lines = data.decode(errors="replace").splitlines()
    return lines[-count:] if count else [], end


def _follow(path: Path, end: int, *, as_json: bool) -> None:
    """Print every line after position ``end``, without end; read a file that replaces this one from its beginning."""
    never, rest = threading.Event(), b""
    file = _open(path)
    file.seek(end)
    while True:
        # Compared before the read: then the read returns everything that will ever be in the old file.
        replaced = _is_replaced(path, file)
        rest += file.read()
        *complete, rest = rest.split(b"\n")
        for line in complete:
            click.echo(format_line(line.decode(errors="replace"), as_json=as_json))
        if replaced:
            file.close()
            file, rest = _open(path), b""
        else:
            never.wait(_POLL_INTERVAL)


def _is_replaced(path: Path, file: Any) -> bool:  # noqa: ANN401 - a binary file
    """Whether ``path`` is now another file than ``file``."""
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # between the two renames of a rotation
