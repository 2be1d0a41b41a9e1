"""Reads one response from a forge: skips interim heads, judges the final head, decodes its body to the end.

The forge may be hostile or broken: an ambiguous response is refused and its connection is not used again. Follows RFC
9112 sections 4 and 6, but every recovery is a refusal: two lengths, a length beside a coding, a coding other than
chunked, a bare LF, a body that ends with the connection (a cut one would look complete). At most five interim responses
are skipped; 101 is refused, since no switch was requested. llhttp parses every head too.

Does not decide what is relayed: see ``header_policy``. No error text holds a byte of the response.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from credgate.errors import ResponseError
from credgate.http import grammar, head_errors, llhttp_check
from credgate.http.grammar import End, ResponseHead
from credgate.http.message import MessageReader
from credgate.values import Reason

Event = ResponseHead | bytes | End

MAX_HEAD: Final = 32 * 1024
MAX_INTERIM: Final = 5

_ONCE: Final = frozenset({
    b"content-encoding", b"content-length", b"content-type", b"location", b"retry-after", b"transfer-encoding",
})  # fmt: skip
# Plain numbers: a look-up in an enum is a call, and every response comes here.
_SWITCHING: Final = 101
_OK: Final = 200
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class ResponseReader(MessageReader[ResponseHead]):
    """Turns a forge connection's bytes into ``ResponseHead``, body ``bytes``, ``END``: the answer to one ``method``.

    Raises ResponseError.
    """

    __slots__ = ("_interim", "_method")

    def __init__(self, method: bytes) -> None:
        super().__init__(MAX_HEAD, extensions=True)
        self._interim = 0
        self._method = method

    def at_eof(self) -> None:
        """Note that the forge closed its side. Raises ResponseError (FORGE_CUT) unless the response is complete."""
        if not self.whole:
            raise ResponseError(
                "the forge closed the connection before its response was complete", reason=Reason.FORGE_CUT
            )

    def _judge(self, head: bytes) -> ResponseHead | None:
        judged = judge(head, self._method)
        if judged is None:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ResponseError("the forge sent too many interim responses")
        return judged

    def _refuse_faults(self, piece: bytes | bytearray, *, begins: bool = True) -> None:
        head_errors.refuse_response_bytes(piece, begins=begins)

    def _too_large(self) -> ResponseError:
        return ResponseError("the forge's head is too large")


def judge(head: bytes, method: bytes) -> ResponseHead | None:
    """Judge a whole head, its empty line included; None for an interim one.

    Raises ResponseError.
    """
    found = grammar.RESPONSE_HEAD.fullmatch(head)
    if found is None:
        raise head_errors.of_response(head)
    version, digits, block = found.groups()
    status = int(digits)
    if status == _SWITCHING:
        raise ResponseError("the forge switches protocols without a request")
    raw = grammar.raw_lines(block)
    lines = grammar.normal(raw)
    count = len(lines)
    if count > grammar.MAX_FIELDS:
        raise ResponseError("the forge sent too many fields")
    fields = dict(lines)
    if len(fields) != count:
        if grammar.repeats(lines, _ONCE):
            raise ResponseError("the forge sent a field twice that must be sent once")
        fields = grammar.joined(lines)
    modern = version == b"1.1"
    interim = status < _OK
    length = 0 if interim else _length(method, status, fields, modern=modern)
    read = llhttp_check.response(head)
    # Usually the lines are equal as sent; llhttp may keep or remove trailing whitespace.
    if read is None or read[:2] != (1, status) or (read[2] != raw and grammar.normal(read[2]) != lines):
        raise ResponseError("the forge sent an ambiguous head")
    if interim:
        return None
    close = b"connection" in fields and b"close" in grammar.options(fields[b"connection"])
    return ResponseHead(status, version, tuple(lines), length, length is None, modern and not close, fields)


def _length(method: bytes, status: int, fields: dict[bytes, bytes], *, modern: bool) -> int | None:
    """Return the length of the body that follows, None for chunked: RFC 9112 section 6.3 without its recoveries."""
    coding = fields.get(b"transfer-encoding")
    size = fields.get(b"content-length")
    if size is not None and not grammar.CONTENT_LENGTH.fullmatch(size):
        raise ResponseError("the forge sent a malformed Content-Length")
    if coding is not None:
        _judge_coding(status, coding, size, modern=modern)
    if method == b"HEAD" or status in _BODILESS:
        return 0
    if coding is not None:
        return None
    if size is None:
        raise ResponseError("the forge sent a body without a length, so its end could not be detected")
    return int(size)


def _judge_coding(status: int, coding: bytes, size: bytes | None, *, modern: bool) -> None:
    if size is not None:
        raise ResponseError("the forge sent both Content-Length and Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise ResponseError("the forge sent a Transfer-Encoding that is not chunked")
    if not modern:
        raise ResponseError("the forge sent Transfer-Encoding on HTTP/1.0")
    if status == HTTPStatus.NO_CONTENT:
        raise ResponseError("the forge sent Transfer-Encoding with a response without a body")
