"""One audit event and its one line: JSON, ASCII, fixed keys in a fixed order.

Everything that credgate does for a session is told here once: sessions made and ended, every request with what was
decided and what became of it. An event has no field for a header, a body, a token, a secret or a digest, so none can
be written. Text that a client sent is bounded and made visible: whatever is not printable (control bytes, escape
sequences, line separators, bidirectional overrides) is shown as an escape, in the JSON *and* after decoding it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT: Final = 256
"""Characters of any text in a line, after escaping."""


class Happening(StrEnum):
    """What an event is about: the ``event`` key. Stable; operators search for these."""

    SESSION_CREATED = "session-created"
    SESSION_EXTENDED = "session-extended"
    SESSION_REVOKED = "session-revoked"
    SESSION_EXPIRED = "session-expired"
    REQUEST = "request"
    CONTROL = "control"
    CONNECTION = "connection"
    """Connections of sandboxes that a limit refused; ``rule`` names it. See ``sessions.refusals``."""
    CREDENTIAL_MINTED = "credential-minted"
    """``text`` says what for; no event holds a value."""
    CREDENTIAL_REVOKED = "credential-revoked"
    CREDENTIAL_FAILED = "credential-failed"
    DNS = "dns"
    """A question that was refused or failed; ``operation`` is the type, ``text`` the name, escaped."""
    STARTED = "started"
    STOPPED = "stopped"
    AUDIT_GAP = "audit-gap"
    """Something is wrong with the log itself, such as events that were lost; ``text`` says what, and how many."""
    AUDIT_CONTINUED = "audit-continued"
    """A new file begins; ``text`` names the line that it goes on from."""


TS: Final = "ts"
EVENT: Final = "event"
SESSION: Final = "session"
PEER: Final = "peer"
FORGE: Final = "forge"
REPO: Final = "repo"
MOVED_FROM: Final = "moved_from"
OPERATION: Final = "operation"
DECISION: Final = "decision"
REASON: Final = "reason"
RULE: Final = "rule"
STATUS: Final = "status"
UPSTREAM_STATUS: Final = "upstream_status"
BYTES_UP: Final = "bytes_up"
BYTES_DOWN: Final = "bytes_down"
DURATION_MS: Final = "duration_ms"
OID: Final = "oid"
SIZE: Final = "size"
TEXT: Final = "text"
REFS: Final = "refs"
CREDENTIAL: Final = "credential"
CREDENTIAL_KIND: Final = "credential_kind"
EXPIRES: Final = "expires"
PERMISSIONS: Final = "permissions"
REPOSITORIES: Final = "repositories"

MAX_REFS: Final = 50
"""Refs of one push, and repositories of one credential, that a line lists; these keys count the others:"""
REFS_MORE: Final = "refs_more"
REPOSITORIES_MORE: Final = "repositories_more"

_ASKED: Final = (SESSION, PEER, FORGE, REPO, OPERATION, DECISION, REASON, RULE)
_CREDENTIAL: Final = (CREDENTIAL, CREDENTIAL_KIND, EXPIRES, PERMISSIONS)
_ANONYMOUS: Final = ("", "", None, "")


@frozen(slots=True, kw_only=True)
class RefChange:
    """What became of one ref of a push. Object ids are hexadecimal."""

    ref: str
    old: str
    new: str
    verb: str
    reason: str
    """A reason code of ours."""
    forge: str = ""
    """``ok``, or ``ng`` and the forge's own words; "" when the forge was not asked, or did not say."""

    def told(self) -> dict[str, str]:
        """Return it as the line shows it."""
        return {name: visible(value) for name, value in asdict(self).items() if value}


@frozen(slots=True, kw_only=True)
class Event:
    """What happened. ``None`` and ``""`` stand for "not applicable" and leave their key out."""

    wall: float
    """Seconds since the epoch."""
    event: Happening
    session: str = ""
    """A session's public id."""
    peer: str = ""
    """The address that asked, without its port."""
    forge: str = ""
    repo: str = ""
    """Normal form; of a renamed repository the new name, by whose grant the request was judged."""
    moved_from: str = ""
    """The name in the request, where the forge redirected it to ``repo``."""
    operation: str = ""
    allow: bool | None = None
    reason: str = ""
    """A reason code."""
    rule: str = ""
    status: int | None = None
    """The HTTP status sent to the client."""
    upstream_status: int | None = None
    """The HTTP status that the forge sent."""
    bytes_up: int | None = None
    """Body bytes towards the forge."""
    bytes_down: int | None = None
    """Body bytes towards the client."""
    duration: float | None = None
    """Seconds."""
    answered: float | None = None
    """Seconds until the forge's answer began: for metrics, the line does not have it."""
    oid: str = ""
    """An LFS object's name, SHA-256 in hexadecimal."""
    size: int | None = None
    """Its bytes."""
    text: str = ""
    refs: tuple[RefChange, ...] = ()
    """The first of them, at least as many as a line lists."""
    refs_more: int = 0
    """How many others there are."""
    credential: str = ""
    """The id of the forge's credential, never its value."""
    credential_kind: str = ""
    expires: float | None = None
    """When the credential does, in seconds since the epoch."""
    permissions: str = ""
    """Of a minted credential, as the forge calls them: ``contents: write, metadata: read``."""
    repositories: tuple[str, ...] = ()
    """What a minted credential is limited to, in normal form."""


_JSON = json.JSONEncoder(separators=(",", ":"))
"""Made once: ``json.dumps`` makes one for each line."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def line(event: Event) -> str:
    """Write ``event`` as one line of ASCII JSON, without the line feed. Total: it never raises on any content."""
    decision = None if event.allow is None else ("allow" if event.allow else "deny")
    asked = event.session, event.peer, event.forge, event.repo, event.operation, decision, event.reason, event.rule
    credential = event.credential, event.credential_kind, event.expires, event.permissions
    pieces = (
        f'"{TS}":"{timestamp(event.wall)}","{EVENT}":"{event.event.value}"',
        _asked(*asked),
        _numbers(event),
        _credential(*credential) if credential != _ANONYMOUS else "",
        _rest(event) if _has_more(event) else "",
    )
    return "{" + ",".join([piece for piece in pieces if piece]) + "}"


@lru_cache(maxsize=256)
def _asked(*values: str | None) -> str:
    """Tell who asked for what, and what was decided. The same few come for ever; none holds what a line may not."""
    return _told(zip(_ASKED, values, strict=True))


@lru_cache(maxsize=256)
def _credential(credential: str, kind: str, expires: float | None, permissions: str) -> str:
    """Tell what the forge was shown; the same few, too."""
    until = None if expires is None else timestamp(expires)
    return _told(zip(_CREDENTIAL, (credential, kind, until, permissions), strict=True))


def _numbers(event: Event) -> str:
    values = (
        (STATUS, event.status),
        (UPSTREAM_STATUS, event.upstream_status),
        (BYTES_UP, event.bytes_up),
        (BYTES_DOWN, event.bytes_down),
        (DURATION_MS, None if event.duration is None else round(event.duration * 1000)),
    )
    return ",".join([f'"{key}":{value}' for key, value in values if value is not None])


def _has_more(event: Event) -> bool:
    return bool(event.moved_from or event.oid or event.text or event.refs or event.repositories) or (
        event.size is not None
    )


def _rest(event: Event) -> str:
    """Tell what few events have."""
    first = (MOVED_FROM, event.moved_from), (OID, event.oid), (SIZE, event.size), (TEXT, event.text)
    told: list[tuple[str, object]] = [*first]
    if event.refs:
        told.append((REFS, [change.told() for change in event.refs[:MAX_REFS]]))
    more = event.refs_more + max(0, len(event.refs) - MAX_REFS)
    if more:
        told.append((REFS_MORE, more))
    if event.repositories:
        told.append((REPOSITORIES, [visible(path) for path in event.repositories[:MAX_REFS]]))
    if len(event.repositories) > MAX_REFS:
        told.append((REPOSITORIES_MORE, len(event.repositories) - MAX_REFS))
    return _told(told)


def _told(pairs: Iterable[tuple[str, object]]) -> str:
    """Write what there is of these, without the braces."""
    told = {key: visible(value) if isinstance(value, str) else value for key, value in pairs}
    return _JSON.encode({key: value for key, value in told.items() if value is not None and value != ""})[1:-1]


def timestamp(wall: float) -> str:
    """Write ``wall`` as ``2025-01-31T12:00:00.000Z`` (ISO 8601, UTC); the epoch for what is no date."""
    try:
        second, milliseconds = divmod(round(wall * 1000), 1000)
        return f"{_second(second)}.{milliseconds:03d}Z"
    except (OverflowError, ValueError):
        return f"{_second(0)}.000Z"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    """Write a second; many lines are of the same one."""
    return (_EPOCH + timedelta(seconds=second)).isoformat().removesuffix("+00:00")


def visible(text: str) -> str:
    """Return ``text`` with every unprintable character shown as an escape, at most :data:`MAX_TEXT` characters."""
    if text.isprintable() and "\\" not in text and len(text) <= MAX_TEXT:
        return text
    pieces: list[str] = []
    room = MAX_TEXT - 3
    for char in text[: MAX_TEXT + 1]:
        piece = _shown(char)
        room -= len(piece)
        if room < 0:
            return "".join(pieces) + "..."
        pieces.append(piece)
    return "".join(pieces)


def _shown(char: str) -> str:
    """Show one character; a backslash is doubled, so that no text can pretend to be an escape."""
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    if char.isascii():
        return f"\\x{ord(char):02x}"
    return char.encode("ascii", "backslashreplace").decode("ascii")
