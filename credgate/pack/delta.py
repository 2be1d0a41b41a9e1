r"""Applies deltas: objects that a pack stores as the difference from another object.

    delta  = size-of-base size-of-result *(copy / insert)         ; sizes: seven bits a byte, low bits first
    copy   = 1xxxxxxx *offset-byte *size-byte                      ; one bit for each byte present; size 0 means 65536
    insert = 0xxxxxxx bytes                                        ; the number of bytes; 0 is reserved

Follows git's ``gitformat-pack`` and ``patch-delta.c``. Only deltas of commits, tags and trees are ever applied. A delta
is refused unless its result has the announced size, so the cost of a delta is known before it is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.pack.objects import PackError

if TYPE_CHECKING:
    from credgate.pack.objects import Sliced

# Instructions in one slice of work: about 1 ms.
PER_SLICE = 2048
_COPY, _LOW = 0x80, 0x7F
_WHOLE_COPY = 0x10000
_MAX_SHIFT = 56


def sizes(delta: bytes) -> tuple[int, int, int]:
    """Return the base's size, the result's size and where the instructions begin. Raises :class:`PackError`."""
    try:
        base, at = _size(delta, 0)
        result, at = _size(delta, at)
    except IndexError:
        raise PackError("malformed delta: truncated header") from None
    return base, result, at


def apply(base: bytes, delta: bytes) -> Sliced[bytes]:
    """Return the object that ``delta`` makes of ``base``. Raises :class:`PackError`."""
    expected, size, at = sizes(delta)
    if expected != len(base):
        raise PackError("malformed delta: base size mismatch")
    pieces, made, end = [], 0, len(delta)
    while at < end:
        command = delta[at]
        if command & _COPY:
            offset, length, at = _copy(delta, at)
            if offset + length > len(base):  # checked here because a slice would be shortened silently
                raise PackError("malformed delta: copy beyond the end of the base")
            pieces.append(base[offset : offset + length])
        else:
            at, length = at + 1 + command, command
            if not command or at > end:
                raise PackError("malformed delta: invalid instruction")
            pieces.append(delta[at - command : at])
        made += length
        if made > size:
            break  # a few bytes of delta may copy gigabytes: stop as soon as the announced size is exceeded
        if len(pieces) % PER_SLICE == 0:
            yield
    if made != size:
        raise PackError("malformed delta: result size mismatch")
    return b"".join(pieces)


def _size(delta: bytes, at: int) -> tuple[int, int]:
    """Read one size. Raises ``IndexError`` at the delta's end."""
    size = shift = 0
    while True:
        byte = delta[at]
        at += 1
        size |= (byte & _LOW) << shift
        if byte < _COPY:
            return size, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise PackError("malformed delta: size out of range")


def _copy(delta: bytes, at: int) -> tuple[int, int, int]:
    """Read a copy instruction: its offset, its length, and where the next instruction begins."""
    command = delta[at]
    at += 1
    try:
        offset = shift = 0
        for bit in (1, 2, 4, 8):  # each bit announces one byte of the offset, low byte first
            if command & bit:
                offset |= delta[at] << shift
                at += 1
            shift += 8
        length = shift = 0
        for bit in (16, 32, 64):  # and of the length
            if command & bit:
                length |= delta[at] << shift
                at += 1
            shift += 8
    except IndexError:
        raise PackError("malformed delta: truncated instruction") from None
    return offset, length or _WHOLE_COPY, at
