r"""The forge's report on a push, read as it passes, for the audit log: what the forge says became of each ref.

    report  = pkt("unpack " ("ok" / error) LF) *(pkt("ok " ref LF) / pkt("ng " ref SP reason LF) / option) flush
    bands   = *pkt(%x01 part-of-report / %x02 text / %x03 fatal text) flush        ; when side-band-64k was asked for

Follows git's ``gitprotocol-pack`` (report-status and its second version, whose ``option`` lines are skipped). The
report is relayed by ``response_filter`` and never waits for this reader: a report that cannot be read is marked
``broken`` and not read further, and nothing here raises. Keeps the first 200 bytes of a text, as one line, and only the
refs that were pushed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.git.pktline import Packet, PacketError, PacketReader, Special
from credgate.refusal_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

REPORT, TEXT, FATAL = 1, 2, 3
"""git's side-bands."""

_UNPACK = re.compile(rb"unpack ([^\n]*)\n?")
_LINE = re.compile(rb"(ok|ng) ([^ \n]+)(?: ([^\n]*))?\n?")


@frozen(slots=True)
class RefResult:
    """What the forge reports for one ref; ``text`` is its reason, as one bounded line."""

    ok: bool
    text: str = ""


class ReportReader:
    """Reads a report from the body of the forge's response, however it is cut."""

    def __init__(self, refs: Collection[bytes], *, sideband: bool) -> None:
        """``refs``: those that were sent to the forge; others are not kept. ``sideband``: as the client asked."""
        self.unpack: str | None = None
        """``ok`` or the forge's error; ``None``: not reported."""
        self.results: dict[bytes, RefResult] = {}
        self.fatal = ""
        """The first line on the band for fatal errors."""
        self.done = False
        """The report was read to its flush."""
        self.broken = False
        """The body is not a report."""
        self._refs, self._sideband = frozenset(refs), sideband
        self._outer, self._inner = PacketReader(), PacketReader()

    def receive(self, data: bytes) -> None:
        """Take the next bytes of the response. Never raises."""
        if self.done or self.broken:
            return
        try:
            self._read(self._outer, data, self._band if self._sideband else self._line)
        except PacketError:
            self.broken = True

    def result(self, ref: bytes) -> RefResult | None:
        """Return what the forge reported for ``ref``; ``None``: nothing."""
        return self.results.get(ref)

    def _read(self, reader: PacketReader, data: bytes, take: Callable[[Packet], None]) -> None:
        for packet, _ in reader.packets(data):
            take(packet)
            if self.done or self.broken:
                return

    def _band(self, packet: Packet) -> None:
        if isinstance(packet, Special):
            self.broken = True
        elif packet[0] == REPORT:
            self._read(self._inner, packet[1:], self._line)
        elif packet[0] == FATAL:
            self.fatal = self.fatal or _text(packet[1:].strip())
        else:
            self.broken = packet[0] != TEXT

    def _line(self, packet: Packet) -> None:
        if isinstance(packet, Special):
            self.done = packet is Special.FLUSH and self.unpack is not None
            self.broken = not self.done
        elif self.unpack is None:
            match = _UNPACK.fullmatch(packet)
            self.broken = match is None
            self.unpack = None if match is None else _text(match[1])
        # The second version of the report has such lines, which give details of the ref before them.
        elif not packet.startswith(b"option "):
            match = _LINE.fullmatch(packet)
            self.broken = match is None
            if match is not None and match[2] in self._refs:
                self.results[match[2]] = RefResult(match[1] == b"ok", _text(match[3] or b""))


def _text(text: bytes) -> str:
    return one_line(text.decode("utf-8", "replace")).decode("utf-8")
