"""From a body (``strict_json``) to one object, and from its members to values of the expected kind.

A number with a fraction where a count is expected is refused. Unknown members are not looked at and not kept: what
credgate sends is built from the values that came out of here. Raises :class:`UnreadableJson`, whose text names the
member and never holds its value; who reads knows whose fault that is.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, cast

from credgate import strict_json
from credgate.strict_json import JsonError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REQUEST: Final = 1024 * 1024
"""Bytes of a request's body: a batch of 100 objects, git-lfs's own number, has some 11,000."""
MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of a forge's answer: each action may hold kilobytes of signature."""
REQUEST_VALUES: Final = 16_000
"""Values in a request: an object of a batch has five, names included, and there are at most 1,000."""
ANSWER_VALUES: Final = strict_json.MAX_VALUES
"""Values in an answer: 1,000 objects with 75 each, or 5,000 locks with fifteen."""
MAX_NUMBER: Final = 2**53 - 1
"""What every reader of JSON holds exactly."""
MAX_TEXT: Final = 4096
"""Characters of a text that has no pattern."""

# Controls, line and paragraph separators, what turns the direction of text, and halves of surrogate pairs.
_UNSHOWN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UnreadableJson(ValueError):  # noqa: N818 - it reads as what it is where it is raised
    """A body is not what was meant; ``str()`` says in a few words where."""


Members = dict[str, object]


def read_object(body: bytes | bytearray, *, most: int) -> Members:
    """Return the one JSON object that ``body`` holds, of at most ``most`` values (``strict_json``)."""
    try:
        return strict_json.read_object(body, most=most)
    except JsonError as error:
        raise UnreadableJson(str(error)) from None


def text(members: Mapping[str, object], key: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return a text that matches ``pattern`` whole; without one, any bounded text without control characters."""
    value = members.get(key)
    if not isinstance(value, str) or not (pattern.fullmatch(value) if pattern else printable(value)):
        raise UnreadableJson(f"{key} is missing or malformed")
    return value


def optional_text(members: Mapping[str, object], key: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return the same, or ``""`` where there is none: absent, null or empty."""
    return text(members, key, pattern) if members.get(key) not in (None, "") else ""


def printable(value: str) -> bool:
    """Whether it can be shown in one line, and sent as UTF-8. Blanks of every script are: files are named so."""
    return 0 < len(value) <= MAX_TEXT and _UNSHOWN.search(value) is None


def number(members: Mapping[str, object], key: str, most: int = MAX_NUMBER) -> int:
    """Return a whole number from 0 to ``most``."""
    value = members.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UnreadableJson(f"{key} is missing or malformed")
    return value


def flag(members: Mapping[str, object], key: str) -> bool:
    """Return true or false; false where there is none."""
    value = members.get(key)
    if value is not None and not isinstance(value, bool):
        raise UnreadableJson(f"{key} is malformed")
    return bool(value)


def inner(members: Mapping[str, object], key: str) -> Members | None:
    """Return an object inside, None where there is none."""
    value = members.get(key)
    if value is not None and not isinstance(value, dict):
        raise UnreadableJson(f"{key} is malformed")
    return cast("Members | None", value)


def listed(members: Mapping[str, object], key: str, most: int) -> list[Members]:
    """Return a list of at most ``most`` objects; no list, or null, is an empty one (Go writes null)."""
    value = members.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, dict) for one in value):
        raise UnreadableJson(f"{key} is malformed")
    return cast("list[Members]", value)


def texts(members: Mapping[str, object], key: str, most: int) -> list[str] | None:
    """Return a list of at most ``most`` texts; None where there is none."""
    value = members.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) for one in value):
        raise UnreadableJson(f"{key} is malformed")
    return cast("list[str]", value)


def written(members: Mapping[str, object]) -> bytes:
    """Write one object, as small as it gets, in ASCII."""
    return json.dumps(members, separators=(",", ":")).encode("ascii")
