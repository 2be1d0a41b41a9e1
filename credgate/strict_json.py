"""Reads JSON from clients and forges strictly, with limits on its size and depth.

Refused is what two readers may understand differently: a member that occurs twice, ``NaN`` and ``Infinity``, and text
that is not UTF-8 (RFC 8259 sections 4, 6 and 8.1). ``json.loads`` cannot be interrupted, so values and nesting are
counted before it runs. The caller bounds the bytes. No error text contains a byte of the body.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn, cast

MAX_VALUES: Final = 75_000
"""Values and names in one body, counted as :func:`size` does. They take about 10 ms to read and 8 MiB to hold.

A limit in bytes would not bound the work: a megabyte holds 350,000 empty objects.
"""

# A string, which may contain brackets, or a bracket. Possessive and atomic, so that the time is linear in any input.
_STRUCTURE = re.compile(r'"(?>(?:[^"\\]++|\\.)*)"?+|[\[\]{}]', re.DOTALL)


class JsonError(ValueError):
    """The body is not strict JSON within the limits; ``str()`` says why."""


def size(body: bytes | bytearray) -> int:
    """Return an upper bound of the number of values and names in ``body``; takes less than a millisecond for a MiB.

    Each value but the first follows one of four characters. Those in strings are counted too: a URL has one or more.
    """
    return 1 + sum(map(body.count, (b",", b":", b"[", b"{")))


def read_value(body: bytes | bytearray, *, most: int = MAX_VALUES, depth: int | None = None) -> object:
    """Return the JSON value in ``body``, nested at most ``depth`` levels; raise JsonError."""
    if size(body) > most:
        raise JsonError(f"the body has more than {most} values")
    try:
        text = bytes(body).decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("the body is not UTF-8") from None
    if depth is not None:
        _check_depth(text, depth)
    try:
        return json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
    except JsonError:
        raise
    except (ValueError, RecursionError):  # JSONDecodeError, int() of more than 4300 digits; deep nesting
        raise JsonError("the body is not JSON") from None


def read_object(body: bytes | bytearray, *, most: int = MAX_VALUES) -> dict[str, object]:
    """Return the JSON object in ``body``; raise JsonError."""
    value = read_value(body, most=most)
    if not isinstance(value, dict):
        raise JsonError("the body is not a JSON object")
    return cast("dict[str, object]", value)


def _check_depth(text: str, most: int) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in ("[", "{"):
            depth += 1
            if depth > most:
                raise JsonError(f"the body is nested deeper than {most} levels")
        elif match[0] in ("]", "}"):
            depth -= 1


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Readers differ in which of the two they use, so a check by another program could be bypassed.
        raise JsonError("the body has a duplicate key")
    return members


def _no_constant(name: str) -> NoReturn:
    raise JsonError(f"the body contains {name}, which is not JSON")
