"""git's packets: four hexadecimal digits of length, themselves included, then that many bytes less four.

Follows git's ``gitprotocol-common`` (pkt-line) and is stricter. Lengths 0001 and 0002 are the special packets of
protocol v2 and are returned as such. 0003, the empty 0004 and any length over 65520 are refused. Never interprets a
payload and never holds more than one partial packet.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Bytes of the longest packet, its four digits included (git's LARGE_PACKET_MAX).
MAX_PACKET = 65520
MAX_PAYLOAD = MAX_PACKET - 4

FLUSH = b"0000"
DELIMITER = b"0001"
RESPONSE_END = b"0002"

_DIGITS = re.compile(rb"[0-9a-fA-F]{4}")
_FIRST_LENGTH = 5


class Special(Enum):
    """A packet without a payload."""

    FLUSH = 0
    DELIMITER = 1
    RESPONSE_END = 2


Packet = bytes | Special


class PacketError(ValueError):
    """The bytes are not packets. Readers of a peer's stream raise that peer's error instead, see PacketReader."""


def encode(payload: bytes) -> bytes:
    """Frame ``payload`` as one packet. Raises ``ValueError`` when it is empty or over :data:`MAX_PAYLOAD`."""
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise ValueError(f"a packet holds 1 to {MAX_PAYLOAD} bytes, not {len(payload)}")
    return b"%04x%s" % (len(payload) + 4, payload)


def length_of(digits: bytes) -> int | Special:
    """Return the length that the first four bytes of a packet announce, or the special packet that they are."""
    if _DIGITS.fullmatch(digits) is None:
        raise PacketError("invalid packet length")
    length = int(digits, 16)
    if length <= Special.RESPONSE_END.value:
        return Special(length)
    if not _FIRST_LENGTH <= length <= MAX_PACKET:
        raise PacketError("packet length out of range")
    return length


class PacketReader:
    """Cuts a stream into packets, one at a time, so that a caller can stop at the packet that ends its part."""

    def __init__(self, malformed: Callable[[str], Exception] = PacketError) -> None:
        """``malformed`` makes the error to raise for bytes that are not packets."""
        self._partial = bytearray()
        self._malformed = malformed

    @property
    def inside(self) -> bool:
        """Whether a packet has begun and not ended."""
        return bool(self._partial)

    def packets(self, data: bytes, offset: int = 0) -> Iterator[tuple[Packet, int]]:
        """Yield each packet that ``data[offset:]`` completes, with the offset after it.

        A caller that stops early continues at that offset. After the last packet all of ``data`` is consumed: an
        unfinished packet is kept for the next call.
        """
        while offset < len(data):
            packet, offset = self.next(data, offset)
            if packet is not None:
                yield packet, offset

    def next(self, data: bytes, offset: int) -> tuple[Packet | None, int]:
        """Return the next packet of the unfinished one and ``data[offset:]``, and the offset after it.

        The packet is ``None`` when more bytes are needed: then all of ``data`` was consumed.
        """
        try:
            # The common case: all of the packet is in ``data``, and nothing need be copied twice.
            if not self._partial and len(data) >= offset + 4:
                length = length_of(data[offset : offset + 4])
                if isinstance(length, Special):
                    return length, offset + 4
                end = offset + length
                if end <= len(data):
                    return data[offset + 4 : end], end
            return self._assembled(data, offset)
        except PacketError as error:
            raise self._malformed(str(error)) from None

    def _assembled(self, data: bytes, offset: int) -> tuple[Packet | None, int]:
        """Do the same for a packet that comes in several pieces."""
        partial = self._partial
        taken = offset + self._fill(data, offset, 4)
        if len(partial) < len(FLUSH):
            return None, taken
        length = length_of(bytes(partial[:4]))
        if isinstance(length, Special):
            partial.clear()
            return length, taken
        taken += self._fill(data, taken, length)
        if len(partial) < length:
            return None, taken
        payload = bytes(partial[4:])
        partial.clear()
        return payload, taken

    def _fill(self, data: bytes, offset: int, size: int) -> int:
        """Append to the unfinished packet what it lacks of ``size`` bytes; return how many were taken."""
        missing = max(0, size - len(self._partial))
        piece = data[offset : offset + missing]
        self._partial += piece
        return len(piece)
