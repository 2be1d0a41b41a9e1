"""The error for a head that was refused: the text for people, the reason code and the status.

Only heads that did not match an expression of ``grammar`` come here (and pieces of incomplete ones), so this is the
slow path. It looks for the first fault in reading order, as RFC 9112 sections 2.2, 3 and 5 define them. It never
accepts a head: an unknown fault gets the last text. No text holds a byte of the head.
"""

from __future__ import annotations

import re
from typing import Final

from credgate.errors import RequestError, ResponseError
from credgate.http import grammar
from credgate.values import Reason

_METHOD: Final = re.compile(rb"[A-Z]{1,20}")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_SERVED: Final = (b"HTTP/1.1", b"HTTP/1.0")
# Of a request line: method, target, version.
_WORDS: Final = 3


def refuse_request_bytes(piece: bytes | bytearray, *, begins: bool = True) -> None:
    """Raise RequestError for bytes that are invalid in a request head.

    A piece that does not ``begin`` a head starts with one byte of context, which was checked before.
    """
    fault = _find(grammar.REQUEST_FAULT, piece, begins=begins)
    if fault in (b"\r", b"\n"):
        raise RequestError("a line of the head does not end with CR LF")
    if fault:
        raise RequestError("the head has a byte that is not printable ASCII")


def refuse_response_bytes(piece: bytes | bytearray, *, begins: bool = True) -> None:
    """Raise ResponseError for bytes that are invalid in a response head; as ``refuse_request_bytes``."""
    if _find(grammar.RESPONSE_FAULT, piece, begins=begins):
        raise ResponseError("the forge's head has a control byte or a line that does not end with CR LF")


def _find(fault: re.Pattern[bytes], piece: bytes | bytearray, *, begins: bool) -> bytes:
    found = fault.search(piece)
    if found and found.start() == 0 and found[0] == b"\n" and not begins:
        found = fault.search(piece, 1)  # the LF is context, and its CR is before it
    return bytes(found[0]) if found else b""


def of_request(head: bytes) -> RequestError:
    """Return the error for a whole request head that ``grammar.REQUEST_HEAD`` did not match; may raise it instead."""
    refuse_request_bytes(head)
    line, _, rest = head.partition(b"\r\n")
    return _of_request_line(line) or RequestError(_of_fields(rest))


def _of_request_line(line: bytes) -> RequestError | None:
    words = line.split(b" ")
    if len(words) != _WORDS or not words[2].startswith(b"HTTP/"):
        return RequestError("the request line is not: method SP target SP HTTP version")
    method, target, version = words
    if version not in _SERVED:
        return _of_version(version)
    if method not in grammar.METHODS:
        return _of_method(method)
    return _of_target(target)


def _of_version(version: bytes) -> RequestError:
    if _VERSION.fullmatch(version):
        return RequestError("only HTTP/1.1 is served", status=505)
    return RequestError("the HTTP version is malformed")


def _of_method(method: bytes) -> RequestError:
    if _METHOD.fullmatch(method):
        return RequestError("this method is not served", reason=Reason.METHOD_NOT_ALLOWED, status=501)
    return RequestError("the method is malformed")


def _of_target(target: bytes) -> RequestError | None:
    if len(target) > grammar.MAX_TARGET:
        return RequestError("the target is too long", reason=Reason.HEAD_TOO_LARGE, status=414)
    if not target.startswith(b"/"):
        return RequestError("the target is not a path")
    if not (grammar.TARGET.fullmatch(target) or grammar.LOCKS_TARGET.fullmatch(target)):
        return RequestError("the target has a byte that is not allowed in a repository path")
    return None


def of_response(head: bytes) -> ResponseError:
    """Return the error for a whole response head that ``grammar.RESPONSE_HEAD`` did not match; may raise it instead."""
    refuse_response_bytes(head)
    line, _, rest = head.partition(b"\r\n")
    if not grammar.RESPONSE_HEAD.fullmatch(line + grammar.HEAD_END):
        return ResponseError("the forge's status line is malformed")
    return ResponseError(f"the forge's head is malformed: {_of_fields(rest)}")


def _of_fields(rest: bytes) -> str:
    for line in rest.removesuffix(grammar.HEAD_END).split(b"\r\n"):
        name, colon, _ = line.partition(b":")
        if line.startswith((b" ", b"\t")):
            return "a field line is folded"
        if not colon:
            return "a field line has no colon"
        if name.endswith((b" ", b"\t")):
            return "a field name is followed by whitespace"
        if b"_" in name:
            return "a field name has an underscore"
    return "a field name is malformed"
