"""Verifies the chain of an audit log: finds every line that was changed, removed, inserted or moved.

Lines are passed in order, the oldest first, from all files of the log. The log's head, read before them, shows whether
the last lines are missing. The first line of the oldest file may have any number, since the oldest files are removed;
the head says where the log begins. A line without a number is an incomplete line that a full disk or a power failure
left; it is valid if the next line covers it. Lines before the first numbered one are from a version without the chain.
"""

from __future__ import annotations

from attrs import define, field, frozen

from credgate.audit.chain import Head, Link, digest, numbered

MAX_FAULTS = 20
"""Faults that are listed; the others are counted."""


@frozen(slots=True)
class ChainFault:
    """A break of the chain: the file, the line (0: the log as a whole), and its meaning."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.text


@define
class Verifier:
    """Checks a log line by line. ``faults`` are the first faults found, ``broken`` counts all."""

    head: Head | None = None
    """The end that the writer recorded; None: unknown."""
    faults: list[ChainFault] = field(factory=list)
    broken: int = 0
    lines: int = 0
    first: int = 0
    """The number of the first line in the chain; 0: none so far."""
    last: Link | None = None
    # The digest of the previous line, numbered or not; None at the beginning.
    _before: str | None = None
    # The digest of the line that the head names, once it has been read.
    _at_head: str = ""
    _uncovered: tuple[str, int] | None = None

    def feed(self, file: str, number: int, line: bytes) -> None:
        """Check the next line, without its line feed; ``number`` is its line number in ``file``."""
        self.lines += 1
        found = numbered(line)
        if found is None:
            # Before the first numbered line: lines of a version without the chain. Later: a line that a full disk or a
            # power failure left incomplete, which is valid if the next line covers it.
            self._uncovered = (file, number) if self.last is not None else None
        else:
            self._linked(file, number, *found)
            self.last = Link(found[0], digest(line))
            self._uncovered = None
            if self.head is not None and found[0] == self.head.last.seq:
                self._at_head = self.last.digest
        self._before = digest(line)

    def _linked(self, file: str, number: int, seq: int, prev: str) -> None:
        if self.last is None:
            # It may have any number, since the oldest files are removed; the head says where the log begins.
            self.first = seq
            if seq == 1 and self._before is None and prev != Link().digest:
                self._fault(file, number, "this is line number 1, but it has the digest of a previous line")
            elif self._before not in (None, prev):
                self._fault(file, number, "the lines before this one were changed or inserted")
            return
        gap = seq - self.last.seq - 1
        if gap > 0:
            self._fault(file, number, f"{_lines(gap)} removed before this one (number {seq} follows {self.last.seq})")
        elif gap < 0:
            self._fault(file, number, f"this line was inserted or moved (number {seq} follows {self.last.seq})")
        elif prev != self._before:
            self._fault(file, number, "the line before this one was changed, or lines were inserted between them")

    def end(self, *, growing: bool = False) -> None:
        """Check the end and the beginning; ``growing``: the log is still being written."""
        if self._uncovered is not None and not growing:
            self._fault(*self._uncovered, "this line is not in the chain")
        if self.last is None:
            self._fault("", 0, "the log contains no chained line")
        elif self.head is not None:
            self._compare(self.last, self.head, growing=growing)

    def _compare(self, last: Link, head: Head, *, growing: bool) -> None:
        if self.first > head.first:
            self._fault("", 0, f"{_lines(self.first - head.first)} removed at the beginning")
        if last.seq < head.last.seq:
            self._fault("", 0, f"{_lines(head.last.seq - last.seq)} removed at the end")
        elif self._at_head != head.last.digest:
            self._fault("", 0, f"line number {head.last.seq} is not the one that the gateway wrote")
        # The head is written after its lines, so a log that is still being written may be longer.
        elif last.seq > head.last.seq and not growing:
            self._fault("", 0, f"{_lines(last.seq - head.last.seq)} added after the last line that the gateway wrote")

    def add(self, fault: ChainFault) -> None:
        """Count a fault, and list it unless there are too many."""
        self.broken += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)

    def _fault(self, file: str, line: int, text: str) -> None:
        self.add(ChainFault(file, line, text))


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count:,} lines were"
