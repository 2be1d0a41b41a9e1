"""Reading the ``repos`` list of a create request into grants.

Each entry is a string (``owner/repo``: read and write on the default forge) or an object:

    {"repo": "octo/hello", "forge": "github.com", "access": "read" | "write",
     "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update", "force", "delete"]}]}

What a repository or pattern is called, the forge's driver says; this module never guesses at a name. ``push`` belongs
to a write grant only. Unknown keys, forges and verbs are refused: a grant that is not understood grants nothing.
Ref patterns follow git-check-ref-format(1), with ``*`` allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from credgate.errors import InvalidValueError
from credgate.sessions.model import Grant, PushRule
from credgate.values import Access

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GRANT_KEYS = ("repo", "forge", "access", "push")
RULE_KEYS = ("refs", "allow")
VERBS = ("create", "update", "force", "delete")
MAX_RULES = 64
"""Ref rules in one grant."""
MAX_REF = 255
"""Characters of a ref pattern."""
MAX_QUOTED = 100
"""Characters of a refused value that its error repeats."""

# git-check-ref-format(1): components separated by single slashes, none beginning with "." or ending in "." or ".lock",
# no control characters, space, ~ ^ : ? [ \ (and no ".." or "@{" anywhere); ASCII only here, and "*" is the pattern's.
_COMPONENT = re.compile(r"(?!\.)[!-.0-9;-\]_-}]+(?<!\.)(?<!\.lock)")
_NOT_IN_REFS = ("..", "@{", "?", "[", "\\")


class Names(Protocol):
    """What a forge's driver says about names (a part of ``forges.driver.Driver``)."""

    def normal_pattern(self, text: str) -> str | None:
        """Return the normal form of a repository name or pattern; None: not a legal one there."""


def parse_repos(value: object, forges: Mapping[str, Names], default_forge: str) -> tuple[Grant, ...]:
    """Judge ``repos``; raise InvalidValueError."""
    if not isinstance(value, list):
        raise InvalidValueError("repos must be a list")
    return tuple(_grant(item, forges, default_forge) for item in value)


def refuse_unknown_keys(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise InvalidValueError for the first key that is not ``known``."""
    for key in given:
        if key not in known:
            raise InvalidValueError(f"Unknown key: {quoted(key)} (known: {', '.join(known)})")


def quoted(value: object) -> str:
    """Make a refused value fit to be repeated to its sender: bounded, printable ASCII."""
    text = value if isinstance(value, str) else type(value).__name__
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= MAX_QUOTED else shown[:MAX_QUOTED] + "..."


def _grant(item: object, forges: Mapping[str, Names], default_forge: str) -> Grant:
    if isinstance(item, str):
        item = {"repo": item}
    if not isinstance(item, dict) or not isinstance(item.get("repo"), str):
        raise InvalidValueError("Each repo must be in owner/repo format")
    refuse_unknown_keys(item, GRANT_KEYS)
    forge = _forge(item.get("forge", default_forge), forges)
    access = _access(item.get("access", Access.WRITE))
    repo, normal = _repo(item["repo"], forges[forge])
    push = None if item.get("push") is None else _push(item["push"], access)
    return Grant(repo=repo, forge=forge, access=access, push=push, normal=normal)


def _forge(value: object, forges: Mapping[str, Names]) -> str:
    if not isinstance(value, str) or value not in forges:
        raise InvalidValueError(f"Unknown forge: {quoted(value)} (configured: {', '.join(forges)})")
    return value


def _access(value: object) -> Access:
    if not isinstance(value, str) or value not in tuple(Access):
        raise InvalidValueError(f'access must be "read" or "write", not {quoted(value)}')
    return Access(value)


def _repo(text: str, names: Names) -> tuple[str, str]:
    """Return the writer's spelling without ``.git``, and the normal form."""
    normal = names.normal_pattern(text)
    if normal is None:
        raise InvalidValueError(f"Invalid repo format: {quoted(text)}")
    return text.removesuffix(".git"), normal


def _push(value: object, access: Access) -> tuple[PushRule, ...]:
    if access is not Access.WRITE:
        raise InvalidValueError('push needs "access": "write"')
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise InvalidValueError(f"push must be a list of at most {MAX_RULES} rules")
    return tuple(_rule(item) for item in value)


def _rule(item: object) -> PushRule:
    if not isinstance(item, dict) or any(key not in item for key in RULE_KEYS):
        raise InvalidValueError('Each push rule must be {"refs": pattern, "allow": [verbs]}')
    refuse_unknown_keys(item, RULE_KEYS)
    refs, allow = item["refs"], item["allow"]
    if not isinstance(refs, str) or not _is_ref_pattern(refs):
        raise InvalidValueError(f"Invalid ref pattern: {quoted(refs)}")
    if not isinstance(allow, list) or any(verb not in VERBS for verb in allow):
        raise InvalidValueError(f"allow must be a list of {', '.join(VERBS)}")
    return PushRule(refs=refs, allow=frozenset(allow))


def _is_ref_pattern(text: str) -> bool:
    first, *rest = text.split("/")
    if first != "refs" or not rest or len(text) > MAX_REF or any(bad in text for bad in _NOT_IN_REFS):
        return False
    return all(_COMPONENT.fullmatch(part) for part in rest)
