"""From the bytes of a control request's body to one JSON value, or to a text that says what is wrong.

Stricter than ``json.loads``, because what two readers understand differently is refused: UTF-8 only (RFC 8259,
section 8.1), no member named twice, no ``NaN`` nor ``Infinity``, nesting counted before anything recurses. The caller
bounds the size; the limit stands here so that it is written once.

Never here: what the value means (``sessions.body``), and the body's own bytes in an error text.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from credgate.errors import InvalidValueError

MAX_BODY = 64 * 1024
"""Bytes of a control request's body; one more is answered 413."""
MAX_DEPTH = 8
"""Arrays and objects inside each other; a create needs four."""

_JSON_TYPE = re.compile(rb"[ \t]*application/json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_STRUCTURE = re.compile(r'"(?>(?:[^"\\]++|\\.)*)"?+|[\[\]{}]', re.DOTALL)
"""A string, which hides brackets, or a bracket. Atomic: linear in the length of any input."""


def is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type names JSON. Absent counts: there is nothing else a body could be here."""
    return content_type is None or _JSON_TYPE.fullmatch(content_type) is not None


def parse_json(raw: bytes) -> object:
    """Return the one JSON value that ``raw`` holds.

    Raises InvalidValueError for an empty body, what is no UTF-8 or no JSON, a member given twice, a number that is no
    number, or nesting beyond ``MAX_DEPTH``.
    """
    if not raw.strip():
        raise InvalidValueError("the request needs a JSON object as its body")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidValueError("the body is not UTF-8") from None
    _check_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
    except ValueError:  # JSONDecodeError, and what int() says of more than 4300 digits
        raise InvalidValueError("the body is not JSON") from None


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidValueError(f"the body is nested deeper than {MAX_DEPTH} levels")
        elif match[0] in ("]", "}"):
            depth -= 1


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Which of the two counts differs from reader to reader: a script's own check could be walked around.
        raise InvalidValueError("the body gives the same key twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise InvalidValueError(f"the body holds {name}, which is not JSON")
