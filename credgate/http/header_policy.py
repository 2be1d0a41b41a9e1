"""The heads that credgate sends. Each is built here from scratch; this module defines which fields are forwarded.

To the forge: credgate's own request line and Host, the fields that git needs if their values match a closed grammar,
the credential, and credgate's own framing. To the sandbox: credgate's own status line and constants, in the order of
``git http-backend`` (git's tests compare it). Of a forge's head only four things are used: the status number, a content
type that equals a known constant, whether the body is gzip, and a bounded Retry-After. So nothing that a forge echoes
in its head reaches the sandbox.

Never parses a message and never decides whether to forward one. RFC 9110 sections 7.6 and 15, RFC 9112 section 6.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from credgate.errors import RequestError, ResponseError
from credgate.http import grammar
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from credgate.http.grammar import Fields, RequestHead, ResponseHead

TEXT: Final = b"text/plain; charset=utf-8"

# RFC 9110 section 15. A forge's own phrase is never forwarded.
PHRASES: Final = {
    100: b"Continue", 200: b"OK", 206: b"Partial Content", 301: b"Moved Permanently", 304: b"Not Modified",
    400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 411: b"Length Required", 413: b"Content Too Large",
    414: b"URI Too Long", 415: b"Unsupported Media Type", 416: b"Range Not Satisfiable", 417: b"Expectation Failed",
    422: b"Unprocessable Content", 429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported", 507: b"Insufficient Storage",
}  # fmt: skip

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_NO_CACHE: Final = (
    b"Expires: Fri, 01 Jan 1980 00:00:00 GMT\r\n"
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache, max-age=0, must-revalidate\r\n"
)

_CONTENT_TYPES: Final = {
    kind.replace(b"; ", b";"): kind
    for kind in (
        b"application/x-git-upload-pack-advertisement",
        b"application/x-git-receive-pack-advertisement",
        b"application/x-git-upload-pack-result",
        b"application/x-git-receive-pack-result",
        b"application/x-git-upload-archive-result",
        b"application/vnd.git-lfs+json",
        b"application/octet-stream",
        b"text/plain",
        TEXT,
    )
}

_MEDIA_TYPE = rb"[A-Za-z0-9.+-]{1,64}/[A-Za-z0-9.+-]{1,64}(?:; ?charset=[A-Za-z0-9-]{1,32})?"
# By lower-case name: the spelling that is sent, the grammar of the value. In the order of git's own requests.
_FORWARDED: Final = {
    b"user-agent": (b"User-Agent", re.compile(rb"[\x21-\x7e][\x20-\x7e]{0,255}")),
    b"accept": (b"Accept", re.compile(rb"[A-Za-z0-9*/+.;=, -]{1,512}")),
    b"accept-language": (b"Accept-Language", re.compile(rb"[A-Za-z0-9*,;=. -]{1,256}")),
    b"pragma": (b"Pragma", re.compile(rb"no-cache")),
    b"git-protocol": (b"Git-Protocol", re.compile(rb"version=[012]")),
    b"content-type": (b"Content-Type", re.compile(_MEDIA_TYPE)),
}
# RFC 9110 section 8.6: other methods state the length of an empty body.
_WITHOUT_BODY: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
_READ: Final = frozenset({*_FORWARDED, b"accept-encoding", b"content-encoding"})
_GZIP: Final = frozenset({b"gzip", b"x-gzip"})
_ACCEPTS_GZIP: Final = re.compile(rb"(?:^|[, \t])(?:x-)?gzip[ \t]*(?:,|;[ \t]*q=(?:1|0\.[0-9]?[1-9])|$)", re.IGNORECASE)

_VALUE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]*")


def upstream_head(  # noqa: PLR0913 - the parts of a head
    method: bytes,
    path: str,
    host: str,
    head: RequestHead,
    authorization: bytes | None,
    *,
    length: int | None,
    drop: Container[bytes] = (),
) -> bytes:
    """Build the request head for the forge.

    ``path`` is the whole target, ``host`` the whole Host value. The fields of ``head`` that may be forwarded are,
    except those in ``drop`` (lower-case): drop ``content-encoding`` if the body is decoded on the way and
    ``accept-encoding`` if the response is read here. ``length`` None means chunked; 0 without a body. Raises
    RequestError (415) for an unsupported content coding, ValueError (without the value) for a ``path``, ``host`` or
    ``authorization`` that could end its line.
    """
    line = _request_line(method, path, host)
    if authorization is not None and not _VALUE.fullmatch(authorization):
        raise ValueError("the forge credential cannot be sent: it has a control or non-ASCII byte")
    lines = [line] if authorization is None else [line, b"Authorization: %b\r\n" % authorization]
    sent = [line for line in head.fields if line[0] in _READ and line[0] not in drop]
    if length is None:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    elif length or method not in _WITHOUT_BODY:
        framing = b"Content-Length: %d\r\n\r\n" % length
    else:
        framing = b"\r\n"
    return b"".join((*lines, _forwarded(tuple(sent)), framing))


@lru_cache(maxsize=256)
def _forwarded(fields: Fields) -> bytes:
    """Return the lines for the client's fields: those whose value matches its grammar, and the codings.

    Cached: a client sends the same few with every request. None of them is a secret.
    """
    sent = grammar.joined(fields)
    lines = [
        b"%b: %b\r\n" % (spelling, sent[name])
        for name, (spelling, form) in _FORWARDED.items()
        if name in sent and form.fullmatch(sent[name])
    ]
    codings = sent.get(b"accept-encoding")
    # Only gzip can be decoded here, so no other coding is requested.
    accepted = b"gzip" if codings is not None and _ACCEPTS_GZIP.search(codings) else b"identity"
    return b"".join((*lines, b"Accept-Encoding: %b\r\n" % accepted, _coding(sent.get(b"content-encoding"))))


@lru_cache(maxsize=1024)
def _request_line(method: bytes, path: str, host: str) -> bytes:
    target = path.encode()
    if not grammar.TARGET.fullmatch(target) or grammar.AMBIGUOUS_SEGMENT.search(target):
        raise ValueError("the path of an upstream request is malformed")
    its_host = host.encode()
    if not grammar.HOST.fullmatch(its_host):
        raise ValueError("the Host of an upstream request is malformed")
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, target, its_host)


def _coding(coding: bytes | None) -> bytes:
    if coding is None or coding.lower() == b"identity":
        return b""
    if coding.lower() not in _GZIP:
        # Without the field the forge would read the body as something else.
        raise RequestError("this Content-Encoding is not served", reason=Reason.UNSUPPORTED_CODING, status=415)
    return b"Content-Encoding: gzip\r\n"


def content_type(head: ResponseHead) -> bytes | None:
    """Return the constant that equals the forge's Content-Type, or None if it is not one that is relayed."""
    value = head.get(b"content-type")
    return None if value is None else _constant_type(value)


@lru_cache(maxsize=64)
def _constant_type(value: bytes) -> bytes | None:
    return _CONTENT_TYPES.get(value.lower().replace(b"; ", b";"))


def is_gzip(head: ResponseHead, *, asked: bool = True) -> bool:
    """Whether the forge's body is compressed with gzip.

    Raises ResponseError for any other coding, and for gzip if it was not ``asked`` for.
    """
    value = head.get(b"content-encoding")
    if value is None or value.lower() == b"identity":
        return False
    if asked and value.lower() in _GZIP:
        return True
    raise ResponseError("the forge sent a Content-Encoding that was not asked for")


def retry_after(head: ResponseHead) -> int | None:
    """Return the forge's Retry-After in seconds, at most a day; None if it is missing or a date."""
    value = head.get(b"retry-after")
    if value is None or not re.fullmatch(rb"[0-9]{1,6}", value):
        return None
    return min(int(value), 86400)


def downstream_head(  # noqa: PLR0913 - the parts of a head
    status: int,
    content_type: bytes,
    *,
    length: int | None,
    gzip: bool = False,
    retry_after: int | None = None,
    close: bool = False,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Build a response head for the sandbox. ``length`` None means chunked.

    ``extra`` are credgate's own fields. Raises ValueError for a field that could end its line.
    """
    lines = [_opening(status, content_type)]
    if gzip:
        lines.append(b"Content-Encoding: gzip\r\n")
    if retry_after is not None:
        lines.append(b"Retry-After: %d\r\n" % retry_after)
    if extra:
        lines += [_line(name, value) for name, value in extra]
    framing = b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length
    return b"".join((*lines, framing, b"Connection: close\r\n\r\n" if close else b"\r\n"))


@lru_cache(maxsize=256)
def _opening(status: int, content_type: bytes) -> bytes:
    if not _VALUE.fullmatch(content_type):
        raise ValueError("malformed content type in a response of credgate's own")
    phrase = PHRASES.get(status, b"Other")
    return b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\n" % (status, phrase, _NO_CACHE, content_type)


def _line(name: bytes, value: bytes) -> bytes:
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
        raise ValueError("malformed field in a response of credgate's own")
    return b"%b: %b\r\n" % (name, value)


def local_reply(  # noqa: PLR0913 - the parts of a reply
    status: int,
    body: bytes,
    content_type: bytes = TEXT,
    *,
    close: bool,
    extra: Iterable[tuple[bytes, bytes]] = (),
    head_only: bool = False,
) -> bytes:
    """Build a whole response of credgate's own. ``head_only`` (for HEAD) omits the body but not its length."""
    head = downstream_head(status, content_type, length=len(body), close=close, extra=extra)
    return head if head_only else head + body
