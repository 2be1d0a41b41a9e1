"""``credgate audit``: the audit file, read as people and scripts want it.

Works on the file itself, so it needs no gateway that runs; without ``--file`` it asks the gateway where that is. Lines
are never changed: ``--json`` prints them as they stand. What is no line of credgate's (a fragment after a full disk) is
shown by ``tail`` and never found by ``grep``. Whether lines were changed is ``audit_verify``'s matter.
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

from credgate.cli import client, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.cli.client import ControlSocket

_BLOCK = 64 * 1024
_LOOK = 0.25
"""Seconds between two looks at a file that is followed."""
_SHOWN = ("session", "peer", "forge", "repo", "operation", "decision", "reason", "status", "text")


@click.group()
def audit() -> None:
    """Read the audit log."""


def place_of(way: ControlSocket, file: Path | None) -> Path:
    """Return the file to read. Raises Failed."""
    if file is not None:
        return file
    told = way.ask("GET", "/v1/status")["audit"]
    if told == "stderr":
        raise output.CommandError("the audit log goes to the gateway's stderr: read it where that goes (journalctl)")
    return Path(told)


_file_option = click.option("--file", type=click.Path(path_type=Path), help="The file (default: ask the gateway).")


@audit.command()
@click.option("-n", "count", type=click.IntRange(0), default=10, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with each line that is written, also after a rotation.")
@_file_option
@client.talking
def tail(way: ControlSocket, file: Path | None, count: int, *, follow: bool, as_json: bool) -> None:
    """Print the last lines."""
    place = place_of(way, file)
    lines, end = _last(place, count)
    for line in lines:
        click.echo(shown(line, as_json=as_json))
    if follow:
        _follow(place, end, as_json=as_json)


@audit.command()
@click.argument("terms", metavar="EXPR...", nargs=-1, required=True)
@_file_option
@client.talking
def grep(way: ControlSocket, terms: tuple[str, ...], file: Path | None, *, as_json: bool) -> None:
    """Print the lines that every EXPR holds for.

    KEY=VALUE: the key has this value; KEY~REGEX: it matches; a plain word: it stands anywhere in the line.

    Exit status 1 when there is none.
    """
    wanted, found = [parse(term) for term in terms], False
    for line in _lines(place_of(way, file)):
        if holds(line, wanted):
            found = True
            click.echo(shown(line, as_json=as_json))
    raise SystemExit(0 if found else output.REFUSED)


# What a line is, and what it is asked.


@frozen
class Term:
    """One thing that must hold: ``key`` is "" where any place will do."""

    key: str
    pattern: re.Pattern[str]


def parse(text: str) -> Term:
    """Read one EXPR. Raises click.UsageError."""
    form = re.fullmatch(r"([a-z_]+)([=~])(.*)", text, re.DOTALL)
    if form is None:
        return Term("", re.compile(re.escape(text)))
    key, how, value = form.groups()
    try:
        return Term(key, re.compile(value if how == "~" else rf"\A{re.escape(value)}\Z"))
    except re.error as error:
        raise click.UsageError(f"{value} is no regular expression: {error}") from None


def holds(line: str, terms: list[Term]) -> bool:
    """Whether all of them hold for a line; for what is no line of credgate's, none does."""
    told = _read(line)
    return told is not None and all(_holds(line, told, term) for term in terms)


def _holds(line: str, told: dict[str, Any], term: Term) -> bool:
    if not term.key:
        return term.pattern.search(line) is not None
    return term.key in told and term.pattern.search(str(told[term.key])) is not None


def _read(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "event" in told else None


def shown(line: str, *, as_json: bool = False) -> str:
    """Return a line as it is, or in columns for people."""
    told = _read(line)
    if as_json or told is None:
        return output.printable(line)
    words = [
        f"{key}={told[key]}" if key != "text" else f"({told[key]})" for key in _SHOWN if told.get(key) not in {None, ""}
    ]
    moves = [f"{one.get('ref')} {one.get('verb')} {one.get('reason')}" for one in told.get("refs", [])]
    return output.printable("  ".join([str(told.get("ts", "")), str(told["event"]), *words, *moves]))


# The file.


def _open(place: Path) -> Any:  # noqa: ANN401 - a binary file
    try:
        return place.open("rb")
    except OSError as error:
        raise output.CommandError(f"{place} cannot be read: {error.strerror}", output.UNUSABLE) from None


def _lines(place: Path) -> Iterator[str]:
    with _open(place) as file:
        for line in file:
            yield line.decode(errors="replace").rstrip("\n")


def _last(place: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines, read from the end (the file may be as long as years), and where that was."""
    with _open(place) as file:
        left, data = file.seek(0, os.SEEK_END), b""
        end = left
        while left and data.count(b"\n") <= count:
            step = min(_BLOCK, left)
            left -= step
            file.seek(left)
            data = file.read(step) + data
    lines = data.decode(errors="replace").splitlines()
    return lines[-count:] if count else [], end


def _follow(place: Path, end: int, *, as_json: bool) -> None:
    """Print what is behind ``end``, for ever; a new file under the name is read from its beginning."""
    never, rest = threading.Event(), b""
    file = _open(place)
    file.seek(end)
    while True:
        moved = _moved(place, file)  # before the reading: what is read then is all that the old file will ever hold
        rest += file.read()
        *whole, rest = rest.split(b"\n")
        for line in whole:
            click.echo(shown(line.decode(errors="replace"), as_json=as_json))
        if moved:
            file.close()
            file, rest = _open(place), b""
        else:
            never.wait(_LOOK)


def _moved(place: Path, file: Any) -> bool:  # noqa: ANN401 - a binary file
    """Whether the name has come to stand for another file, which is there already."""
    try:
        return not os.path.samestat(place.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
