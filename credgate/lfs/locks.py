"""Locks: requests and answers read strictly and written anew, with their paging.

Follows git-lfs's ``docs/api/locking.md``. A lock is an id, a path, a time and an owner's name; nothing else of what a
forge says crosses. An id must fit into a path (``.../locks/<id>/unlock``), a cursor may be any line of text. Who may
lock is the forge's to decide, for the account of its credential: all sessions share that account, so git-lfs shows
their locks as its own (docs/lfs.md).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from credgate.lfs import reading
from credgate.lfs.reading import Members, UnreadableJson, written
from credgate.lfs.refusals import malformed, unusable
from credgate.lfs.target import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_LOCKS: Final = 5_000
"""Locks on one page, of each kind; ``reading.ANSWER_VALUES`` bounds both kinds together to about as many."""
MAX_LIMIT: Final = 999_999

_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")
_TIME: Final = re.compile(r"[0-9T:.Z+-]{10,40}")
_CREATED, _CONFLICT, _OK = 201, 409, 200
CONFLICT_TEXT: Final = "this file is locked already"

_EXPECTED: Final = {Call.LOCK: (_CREATED, _OK, _CONFLICT)}
_ONLY_OK: Final = (_OK,)


def expected(call: Call, status: int) -> bool:
    """Whether ``status`` is one that an answer to this request is read from."""
    return status in _EXPECTED.get(call, _ONLY_OK)


def forge_request(call: Call, body: bytes | bytearray) -> bytes:
    """Write the forge's request from a client's; ``b""`` for the list, which has none. Raises LfsError."""
    if call is Call.LOCKS:
        return b""
    try:
        members = reading.read_object(body, most=reading.REQUEST_VALUES)
        return written(_asked(call, members) | _ref(members))
    except UnreadableJson as error:
        raise malformed(f"this is not how git-lfs asks about locks: {error}") from None


def _asked(call: Call, members: Members) -> Members:
    if call is Call.LOCK:
        return {"path": reading.text(members, "path")}
    if call is Call.UNLOCK:
        return {"force": reading.flag(members, "force")}
    asked: Members = {}
    if cursor := reading.optional_text(members, "cursor"):
        asked["cursor"] = cursor
    if members.get("limit") is not None and (limit := reading.number(members, "limit", MAX_LIMIT)):
        asked["limit"] = limit
    return asked


def _ref(members: Members) -> Members:
    ref = reading.inner(members, "ref")
    name = "" if ref is None else reading.optional_text(ref, "name")
    return {"ref": {"name": name}} if name else {}


def answer(call: Call, status: int, body: bytes | bytearray, forge: str) -> Iterator[bytes]:
    """Write the client's answer from the forge's, of an ``expected`` status, in pieces. Raises LfsError.

    A caller may take the pieces by turns: each but the first and the last is one lock of a list.
    """
    try:
        members = reading.read_object(body, most=reading.ANSWER_VALUES)
        if call in {Call.LOCK, Call.UNLOCK}:
            yield written(_single(members, status))
        else:
            yield from _lists(members, ("locks",) if call is Call.LOCKS else ("ours", "theirs"))
    except UnreadableJson as error:
        raise unusable(f"what {forge} says of locks cannot be used: {error}") from None


def _lists(members: Members, names: Iterable[str]) -> Iterator[bytes]:
    cursor = reading.optional_text(members, "next_cursor")
    begin = b"{"
    for name in names:
        yield b'%b"%b":[' % (begin, name.encode())
        for at, one in enumerate(reading.listed(members, name, MAX_LOCKS)):
            yield (b"," if at else b"") + written(_lock(one))
        begin = b"],"
    yield b"]" + (b"," + written({"next_cursor": cursor})[1:] if cursor else b"}")


def _single(members: Members, status: int) -> Members:
    lock = reading.inner(members, "lock")
    told: Members = {} if lock is None else {"lock": _lock(lock)}
    if status == _CONFLICT:
        return told | {"message": CONFLICT_TEXT}
    if not told:
        raise UnreadableJson("lock is missing or malformed")
    return told


def _lock(members: Mapping[str, object]) -> Members:
    lock: Members = {"id": reading.text(members, "id", _ID), "path": reading.text(members, "path")}
    if at := reading.optional_text(members, "locked_at", _TIME):
        lock["locked_at"] = at
    owner = reading.inner(members, "owner")
    if owner is not None and (name := reading.optional_text(owner, "name")):
        lock["owner"] = {"name": name}
    return lock
