"""Reads one request at a time from a sandbox: a head, judged; its body, decoded; the end.

The head is collected whole (bare CR, bare LF and control bytes are refused as they arrive), matched by one strict
expression, split, judged by RFC 9112 sections 3, 6 and 9 as narrowly as git allows, and read a second time by llhttp:
what two readers do not read alike is refused. Bodies of known length are counted, never parsed.

Decides grammar and framing only: who asks and for what is not looked at. Nothing is repaired, nothing is guessed;
after a refusal the connection is unusable, because where its next request begins is unknown. Bytes behind a request
are never read as another (pipelining): they are noted in ``excess``. No error text holds a byte of the request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from credgate.errors import RequestError
from credgate.http import fields
from credgate.http.chunked import ChunkedDecoder
from credgate.http.fields import END, End, RequestHead
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

Event = RequestHead | bytes | End

# Fields whose second line would be a second answer to a question that has one.
_ONCE: Final = frozenset({
    b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect",
    b"git-protocol", b"host", b"transfer-encoding", b"user-agent",
})  # fmt: skip

# RFC 9110 section 7.6.1: Connection must not name fields that are meant for the recipient of the content.
_NOT_HOP_BY_HOP: Final = _ONCE - {b"connection"} | {
    b"accept", b"accept-encoding", b"accept-language", b"cookie", b"pragma", b"upgrade",
}  # fmt: skip

_METHOD: Final = re.compile(rb"[A-Z]{1,20}")
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class RequestReader:
    """Turns a connection's bytes into the events of one request: ``RequestHead``, body ``bytes``, ``END``.

    ``max_head`` is the size of a head in bytes, its empty line included.
    """

    __slots__ = ("_decoder", "_held", "_left", "_max_head", "_read", "excess")

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._held = bytearray()
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._read: Callable[[bytes], list[Event]] = self._read_head
        self.excess = False
        """Whether bytes arrived behind the request's end: answer, then close."""

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes as they came; return what they complete.

        Raises RequestError; every later call raises it again.
        """
        if not data:
            return []
        try:
            return self._read(data)
        except RequestError as error:
            self._fail(error)
            raise

    def reset(self) -> None:
        """Be ready for the connection's next request. Call it once the answer is written and the request ended.

        Raises RequestError if bytes were already sent behind the last one.
        """
        if self.excess or self._read != self._drop:
            raise RequestError("the next request was sent before the last one was answered")
        self._read = self._read_head

    def _fail(self, error: RequestError) -> None:
        text, reason, status = str(error), error.reason, error.status

        def again(_data: bytes) -> list[Event]:
            raise RequestError(text, reason=reason, status=status)

        self._read = again
        self._held.clear()

    # The head.

    def _read_head(self, data: bytes) -> list[Event]:
        held = self._held
        if held:
            known = len(held)
            held += data
            end = held.find(fields.HEAD_END, max(0, known - 3))
            if end < 0:
                self._hold(known)
                return []
            data = bytes(held)
            held.clear()
        else:
            end = data.find(fields.HEAD_END)
            if end < 0:
                held += data
                self._hold(0)
                return []
        end += 4
        if end > self._max_head:
            self._too_large(data)
        if end == len(data):
            return self._begin_body(judge(data), b"")
        return self._begin_body(judge(data[:end]), data[end:])

    def _hold(self, known: int) -> None:
        """Refuse what no further byte can mend; ``known`` bytes were looked at before."""
        held = self._held
        _refuse_faults(held[max(0, known - 1) : self._max_head], begins=known == 0)
        if len(held) >= self._max_head:
            self._too_large(b"")

    def _too_large(self, data: bytes) -> None:
        _refuse_faults(data[: self._max_head])
        raise RequestError("the request's head is too large", reason=Reason.HEAD_TOO_LARGE, status=431)

    # The body.

    def _begin_body(self, head: RequestHead, rest: bytes) -> list[Event]:
        events: list[Event] = [head]
        if head.chunked:
            self._decoder = ChunkedDecoder(extensions=False)
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


def judge(head: bytes) -> RequestHead:
    """Judge a whole head, its empty line included.

    Raises RequestError with the status to answer: 400, 414, 417, 431, 501 or 505.
    """
    found = fields.REQUEST_HEAD.fullmatch(head)
    if found is None:
        raise _fault(head)
    method, target, version, block = found.groups()
    if (b"//" in target or b"/." in target) and fields.AMBIGUOUS_SEGMENT.search(target):
        raise RequestError("the target holds an empty or a dot segment")
    lines = fields.split(block)
    single = _singles(lines)
    if not fields.HOST.fullmatch(single.get(b"host", b"")):
        raise RequestError("Host is missing or malformed")
    length, chunked = _framing(method, version, single)
    close = _closes(single)
    expect = _expects(single)
    _compare(head, method, target, lines)
    modern = version == b"1.1"
    return RequestHead(
        method,
        target,
        version,
        tuple(lines),
        length,
        chunked,
        modern and not close,
        # RFC 9110 section 10.1.1: an HTTP/1.0 client cannot mean it; without a body there is nothing to hold back.
        expect and modern and length != 0,
    )


def _singles(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    if len(lines) > fields.MAX_FIELDS:
        raise RequestError("the request has too many fields", reason=Reason.HEAD_TOO_LARGE, status=431)
    single = dict(lines)
    if len(single) != len(lines):
        names = [name for name, _ in lines]
        if any(names.count(name) > 1 for name in _ONCE):
            raise RequestError("a field that may be sent once is sent twice")
    return single


def _framing(method: bytes, version: bytes, single: dict[bytes, bytes]) -> tuple[int | None, bool]:
    """RFC 9112 section 6.3 with each of its repairs turned into a refusal: (length, chunked)."""
    coding = single.get(b"transfer-encoding")
    size = single.get(b"content-length")
    if coding is not None:
        if size is not None:
            raise RequestError("Content-Length and Transfer-Encoding are both sent")
        if coding != b"chunked":
            raise RequestError("Transfer-Encoding is not chunked")
        if version != b"1.1":
            raise RequestError("Transfer-Encoding is sent on HTTP/1.0")
    elif size is None:
        return 0, False
    elif not fields.CONTENT_LENGTH.fullmatch(size):
        raise RequestError("Content-Length is malformed")
    length = None if size is None else int(size)
    if length != 0 and method not in _WITH_BODY:
        raise RequestError("this method takes no body")
    return length, length is None


def _closes(single: dict[bytes, bytes]) -> bool:
    if b"upgrade" in single:
        raise RequestError("Upgrade is not served; use HTTP/1.1 (git: http.version=HTTP/1.1)")
    value = single.get(b"connection")
    if value is None:
        return False
    if not fields.CONNECTION.fullmatch(value):
        raise RequestError("Connection is malformed")
    options = {option.strip() for option in value.lower().split(b",")}
    if not _NOT_HOP_BY_HOP.isdisjoint(options):
        raise RequestError("Connection names a field that is not its own")
    return b"close" in options


def _expects(single: dict[bytes, bytes]) -> bool:
    value = single.get(b"expect")
    if value is None:
        return False
    if value.lower() != b"100-continue":
        raise RequestError("Expect is not 100-continue", status=417)
    return True


class _Second:
    """What llhttp reads in a head."""

    __slots__ = ("lines", "target", "whole")

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.whole = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        self.whole += 1


def _compare(head: bytes, method: bytes, target: bytes, lines: list[tuple[bytes, bytes]]) -> None:
    """Let llhttp read the same bytes; whatever it reads otherwise, another server might."""
    second = _Second()
    parser = httptools.HttpRequestParser(second)
    try:
        parser.feed_data(head)
    except httptools.HttpParserError:
        raise RequestError("the head cannot be read") from None
    if (second.whole, parser.get_method(), second.target, second.lines) != (1, method, target, lines):
        raise RequestError("the head can be read in two ways")


# Only for heads that the strict expression refused: which sentence and which status.


def _refuse_faults(piece: bytes | bytearray, *, begins: bool = True) -> None:
    """Refuse bytes that no head may hold. A piece that does not ``begin`` a head starts with one byte of context."""
    found = fields.REQUEST_FAULT.search(piece)
    if found and not begins and found.start() == 0 and found[0] == b"\n":
        found = fields.REQUEST_FAULT.search(piece, 1)  # its CR was in an earlier piece
    if found is None:
        return
    if found[0] in (b"\r", b"\n"):
        raise RequestError("a line of the head does not end in CR LF")
    raise RequestError("the head holds a byte that is not printable ASCII")


def _fault(head: bytes) -> RequestError:
    _refuse_faults(head)
    line, _, rest = head.partition(b"\r\n")
    return _line_fault(line) or _field_fault(rest)


def _line_fault(line: bytes) -> RequestError | None:
    words = line.split(b" ")
    if line.count(b" ") != 2 or not words[2].startswith(b"HTTP/"):  # noqa: PLR2004 - the grammar's own number
        return RequestError("the request line is not: method, target, HTTP version, one space between")
    method, target, version = words
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return _version_fault(version)
    if method not in fields.METHODS:
        return _method_fault(method)
    return _target_fault(target)


def _version_fault(version: bytes) -> RequestError:
    if len(version) == len(b"HTTP/1.1") and version[5:6].isdigit() and version[6:7] == b"." and version[7:].isdigit():
        return RequestError("only HTTP/1.1 is served", status=505)
    return RequestError("the HTTP version is malformed")


def _method_fault(method: bytes) -> RequestError:
    if _METHOD.fullmatch(method):
        return RequestError("this method is not served", reason=Reason.METHOD_NOT_ALLOWED, status=501)
    return RequestError("the method is malformed")


def _target_fault(target: bytes) -> RequestError | None:
    if len(target) > fields.MAX_TARGET:
        return RequestError("the target is too long", reason=Reason.HEAD_TOO_LARGE, status=414)
    if not target.startswith(b"/"):
        return RequestError("the target is not a path")
    if not fields.TARGET.fullmatch(target):
        return RequestError("the target holds a byte that no repository path needs")
    return None


def _field_fault(rest: bytes) -> RequestError:
    for line in rest.split(b"\r\n"):
        name, colon, _ = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            return RequestError("a field line is folded")
        if line and not colon:
            return RequestError("a field line has no colon")
        if b"_" in name:
            return RequestError("a field name holds an underscore")
    return RequestError("a field name is malformed")
