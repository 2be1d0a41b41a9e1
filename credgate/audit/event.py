"""One audit event and its line: JSON, ASCII, fixed keys in a fixed order.

Everything that credgate does for a session is recorded as an event: sessions created and ended, and every request with
its decision and result. An event has no field for a header, a body, a token, a secret or a digest, so none can be
written. Text from a client is limited in length and made visible: unprintable characters (control bytes, escape
sequences, line separators, bidirectional overrides) are shown as escapes, in the JSON and after decoding it.
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
    """The kind of an event: the ``event`` key. Stable, since operators search for these."""

    SESSION_CREATED = "session-created"
    SESSION_EXTENDED = "session-extended"
    SESSION_REVOKED = "session-revoked"
    SESSION_EXPIRED = "session-expired"
    REQUEST = "request"
    CONTROL = "control"
    CONNECTION = "connection"
    """Connections of sandboxes refused by a limit, which ``rule`` names; see ``throttle.Refusals``."""
    CREDENTIAL_MINTED = "credential-minted"
    """``text`` says for what; no event contains a value."""
    CREDENTIAL_REVOKED = "credential-revoked"
    CREDENTIAL_FAILED = "credential-failed"
    DNS = "dns"
    """A DNS query that was refused or failed; ``operation`` is the type, ``text`` the name, escaped."""
    STARTED = "started"
    STOPPED = "stopped"
    AUDIT_GAP = "audit-gap"
    """A problem of the log itself, such as lost events; ``text`` describes it."""
    AUDIT_CONTINUED = "audit-continued"
    """First line of a new file; ``text`` names the last line of the previous one."""


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
"""Refs of one push, and repositories of one credential, in one line. These keys count the others:"""
REFS_MORE: Final = "refs_more"
REPOSITORIES_MORE: Final = "repositories_more"

_ASKED: Final = (SESSION, PEER, FORGE, REPO, OPERATION, DECISION, REASON, RULE)
_CREDENTIAL: Final = (CREDENTIAL, CREDENTIAL_KIND, EXPIRES, PERMISSIONS)
_ANONYMOUS: Final = ("", "", None, "")


@frozen(slots=True, kw_only=True)
class RefChange:
    """The result of one ref of a push. Object ids are hexadecimal."""

    ref: str
    old: str
    new: str
    verb: str
    reason: str
    """A reason code."""
    forge: str = ""
    """``ok``, or ``ng`` with the text of the forge; "" if the forge was not asked or did not report the ref."""

    def view(self) -> dict[str, str]:
        """Return the JSON object in the line."""
        return {name: visible(value) for name, value in asdict(self).items() if value}


@frozen(slots=True, kw_only=True)
class Event:
    """One event. A field that is ``None`` or ``""`` does not apply, and its key is omitted."""

    wall: float
    """Seconds since the epoch."""
    event: Happening
    session: str = ""
    """A session's public id."""
    peer: str = ""
    """The address of the client, without its port."""
    forge: str = ""
    repo: str = ""
    """Normal form. For a renamed repository this is the new name, whose grant decided."""
    moved_from: str = ""
    """The name in the request, if the forge redirected it to ``repo``."""
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
    """Seconds until the forge's response began. For metrics only, not in the line."""
    oid: str = ""
    """Id of an LFS object, SHA-256 in hexadecimal."""
    size: int | None = None
    """Size of the LFS object in bytes."""
    text: str = ""
    refs: tuple[RefChange, ...] = ()
    """The first refs, at least as many as a line lists."""
    refs_more: int = 0
    """Number of further refs."""
    credential: str = ""
    """The id of the forge's credential, never its value."""
    credential_kind: str = ""
    expires: float | None = None
    """Expiry of the credential, in seconds since the epoch."""
    permissions: str = ""
    """Permissions of a minted credential in the forge's terms: ``contents: write, metadata: read``."""
    repositories: tuple[str, ...] = ()
    """Repositories that a minted credential is limited to, in normal form."""


# Created once: ``json.dumps`` with these separators creates an encoder for each call.
_JSON = json.JSONEncoder(separators=(",", ":"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def line(event: Event) -> str:
    """Return ``event`` as one line of ASCII JSON without line feed. Never raises, whatever the content."""
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


# Cached, since the same few combinations repeat.
@lru_cache(maxsize=256)
def _asked(*values: str | None) -> str:
    """Return who requested what, and the decision."""
    return _members(zip(_ASKED, values, strict=True))


# Cached like ``_asked``.
@lru_cache(maxsize=256)
def _credential(credential: str, kind: str, expires: float | None, permissions: str) -> str:
    """Return the credential that was sent to the forge."""
    until = None if expires is None else timestamp(expires)
    return _members(zip(_CREDENTIAL, (credential, kind, until, permissions), strict=True))


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
    """Return the keys that few events have."""
    first = (MOVED_FROM, event.moved_from), (OID, event.oid), (SIZE, event.size), (TEXT, event.text)
    pairs: list[tuple[str, object]] = [*first]
    if event.refs:
        pairs.append((REFS, [change.view() for change in event.refs[:MAX_REFS]]))
    more = event.refs_more + max(0, len(event.refs) - MAX_REFS)
    if more:
        pairs.append((REFS_MORE, more))
    if event.repositories:
        pairs.append((REPOSITORIES, [visible(path) for path in event.repositories[:MAX_REFS]]))
    if len(event.repositories) > MAX_REFS:
        pairs.append((REPOSITORIES_MORE, len(event.repositories) - MAX_REFS))
    return _members(pairs)


def _members(pairs: Iterable[tuple[str, object]]) -> str:
    """Return the pairs that have a value as JSON, without the braces."""
    shown = {key: visible(value) if isinstance(value, str) else value for key, value in pairs}
    return _JSON.encode({key: value for key, value in shown.items() if value is not None and value != ""})[1:-1]


def timestamp(wall: float) -> str:
    """Return ``wall`` as ``2025-01-31T12:00:00.000Z`` (ISO 8601, UTC); the epoch if it is not a valid date."""
    try:
        second, milliseconds = divmod(round(wall * 1000), 1000)
        return f"{_second(second)}.{milliseconds:03d}Z"
    except (OverflowError, ValueError):
        return f"{_second(0)}.000Z"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    """Return a second as text. Cached, since many lines share one."""
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
    """Return one character, escaped if needed. A backslash is doubled, so that no text can imitate an escape."""
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    if char.isascii():
        return f"\\x{ord(char):02x}"
    return char.encode("ascii", "backslashreplace").decode("ascii")
