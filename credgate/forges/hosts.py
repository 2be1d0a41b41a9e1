"""Whether a host is one where a forge stores its LFS objects.

A pattern is a name or address, or ``*.name`` for every name below it (never ``name`` itself). The host is from a
forge's response, which a project's settings may influence, so a ``*`` matches only what is clearly a host name. This
module resolves nothing: the addresses of a name are checked when a connection is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253
_ANY = "*."


def among(patterns: Iterable[str], host: str) -> bool:
    """Whether ``host``, without port and in any case, is one of ``patterns``; IPv6 stands without brackets."""
    name = host.lower()
    return any(_one(pattern, name) for pattern in patterns)


def _one(pattern: str, name: str) -> bool:
    if not pattern.startswith(_ANY):
        return name == pattern
    below = name.endswith(pattern.removeprefix("*"))
    return below and len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None
