"""``credgate audit verify``: check whether lines of the audit log were changed, removed, inserted or moved.

It reads the log file and its rotated files, oldest first, and compares the end with the head file beside them. It
prints the number and digest of the last line, for ``--head`` of a later run. ``credgate.audit.verify`` implements the
check.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from credgate.audit.chain import Head, Link
from credgate.audit.log_files import read_head, rotated
from credgate.audit.verify import Verifier
from credgate.cli import output
from credgate.cli.audit import log_file
from credgate.cli.gateway_options import gateway_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.cli.gateway_options import ControlSocket

MAX_READS = 3
"""How often a log that is rotated while it is read is read again."""
_DIGEST_LENGTH = 64


@frozen
class ChainReport:
    """The files of a log and the result of their check."""

    files: list[Path]
    verifier: Verifier


def _parse_head(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Link | None:
    if value is None:
        return None
    seq, _, digest = value.partition(":")
    valid_digest = len(digest) == _DIGEST_LENGTH and set(digest) <= set("0123456789abcdef")
    if not (seq.isascii() and seq.isdigit() and valid_digest):
        raise click.BadParameter("expected NUMBER:DIGEST, as printed by an earlier run")
    return Link(int(seq), digest)


@click.command()
@click.option("--file", type=click.Path(path_type=Path), help="The log file (default: the gateway's).")
@click.option("--head", metavar="NUMBER:DIGEST", callback=_parse_head, help="A line that must be unchanged in the log.")
@gateway_options
def verify(gateway: ControlSocket, file: Path | None, head: Link | None, *, as_json: bool) -> None:
    """Find lines of the audit log that were changed, removed, inserted or moved.

    Rotated files are read, too. Exit status 1 if the chain is broken.
    """
    report = check(log_file(gateway, file), head)
    if as_json:
        output.print_json(_json_report(report))
    else:
        click.echo("\n".join(map(output.printable, _text_report(report))))
    raise SystemExit(output.REFUSED if report.verifier.broken else 0)


def check(log: Path, head: Link | None) -> ChainReport:
    """Check a log and its rotated files. Raises CommandError."""
    for _ in range(MAX_READS):
        files = [*(path for _, path in rotated(log)), log]
        report = check_files(log, files, head)
        # After a rotation in between, a file was read twice or not at all.
        if [*(path for _, path in rotated(log)), log] == files:
            break
    return report


def check_files(log: Path, files: list[Path], head: Link | None) -> ChainReport:
    """Read the files once. Raises CommandError."""
    head_file = read_head(log)
    verifier = Verifier(head_file)
    by_argument = Verifier(Head(head, head_file.first if head_file else 1) if head else None)
    for path in files:
        _feed(path, verifier.feed, by_argument.feed)
    # If the gateway has appended lines meanwhile, the log may be longer than the head that was read before.
    verifier.end(growing=read_head(log) != head_file)
    by_argument.end(growing=True)
    for fault in by_argument.faults:
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


def _text_report(report: ChainReport) -> list[str]:
    result = report.verifier
    count = f"{result.lines:,} lines in {len(report.files)} file{'s' if len(report.files) > 1 else ''}"
    if result.broken:
        hidden = result.broken - len(result.faults)
        more = [f"and {hidden:,} more"] if hidden > 0 else []
        return [*map(str, result.faults), *more, f"{count}: the chain is broken"]
    assert result.last is not None
    # Somebody who can write the log can write the head file, too. The last line is therefore printed: kept on another
    # machine and passed to a later run as ``--head``, it cannot be changed.
    unknown_end = [] if result.head else ["no head file: lines may have been removed at the end"]
    first_line = f"{count}, number {result.first} to {result.last.seq}: the chain is intact"
    return [first_line, *unknown_end, f"head: {result.last.seq}:{result.last.digest}"]


def _json_report(report: ChainReport) -> dict[str, object]:
    result = report.verifier
    return {
        "whole": not result.broken,
        "files": [str(path) for path in report.files],
        "lines": result.lines,
        "first": result.first,
        "head": f"{result.last.seq}:{result.last.digest}" if result.last else None,
        "end_known": result.head is not None,
        "broken": result.broken,
        "faults": [{"file": fault.file, "line": fault.line, "text": fault.text} for fault in result.faults],
    }
