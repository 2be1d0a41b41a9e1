"""The batch API (git-lfs's docs/api/batch.md): the client's request, the forge's request, and the two answers.

Both bodies are parsed strictly and written anew; no byte of either is passed on. The forge is offered ``basic``
transfers only and must answer with them, so every object is transferred by GET and PUT through this gateway. An object
of the answer that was not requested is dropped; one with another size makes the answer malformed. An object that is
not available has its own ``error``, which git-lfs prints; the other objects are not affected.

The access that is needed follows from the operation in the body; ``give`` makes the handles.
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
# Objects in one batch; git-lfs asks for 100.
MAX_OBJECTS: Final = 1000
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
"""Stores an action and returns the URL and the secret of its handle. Arguments: call, oid, size, offer, and whether the
forge expects the credential of the batch."""


@frozen(slots=True)
class Batch:
    """A client's request; ``objects`` are sizes in bytes by oid, in its order."""

    operation: str
    """``download`` or ``upload``."""
    objects: Mapping[str, int]
    ref: str = ""

    @property
    def needed(self) -> Access:
        """The access that the operation needs."""
        return Access.WRITE if self.operation == "upload" else Access.READ


@frozen(slots=True)
class HeldLink:
    """The forge's answer for one object: actions by name, or an error."""

    offers: Mapping[str, Offer] = field(factory=dict)
    error: Mapping[str, object] | None = None
    authenticated: bool = False
    """Whether the actions need no credential besides their own fields."""


def read_batch(body: bytes | bytearray) -> Batch:
    """Read a request's body. Raises LfsError."""
    try:
        members = reading.read_object(body, most=reading.REQUEST_VALUES)
        operation = reading.text(members, "operation", _OPERATION)
        transfers = reading.texts(members, "transfers", MAX_NAMES)
        ref = reading.inner(members, "ref")
        name = "" if ref is None else reading.optional_text(ref, "name")
        algorithm = reading.optional_text(members, "hash_algo", _WORD)
        objects = _objects(reading.listed(members, "objects", MAX_OBJECTS))
    except UnreadableJson as error:
        raise malformed(f"malformed LFS batch request: {error}") from None
    # docs/api/batch.md: without ``hash_algo`` it is SHA-256, without ``transfers`` the basic one.
    if algorithm not in ("", SHA256):
        text = f"only {SHA256} is supported as hash algorithm of LFS objects"
        raise LfsError(text, reason=Reason.LFS_MALFORMED, status=409)
    if transfers is not None and BASIC not in transfers:
        raise LfsError("only basic LFS transfers are supported", reason=Reason.LFS_TRANSFER, status=422)
    return Batch(operation, objects, name)


def _objects(listed: Iterable[Members]) -> dict[str, int]:
    objects: dict[str, int] = {}
    for one in listed:
        oid, size = reading.text(one, "oid", _OID), reading.number(one, "size")
        # git-lfs may list an object twice; the sizes must agree.
        if objects.setdefault(oid, size) != size:
            raise UnreadableJson("an object has two sizes")
    if not objects:
        raise UnreadableJson("objects is missing or malformed")
    return objects


def too_large(batch: Batch, most: int | None) -> dict[str, HeldLink]:
    """Return an error for each object of more than ``most`` bytes; None: no limit."""
    text = f"this session may not move LFS objects over {most} bytes"
    error = refusals.object_error(422, text)
    return {oid: HeldLink(error=error) for oid, size in batch.objects.items() if most is not None and size > most}


def too_large_decision(count: int) -> Decision:
    """Return the decision for the audit line of a batch with ``count`` objects that are too large."""
    text = f"{count} of the batch's objects are larger than max_lfs_object_bytes"
    return Decision(allow=False, reason=Reason.LFS_OBJECT_TOO_LARGE, rule="max_lfs_object_bytes", text=text)


def forge_request(batch: Batch, leave_out: Mapping[str, HeldLink]) -> bytes | None:
    """Write the request for the forge; None if no object is left."""
    objects = [{"oid": oid, "size": size} for oid, size in batch.objects.items() if oid not in leave_out]
    request: dict[str, object] = {"operation": batch.operation, "transfers": [BASIC]}
    if batch.ref:
        request["ref"] = {"name": batch.ref}
    return reading.written(request | {"objects": objects, "hash_algo": SHA256}) if objects else None


def read_answer(body: bytes | bytearray, batch: Batch, driver: Driver) -> Iterator[tuple[str, HeldLink]]:
    """Read the forge's answer, object by object. Raises LfsError.

    The caller may spread the iteration over turns of the reactor: a thousand objects take tens of milliseconds.
    """
    name = driver.forge.name
    try:
        members = reading.read_object(body, most=reading.ANSWER_VALUES)
        transfer = reading.optional_text(members, "transfer", _WORD)
        reading.optional_text(members, "hash_algo", _SHA256)
        yield from _held(reading.listed(members, "objects", MAX_OBJECTS), batch, driver)
    except UnreadableJson as error:
        raise unusable(f"malformed LFS batch answer of {name}: {error}") from None
    if transfer not in ("", BASIC):
        raise LfsError(
            f"{name} does not offer basic LFS transfers", reason=Reason.LFS_TRANSFER, status=502, rule="forge"
        )


def _held(listed: Iterable[Members], batch: Batch, driver: Driver) -> Iterator[tuple[str, HeldLink]]:
    named: set[str] = set()
    for one in listed:
        oid = reading.text(one, "oid", _OID)
        if oid not in batch.objects:
            continue
        # Two entries could have different links, and parsers differ in which one counts.
        if oid in named:
            raise UnreadableJson("an object occurs twice")
        named.add(oid)
        yield oid, _one(one, batch, oid, driver)


def _one(members: Members, batch: Batch, oid: str, driver: Driver) -> HeldLink:
    error = reading.inner(members, "error")
    if error is not None:
        code = reading.number(error, "code")
        # git-lfs prints the code; a number that is no HTTP error would be misleading.
        code = code if _MIN_CODE <= code <= _MAX_CODE else 502
        return HeldLink(error=refusals.object_error(code, refusals.forge_error_text(driver.forge.name, code)))
    if reading.number(members, "size") != batch.objects[oid]:
        raise UnreadableJson("an object has another size than requested")
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


def answer_objects(batch: Batch, held: Mapping[str, HeldLink], give: Give) -> Iterator[bytes]:
    """Write the client's answer for each requested object, in the order of the request; :func:`answer` joins them."""
    for oid, size in batch.objects.items():
        yield reading.written(_answer_object(oid, size, held.get(oid), batch, give))


def answer(objects: Iterable[bytes]) -> bytes:
    """Write the answer for the client."""
    return b'{"transfer":"%b","objects":[%b],"hash_algo":"%b"}' % (BASIC.encode(), b",".join(objects), SHA256.encode())


def _answer_object(
    oid: str,
    size: int,
    held: HeldLink | None,
    batch: Batch,
    give: Give,
) -> dict[str, object]:
    told: dict[str, object] = {"oid": oid, "size": size}
    wanted = _WANTED[batch.operation]
    if held is None:
        return told | {"error": refusals.object_error(502, "the forge's LFS server did not answer for this object")}
    if held.error is not None:
        return told | {"error": held.error}
    if batch.operation == "download" and not held.offers:
        return told | {"error": refusals.object_error(404, "the forge's LFS server offers no download of this object")}
    actions = {}
    for name, offer in held.offers.items():
        # Without either, git-lfs itself would look for a credential for the URL (docs/api/batch.md).
        login = offer.href.own and not (held.authenticated or offer.authorized)
        actions[name] = offer.for_client(*give(wanted[name], oid, size, offer, login))
    # Without ``authenticated`` git-lfs asks for each object without a credential first, and writes the access mode of
    # each URL that answers 401 into .git/config.
    return told | ({"authenticated": True, "actions": actions} if actions else {})
