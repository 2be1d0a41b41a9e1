"""The batch: what a client asks, what the forge is asked for it, and what of the forge's answer the client hears.

Follows git-lfs's ``docs/api/batch.md``. Both bodies are read strictly and written anew; nothing of either is passed on.
The forge is offered ``basic`` transfers only and may answer with no other, so every object goes by GET and PUT through
this gateway. Objects that were not asked for, or are named with another size, are dropped. An object that cannot be
had is told by its own ``error``, which git-lfs shows; the others go on.

Never makes a handle (``give`` does) and never decides about access but by the operation that the body names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from credgate.lfs import reading, refusals
from credgate.lfs.actions import Offer, read_action
from credgate.lfs.reading import Members, UnreadableJson
from credgate.lfs.refusals import LfsError, malformed, unusable
from credgate.lfs.target import Call
from credgate.values import Access, Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from credgate.forges.driver import Driver

BASIC: Final = "basic"
SHA256: Final = "sha256"
MAX_OBJECTS: Final = 1000
"""Objects in one batch; git-lfs asks for 100."""
MAX_NAMES: Final = 32
_OID: Final = re.compile(r"[0-9a-f]{64}")
_SHA256: Final = re.compile(SHA256)
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPERATION: Final = re.compile("download|upload")
_WANTED: Final = {
    "download": {"download": Call.DOWNLOAD},
    "upload": {"upload": Call.UPLOAD, "verify": Call.VERIFY},
}
_MIN_CODE, _MAX_CODE = 400, 599

Give = Callable[[Call, str, int, Offer, bool], tuple[str, str]]
"""Remembers an action and returns the URL of its handle and the handle's secret: call, oid, size, offer, whether the
forge expects the credential that the batch was asked with."""


@frozen(slots=True)
class Batch:
    """What a client asks for: ``objects`` are sizes in bytes by oid, in the order asked."""

    operation: str
    """``download`` or ``upload``."""
    objects: Mapping[str, int]
    ref: str = ""

    @property
    def needed(self) -> Access:
        """The access that it needs."""
        return Access.WRITE if self.operation == "upload" else Access.READ


@frozen(slots=True)
class HeldLink:
    """What the forge says of one object: actions by name, or an error."""

    offers: Mapping[str, Offer] = field(factory=dict)
    error: Mapping[str, object] | None = None
    authenticated: bool = False
    """Whether the forge wants no login beside what the actions hold."""


def read_batch(body: bytes | bytearray) -> Batch:
    """Judge a request's body; raise LfsError."""
    try:
        members = reading.read_object(body, most=reading.REQUEST_VALUES)
        operation = reading.text(members, "operation", _OPERATION)
        transfers = reading.texts(members, "transfers", MAX_NAMES)
        ref = reading.inner(members, "ref")
        name = "" if ref is None else reading.optional_text(ref, "name")
        algorithm = reading.optional_text(members, "hash_algo", _WORD)
        objects = _objects(reading.listed(members, "objects", MAX_OBJECTS))
    except UnreadableJson as error:
        raise malformed(f"this batch is not what git-lfs sends: {error}") from None
    if algorithm not in ("", SHA256):
        text = f"objects are named by {SHA256} here, and by no other hash algorithm"
        raise LfsError(text, reason=Reason.LFS_MALFORMED, status=409)
    if transfers is not None and BASIC not in transfers:
        raise LfsError("only basic transfers are served here", reason=Reason.LFS_TRANSFER, status=422)
    return Batch(operation, objects, name)


def _objects(listed: Iterable[Members]) -> dict[str, int]:
    objects: dict[str, int] = {}
    for one in listed:
        oid, size = reading.text(one, "oid", _OID), reading.number(one, "size")
        if objects.setdefault(oid, size) != size:
            raise UnreadableJson("one object has two sizes")
    if not objects:
        raise UnreadableJson("objects is missing or malformed")
    return objects


def too_large(batch: Batch, most: int | None) -> dict[str, HeldLink]:
    """Return the refusal of each object over ``most`` bytes; None: there is no limit."""
    text = f"this session may not move LFS objects over {most} bytes"
    error = refusals.object_error(422, text)
    return {oid: HeldLink(error=error) for oid, size in batch.objects.items() if most is not None and size > most}


def too_large_decision(count: int) -> Decision:
    """Return what the audit line says of a batch with ``count`` objects that were too large."""
    text = f"{count} of the batch's objects are larger than max_lfs_object_bytes"
    return Decision(allow=False, reason=Reason.LFS_OBJECT_TOO_LARGE, rule="max_lfs_object_bytes", text=text)


def forge_request(batch: Batch, leave_out: Mapping[str, HeldLink]) -> bytes | None:
    """Write the request for the forge; None if nothing is left to ask."""
    objects = [{"oid": oid, "size": size} for oid, size in batch.objects.items() if oid not in leave_out]
    request: dict[str, object] = {"operation": batch.operation, "transfers": [BASIC]}
    if batch.ref:
        request["ref"] = {"name": batch.ref}
    return reading.written(request | {"objects": objects, "hash_algo": SHA256}) if objects else None


def read_answer(body: bytes | bytearray, batch: Batch, driver: Driver) -> Iterator[tuple[str, HeldLink]]:
    """Judge the forge's answer, object by object; raise LfsError. Objects that were not asked for are left out.

    A caller may take the pairs by turns: a thousand objects with their signatures take tens of milliseconds.
    """
    name = driver.forge.name
    try:
        members = reading.read_object(body, most=reading.ANSWER_VALUES)
        transfer = reading.optional_text(members, "transfer", _WORD)
        reading.optional_text(members, "hash_algo", _SHA256)
        yield from _held(reading.listed(members, "objects", MAX_OBJECTS), batch, driver)
    except UnreadableJson as error:
        raise unusable(f"the LFS answer of {name} cannot be used: {error}") from None
    if transfer not in ("", BASIC):
        raise LfsError(f"{name} offers no basic transfer", reason=Reason.LFS_TRANSFER, status=502, rule="forge")


def _held(listed: Iterable[Members], batch: Batch, driver: Driver) -> Iterator[tuple[str, HeldLink]]:
    named: set[str] = set()
    for one in listed:
        oid = reading.text(one, "oid", _OID)
        if oid not in batch.objects:
            continue
        if oid in named:
            raise UnreadableJson("it names an object twice")
        named.add(oid)
        yield oid, _one(one, batch, oid, driver)


def _one(members: Members, batch: Batch, oid: str, driver: Driver) -> HeldLink:
    error = reading.inner(members, "error")
    if error is not None:
        code = reading.number(error, "code")
        code = code if _MIN_CODE <= code <= _MAX_CODE else 502
        return HeldLink(error=refusals.object_error(code, refusals.forge_said(driver.forge.name, code)))
    if reading.number(members, "size") != batch.objects[oid]:
        raise UnreadableJson("it gives an object another size")
    actions = reading.inner(members, "actions") or reading.inner(members, "_links") or {}
    try:
        offers = {
            name: read_action(reading.inner(actions, name) or {}, driver)
            for name in _WANTED[batch.operation]
            if actions.get(name) is not None
        }
    except LfsError as refused:
        return HeldLink(error=refusals.object_error(refused.status, str(refused)))
    return HeldLink(offers, authenticated=reading.flag(members, "authenticated"))


def told(batch: Batch, held: Mapping[str, HeldLink], give: Give) -> Iterator[bytes]:
    """Write what the client is told of each object that it asked for, in its order; :func:`answer` joins them."""
    for oid, size in batch.objects.items():
        yield reading.written(_told(oid, size, held.get(oid), batch, give))


def answer(objects: Iterable[bytes]) -> bytes:
    """Write the answer for the client."""
    return b'{"transfer":"%b","objects":[%b],"hash_algo":"%b"}' % (BASIC.encode(), b",".join(objects), SHA256.encode())


def _told(
    oid: str,
    size: int,
    held: HeldLink | None,
    batch: Batch,
    give: Give,
) -> dict[str, object]:
    told: dict[str, object] = {"oid": oid, "size": size}
    wanted = _WANTED[batch.operation]
    if held is None:
        return told | {"error": refusals.object_error(502, "the forge's LFS server says nothing of this object")}
    if held.error is not None:
        return told | {"error": held.error}
    if batch.operation == "download" and not held.offers:
        return told | {"error": refusals.object_error(404, "the forge's LFS server offers no way to this object")}
    actions = {}
    for name, offer in held.offers.items():
        login = offer.href.own and not (held.authenticated or offer.authorized)
        actions[name] = offer.told(*give(wanted[name], oid, size, offer, login))
    # git-lfs first asks without a login for what is not said to be authenticated, and writes down, in .git/config and
    # for each URL, that it was challenged.
    return told | ({"authenticated": True, "actions": actions} if actions else {})
