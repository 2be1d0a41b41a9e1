"""Heads of LFS requests to a forge or a storage (RFC 9112, sections 3 and 6), without any field of the client's.

A head has the fields that the forge wrote into the action (checked by ``actions``), credgate's own framing, and the
forge's credential if the caller passes it. Answers must not be coded, because their bytes are counted and hashed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from credgate import __version__
from credgate.http import grammar
from credgate.lfs.actions import AUTHORIZATION
from credgate.lfs.refusals import MEDIA_TYPE, OBJECT_TYPE

if TYPE_CHECKING:
    from credgate.lfs.handles import Action, Fields
    from credgate.lfs.ranges import ByteRange

# As written by ``hrefs`` and ``target``: no space, no quote and no fragment.
_TARGET: Final = re.compile(rb"/[\x21\x24-\x7e]*")
_VALUE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_AGENT: Final = f"credgate/{__version__}".encode("ascii")


def api_head(method: bytes, path: str, host: str, authorization: bytes | None, length: int) -> bytes:
    """Write the head of a request to a forge's LFS server; ``length`` is that of its JSON body."""
    sent: list[tuple[bytes, bytes]] = [(b"Accept", MEDIA_TYPE)]
    if length:
        sent.append((b"Content-Type", MEDIA_TYPE))
    if authorization is not None:
        sent.append((AUTHORIZATION, authorization))
    return _head(method, path, host, sent, length if method == b"POST" else 0)


def download_head(action: Action, part: ByteRange, authorization: bytes | None) -> bytes:
    """Write the head of a GET for ``part`` of an object; ``authorization`` as in :func:`upload_head`."""
    more = [] if part.whole else [(b"Range", part.asked)]
    return _head(b"GET", action.href.target, action.href.place.authority, _fields(action, authorization, *more), 0)


def upload_head(action: Action, authorization: bytes | None) -> bytes:
    """Write the head of a PUT of an object; ``authorization`` is the forge's credential, only if ``action.login``."""
    sent = _fields(action, authorization, (b"Content-Type", OBJECT_TYPE))
    length = None if action.chunked else action.size
    return _head(b"PUT", action.href.target, action.href.place.authority, sent, length)


def verify_head(action: Action, authorization: bytes | None, length: int) -> bytes:
    """Write the head of a POST that verifies an object."""
    sent = _fields(action, authorization, (b"Accept", MEDIA_TYPE), (b"Content-Type", MEDIA_TYPE))
    return _head(b"POST", action.href.target, action.href.place.authority, sent, length)


def _fields(action: Action, authorization: bytes | None, *more: tuple[bytes, bytes]) -> Fields:
    """Return the fields of the action, and those of ``more`` that it does not have."""
    if authorization is not None:
        more = (*more, (AUTHORIZATION, authorization))
    # A signature may cover the fields of the action, so they take precedence.
    had = {name for name, _ in action.fields}
    return (*action.fields, *((name, value) for name, value in more if name not in had))


def _head(method: bytes, target: str, host: str, sent: Fields | list[tuple[bytes, bytes]], length: int | None) -> bytes:
    """Write a head. Raises ValueError, without the value, for a byte that could end its line."""
    its_target, its_host = target.encode("ascii"), host.encode("ascii")
    if not (_TARGET.fullmatch(its_target) and grammar.HOST.fullmatch(its_host)):
        raise ValueError("the target or Host of an LFS request is malformed")
    if not all(_VALUE.fullmatch(value) for _, value in sent):
        raise ValueError("a field of an LFS request cannot be sent: it holds a control or non-ASCII byte")
    lines = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, its_target, its_host)]
    lines += [b"User-Agent: %b\r\nAccept-Encoding: identity\r\n" % _AGENT]
    lines += [b"%b: %b\r\n" % field for field in sent]
    if length is None:
        lines.append(b"Transfer-Encoding: chunked\r\n\r\n")
    else:
        lines.append(b"Content-Length: %d\r\n\r\n" % length if method in {b"POST", b"PUT"} else b"\r\n")
    return b"".join(lines)
