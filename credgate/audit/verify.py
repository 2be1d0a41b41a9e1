"""Whether the chain of an audit log is whole: every line changed, removed, put in or moved is found.

Lines are fed oldest first, whatever file they come from; the log's head, read before them, says whether its last lines
are there. The first line of the oldest file may have any number: older files were dropped when there were too many, and
the head says where what is kept begins. A line without a number is a fragment that a full disk or a power cut left: it
is whole if the next line covers it. Lines before the first numbered one were written by a gateway that kept no chain.
"""

from __future__ import annotations

from attrs import define, field, frozen

from credgate.audit.chain import Head, Link, digest, numbered

MAX_FAULTS = 20
"""How many are told; the rest is counted."""


@frozen(slots=True)
class ChainFault:
    """Where the chain is broken: a file, a line of it (0: the log as a whole), and what that means."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.text


@define
class Verifier:
    """Reads a log. ``faults`` are the first ones found, ``broken`` counts all."""

    head: Head | None = None
    """What its writer knows of the end; None: nothing does."""
    faults: list[ChainFault] = field(factory=list)
    broken: int = 0
    lines: int = 0
    first: int = 0
    """The number of the first line in the chain; 0: none was seen."""
    last: Link | None = None
    _before: str | None = None
    """The digest of the line before, numbered or not; None at the beginning."""
    _at_head: str = ""
    """The digest of the line that the head names, once it was seen."""
    _uncovered: tuple[str, int] | None = None

    def feed(self, file: str, number: int, line: bytes) -> None:
        """Take the next line, without its line feed; ``number`` is its place in ``file``."""
        self.lines += 1
        found = numbered(line)
        if found is None:
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
            self.first = seq
            if seq == 1 and self._before is None and prev != Link().digest:
                self._fault(file, number, "this line claims to be the first, but names one before it")
            elif self._before not in (None, prev):
                self._fault(file, number, "the lines before this one were changed, or put in")
            return
        gap = seq - self.last.seq - 1
        if gap > 0:
            self._fault(file, number, f"{_lines(gap)} removed before this one (number {seq} follows {self.last.seq})")
        elif gap < 0:
            self._fault(file, number, f"this line was put in or moved (number {seq} follows {self.last.seq})")
        elif prev != self._before:
            self._fault(file, number, "the line before this one was changed, or lines were put in between")

    def end(self, *, growing: bool = False) -> None:
        """Judge the end, and the beginning; ``growing``: the writer has gone on since the head was read."""
        if self._uncovered is not None and not growing:
            self._fault(*self._uncovered, "this line is in no chain")
        if self.last is None:
            self._fault("", 0, "no line is in a chain")
        elif self.head is not None:
            self._compare(self.last, self.head, growing=growing)

    def _compare(self, last: Link, head: Head, *, growing: bool) -> None:
        if self.first > head.first:
            self._fault("", 0, f"{_lines(self.first - head.first)} removed at the beginning")
        if last.seq < head.last.seq:
            self._fault("", 0, f"{_lines(head.last.seq - last.seq)} removed at the end")
        elif self._at_head != head.last.digest:
            self._fault("", 0, f"line number {head.last.seq} is not the one that the gateway wrote")
        elif last.seq > head.last.seq and not growing:
            self._fault("", 0, f"{_lines(last.seq - head.last.seq)} added behind the last that the gateway wrote")

    def add(self, fault: ChainFault) -> None:
        """Note one."""
        self.broken += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)

    def _fault(self, file: str, line: int, text: str) -> None:
        self.add(ChainFault(file, line, text))


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count:,} lines were"
