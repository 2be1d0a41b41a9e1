"""One action of a forge's batch answer (git-lfs's docs/api/basic-transfers.md): ``href``, ``header`` and expiry.

``header`` has the fields that the storage expects. Only names on an allow-list are kept, with values of printable
ASCII and a size limit, so that a forge cannot change the framing, the routing or the host of a request. Of them, the
client learns only ``Transfer-Encoding: chunked``. Reads no clock.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from credgate.lfs import reading
from credgate.lfs.handles import FIELD, LIFETIME
from credgate.lfs.hrefs import MAX_HREF, Href, read_href
from credgate.lfs.reading import UnreadableJson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.forges.driver import Driver
    from credgate.lfs.handles import Fields

MAX_FIELDS: Final = 32
MAX_VALUE: Final = 8192
MAX_VALUES: Final = 16 * 1024
"""Bytes of all fields of one action."""
AUTHORIZATION: Final = b"Authorization"

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_HREF: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_HREF}}}")
_SENT: Final = {
    "authorization": AUTHORIZATION,
    "content-type": b"Content-Type",
    "accept": b"Accept",
    "content-md5": b"Content-MD5",
    "cache-control": b"Cache-Control",
    "if-none-match": b"If-None-Match",
}
_PREFIXES: Final = ("x-amz-", "x-goog-", "x-ms-", "x-artifactory-", "x-upload-content-")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
# Go's zero time, which some servers send for "no expiry".
_ZERO: Final = "0001-01-01T00:00:00Z"


@frozen(slots=True)
class Offer:
    """An action that the forge offered."""

    href: Href
    fields: Fields = field(repr=False)
    chunked: bool
    expires_in: int
    """Seconds; 0: not given."""
    expires_at: str
    """RFC 3339; ``""``: not given."""

    @property
    def authorized(self) -> bool:
        """Whether the action has its own ``Authorization``."""
        return any(name == AUTHORIZATION for name, _ in self.fields)

    def lifetime(self, wall: float) -> float:
        """Return the seconds from ``wall`` (since the epoch) until the handle expires."""
        if self.expires_in:
            return min(float(self.expires_in), LIFETIME)
        if self.expires_at:
            return max(0.0, min(_seconds(self.expires_at) - wall, LIFETIME))
        return LIFETIME

    def for_client(self, href: str, secret: str) -> dict[str, object]:
        """Return the action for the client, with the ``href`` and the ``secret`` of its handle."""
        header = {FIELD: secret}
        if self.chunked:
            header["Transfer-Encoding"] = "chunked"
        action: dict[str, object] = {"href": href, "header": header}
        if self.expires_in:
            action["expires_in"] = self.expires_in
        if self.expires_at:
            action["expires_at"] = self.expires_at
        return action


def read_action(members: Mapping[str, object], driver: Driver) -> Offer:
    """Read one action. Raises UnreadableJson, and LfsError for an ``href`` that is not allowed."""
    href = read_href(reading.text(members, "href", _HREF), driver)
    fields, chunked = _fields(reading.inner(members, "header") or {})
    seconds = reading.number(members, "expires_in") if members.get("expires_in") is not None else 0
    at = reading.optional_text(members, "expires_at", _MOMENT)
    if at == _ZERO:
        at = ""
    if at:
        _seconds(at)
    return Offer(href, fields, chunked, seconds, at)


def _fields(members: Mapping[str, object]) -> tuple[Fields, bool]:
    """Return the fields for the storage, in their order, and whether it expects the upload in chunks."""
    if len(members) > MAX_FIELDS:
        raise UnreadableJson("header is malformed")
    fields: dict[bytes, bytes] = {}
    chunked = False
    for name, value in members.items():
        if not (_NAME.fullmatch(name) and isinstance(value, str)) or len(value) > MAX_VALUE:
            raise UnreadableJson("header is malformed")
        # Framing is credgate's own; the value only says how the storage expects the upload.
        folded = name.lower()
        if folded == "transfer-encoding":
            chunked = value.lower() == "chunked"
            continue
        sent = folded.title().encode("ascii") if folded.startswith(_PREFIXES) else _SENT.get(folded)
        if sent is None:
            continue
        # Twice in different case: servers differ in which one counts.
        if not _VALUE.fullmatch(value) or sent in fields:
            raise UnreadableJson("header is malformed")
        fields[sent] = value.encode("ascii")
    if sum(map(len, fields.values())) > MAX_VALUES:
        raise UnreadableJson("header is malformed")
    return tuple(fields.items()), chunked


def _seconds(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        raise UnreadableJson("expires_at is malformed") from None
