"""Reads one response from a forge: interim heads skipped, the final head judged, its body decoded, the end.

The forge may be hostile or broken; what is ambiguous is refused and its connection is not used again. RFC 9112
sections 4 and 6 with each repair turned into a refusal: two lengths, a length beside a coding, a coding other than
chunked, a bare LF, a body that only the end of the connection would end (a cut one would look whole). At most five
interim responses are skipped; 101 is refused, for nothing was asked to switch. The head is read a second time by
llhttp, as requests are.

Says nothing about what the answer means and makes none of it fit to be relayed: see ``crossing``. No error text holds
a byte of the response.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NoReturn

import httptools

from credgate.errors import ResponseError
from credgate.http import fields
from credgate.http.chunked import ChunkedDecoder
from credgate.http.fields import END, End, ResponseHead
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

Event = ResponseHead | bytes | End

MAX_HEAD: Final = 32 * 1024
MAX_INTERIM: Final = 5

_ONCE: Final = frozenset({
    b"content-encoding", b"content-length", b"content-type", b"location", b"retry-after", b"transfer-encoding",
})  # fmt: skip


class ResponseReader:
    """Turns a forge connection's bytes into ``ResponseHead``, body ``bytes``, ``END``: the answer to one ``method``."""

    __slots__ = ("_decoder", "_held", "_interim", "_left", "_method", "_read", "excess")

    def __init__(self, method: bytes) -> None:
        self._method = method
        self._held = bytearray()
        self._interim = 0
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._read: Callable[[bytes], list[Event]] = self._read_head
        self.excess = False
        """Whether bytes arrived behind the response's end: the connection must not be used again."""

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes as they came; return what they complete.

        Raises ResponseError; every later call raises it again.
        """
        if not data:
            return []
        try:
            return self._read(data)
        except ResponseError as error:
            self._fail(str(error))
            raise

    def at_eof(self) -> None:
        """Say that the forge closed its side. Raises ResponseError (FORGE_CUT) unless the response is whole."""
        if self._read != self._drop:
            raise ResponseError("the forge closed the connection before its answer was whole", reason=Reason.FORGE_CUT)

    def _fail(self, text: str) -> None:
        def again(_data: bytes) -> list[Event]:
            raise ResponseError(text)

        self._read = again
        self._held.clear()

    # The head.

    def _read_head(self, data: bytes) -> list[Event]:
        held = self._held
        known = len(held)
        if known:
            held += data
            data = bytes(held)
        end = data.find(fields.HEAD_END, max(0, known - 3))
        if end < 0:
            _refuse_faults(data[max(0, known - 1) : MAX_HEAD], begins=known == 0)
            if len(data) >= MAX_HEAD:
                _too_large(b"")
            if not known:
                held += data
            return []
        held.clear()
        end += 4
        if end > MAX_HEAD:
            _too_large(data)
        return self._begin_body(judge(data[:end], self._method), data[end:])

    def _begin_body(self, head: ResponseHead | None, rest: bytes) -> list[Event]:
        if head is None:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ResponseError("the forge sent too many interim responses")
            return self._read_head(rest) if rest else []
        events: list[Event] = [head]
        if head.chunked:
            self._decoder = ChunkedDecoder(extensions=True)
            self._read = self._read_chunked
        elif head.length:
            self._left = head.length
            self._read = self._read_sized
        else:
            events.append(END)
            self._read = self._drop
        if rest:
            events += self._read(rest)
        return events

    # The body.

    def _read_sized(self, data: bytes) -> list[Event]:
        size = len(data)
        if size < self._left:
            self._left -= size
            return [data]
        body = data if size == self._left else data[: self._left]
        self.excess = size > self._left
        self._read = self._drop
        return [body, END]

    def _read_chunked(self, data: bytes) -> list[Event]:
        assert self._decoder is not None
        parts, rest = self._decoder.receive(data)
        events: list[Event] = [*parts]
        if rest is not None:
            events.append(END)
            self.excess = bool(rest)
            self._read = self._drop
        return events

    def _drop(self, _data: bytes) -> list[Event]:
        self.excess = True
        return []


def judge(head: bytes, method: bytes) -> ResponseHead | None:
    """Judge a whole head, its empty line included; None for an interim one.

    Raises ResponseError.
    """
    found = fields.RESPONSE_HEAD.fullmatch(head)
    if found is None:
        _fault(head)
    version, digits, block = found.groups()
    status = int(digits)
    lines = fields.split(block) if block else []
    _compare(head, status, lines)
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        raise ResponseError("the forge switches protocols unasked")
    if status < HTTPStatus.OK:
        return None
    single = _singles(lines)
    length, chunked = _framing(method, status, version, single)
    options = {option.strip() for name, value in lines if name == b"connection" for option in value.lower().split(b",")}
    return ResponseHead(status, version, tuple(lines), length, chunked, version == b"1.1" and b"close" not in options)


def _singles(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    single = dict(lines)
    if len(single) != len(lines):
        names = [name for name, _ in lines]
        if any(names.count(name) > 1 for name in _ONCE):
            raise ResponseError("the forge sent a field twice that may be sent once")
    return single


def _framing(method: bytes, status: int, version: bytes, single: dict[bytes, bytes]) -> tuple[int | None, bool]:
    """RFC 9112 section 6.3, (length, chunked); what it repairs is refused."""
    coding = single.get(b"transfer-encoding")
    size = single.get(b"content-length")
    if size is not None and not fields.CONTENT_LENGTH.fullmatch(size):
        raise ResponseError("the forge sent a malformed Content-Length")
    if coding is not None:
        _judge_coding(status, version, coding, size)
    if method == b"HEAD" or status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return 0, False
    if coding is not None:
        return None, True
    if size is None:
        raise ResponseError("the forge sent a body without a length; a cut one could not be told from a whole one")
    return int(size), False


def _judge_coding(status: int, version: bytes, coding: bytes, size: bytes | None) -> None:
    if size is not None:
        raise ResponseError("the forge sent Content-Length and Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise ResponseError("the forge sent a Transfer-Encoding that is not chunked")
    if version != b"1.1":
        raise ResponseError("the forge sent Transfer-Encoding on HTTP/1.0")
    if status == HTTPStatus.NO_CONTENT:
        raise ResponseError("the forge sent Transfer-Encoding on an answer without a body")


class _Second:
    """What llhttp reads in a head."""

    __slots__ = ("lines", "whole")

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.whole = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        self.whole += 1


def _compare(head: bytes, status: int, lines: list[tuple[bytes, bytes]]) -> None:
    if len(lines) > fields.MAX_FIELDS:
        raise ResponseError("the forge sent too many fields")
    second = _Second()
    parser = httptools.HttpResponseParser(second)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            raise ResponseError("the forge's head cannot be read") from None
        return
    if (second.whole, parser.get_status_code(), second.lines) != (1, status, lines):
        raise ResponseError("the forge's head can be read in two ways")


# Only for heads that the strict expression refused.


def _too_large(data: bytes) -> NoReturn:
    _refuse_faults(data[:MAX_HEAD])
    raise ResponseError("the forge's head is too large")


def _refuse_faults(piece: bytes, *, begins: bool = True) -> None:
    found = fields.RESPONSE_FAULT.search(piece)
    if found and not begins and found.start() == 0 and found[0] == b"\n":
        found = fields.RESPONSE_FAULT.search(piece, 1)  # its CR was in an earlier piece
    if found:
        raise ResponseError("the forge's head holds a control byte or a line that does not end in CR LF")


def _fault(head: bytes) -> NoReturn:
    _refuse_faults(head)
    line, _, rest = head.partition(b"\r\n")
    if not fields.RESPONSE_HEAD.fullmatch(line + fields.HEAD_END):
        raise ResponseError("the forge's status line is malformed")
    if any(field_line[:1] in (b" ", b"\t") for field_line in rest.split(b"\r\n")):
        raise ResponseError("the forge sent a folded field line")
    raise ResponseError("the forge sent a malformed field name")
