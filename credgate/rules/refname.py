"""Which names a ref may have: git's ``check-ref-format``, and a few that git would take and we do not.

Names are bytes and compared as bytes. Follows ``git-check-ref-format(1)``; on top, a name starts with ``refs/`` and
has a second part, is valid UTF-8 and at most 1024 bytes. Never says whether a session may push there.
"""

from __future__ import annotations

import re

MAX_REF = 1024
"""Bytes of a ref name."""

_BREAKING = re.compile(rb"[\x00-\x20\x7f]")
_FORBIDDEN = re.compile(
    rb"[~^:?*\[\\]"  # rules 4, 5, 10: revision syntax, globs, the backslash
    rb"|\.\."  # rule 3
    rb"|@\{"  # rule 8
    rb"|//|/\Z"  # rule 6
    rb"|(?:\A|/)\."  # rule 1: no component begins with a dot
    rb"|\.lock(?:/|\Z)"  # rule 1: nor ends in .lock
    rb"|\.\Z"  # rule 7
)
_PLAIN = re.compile(rb"refs(?:/[A-Za-z0-9_+-]+){2,}")
"""Names that no rule can touch: nearly all there are, found in one pass."""
_PLACE = re.compile(rb"refs/[^/]+/[^/]")


def breaks_lines(ref: bytes) -> bool:
    """Whether the name holds a byte that could not stand in git's own reports: blanks and control bytes."""
    return _BREAKING.search(ref) is not None


def fault(ref: bytes) -> str | None:
    """Say what is wrong with ``ref`` as the name of a ref to push to; ``None``: nothing."""
    if len(ref) > MAX_REF:
        return f"a ref name has at most {MAX_REF} bytes"
    if _PLAIN.fullmatch(ref) is not None:
        return None
    if _PLACE.match(ref) is None:
        return "a ref to push to is written refs/heads/<branch> or refs/tags/<tag>"
    if breaks_lines(ref) or _FORBIDDEN.search(ref) is not None:
        return "not a ref name (see git help check-ref-format)"
    try:
        ref.decode("utf-8")
    except UnicodeDecodeError:
        return "a ref name is UTF-8"
    return None
