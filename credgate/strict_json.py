"""JSON that somebody else wrote, read strictly and within a bound on how much there is in it.

A size in bytes does not bound the work: a megabyte holds 350,000 empty objects, which take tens of milliseconds and
20 MiB. ``json.loads`` cannot be interrupted, so the values are counted before it begins. Refused as well is what two
readers could understand differently: a member named twice, ``NaN`` and its like, what is not UTF-8. An error's text
holds no byte of the body.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn, cast

MAX_VALUES: Final = 75_000
"""Values and names in one body, counted as :func:`size` does: about 10 ms to read, 8 MiB to hold."""


class JsonError(ValueError):
    """The body is not one JSON object of the strict kind; ``str()`` says in a few words why."""


def size(body: bytes | bytearray) -> int:
    """Return a number that is at least that of the values and names in ``body``, a fraction of a millisecond a MiB.

    Each but the first follows one of four characters. Those inside strings count too: a URL has one or more.
    """
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
        raise JsonError("the body gives a key twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise JsonError("the body holds a number that is none")
