"""The rules for repository names that all forges share, before their own.

A path is one or more segments of ASCII letters, digits and ``. _ - ~ +``, separated by single slashes. ``.`` and ``..``
are not segments, no segment ends in a dot (some file systems drop it), and ``.git`` is a suffix of the last segment at
most once, in lower case: ``x.git.git``, ``x.GIT``, ``x.git/y`` and ``.git`` alone are ambiguous and refused. Segments
that are git's own endpoints are refused, so that path and endpoint can be separated in one way only. Nothing is
decoded: a percent sign is not in the alphabet.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

MAX_PATH = 255
"""Maximum characters of a repository path, including ``.git``."""

# Without a percent sign, because nothing is decoded.
_PATH = re.compile(r"[A-Za-z0-9._~+-]+(?:/[A-Za-z0-9._~+-]+)*")
_SERVICES = frozenset({"git-upload-pack", "git-receive-pack", "git-upload-archive"})
_UNDER_INFO = frozenset({"refs", "lfs"})


@lru_cache(maxsize=1024)
def bare_path(path: str) -> str | None:
    """Return ``path`` without its ``.git`` suffix, letters unchanged; ``None``: not legal on any forge."""
    if len(path) > MAX_PATH or _PATH.fullmatch(path) is None:
        return None
    segments = path.removesuffix(".git").split("/")
    if not all(map(_legal, segments)) or _holds_endpoint(segments):
        return None
    return "/".join(segments)


def pair(path: str, owner: re.Pattern[str], repo: re.Pattern[str]) -> tuple[str, str] | None:
    """Return the two segments of a legal path, without ``.git``, if they fully match ``owner`` and ``repo``.

    The patterns must not match an empty string: it is the second segment of a path with one segment.
    """
    first, _, second = (bare_path(path) or "").partition("/")
    return (first, second) if owner.fullmatch(first) and repo.fullmatch(second) else None


def _legal(segment: str) -> bool:
    """Whether it is not empty (``x/.git``), has no trailing dot, and no second or upper-case ``.git``."""
    # Some file systems drop a trailing dot; a second ``.git`` would make the name ambiguous.
    return bool(segment) and not segment.endswith(".") and not segment.lower().endswith(".git")


def _holds_endpoint(segments: list[str]) -> bool:
    """Whether the path contains an endpoint that git appends to a path."""
    folded = [segment.lower() for segment in segments]
    if not _SERVICES.isdisjoint(folded):
        return True
    return any(one == "info" and two in _UNDER_INFO for one, two in pairwise(folded))
