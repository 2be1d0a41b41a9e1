r"""Finds a secret in recorded bytes, in any encoding.

A secret is found if any 16 consecutive bytes of it appear plain, reversed, in hexadecimal, percent-encoded, as JSON
``\u`` escapes, or within base64 of a text that held it at any offset (standard and URL alphabets).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 16


def _windows(secret: bytes) -> list[bytes]:
    return [secret[start : start + PIECE] for start in range(max(1, len(secret) - PIECE + 1))]


def _base64_cores(piece: bytes) -> Iterator[bytes]:
    """Yield the characters of base64 that this piece decides alone, for each of the three offsets."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + piece)
        start, end = -(-offset * 8 // 6), (offset + len(piece)) * 8 // 6
        core = encoded[start:end]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


def _dresses(piece: bytes) -> Iterator[tuple[str, bytes]]:
    """Return each form, in lower case where case has no meaning."""
    yield "plain", piece
    yield "reversed", piece[::-1]
    yield "hexadecimal", piece.hex().encode()
    yield "percent", "".join(f"%{byte:02x}" for byte in piece).encode()
    yield "json", "".join(f"\\u{byte:04x}" for byte in piece).encode()
    for core in _base64_cores(piece):
        yield "base64", core


def traces(secret: str, haystack: bytes) -> set[str]:
    """Return the encodings in which the secret, or a piece of it, was found."""
    folded = haystack.lower()
    found: set[str] = set()
    for piece in _windows(secret.encode()):
        for dress, needle in _dresses(piece):
            where = haystack if dress in {"plain", "reversed", "base64"} else folded
            if needle in where:
                found.add(dress)
    return found
