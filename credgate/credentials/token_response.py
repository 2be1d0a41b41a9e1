"""A strict reader of a forge's API responses.

JSON is read by ``strict_json``. Tokens must use a closed alphabet, so that none can bring a line break into a header.
Times must have the form that the forges use (RFC 3339 in UTC, or a date). Text of a response is never repeated, because
it may contain anything; ``MalformedResponse`` states the error in credgate's own words. This module sends nothing and
reads no clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate import strict_json
from credgate.strict_json import JsonError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Maximum bytes of a response: GitHub's descriptions of a hundred repositories need less than half of it.
MAX_ANSWER = 2 * 1024 * 1024
# Maximum characters: tokens with their own claims have several hundred.
MAX_TOKEN = 4096
# Maximum seconds of a lifetime: longer than any forge allows.
MAX_LIFETIME = 400 * 24 * 3600.0

_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{8,{MAX_TOKEN}}}")
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|\+00:00)")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")


class MalformedResponse(ValueError):  # noqa: N818 - it describes the response
    """The response is not what this API gives. The text is credgate's own."""


@frozen(slots=True)
class TokenResponse:
    """One response. Header names are in lower case; of equal names only the last is kept."""

    status: int
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


Object = dict[str, object]


def read_object(body: bytes) -> Object:
    """Return the JSON object that ``body`` is; raise ``MalformedResponse``."""
    if len(body) > MAX_ANSWER:
        raise MalformedResponse("it is too long")
    try:
        return strict_json.read_object(body)
    except JsonError as error:
        raise MalformedResponse("it" + str(error).removeprefix("the body")) from None


def message(answer: TokenResponse) -> str:
    """Return ``message`` or ``error`` of an error response, to be compared and never shown; ``""``: none."""
    try:
        found = read_object(answer.body)
    except MalformedResponse:
        return ""
    said = found.get("message", found.get("error", ""))
    return said if isinstance(said, str) else ""


def token(found: Object, key: str) -> str:
    """Return the token under ``key``; raise ``MalformedResponse``."""
    value = found.get(key)
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise MalformedResponse(f"its {key} is not a token")
    return value


def moment(found: Object, key: str) -> float:
    """Return the time under ``key`` in seconds since the epoch, by the forge's clock; raise ``MalformedResponse``."""
    value = found.get(key)
    match = _MOMENT.fullmatch(value) if isinstance(value, str) and value.isascii() else None
    return _epoch(match, key)


def midnight(found: Object, key: str) -> float:
    """Return the start (UTC) of the date under ``key``, in seconds since the epoch. Raises ``MalformedResponse``."""
    value = found.get(key)
    match = _DATE.fullmatch(value) if isinstance(value, str) and value.isascii() else None
    return _epoch(match, key)


def seconds(found: Object, key: str) -> float:
    """Return the lifetime under ``key``; raise ``MalformedResponse``."""
    value = found.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_LIFETIME:
        raise MalformedResponse(f"its {key} is not a lifetime")
    return float(value)


def forge_time(answer: TokenResponse) -> float | None:
    """Return the time of the forge's own clock (RFC 9110 section 6.6.1: ``Date``), in seconds; ``None``: not stated."""
    return http_date(answer.headers.get("date", ""))


def http_date(text: str) -> float | None:
    """Return the seconds since the epoch of an HTTP date; ``None``: not a date."""
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def skew(answer: TokenResponse, now: float) -> float:
    """Return how many seconds the forge's clock is ahead of ours, which reads ``now``; 0: not stated."""
    theirs = forge_time(answer)
    return 0.0 if theirs is None else theirs - now


def _epoch(match: re.Match[str] | None, key: str) -> float:
    if match is None:
        raise MalformedResponse(f"its {key} is not a time")
    try:
        year, month, day, hour, minute, second = (*map(int, match.groups()), 0, 0, 0)[:6]
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise MalformedResponse(f"its {key} is not a time") from None
