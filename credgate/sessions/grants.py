"""The ``repos`` list of a create request, read into grants.

Each entry is a string (``owner/repo``: read and write on the default forge) or an object:

    {"repo": "octo/hello", "forge": "github.com", "access": "read" | "write",
     "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update", "force", "delete"]}],
     "max_push_bytes": 1048576, "max_refs": 10, "push_options": ["ci.skip"],
     "protected_paths": [".github/workflows/**"], "require_old_oid": true, "partial": false, "workflows": false,
     "max_lfs_object_bytes": 1073741824}

The driver of the forge decides which repository names and patterns are valid. ``push`` and its limits require write
access; ``max_lfs_object_bytes`` applies to read grants too. Unknown keys, forges and verbs are refused: a grant that
is not understood must not grant anything.
``rules.parse`` reads push rules, options and paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from credgate.errors import InvalidValueError
from credgate.rules.parse import check_rule_label, parse_globs, parse_options, parse_push, quoted, refuse_unknown_keys
from credgate.sessions.model import Grant
from credgate.values import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


LIMIT_KEYS = (
    "max_push_bytes",
    "max_refs",
    "push_options",
    "protected_paths",
    "require_old_oid",
    "partial",
    "workflows",
    "max_lfs_object_bytes",
)
READ_KEYS = frozenset({"max_lfs_object_bytes"})
"""Limits that a read grant may have, too."""
GRANT_KEYS = ("repo", "forge", "access", "push", *LIMIT_KEYS)
# Grants of one session. With so many, creating the session and each ``/whoami`` take about 10 ms.
MAX_REPOS = 1000
# The largest limit: a JSON number (a double) holds every whole number up to this exactly.
MAX_NUMBER = 2**53
# Characters in the ref patterns and path globs of one grant together: about 10 ms to compile.
MAX_PATTERNS = 4096


class Names(Protocol):
    """The part of ``forges.driver.Driver`` that reads repository names."""

    def normal_pattern(self, text: str) -> str | None:
        """Return the normal form of a repository name or pattern; None if it is not valid on this forge."""


def parse_repos(value: object, forges: Mapping[str, Names], default_forge: str) -> tuple[Grant, ...]:
    """Read ``repos``; raise InvalidValueError."""
    if not isinstance(value, list):
        raise InvalidValueError("repos must be a list")
    if len(value) > MAX_REPOS:
        raise InvalidValueError(f"repos must hold at most {MAX_REPOS} grants; a pattern such as octo/* stands for many")
    return tuple(_grant(item, forges, default_forge) for item in value)


def written(grant: Grant) -> dict[str, object]:
    """Return ``grant`` in the JSON form that :func:`parse_repos` reads, without the limits that are not set."""
    entry: dict[str, object] = {"repo": grant.repo, "forge": grant.forge, "access": str(grant.access)}
    if grant.push is not None:
        entry["push"] = [{"refs": rule.refs, "allow": sorted(rule.allow)} for rule in grant.push]
    for key in LIMIT_KEYS:
        value = getattr(grant, key)
        if value:
            entry[key] = list(value) if isinstance(value, tuple) else value
    return entry


def _grant(item: object, forges: Mapping[str, Names], default_forge: str) -> Grant:
    if isinstance(item, str):
        item = {"repo": item}
    if not isinstance(item, dict) or not isinstance(item.get("repo"), str):
        raise InvalidValueError("Each repo must be in owner/repo format")
    refuse_unknown_keys(item, GRANT_KEYS)
    forge = _forge(item.get("forge", default_forge), forges)
    access = item.get("access", Access.WRITE)
    if not isinstance(access, str) or access not in tuple(Access):
        raise InvalidValueError(f'access must be "read" or "write", not {quoted(access)}')
    repo, normal = _repo(item["repo"], forges[forge])
    given = {key: item[key] for key in ("push", *LIMIT_KEYS) if item.get(key) is not None}
    writing = [key for key in given if key not in READ_KEYS]
    if writing and access != Access.WRITE:
        raise InvalidValueError(f'{writing[0]} needs "access": "write"')
    values = {key: _FORMS[key](value) for key, value in given.items()}
    # The patterns are compiled on the session's first push, and the reactor serves nobody else meanwhile.
    refs, globs = [rule.refs for rule in values.get("push", ())], values.get("protected_paths", ())
    if sum(map(len, (*refs, *globs))) > MAX_PATTERNS:
        raise InvalidValueError(f"the patterns of a grant may have at most {MAX_PATTERNS} characters in all")
    return Grant(repo=repo, forge=forge, access=Access(access), normal=normal, **values)


def _forge(value: object, forges: Mapping[str, Names]) -> str:
    if not isinstance(value, str) or value not in forges:
        raise InvalidValueError(f"Unknown forge: {quoted(value)} (configured: {', '.join(forges)})")
    return value


def _repo(text: str, names: Names) -> tuple[str, str]:
    """Return the writer's spelling without ``.git``, and the normal form."""
    normal = names.normal_pattern(text)
    if normal is None:
        raise InvalidValueError(f"Invalid repo format: {quoted(text)}")
    return text.removesuffix(".git"), normal


def check_label(grants: Iterable[Grant], label: str) -> None:
    """Refuse ref patterns that cannot match anything in a session of this label; raise InvalidValueError."""
    for grant in grants:
        check_rule_label(grant.push or (), label)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_NUMBER:
        raise InvalidValueError(f"limits such as max_push_bytes are whole numbers from 1, not {quoted(value)}")
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"require_old_oid, partial and workflows are true or false, not {quoted(value)}")
    return value


_FORMS: dict[str, Callable[[object], Any]] = {
    "push": parse_push,
    "max_push_bytes": _number,
    "max_refs": _number,
    "max_lfs_object_bytes": _number,
    "push_options": parse_options,
    "protected_paths": parse_globs,
    "require_old_oid": _switch,
    "partial": _switch,
    "workflows": _switch,
}
