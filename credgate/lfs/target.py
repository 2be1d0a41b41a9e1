"""Routes LFS requests: one exact match of the part of the path after ``<repository>/info/lfs``.

The paths are those of git-lfs's docs/api/batch.md and locking.md, and one of credgate's own, ``_x/<handle>``, to which
the links in a batch's answer point. A path is matched whole, as bytes, over a small alphabet. Percent-coding is allowed
only in the query of the list of locks (``path=a%2Fb``), which is decoded once, checked and written anew.

No header field and no body is read here, and no access is decided. The access that a batch needs is in its body; until
that is read, it counts as reading.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from attrs import field, frozen

from credgate.lfs.reading import printable
from credgate.values import Access, RepoPath


class Call(StrEnum):
    """The kinds of LFS request; the value is the operation in the audit line."""

    BATCH = "lfs-batch"
    LOCKS = "lfs-locks"
    LOCK = "lfs-lock"
    VERIFY_LOCKS = "lfs-locks-verify"
    UNLOCK = "lfs-unlock"
    DOWNLOAD = "lfs-download"
    UPLOAD = "lfs-upload"
    VERIFY = "lfs-verify"


@frozen(slots=True)
class Endpoint:
    """A path below ``info/lfs``. ``tail`` is the path at the forge, written anew; ``""`` for a handle."""

    call: Call
    needed: Access
    tail: str
    handle: str = field(default="", repr=False)


@frozen(slots=True)
class LfsRequest:
    """A request for the LFS server of a repository. Only ``place`` has bytes of the client, of a small alphabet."""

    repo: RepoPath
    call: Call
    needed: Access
    tail: str
    """The path and query at the forge after the repository; ``""`` for a handle."""
    dot_git: bool
    """Whether the client wrote ``.git``."""
    place: str
    """The client's path up to ``/info/lfs``, under which its links to handles are."""
    handle: str = field(default="", repr=False)
    moved_from: RepoPath | None = None
    """The name in the request, if the forge redirected it; ``repo`` is then the new name."""

    @property
    def asked(self) -> RepoPath:
        """The name of the repository in the request."""
        return self.moved_from or self.repo

    @property
    def writes(self) -> bool:
        """Whether it changes anything at the forge."""
        # The list of locks before a push needs write access and changes nothing.
        return self.needed is Access.WRITE and self.call is not Call.VERIFY_LOCKS

    @property
    def takes_json(self) -> bool:
        """Whether the request has a JSON body."""
        return self.call not in {Call.LOCKS, Call.DOWNLOAD, Call.UPLOAD}


# 32 random bytes in URL-safe base64.
HANDLE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_VALUE: Final = 512
"""Bytes of one value in the query of the list of locks."""

_OBJECT: Final = re.compile(rb"/_x/([A-Za-z0-9_-]{43})")
_UNLOCK: Final = re.compile(rb"/locks/([A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127})/unlock")
_LIST: Final = re.compile(rb"/locks(?:\?(?P<query>[A-Za-z0-9._~/=&+%-]*))?")
_PAIR: Final = re.compile(rb"([a-z]{2,8})=((?>(?:[A-Za-z0-9._~/+-]|%[0-9A-Fa-f]{2})*))")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,5}")
_KEYS: Final = ("path", "id", "cursor", "limit", "refspec")

_FIXED: Final = {
    b"/objects/batch": (b"POST", Endpoint(Call.BATCH, Access.READ, "info/lfs/objects/batch")),
    b"/locks/verify": (b"POST", Endpoint(Call.VERIFY_LOCKS, Access.WRITE, "info/lfs/locks/verify")),
}
_OBJECTS: Final = {
    b"GET": (Call.DOWNLOAD, Access.READ),
    b"PUT": (Call.UPLOAD, Access.WRITE),
    b"POST": (Call.VERIFY, Access.WRITE),
}


def endpoint(method: bytes, rest: bytes) -> Endpoint | bool:
    """Return the endpoint for ``method`` and ``rest``, the path after ``/info/lfs``.

    ``False``: there is no such path (404); ``True``: there is, but not for this method (405). Never raises.
    """
    if rest in _FIXED:
        wanted, found = _FIXED[rest]
        return found if method == wanted else True
    if handle := _OBJECT.fullmatch(rest):
        if method not in _OBJECTS:
            return True
        return Endpoint(*_OBJECTS[method], "", handle[1].decode("ascii"))
    if lock := _UNLOCK.fullmatch(rest):
        tail = f"info/lfs/locks/{lock[1].decode('ascii')}/unlock"
        return Endpoint(Call.UNLOCK, Access.WRITE, tail) if method == b"POST" else True
    return _locks(method, rest)


def _locks(method: bytes, rest: bytes) -> Endpoint | bool:
    found = _LIST.fullmatch(rest)
    if found is None:
        return False
    if method == b"POST" and found["query"] is None:
        return Endpoint(Call.LOCK, Access.WRITE, "info/lfs/locks")
    if method != b"GET":
        return True
    query = read_query(found["query"] or b"")
    return False if query is None else Endpoint(Call.LOCKS, Access.READ, f"info/lfs/locks{query}")


def read_query(query: bytes) -> str | None:
    """Return the query of a list of locks for the forge, with its ``?``; None if it is malformed.

    Each key must be known and occur once; values are UTF-8 without control characters.
    """
    # A key that occurs twice is malformed: servers differ in which value counts.
    values: dict[str, str] = {}
    for pair in query.split(b"&") if query else ():
        found = _PAIR.fullmatch(pair)
        value = None if found is None else _value(found[2])
        if found is None or value is None or found[1].decode() in values:
            return None
        values[found[1].decode()] = value
    if not set(values) <= set(_KEYS) or not _LIMIT.fullmatch(values.get("limit") or "1"):
        return None
    # In a fixed order, and coded again in one way, whatever the client wrote.
    written = [f"{key}={quote(values[key], safe='')}" for key in _KEYS if values.get(key)]
    return "?" + "&".join(written) if written else ""


def _value(raw: bytes) -> str | None:
    """Decode one value once, as a form field (as Go's ``url.Values`` does); None unless it is printable."""
    octets = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if len(octets) <= MAX_VALUE and (printable(text) or not text) else None
