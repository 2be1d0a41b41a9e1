"""Rules on pushes as JSON or TOML writes them: ref rules, push options, path globs.

The configuration (``[policy]``) and the grants of a session use this one syntax, so a rule means the same in both.
A ref rule is ``{"refs": PATTERN, "allow": [VERB, ...]}``. Patterns are checked when they are written, not when they are
matched. Unknown keys and verbs are refused: a rule that is not understood must not allow anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import InvalidValueError
from credgate.rules.patterns import PatternError, check_option, check_path_glob, check_ref_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RULE_KEYS = ("refs", "allow")
VERBS = ("create", "update", "force", "delete")
MAX_RULES = 64
"""Ref rules in one list."""
MAX_LISTED = 64
"""Push options or protected paths in one list."""
MAX_QUOTED = 100
"""Characters of a refused value that its error repeats."""


@frozen(slots=True)
class PushRule:
    """A ref pattern and the verbs that it allows."""

    refs: str
    allow: frozenset[str]
    """A subset of ``VERBS``."""


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


def parse_push(value: object) -> tuple[PushRule, ...]:
    """Read a list of ref rules; raise InvalidValueError."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise InvalidValueError(f"push must be a list of at most {MAX_RULES} rules")
    return tuple(_rule(item) for item in value)


def parse_options(value: object) -> tuple[str, ...]:
    """Read an allow-list of push options; raise InvalidValueError."""
    return _patterns(value, "push_options", "push option", check_option)


def parse_globs(value: object) -> tuple[str, ...]:
    """Read a list of protected paths; raise InvalidValueError."""
    return _patterns(value, "protected_paths", "path glob", check_path_glob)


def _rule(item: object) -> PushRule:
    if not isinstance(item, dict) or any(key not in item for key in RULE_KEYS):
        raise InvalidValueError('Each push rule must be {"refs": pattern, "allow": [verbs]}')
    refuse_unknown_keys(item, RULE_KEYS)
    refs, allow = check_pattern(item["refs"], "ref pattern", check_ref_pattern), item["allow"]
    if not isinstance(allow, list) or any(verb not in VERBS for verb in allow):
        raise InvalidValueError(f"allow must be a list of {', '.join(VERBS)}")
    return PushRule(refs=refs, allow=frozenset(allow))


def _patterns(value: object, key: str, what: str, check: Callable[[str], None]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        raise InvalidValueError(f"{key} must be a list of at most {MAX_LISTED} strings")
    return tuple(dict.fromkeys(check_pattern(item, what, check) for item in value))


def check_pattern(value: object, what: str, check: Callable[[str], None]) -> str:
    """Return ``value`` if ``check`` accepts it; raise InvalidValueError that names ``what`` and quotes the value."""
    if not isinstance(value, str):
        raise InvalidValueError(f"Invalid {what}: {quoted(value)} (expected a string)")
    try:
        check(value)
    except PatternError as error:
        raise InvalidValueError(f"Invalid {what}: {quoted(value)} ({error})") from None
    return value
