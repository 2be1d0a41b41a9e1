"""What happens to the forge's response body on its way to the sandbox: rewritten, read for the audit, or unchanged.

Advertisements lose the capabilities that lead around the gateway or hide commands (``advertisement``). The report on a
push is read (``report``), and refs that credgate refused are added to it. The pack of a fetch passes unchanged.

With ``partial`` a push may have refs that credgate refused beside others that the forge was sent. The forge reports
only on the latter, and git calls a ref without a line a "remote failure". So one ``ng`` for each refused ref is
inserted before the flush that ends the report, in the report's own form: bare, or cut into side-band packets. Text and
progress pass unchanged and at once. Pushes that asked for ``atomic`` never come here: git does not notice mixed results
there and would show a refused ref as pushed (``push_verdict.judge`` refuses those as a whole).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from credgate.errors import ResponseError
from credgate.git.advertisement import AdvertisementRewriter
from credgate.git.pktline import FLUSH, MAX_PAYLOAD, Packet, PacketReader, Special, encode
from credgate.git.refusal import refused_lines
from credgate.git.report import FATAL, REPORT, TEXT, ReportReader
from credgate.git.route import Kind
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.git.push_rules import PushRules
    from credgate.git.push_stream import PushStream

_BAND_PAYLOAD = MAX_PAYLOAD - 1


class ResponseFilter(Protocol):
    """The filter of one response body. What comes out may be longer or shorter than what went in."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes of the body; return what the sandbox gets for them. Raises ResponseError."""

    def end(self) -> None:
        """Note the end of the body. Raises ResponseError if it is cut."""


def response_filter(
    kind: Kind, service: str, rules: PushRules | None, push: PushStream | None
) -> ResponseFilter | None:
    """Return the filter for the response to a request of ``kind``, None if the body passes unchanged.

    ``rules`` are the session's, ``push`` is the push that the response is for.
    """
    if kind is Kind.ADVERTISEMENT:
        options, no_thin = (rules.options, rules.inspects) if rules is not None else (False, False)
        return AdvertisementRewriter(service, push_options=options, no_thin=no_thin)
    if push is not None and push.verdict is not None and push.commands.report:
        return ReportFilter(push)
    return None


class ReportFilter:
    """Reads the forge's report on a push and adds the refs that credgate refused."""

    def __init__(self, push: PushStream) -> None:
        verdict, sideband = push.verdict, push.commands.sideband
        assert verdict is not None
        # git calls a ref without a line in the report a "remote failure", so the refused refs are added.
        self._splicer = Splicer(verdict.refused, sideband=sideband) if verdict.refused and verdict.forwarded else None
        self.reader = ReportReader([command.ref for command in verdict.forwarded], sideband=sideband)

    def receive(self, data: bytes) -> list[bytes]:
        """Return what the client is sent. A report that cannot be read passes unchanged: git reads it itself."""
        self.reader.receive(data)
        return [data] if self._splicer is None else self._splicer.receive(data)

    def end(self) -> None:
        """Note the end of the body. Raises ResponseError if refs had to be added and the report is cut."""
        if self._splicer is not None:
            self._splicer.end()


class Splicer:
    """Inserts the refused refs into the forge's report as it passes.

    A report that does not end, or continues after its end, raises.
    """

    def __init__(self, refused: Iterable[tuple[bytes, str]], *, sideband: bool) -> None:
        """``refused`` holds (ref, reason) for each; ``sideband``: the client asked for ``side-band-64k``."""
        self._end = b"".join(refused_lines(refused)) + FLUSH
        self._sideband = sideband
        self._outer, self._inner = PacketReader(_malformed), PacketReader(_malformed)
        self._reported = self._fatal = self._ended = False

    def receive(self, data: bytes) -> list[bytes]:
        """Return what the client is sent. Raises :class:`ResponseError`."""
        # Strict, since bytes after the report could be anything.
        if self._ended and data:
            raise _malformed("data after its end")
        given: list[bytes] = []
        for packet, offset in self._outer.packets(data):
            given += self._band(packet) if self._sideband else self._line(packet)
            if self._ended and offset < len(data):
                raise _malformed("data after its end")
        return given

    def end(self) -> None:
        """Note the end of the response. Raises :class:`ResponseError` when the report had not ended."""
        if not (self._ended or self._fatal):
            raise ResponseError("the forge's report was cut", reason=Reason.FORGE_CUT)

    def _line(self, packet: Packet) -> list[bytes]:
        """Take one packet of the report itself; the refused refs are inserted before the flush that ends it."""
        if packet is Special.FLUSH:
            self._reported = True
            self._ended = not self._sideband
            return [self._end]
        if isinstance(packet, Special):
            raise _malformed("unexpected special packet")
        return [encode(packet)]

    def _band(self, packet: Packet) -> list[bytes]:
        if packet is Special.FLUSH and self._reported:
            self._ended = True
            return [FLUSH]
        if isinstance(packet, Special) or packet[0] not in (REPORT, TEXT, FATAL):
            raise _malformed("it is not in side-bands, or incomplete")
        self._fatal = self._fatal or packet[0] == FATAL
        # An empty packet of the report's band is a keep-alive.
        if packet[0] != REPORT or len(packet) == 1:
            return [encode(packet)]
        return self._rebanded(packet[1:])

    def _rebanded(self, payload: bytes) -> list[bytes]:
        """Read a part of the report; its packets are sent once they are whole."""
        lines: list[bytes] = []
        if self._reported:
            raise _malformed("data after its end")
        for packet, offset in self._inner.packets(payload):
            lines += self._line(packet)
            if self._reported and offset < len(payload):
                raise _malformed("data after its end")
        whole = b"".join(lines)
        return [encode(bytes([REPORT]) + whole[at : at + _BAND_PAYLOAD]) for at in range(0, len(whole), _BAND_PAYLOAD)]


def _malformed(text: str) -> ResponseError:
    return ResponseError(f"malformed report-status from the forge: {text}")
