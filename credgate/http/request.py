"""Reads one request at a time from a sandbox: its head, its decoded body, its end.

A head is matched by one strict expression, split, and judged by RFC 9110 sections 7 and 10 and RFC 9112 sections 3, 6
and 9, as narrowly as git allows. Then llhttp parses it too, and a head that the two read differently is refused.

Decides grammar and framing only, not authorization. Nothing is repaired or guessed. After a refusal the connection is
unusable, because where its next request begins is unknown. Data after a request is never read as another request
(no pipelining). No error text holds a byte of the request.
"""

from __future__ import annotations

from typing import Final

from credgate.errors import RequestError
from credgate.http import grammar, head_errors, llhttp_check
from credgate.http.grammar import End, RequestHead
from credgate.http.message import MessageReader
from credgate.values import Reason

Event = RequestHead | bytes | End

# Fields of which a second line would be ambiguous.
_ONCE: Final = frozenset({
    b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect",
    b"git-protocol", b"host", b"transfer-encoding", b"user-agent",
})  # fmt: skip

# RFC 9110 section 7.6.1: Connection must not name end-to-end fields.
_NOT_HOP_BY_HOP: Final = (_ONCE - {b"connection"}) | {
    b"accept", b"accept-encoding", b"accept-language", b"cookie", b"pragma", b"upgrade",
}  # fmt: skip

_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


def judge(head: bytes) -> RequestHead:
    """Judge a whole head, its empty line included.

    Raises RequestError with the status to answer: 400, 414, 417, 431, 501 or 505.
    """
    found = grammar.REQUEST_HEAD.fullmatch(head)
    if found is None:
        raise head_errors.of_request(head)
    method, target, version, block = found.groups()
    if b"%" in target and not (len(target) <= grammar.MAX_TARGET and grammar.LOCKS_TARGET.fullmatch(target)):
        raise head_errors.of_request(head)
    if (b"//" in target or b"/." in target) and grammar.AMBIGUOUS_SEGMENT.search(target):
        raise RequestError("the target has an empty or a dot segment")
    raw = grammar.raw_lines(block)
    lines = grammar.normal(raw)
    fields = _by_name(lines)
    if b"host" not in fields or not grammar.HOST.fullmatch(fields[b"host"]):
        raise RequestError("Host is missing or malformed")
    modern = version == b"1.1"
    framed = b"content-length" in fields or b"transfer-encoding" in fields
    length = _length(method, fields, modern=modern) if framed else 0
    if b"upgrade" in fields:
        raise RequestError("Upgrade is not supported: use HTTP/1.1 (git: http.version=HTTP/1.1)")
    close = b"connection" in fields and _closes(fields[b"connection"])
    expect = b"expect" in fields and _expects(fields[b"expect"])
    if not _llhttp_agrees(head, method, target, raw):
        raise RequestError("ambiguous head")
    return RequestHead(
        method,
        target,
        version,
        tuple(lines),
        length,
        length is None,
        modern and not close,
        # RFC 9110 section 10.1.1: ignored from an HTTP/1.0 client; without a body there is nothing to wait for.
        expect and modern and length != 0,
        fields,
    )


def _llhttp_agrees(head: bytes, method: bytes, target: bytes, raw: list[tuple[bytes, bytes]]) -> bool:
    """Whether llhttp reads one head with the same method, target and field lines."""
    read = llhttp_check.request(head)
    if read is None or read[:3] != (1, method, target):
        return False
    # Usually the lines are equal as sent; llhttp may keep or remove trailing whitespace.
    return read[3] == raw or grammar.normal(read[3]) == grammar.normal(raw)


def _by_name(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the fields by name; refuse a second line of a field that must have one."""
    count = len(lines)
    if count > grammar.MAX_FIELDS:
        raise RequestError("the request has too many fields", reason=Reason.HEAD_TOO_LARGE, status=431)
    by_name = dict(lines)
    if len(by_name) == count:
        return by_name
    if grammar.repeats(lines, _ONCE):
        raise RequestError("a field that must be sent once is sent twice")
    return grammar.joined(lines)


def _length(method: bytes, fields: dict[bytes, bytes], *, modern: bool) -> int | None:
    """Return the body's length, None for chunked: RFC 9112 section 6.3, but every recovery is a refusal."""
    coding = fields.get(b"transfer-encoding")
    size = fields.get(b"content-length")
    if coding is not None and size is not None:
        raise RequestError("Content-Length and Transfer-Encoding are both sent")
    if size is not None and not grammar.CONTENT_LENGTH.fullmatch(size):
        raise RequestError("Content-Length is malformed")
    length: int | None = 0 if size is None else int(size)
    if coding is not None:
        _judge_coding(coding, modern=modern)
        length = None
    if length != 0 and method not in _WITH_BODY:
        raise RequestError("this method takes no body")
    return length


def _judge_coding(coding: bytes, *, modern: bool) -> None:
    if coding != b"chunked":
        raise RequestError("Transfer-Encoding is not chunked")
    if not modern:
        raise RequestError("Transfer-Encoding is sent on HTTP/1.0")


def _closes(value: bytes) -> bool:
    if not grammar.CONNECTION.fullmatch(value):
        raise RequestError("Connection is malformed")
    options = grammar.options(value)
    if not _NOT_HOP_BY_HOP.isdisjoint(options):
        raise RequestError("Connection names an end-to-end field")
    return b"close" in options


def _expects(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise RequestError("Expect is not 100-continue", status=417)
    return True


class RequestReader(MessageReader[RequestHead]):
    """Turns the bytes of a sandbox's connection into the events of one request: ``RequestHead``, ``bytes``, ``END``.

    ``max_head`` is the size of a head in bytes, its empty line included. Raises RequestError.
    """

    __slots__ = ()

    _judge = staticmethod(judge)

    def __init__(self, max_head: int) -> None:
        super().__init__(max_head, extensions=False)

    def reset(self) -> None:
        """Prepare for the connection's next request. Call it when the last byte of the response is written.

        Raises RequestError if the request is incomplete, or if data came after it before it was answered.
        """
        if self.excess or not self.whole:
            raise RequestError("the next request was sent before the last one was answered")
        self._read = self._read_head

    def _refuse_faults(self, piece: bytes | bytearray, *, begins: bool = True) -> None:
        head_errors.refuse_request_bytes(piece, begins=begins)

    def _too_large(self) -> RequestError:
        return RequestError("the request's head is too large", reason=Reason.HEAD_TOO_LARGE, status=431)
