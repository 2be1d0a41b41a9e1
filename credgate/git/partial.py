r"""A push of which some refs were refused and the rest went on: their ``ng`` is put into the forge's own report.

The forge reports only on what it was sent; git calls a ref without a word a "remote failure". So before the flush that
ends the report one ``ng`` a refused ref is put in, in the report's own form: bare, or cut into side-band packets
(git-over-http section 3.2). Text and progress pass untouched, at once. Not for a push that asked for ``atomic``: git
does not notice a mix there and would show one ref as pushed (``verdict.judge`` refuses those whole).

Strict, since what follows the report could be anything: a report that does not end, or goes on, raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.git.pktline import FLUSH, MAX_PAYLOAD, Packet, PacketError, PacketReader, Special, encode
from credgate.git.refusal import refused_lines
from credgate.git.report import FATAL, REPORT, TEXT
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

_BAND_PAYLOAD = MAX_PAYLOAD - 1


class Splicer:
    """Takes the forge's answer as it comes and gives out what the client is sent."""

    def __init__(self, refused: Iterable[tuple[bytes, str]], *, sideband: bool) -> None:
        """``refused`` holds (ref, reason) for each; ``sideband``: the client asked for ``side-band-64k``."""
        self._end = b"".join(refused_lines(refused)) + FLUSH
        self._sideband = sideband
        self._outer, self._inner = PacketReader(), PacketReader()
        self._reported = self._fatal = self._ended = False

    def receive(self, data: bytes) -> list[bytes]:
        """Return what goes to the client now. Raises :class:`ResponseError`."""
        given: list[bytes] = []
        offset = 0
        while offset < len(data):
            if self._ended:
                raise ResponseError("the forge's report goes on behind its end")
            packet, offset = self._next(self._outer, data, offset)
            if packet is not None:
                given += self._band(packet) if self._sideband else self._line(packet)
        return given

    def end(self) -> None:
        """Note the end of the forge's answer. Raises :class:`ResponseError` when its report had not ended."""
        if not (self._ended or self._fatal):
            raise ResponseError("the forge's report was cut", reason=Reason.FORGE_CUT)

    def _next(self, reader: PacketReader, data: bytes, offset: int) -> tuple[Packet | None, int]:
        try:
            return reader.next(data, offset)
        except PacketError as error:
            raise ResponseError(f"the forge's report is none: {error}") from None

    def _line(self, packet: Packet) -> list[bytes]:
        """Take one packet of the report itself; the flush that ends it is what the refused refs go before."""
        if packet is Special.FLUSH:
            self._reported = True
            self._ended = not self._sideband
            return [self._end]
        if isinstance(packet, Special):
            raise ResponseError("a special packet inside the forge's report")
        return [encode(packet)]

    def _band(self, packet: Packet) -> list[bytes]:
        if packet is Special.FLUSH and self._reported:
            self._ended = True
            return [FLUSH]
        if isinstance(packet, Special) or packet[0] not in (REPORT, TEXT, FATAL):
            raise ResponseError("the forge's report is not in side-bands, or not whole")
        self._fatal = self._fatal or packet[0] == FATAL
        if packet[0] != REPORT or len(packet) == 1:
            return [encode(packet)]
        return self._rebanded(packet[1:])

    def _rebanded(self, payload: bytes) -> list[bytes]:
        """Read a part of the report; packets are sent on once they are whole."""
        lines: list[bytes] = []
        offset = 0
        while offset < len(payload):
            if self._reported:
                raise ResponseError("the forge's report goes on behind its end")
            packet, offset = self._next(self._inner, payload, offset)
            if packet is not None:
                lines += self._line(packet)
        whole = b"".join(lines)
        return [encode(bytes([REPORT]) + whole[at : at + _BAND_PAYLOAD]) for at in range(0, len(whole), _BAND_PAYLOAD)]
