"""The text of a refusal as every protocol shows it: one printable line of bounded length that names credgate.

git's formats (``git.refusal``) and git-lfs's JSON (``lfs.refusals``) contain it. The text comes from a decision or from
a forge; whatever it holds, no control character reaches the client's terminal.
"""

from __future__ import annotations

MAX_REASON = 200
"""Bytes of a reason, as UTF-8."""
_NAME = "credgate: "


def one_line(text: str, limit: int = MAX_REASON) -> bytes:
    """Return ``text`` as one line of at most ``limit`` bytes of UTF-8; unprintable characters become ``?``."""
    seen = "".join(char if char.isprintable() else "?" for char in text)
    return seen.encode("utf-8")[:limit].decode("utf-8", "ignore").encode("utf-8")


def named(text: str) -> bytes:
    """Return the same, with ``credgate: `` before it."""
    return one_line(text if text.startswith(_NAME) else _NAME + text)
