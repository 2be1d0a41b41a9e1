"""Strict JSON reader for bodies from others, with a bound on the number of values.

A size in bytes does not bound the work: a megabyte holds 350,000 empty objects, which take tens of milliseconds and
20 MiB. ``json.loads`` cannot be interrupted, so the values are counted before it begins. Input that two readers could
understand differently is refused: duplicate keys, ``NaN`` and infinities, bytes that are not UTF-8. No error text holds
a byte of the body.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn, cast

MAX_VALUES: Final = 75_000
"""Values and names in one body, counted as :func:`size` does: about 10 ms to read, 8 MiB to hold."""


class JsonError(ValueError):
    """The body is not one strict JSON object; ``str()`` is the reason in a few words."""


def size(body: bytes | bytearray) -> int:
    """Return an upper bound of the values and names in ``body``; a MiB takes a fraction of a millisecond."""
    # Each but the first follows one of four characters. Those inside strings count too: a URL has one or more.
    return 1 + sum(map(body.count, (b",", b":", b"[", b"{")))


def read_object(body: bytes | bytearray, *, most: int = MAX_VALUES) -> dict[str, object]:
    """Return the one JSON object that ``body`` holds; raise JsonError."""
    if size(body) > most:
        raise JsonError(f"the body has more than {most} values")
    try:
        value = json.loads(bytes(body).decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except JsonError:
        raise
    except (ValueError, RecursionError):  # JSONDecodeError, UnicodeDecodeError, int() of 4300 digits; deep nesting
        raise JsonError("the body is not JSON") from None
    if not isinstance(value, dict):
        raise JsonError("the body is not a JSON object")
    return cast("dict[str, object]", value)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("the body has a duplicate key")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise JsonError("the body has a number that JSON does not allow")
