"""The locking API (git-lfs's docs/api/locking.md): requests and answers are parsed strictly and written anew.

A lock has an id, a path, a time and the name of its owner; other members of a forge's answer are dropped. An id must
fit into a path (``.../locks/<id>/unlock``), a cursor may be any line of text. The forge decides who may lock, by the
account of its credential. All sessions share that account, so git-lfs lists their locks as its own (docs/lfs.md).
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

# Locks on one page, of each kind; ``reading.ANSWER_VALUES`` bounds both kinds together to about as many.
MAX_LOCKS: Final = 5_000
MAX_LIMIT: Final = 999_999

_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")
_TIME: Final = re.compile(r"[0-9T:.Z+-]{10,40}")
_CREATED, _CONFLICT, _OK = 201, 409, 200
CONFLICT_TEXT: Final = "this file is already locked"

_EXPECTED: Final = {Call.LOCK: (_CREATED, _OK, _CONFLICT)}
_ONLY_OK: Final = (_OK,)


def expected(call: Call, status: int) -> bool:
    """Whether an answer of ``status`` to this request has a body that is passed on."""
    return status in _EXPECTED.get(call, _ONLY_OK)


def forge_request(call: Call, body: bytes | bytearray) -> bytes:
    """Write the request for the forge from a client's; ``b""`` for a list, which has no body. Raises LfsError."""
    if call is Call.LOCKS:
        return b""
    try:
        members = reading.read_object(body, most=reading.REQUEST_VALUES)
        return written(_asked(call, members) | _ref(members))
    except UnreadableJson as error:
        raise malformed(f"malformed LFS lock request: {error}") from None


def _asked(call: Call, members: Members) -> Members:
    if call is Call.LOCK:
        return {"path": reading.text(members, "path")}
    if call is Call.UNLOCK:
        # The forge decides whether the account may release the lock of another user.
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
    """Write the client's answer from the forge's, whose status is ``expected``, in pieces. Raises LfsError.

    The caller may spread the iteration over turns of the reactor: a piece has one lock at most.
    """
    try:
        members = reading.read_object(body, most=reading.ANSWER_VALUES)
        if call in {Call.LOCK, Call.UNLOCK}:
            yield written(_single(members, status))
        else:
            yield from _lists(members, ("locks",) if call is Call.LOCKS else ("ours", "theirs"))
    except UnreadableJson as error:
        raise unusable(f"malformed LFS lock answer of {forge}: {error}") from None


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
    shown: Members = {} if lock is None else {"lock": _lock(lock)}
    if status == _CONFLICT:
        return shown | {"message": CONFLICT_TEXT}
    if not shown:
        raise UnreadableJson("lock is missing or malformed")
    return shown


def _lock(members: Mapping[str, object]) -> Members:
    lock: Members = {"id": reading.text(members, "id", _ID), "path": reading.text(members, "path")}
    if at := reading.optional_text(members, "locked_at", _TIME):
        lock["locked_at"] = at
    owner = reading.inner(members, "owner")
    if owner is not None and (name := reading.optional_text(owner, "name")):
        lock["owner"] = {"name": name}
    return lock
