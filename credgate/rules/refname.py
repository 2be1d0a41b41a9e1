"""Decides which ref names are valid: the rules of git's ``check-ref-format`` and a few more.

Names are bytes and are compared as bytes. Follows ``git-check-ref-format(1)``. In addition, a name must start with
``refs/NAMESPACE/``, be valid UTF-8, and have at most 1024 bytes. This module does not decide whether a session may push
to a ref.
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
    rb"|\.lock(?:/|\Z)"  # rule 1: or ends in .lock
    rb"|\.\Z"  # rule 7
)
# The common names, which no rule can refuse: checked in one pass.
_PLAIN = re.compile(rb"refs(?:/[A-Za-z0-9_+-]+){2,}")
_NAMESPACE = re.compile(rb"refs/[^/]+/[^/]")


def breaks_lines(ref: bytes) -> bool:
    """Whether the name contains a space or control byte, which would break git's line formats."""
    return _BREAKING.search(ref) is not None


def fault(ref: bytes) -> str | None:
    """Return why ``ref`` is not a valid name to push to, or ``None`` if it is valid."""
    if len(ref) > MAX_REF:
        return f"a ref name may have at most {MAX_REF} bytes"
    if _PLAIN.fullmatch(ref) is not None:
        return None
    if _NAMESPACE.match(ref) is None:
        return "a full ref name is required, such as refs/heads/<branch> or refs/tags/<tag>"
    if breaks_lines(ref) or _FORBIDDEN.search(ref) is not None:
        return "invalid ref name (see git help check-ref-format)"
    try:
        ref.decode("utf-8")
    except UnicodeDecodeError:
        return "a ref name must be valid UTF-8"
    return None
