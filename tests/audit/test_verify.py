"""Tampering with a log is found, wherever it was done."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from credgate.audit.chain import Head, Link
from credgate.audit.verify import MAX_FAULTS, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 60
Log = list[bytes]


def written(count: int = LINES, link: Link | None = None) -> tuple[Log, Head]:
    """Write a log of so many lines; it, and its head."""
    lines = []
    link = link or Link()
    first = link.seq + 1
    for number in range(count):
        line, link = link.next(b'{"event":"request","text":"number %d"}' % number)
        lines.append(line)
    return lines, Head(link, first)


def read(lines: Log, head: Head | None) -> Verifier:
    """Verify them."""
    verifier = Verifier(head)
    for number, line in enumerate(lines, 1):
        verifier.feed("a.log", number, line)
    verifier.end()
    return verifier


def test_written_log_is_valid() -> None:
    """This is the positive control of all tampering below."""
    lines, head = written()
    found = read(lines, head)
    assert (found.broken, found.lines, found.first, found.last) == (0, LINES, 1, head.last)


def _change(log: Log, chance: random.Random) -> None:
    at = chance.randrange(len(log))
    line = bytearray(log[at])
    line[chance.randrange(len(line))] ^= chance.randrange(1, 256)
    log[at] = bytes(line)


def _remove(log: Log, chance: random.Random) -> None:
    at = chance.randrange(len(log))
    del log[at : at + chance.randrange(1, 5)]


def _insert(log: Log, chance: random.Random) -> None:
    log.insert(chance.randrange(len(log) + 1), chance.choice([*log, b"", b"{}", b'{"event":"request"}']))


def _move(log: Log, chance: random.Random) -> None:
    one, other = chance.sample(range(len(log)), 2)
    log[one], log[other] = log[other], log[one]


def _rewrite(log: Log, chance: random.Random) -> None:
    """Write a line and all behind it anew, with right digests: what only the head can show."""
    at = chance.randrange(len(log))
    link = Link() if at == 0 else read(log[:at], None).last
    assert link is not None
    for number in range(at, len(log)):
        log[number], link = link.next(b'{"event":"forged","text":"%d"}' % number)


TAMPERINGS: list[Callable[[Log, random.Random], None]] = [_change, _remove, _insert, _move, _rewrite]


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_random_tampering_is_found(tampering: Callable[[Log, random.Random], None]) -> None:
    """Two hundred of each kind, at random places."""
    lines, head = written()
    for seed in range(200):
        log = list(lines)
        tampering(log, random.Random(seed))
        assert read(log, head).broken > 0, seed


@pytest.mark.parametrize(
    ("tampered", "line", "text"),
    [
        (lambda log: [*log[:10], b"{" + log[10][2:], *log[11:]], 12, "the line before this one was changed"),
        (lambda log: [*log[:10], *log[12:]], 11, "2 lines were removed before this one (number 13 follows 10)"),
        (lambda log: [*log[:10], log[3], *log[10:]], 11, "this line was inserted or moved (number 4 follows 10)"),
        (lambda log: log[:-1], 0, "1 line was removed at the end"),
        (lambda log: log[1:], 0, "1 line was removed at the beginning"),
        (lambda log: [*log[:-1], log[-1].replace(b"number 59", b"number 58")], 0, "line number 60 is not the one"),
        (lambda log: [b"{}", *log], 2, "the lines before this one were changed or inserted"),
        (lambda log: [*log, b"{}"], 61, "this line is not in the chain"),
        (lambda log: [*log[:10], b"{}", *log[10:]], 12, "the line before this one was changed, or lines were inserted"),
    ],
)
def test_place_of_the_fault_is_reported(tampered: Callable[[Log], Log], line: int, text: str) -> None:
    """Who looks for what happened needs the line."""
    lines, head = written()
    fault = read(tampered(lines), head).faults[0]
    assert fault.line == line
    assert fault.text.startswith(text)
    assert str(fault) == (f"a.log:{line}: {fault.text}" if line else fault.text)


def test_lines_after_the_head_are_reported() -> None:
    """Someone may have added them with correct digests."""
    lines, head = written(10)
    more, _ = written(2, head.last)
    assert read([*lines, *more], head).faults[0].text == "2 lines were added after the last line that the gateway wrote"


def test_growing_log_is_verified_up_to_its_head() -> None:
    """Later lines must still be linked."""
    lines, head = written(10)
    more, _ = written(2, head.last)
    for log, growing, broken in (([*lines, *more, b'{"ha'], True, 0), ([*lines, *more], False, 1), (more, True, 2)):
        verifier = Verifier(head)
        for number, line in enumerate(log, 1):
            verifier.feed("a.log", number, line)
        verifier.end(growing=growing)
        assert verifier.broken == broken, verifier.faults


def test_end_is_not_checked_without_a_head() -> None:
    """A copy of some files: nothing says how the log went on, so the verdict is about what is there."""
    lines, _ = written()
    assert read(lines[:-1], None).broken == 0


def test_covered_incomplete_line_is_valid() -> None:
    """A full disk left it."""
    (first,), head = written(1)
    rest, last = written(1, head.last.over(b'{"ev'))
    assert read([first, b'{"ev', *rest], Head(last.last)).broken == 0
    assert read([first, b'{"eV', *rest], Head(last.last)).broken == 1


def test_dropped_files_are_valid() -> None:
    """The head names the first line."""
    lines, head = written(10, Link(100, "ab" * 32))
    assert read(lines, head).broken == 0
    assert read(lines, Head(head.last, 90)).faults[0].text == "11 lines were removed at the beginning"


def test_log_is_verified_from_the_first_chained_line() -> None:
    """An upgrade appends to an older log."""
    old = b'{"event":"request"}'
    lines, head = written(3, Link().over(old))
    assert read([old, *lines], head).broken == 0
    assert read([old], None).faults[0].text == "the log contains no chained line"


def test_first_line_has_no_previous_digest() -> None:
    """A log that begins with number 1 begins with it."""
    lines, head = written(2, Link(0, "ab" * 32))
    assert read(lines, head).faults[0].text == "this is line number 1, but it has the digest of a previous line"


def test_listed_faults_are_bounded() -> None:
    """A log in shreds must not fill the terminal."""
    lines, head = written(100)
    found = read(lines[::2], head)
    assert found.broken > MAX_FAULTS
    assert len(found.faults) == MAX_FAULTS
