r"""An object told as its difference from another: git's pack deltas.

    delta = size-of-base size-of-result *(copy / insert)          ; sizes: seven bits a byte, low bits first
    copy  = 1xxxxxxx *offset-byte *size-byte                       ; a bit for each byte that is there; size 0 is 65536
    insert = 0xxxxxxx bytes                                        ; that many; 0 is reserved

Follows git's ``gitformat-pack`` and ``patch-delta.c``. Only deltas of commits, tags and trees are ever applied. The
result is as long as announced or the delta is refused, so what a delta may cost is known before it is applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.pack.objects import PackError
from credgate.pack.slices import finish

if TYPE_CHECKING:
    from credgate.pack.slices import Sliced

PER_SLICE = 2048
_COPY, _SIZE_BITS, _LOW = 0x80, 0x70, 0x7F
_WHOLE_COPY = 0x10000
_MAX_SHIFT = 56


def sizes(delta: bytes) -> tuple[int, int, int]:
    """Return the base's size, the result's size and where the instructions begin. Raises :class:`PackError`."""
    try:
        base, at = _size(delta, 0)
        result, at = _size(delta, at)
    except IndexError:
        raise PackError("a delta without its sizes") from None
    return base, result, at


def apply(base: bytes, delta: bytes) -> bytes:
    """Return the object that ``delta`` makes of ``base``. Raises :class:`PackError`."""
    return finish(applying(base, delta))


def applying(base: bytes, delta: bytes) -> Sliced[bytes]:
    """Do the same in slices of :data:`PER_SLICE` instructions, about 1 ms each."""
    expected, size, at = sizes(delta)
    if expected != len(base):
        raise PackError("a delta that was made for another base")
    pieces, made, end = [], 0, len(delta)
    while at < end:
        command = delta[at]
        if command & _COPY:
            offset, length, at = _copy(delta, at)
            if offset + length > len(base):
                raise PackError("a delta that copies from outside its base")
            pieces.append(base[offset : offset + length])
        else:
            at, length = at + 1 + command, command
            if not command or at > end:
                raise PackError("a delta with a broken instruction")
            pieces.append(delta[at - command : at])
        made += length
        if made > size:
            break
        if len(pieces) % PER_SLICE == 0:
            yield
    if made != size:
        raise PackError("a delta that makes more or less than it says")
    return b"".join(pieces)


def _size(delta: bytes, at: int) -> tuple[int, int]:
    """Read one size. ``IndexError`` at the delta's end."""
    size = shift = 0
    while True:
        byte = delta[at]
        at += 1
        size |= (byte & _LOW) << shift
        if byte < _COPY:
            return size, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise PackError("a delta of an impossible size")


def _copy(delta: bytes, at: int) -> tuple[int, int, int]:
    """Read a copy instruction: offset, length, and where the next one begins."""
    command = delta[at]
    at += 1
    try:
        offset = shift = 0
        for bit in (1, 2, 4, 8):
            if command & bit:
                offset |= delta[at] << shift
                at += 1
            shift += 8
        length = shift = 0
        for bit in (16, 32, 64):
            if command & bit:
                length |= delta[at] << shift
                at += 1
            shift += 8
    except IndexError:
        raise PackError("a delta that ends inside an instruction") from None
    return offset, length or _WHOLE_COPY, at
