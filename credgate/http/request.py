"""Reads one request at a time from a sandbox: a head, judged; its body, decoded; the end.

A head is matched by one strict expression, split, judged by RFC 9110 sections 7 and 10 and RFC 9112 sections 3, 6 and
9 as narrowly as git allows, and read a second time by llhttp: what two readers do not read alike is refused.

Decides grammar and framing only: who asks and for what is not looked at. Nothing is repaired, nothing is guessed;
after a refusal the connection is unusable, because where its next request begins is unknown. Bytes behind a request
are never read as another (pipelining). No error text holds a byte of the request.
"""

from __future__ import annotations

from typing import Final

from credgate.errors import RequestError
from credgate.http import grammar, head_errors, llhttp_check
from credgate.http.grammar import End, RequestHead
from credgate.http.message import MessageReader
from credgate.values import Reason

Event = RequestHead | bytes | End

# Fields whose second line would be a second answer to a question that has one.
_ONCE: Final = frozenset({
    b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect",
    b"git-protocol", b"host", b"transfer-encoding", b"user-agent",
})  # fmt: skip

# RFC 9110 section 7.6.1: Connection must not name fields that are meant for the recipient of the content.
_NOT_HOP_BY_HOP: Final = (_ONCE - {b"connection"}) | {
    b"accept", b"accept-encoding", b"accept-language", b"cookie", b"pragma", b"upgrade",
}  # fmt: skip

_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class RequestReader(MessageReader[RequestHead]):
    """Turns a sandbox connection's bytes into the events of one request: ``RequestHead``, body ``bytes``, ``END``.

    ``max_head`` is the size of a head in bytes, its empty line included. Raises RequestError.
    """

    __slots__ = ()

    def __init__(self, max_head: int) -> None:
        super().__init__(max_head, extensions=False)

    def reset(self) -> None:
        """Be ready for the connection's next request. Call it as the last byte of the answer is written.

        Raises RequestError if the request is not whole, or bytes were sent behind it before its answer was.
        """
        if self.excess or not self.whole:
            raise RequestError("the next request was sent before the last one was answered")
        self._read = self._read_head

    def _judge(self, head: bytes) -> RequestHead:
        return judge(head)

    def _refuse_faults(self, piece: bytes | bytearray, *, begins: bool = True) -> None:
        head_errors.refuse_request_bytes(piece, begins=begins)

    def _too_large(self) -> RequestError:
        return RequestError("the request's head is too large", reason=Reason.HEAD_TOO_LARGE, status=431)


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
        raise RequestError("the target holds an empty or a dot segment")
    lines = grammar.split(block)
    single = _singles(lines)
    if not grammar.HOST.fullmatch(single.get(b"host", b"")):
        raise RequestError("Host is missing or malformed")
    modern = version == b"1.1"
    length = _length(method, single, modern=modern)
    close = (b"connection" in single or b"upgrade" in single) and _closes(single)
    expect = b"expect" in single and _expects(single)
    if llhttp_check.request(head) != (1, method, target, lines):
        raise RequestError("the head can be read in two ways")
    return RequestHead(
        method,
        target,
        version,
        tuple(lines),
        length,
        length is None,
        modern and not close,
        # RFC 9110 section 10.1.1: an HTTP/1.0 client cannot mean it; without a body there is nothing to hold back.
        expect and modern and length != 0,
    )


def _singles(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the fields by name, once none has a second line that must not."""
    if len(lines) > grammar.MAX_FIELDS:
        raise RequestError("the request has too many fields", reason=Reason.HEAD_TOO_LARGE, status=431)
    single = dict(lines)
    if len(single) != len(lines) and grammar.repeats(lines, _ONCE):
        raise RequestError("a field that may be sent once is sent twice")
    return single


def _length(method: bytes, single: dict[bytes, bytes], *, modern: bool) -> int | None:
    """Return the body's length, None for chunked: RFC 9112 section 6.3 with each of its repairs made a refusal."""
    coding = single.get(b"transfer-encoding")
    size = single.get(b"content-length")
    if coding is not None and size is not None:
        raise RequestError("Content-Length and Transfer-Encoding are both sent")
    length: int | None = 0 if size is None else _sized(size)
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


def _sized(size: bytes) -> int:
    if not grammar.CONTENT_LENGTH.fullmatch(size):
        raise RequestError("Content-Length is malformed")
    return int(size)


def _closes(single: dict[bytes, bytes]) -> bool:
    if b"upgrade" in single:
        raise RequestError("Upgrade is not served: speak HTTP/1.1 (git: http.version=HTTP/1.1)")
    value = single.get(b"connection")
    if value is None:
        return False
    if not grammar.CONNECTION.fullmatch(value):
        raise RequestError("Connection is malformed")
    options = grammar.options(value)
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
