"""Reads the JSON of LFS (RFC 8259, by ``strict_json``): one object, and its members by expected type.

Unknown members are ignored: all that credgate sends is built from the values returned here. Raises UnreadableJson,
whose text names the member and never has its value; the caller knows whether the client or the forge sent it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, cast

from credgate import strict_json
from credgate.strict_json import JsonError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Bytes of a request's body: a batch of 100 objects, as git-lfs sends, has some 11,000.
MAX_REQUEST: Final = 1024 * 1024
# Bytes of a forge's answer: a signature may have kilobytes.
MAX_ANSWER: Final = 8 * 1024 * 1024
# Values in a request: at most 1,000 objects of a batch with five each, names included.
REQUEST_VALUES: Final = 16_000
# Values in an answer: 1,000 objects with 75 each, or 5,000 locks with fifteen.
ANSWER_VALUES: Final = strict_json.MAX_VALUES
# The largest integer that every JSON parser represents exactly (RFC 8259, section 6).
MAX_NUMBER: Final = 2**53 - 1
MAX_TEXT: Final = 4096
"""Characters of a text without a pattern."""

# Control characters, line and paragraph separators, bidirectional controls, and surrogates.
_UNSHOWN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UnreadableJson(ValueError):  # noqa: N818 - the name is clear where it is raised
    """A body is malformed; the text names the member."""


Members = dict[str, object]


def read_object(body: bytes | bytearray, *, most: int) -> Members:
    """Parse a body that is one JSON object with at most ``most`` values."""
    try:
        return strict_json.read_object(body, most=most)
    except JsonError as error:
        raise UnreadableJson(str(error)) from None


def text(members: Mapping[str, object], key: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return a text that matches ``pattern`` whole; without a pattern, a ``printable`` text."""
    value = members.get(key)
    if not isinstance(value, str) or not (pattern.fullmatch(value) if pattern else printable(value)):
        raise UnreadableJson(f"{key} is missing or malformed")
    return value


def optional_text(members: Mapping[str, object], key: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return a text as :func:`text` does; ``""`` if the member is absent, null or empty."""
    return text(members, key, pattern) if members.get(key) not in (None, "") else ""


def printable(value: str) -> bool:
    """Whether a text can be shown in one line and sent as UTF-8. Spaces of all scripts may be in file names."""
    return 0 < len(value) <= MAX_TEXT and _UNSHOWN.search(value) is None


def number(members: Mapping[str, object], key: str, most: int = MAX_NUMBER) -> int:
    """Return an integer from 0 to ``most``; a number with a fraction is malformed."""
    value = members.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UnreadableJson(f"{key} is missing or malformed")
    return value


def flag(members: Mapping[str, object], key: str) -> bool:
    """Return a boolean; false if the member is absent or null."""
    value = members.get(key)
    if value is not None and not isinstance(value, bool):
        raise UnreadableJson(f"{key} is malformed")
    return bool(value)


def inner(members: Mapping[str, object], key: str) -> Members | None:
    """Return a nested object; None if the member is absent or null."""
    value = members.get(key)
    if value is not None and not isinstance(value, dict):
        raise UnreadableJson(f"{key} is malformed")
    return cast("Members | None", value)


def listed(members: Mapping[str, object], key: str, most: int) -> list[Members]:
    """Return a list of at most ``most`` objects; an empty one if the member is absent or null (as Go writes it)."""
    value = members.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, dict) for one in value):
        raise UnreadableJson(f"{key} is malformed")
    return cast("list[Members]", value)


def texts(members: Mapping[str, object], key: str, most: int) -> list[str] | None:
    """Return a list of at most ``most`` texts; None if the member is absent or null."""
    value = members.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) for one in value):
        raise UnreadableJson(f"{key} is malformed")
    return cast("list[str]", value)


def written(members: Mapping[str, object]) -> bytes:
    """Write an object in ASCII without spaces."""
    return json.dumps(members, separators=(",", ":")).encode("ascii")
