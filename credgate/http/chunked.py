"""The chunked coding, RFC 9112 section 7.1: a strict incremental decoder and the framing of what we send.

A request's chunk is ``1*8HEXDIG CRLF data CRLF``: no extensions, whitespace, sign or ``0x``. A forge may send
extensions; they are checked against the grammar, bounded and dropped, since a hostile forge can echo the credential in
them. Trailers are bounded and dropped on both sides, and refused if they name framing fields. A chunk's size has at
most eight digits; the size of the whole body is bounded by the caller.

Pieces are returned as slices of the input. Many small ones are joined, so that a flood of one-byte chunks costs its
sender more than the gateway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from credgate.errors import RequestError, ResponseError
from credgate.http import grammar

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST_CHUNK: Final = b"0\r\n\r\n"

MAX_EXTENSION: Final = 256
"""Bytes of extensions on one chunk."""
MAX_EXTENSIONS: Final = 16 * 1024
"""Bytes of extensions in one body."""
MAX_TRAILERS: Final = 4 * 1024

_SIZE = rb"([0-9A-Fa-f]{1,8})"
# RFC 9112 section 7.1.1 without its BWS, which no sender needs and llhttp refuses.
_EXTENSION = rb";" + grammar.TOKEN + rb"(?:=(?:" + grammar.TOKEN + rb'|"[\t\x20-\x21\x23-\x5b\x5d-\x7e]*+"))?'

_FIRST_PLAIN: Final = re.compile(_SIZE + rb"()\r\n")
_NEXT_PLAIN: Final = re.compile(rb"\r\n" + _SIZE + rb"()\r\n")
_FIRST_EXTENDED: Final = re.compile(_SIZE + rb"((?>(?:" + _EXTENSION + rb")*))\r\n")
_NEXT_EXTENDED: Final = re.compile(rb"\r\n" + _SIZE + rb"((?>(?:" + _EXTENSION + rb")*))\r\n")

# The valid prefixes of an unfinished line. Extensions are checked once their CRLF is there.
_SIZE_BEGUN = rb"[0-9A-Fa-f]{1,8}"
_FIRST_BEGUN_PLAIN: Final = re.compile(rb"(?:" + _SIZE_BEGUN + rb"\r?)?")
_NEXT_BEGUN_PLAIN: Final = re.compile(rb"(?:\r(?:\n(?:" + _SIZE_BEGUN + rb"\r?)?)?)?")
_EXTENSION_BEGUN = rb"(?:;[\t\x20-\x7e]*+)?"
_MAX_LINE: Final = len(b"\r\n12345678\r") + MAX_EXTENSION
_FIRST_BEGUN_EXTENDED: Final = re.compile(rb"(?:" + _SIZE_BEGUN + _EXTENSION_BEGUN + rb"\r?)?")
_NEXT_BEGUN_EXTENDED: Final = re.compile(rb"(?:\r(?:\n(?:" + _SIZE_BEGUN + _EXTENSION_BEGUN + rb"\r?)?)?)?")

_TRAILERS: Final = re.compile(rb"(?>(?:[A-Za-z][A-Za-z0-9-]*+:[\t\x20-\x7e]*+\r\n)+)\r\n")
# RFC 9110 section 6.5.1: fields for framing, routing or authentication must not be trailers.
_NO_TRAILER: Final = frozenset({
    b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type", b"cookie", b"expect",
    b"host", b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip

_SMALL: Final = 4096


def frame(parts: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of one chunk that holds ``parts``; none without data, since an empty chunk ends a body."""
    total = sum(map(len, parts))
    return [b"%x\r\n" % total, *parts, b"\r\n"] if total else []


class ChunkedDecoder:
    """Decodes one chunked body. ``extensions`` is False for a sandbox's body, True for a forge's."""

    __slots__ = (
        "_begun",
        "_broken",
        "_extended",
        "_first",
        "_held",
        "_left",
        "_line",
        "_next",
        "_next_begun",
        "_trailing",
    )

    def __init__(self, *, extensions: bool) -> None:
        self._broken: type[RequestError | ResponseError] = ResponseError if extensions else RequestError
        self._line = _FIRST_EXTENDED if extensions else _FIRST_PLAIN
        self._begun = _FIRST_BEGUN_EXTENDED if extensions else _FIRST_BEGUN_PLAIN
        self._next = _NEXT_EXTENDED if extensions else _NEXT_PLAIN
        self._next_begun = _NEXT_BEGUN_EXTENDED if extensions else _NEXT_BEGUN_PLAIN
        self._held = b""  # an unfinished line, or unfinished trailers
        self._left = 0  # bytes of the current chunk still to come
        self._extended = 0  # bytes of extensions so far
        self._trailing = False

    def receive(self, data: bytes | memoryview) -> tuple[list[bytes], bytes | None]:
        """Take bytes; return the body pieces in them, and the bytes after the body, None until it is complete.

        Raises RequestError or ResponseError, depending on the side. Must not be called again after that or the end.
        """
        data = self._held + data if self._held else bytes(data)
        self._held = b""
        parts: list[bytes] = []
        place = self._chunks(data, parts)
        if len(parts) > 1 and len(data) < len(parts) * _SMALL:
            parts = [b"".join(parts)]
        return parts, self._trailers(data, place) if self._trailing else None

    def _chunks(self, data: bytes, parts: list[bytes]) -> int:
        """Append the pieces of ``data`` to ``parts``; return the offset of the trailers (or of the end of data)."""
        place, left, line = 0, self._left, self._line
        while not self._trailing:
            if left:
                piece = data[place : place + left]
                if not piece:
                    break
                parts.append(piece)
                place += len(piece)
                left -= len(piece)
                if left:
                    break
            found = line.match(data, place)
            if found is None:
                self._hold_line(data[place:])
                break
            line = self._line = self._next
            self._begun = self._next_begun
            if found[2]:
                self._extended += len(found[2])
                if len(found[2]) > MAX_EXTENSION or self._extended > MAX_EXTENSIONS:
                    raise self._broken("chunk extensions are too long")
            place = found.end()
            left = int(found[1], 16)
            self._trailing = not left
        self._left = left
        return place

    def _hold_line(self, tail: bytes) -> None:
        if not self._begun.fullmatch(tail):
            raise self._broken("malformed chunk size or chunk end")
        if len(tail) > _MAX_LINE:
            raise self._broken("chunk extensions are too long")
        self._held = tail

    def _trailers(self, data: bytes, place: int) -> bytes | None:
        """Return the bytes after the trailers that begin at ``place``, or None if they are incomplete."""
        if data.startswith(b"\r\n", place):
            return data[place + 2 :]
        end = data.find(grammar.HEAD_END, place)
        section = data[place : end + 4 if end >= 0 else None][: MAX_TRAILERS + 1]
        if grammar.REQUEST_FAULT.search(section):
            raise self._broken("invalid byte in a trailer")
        if len(section) > MAX_TRAILERS:
            raise self._broken("trailers are too long")
        if end < 0:
            self._held = section
            return None
        self._judge_trailers(section)
        return data[end + 4 :]

    def _judge_trailers(self, section: bytes) -> None:
        if not _TRAILERS.fullmatch(section):
            raise self._broken("malformed trailer")
        names = [name for name, _ in grammar.split(section[:-2])]
        if len(names) > grammar.MAX_FIELDS:
            raise self._broken("too many trailers")
        if not _NO_TRAILER.isdisjoint(names):
            raise self._broken("forbidden field in a trailer")
