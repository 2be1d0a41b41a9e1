"""Whether a text that a forge made up repeats the credential that it was shown.

A forge's words reach a sandbox in one place only: a refusal names where a repository has moved to. A hostile forge can
write the credential there, so a name that holds a piece of it, in any case (names are folded) and in any usual dress,
is not repeated. Stops what is simple, not what is clever: who may choose words may encode anything in them, and a
forge that wants to give its credential away has the bodies of its answers for that (docs/attacks.md).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 12
"""Characters in a row that count as a repetition; a shorter credential counts as a whole."""


def echoes(secret: str, text: str) -> bool:
    """Whether ``text`` holds a piece of ``secret``: plain, reversed, in hexadecimal or base64, in whatever case."""
    folded = text.lower()
    return any(dress in folded for dress in _dresses(secret))


def _dresses(secret: str) -> Iterator[str]:
    """Yield each piece in each dress, in lower case."""
    for start in range(max(len(secret) - PIECE, 0) + 1 if secret else 0):
        piece = secret[start : start + PIECE]
        raw = piece.encode()
        yield piece.lower()
        yield piece[::-1].lower()
        yield raw.hex()
        for offset in range(3):
            yield _core(raw, offset)
            yield _core(raw, offset).replace("+", "-").replace("/", "_")


def _core(raw: bytes, offset: int) -> str:
    """Return the lower-cased characters of base64 that ``raw`` decides alone, behind ``offset`` bytes of anything."""
    encoded = base64.b64encode(bytes(offset) + raw).decode("ascii")
    return encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6].lower()
