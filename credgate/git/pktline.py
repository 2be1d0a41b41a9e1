"""git's packets: four hexadecimal digits of length, themselves included, then that many bytes less four.

Follows git's ``gitprotocol-common`` (pkt-line) and is stricter: lengths 0001 and 0002 are the special packets of
protocol v2 and returned as such, 0003 and the empty 0004 are refused, as is anything over 65520 bytes. Never
interprets a payload, never holds more than one partial packet.
"""

from __future__ import annotations

import re
from enum import Enum

MAX_PACKET = 65520
"""Bytes of the longest packet, its four digits included (git's LARGE_PACKET_MAX)."""
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
    """The bytes are no packets. Whoever reads a peer's packets turns this into that peer's error."""


def encode(payload: bytes) -> bytes:
    """Frame ``payload`` as one packet. Raises ``ValueError`` when it is empty or over :data:`MAX_PAYLOAD`."""
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise ValueError(f"a packet holds 1 to {MAX_PAYLOAD} bytes, not {len(payload)}")
    return b"%04x%s" % (len(payload) + 4, payload)


def length_of(digits: bytes) -> int | Special:
    """Read what four bytes at the start of a packet announce: its whole length, or a special packet."""
    if _DIGITS.fullmatch(digits) is None:
        raise PacketError("not a packet length")
    length = int(digits, 16)
    if length <= Special.RESPONSE_END.value:
        return Special(length)
    if not _FIRST_LENGTH <= length <= MAX_PACKET:
        raise PacketError("a packet of a length that git never sends")
    return length


def _whole(data: bytes, offset: int) -> tuple[Packet, int] | None:
    """Return the packet at ``offset``, where at least its digits are, if all of it is there: the common case."""
    length = length_of(data[offset : offset + 4])
    if isinstance(length, Special):
        return length, offset + 4
    end = offset + length
    return (data[offset + 4 : end], end) if end <= len(data) else None


class PacketReader:
    """Cuts a stream into packets, one at a time, so that a caller can stop at the packet that ends its part."""

    def __init__(self) -> None:
        self._partial = bytearray()

    @property
    def inside(self) -> bool:
        """Whether a packet has begun and not ended."""
        return bool(self._partial)

    def next(self, data: bytes, offset: int) -> tuple[Packet | None, int]:
        """Return the next packet of what was held back and ``data[offset:]``, and the offset behind it.

        ``None`` when there is not enough yet: then all of ``data`` was taken. Raises :class:`PacketError`.
        """
        if not self._partial and len(data) >= offset + 4:
            whole = _whole(data, offset)
            if whole is not None:
                return whole
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
        """Take from ``data`` what is missing to ``size`` bytes; return how many were taken."""
        missing = max(0, size - len(self._partial))
        piece = data[offset : offset + missing]
        self._partial += piece
        return len(piece)
