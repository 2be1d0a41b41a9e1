"""``credgate audit verify``: whether anybody changed the audit log.

Reads the file and those it was rotated into, oldest first, and compares the end with the head that lies beside them.
Whoever can write the log can write that head as well; the number and digest that a run prints, kept on another machine
and given to a later run as ``--head``, are out of their reach. Judges nothing itself: ``audit.verify`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from credgate.audit.chain import Head, Link
from credgate.audit.kept import read_head, rotated
from credgate.audit.verify import Verifier
from credgate.cli import client, output
from credgate.cli.audit import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.cli.client import ControlSocket

_TRIES = 3
"""How often a log that is rotated while it is read is read again."""
_DIGITS = 64


@frozen
class ChainReport:
    """A log that was read: its files, and what was found."""

    files: list[Path]
    verifier: Verifier


def _head(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Link | None:
    if value is None:
        return None
    seq, _, digest = value.partition(":")
    if not (seq.isascii() and seq.isdigit() and len(digest) == _DIGITS and set(digest) <= set("0123456789abcdef")):
        raise click.BadParameter("NUMBER:DIGEST is meant, as an earlier run printed it")
    return Link(int(seq), digest)


@click.command()
@click.option("--file", type=click.Path(path_type=Path), help="The file (default: ask the gateway).")
@click.option("--head", "known", metavar="NUMBER:DIGEST", callback=_head, help="A line that must be there, as it was.")
@client.talking
def verify(way: ControlSocket, file: Path | None, known: Link | None, *, as_json: bool) -> None:
    """Find lines that were changed, removed, put in or moved.

    Reads the rotated files, too. Exit status 1 when the chain is broken.
    """
    read = check(place_of(way, file), known)
    if as_json:
        output.say_json(told(read))
    else:
        click.echo("\n".join(map(output.printable, lines(read))))
    raise SystemExit(output.REFUSED if read.verifier.broken else 0)


def check(log: Path, known: Link | None) -> ChainReport:
    """Read all of a log. Raises Failed."""
    for _ in range(_TRIES):
        files = [*(path for _, path in rotated(log)), log]
        read = _once(log, files, known)
        if [*(path for _, path in rotated(log)), log] == files:
            break
    return read


def _once(log: Path, files: list[Path], known: Link | None) -> ChainReport:
    beside = read_head(log)
    verifier, other = Verifier(beside), Verifier(Head(known, beside.first if beside else 1) if known else None)
    for path in files:
        _feed(path, verifier.feed, other.feed)
    verifier.end(growing=read_head(log) != beside)
    other.end(growing=True)
    for fault in other.faults:
        if fault not in verifier.faults:
            verifier.add(fault)
    return ChainReport(files, verifier)


def _feed(path: Path, *feeds: Callable[[str, int, bytes], None]) -> None:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                for feed in feeds:
                    feed(path.name, number, line.removesuffix(b"\n"))
    except OSError as error:
        raise output.CommandError(f"{path} cannot be read: {error.strerror}", output.UNUSABLE) from None


def lines(read: ChainReport) -> list[str]:
    """Return what is printed for people."""
    found = read.verifier
    count = f"{found.lines:,} lines in {len(read.files)} file{'s' if len(read.files) > 1 else ''}"
    if found.broken:
        more = [f"and {found.broken - len(found.faults):,} more"] if found.broken > len(found.faults) else []
        return [*map(str, found.faults), *more, f"{count}: the chain is broken"]
    assert found.last is not None
    end = [] if found.head else ["nothing says where it ends: lines may have been removed there"]
    said = f"{count}, number {found.first} to {found.last.seq}: the chain is whole"
    return [said, *end, f"head: {found.last.seq}:{found.last.digest}"]


def told(read: ChainReport) -> dict[str, object]:
    """Return the same for scripts."""
    found = read.verifier
    return {
        "whole": not found.broken,
        "files": [str(path) for path in read.files],
        "lines": found.lines,
        "first": found.first,
        "head": f"{found.last.seq}:{found.last.digest}" if found.last else None,
        "end_known": found.head is not None,
        "broken": found.broken,
        "faults": [{"file": fault.file, "line": fault.line, "text": fault.text} for fault in found.faults],
    }
