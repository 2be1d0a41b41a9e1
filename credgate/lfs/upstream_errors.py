"""Refusals for unexpected statuses of a forge's LFS server or of a storage.

Statuses upon which git-lfs acts by itself are passed on: it ignores 404 and 501 to a request about locks, and waits
after 429 and 503. A 401 is never passed on, because git-lfs would take it for the session's credential. A redirect is
not followed: its target is not checked, and it would receive the credential. Only the status and a bounded
``Retry-After`` of the answer are used.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from credgate.lfs.refusals import LfsError
from credgate.lfs.target import Call
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.forges.driver import Driver
    from credgate.values import Access

_SHOWN: Final = frozenset({403, 404, 409, 410, 413, 416, 422, 429, 501, 503, 507, 509})
_LFS: Final = {
    404: "{forge} answered 404: no such repository, or LFS is disabled for it, or credgate's credential has no access",
    409: "{forge} answered 409: its LFS server uses another hash algorithm",
    422: "{forge} answered 422: its LFS server does not accept this request",
    501: "{forge} answered 501: its LFS server does not support this request",
    507: "{forge} answered 507: there is no space left for this repository's LFS objects",
    509: "{forge} answered 509: the bandwidth limit of this repository's LFS objects is reached",
}
_STORAGE: Final = {
    403: "the storage of {forge} answered 403: the link has expired, or this transfer is not allowed",
    404: "the storage of {forge} answered 404: it does not have this object",
    413: "the storage of {forge} answered 413: this object is too large for it",
    507: "the storage of {forge} answered 507: it has no space left",
}
_FIRST_ERROR = 400


def of_forge(status: int, driver: Driver, needed: Access, *, anonymous: bool, retry_after: int = 0) -> LfsError:
    """Return the refusal for a status of the forge's LFS server; ``retry_after`` is the forge's, in seconds."""
    name = driver.forge.name
    refused = driver.refuses_credential(status)
    if status < _FIRST_ERROR and not refused:
        return _unexpected(status, name)
    if refused and anonymous:
        text = f"{name} requires a credential for the LFS objects of this repository, and none is configured"
        return LfsError(text, reason=Reason.NO_FORGE_CREDENTIAL, status=403, rule="forge")
    reason = Reason.FORGE_REFUSED_CREDENTIAL if refused else _reason(status)
    text = _LFS[status].format(forge=name) if status in _LFS else driver.sentence(status, needed)
    shown = status if status in _SHOWN else 502
    return LfsError(text, reason=reason, status=shown, rule="forge", retry_after=retry_after)


def of_storage(status: int, driver: Driver, call: Call, retry_after: int = 0) -> LfsError:
    """Return the refusal for a status of a storage."""
    name = driver.forge.name
    if status < _FIRST_ERROR:
        return _unexpected(status, f"the storage of {name}")
    what = "it could not verify this object" if call is Call.VERIFY else "it did not accept this transfer"
    text = _STORAGE.get(status, f"the storage of {{forge}} answered {status}: {what}").format(forge=name)
    shown = status if status in _SHOWN else 502
    return LfsError(text, reason=_reason(status), status=shown, rule="forge", retry_after=retry_after)


def _reason(status: int) -> Reason:
    return Reason.FORGE_REFUSED if status < HTTPStatus.INTERNAL_SERVER_ERROR else Reason.FORGE_ERROR


def _unexpected(status: int, who: str) -> LfsError:
    if status // 100 == 3:  # noqa: PLR2004 - RFC 9110 section 15.4
        text = f"{who} answered with a redirect, which credgate does not follow"
        return LfsError(text, reason=Reason.FORGE_MOVED, status=502, rule="forge")
    text = f"{who} answered {status}, which is not an answer to this LFS request"
    return LfsError(text, reason=Reason.FORGE_MALFORMED, status=502, rule="forge")
