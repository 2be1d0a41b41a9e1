"""Parses push rules as they are written, in a grant or in ``[policy]``.

    push = [{"refs": "refs/heads/agent/*", "allow": ["create", "update", "force", "delete"]}]
    push_options = ["ci.skip"]
    protected_paths = [".github/workflows/**"]

Configuration, sessions and ``credgate policy`` use the same parser, so that a rule means the same wherever it is
written. Patterns are checked here, when they are written, not when they are matched. Unknown keys and verbs are
refused: a rule that is not understood must not grant anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import InvalidValueError
from credgate.rules.patterns import PatternError, check_option, check_path_glob, check_ref_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CREATE, UPDATE, FORCE, DELETE = VERBS = ("create", "update", "force", "delete")
RULE_KEYS = ("refs", "allow")
MAX_RULES = 64
"""Ref rules in one list."""
MAX_LISTED = 64
"""Push options or protected paths in one list."""
MAX_QUOTED = 100
"""Characters of a refused value that its error repeats."""


@frozen(slots=True)
class PushRule:
    """One entry of a ``push`` list, as written: a ref pattern and the verbs that it allows."""

    refs: str
    allow: frozenset[str]
    """A subset of :data:`VERBS`."""


def parse_push(value: object) -> tuple[PushRule, ...]:
    """Parse a list of ref rules. Raises ``InvalidValueError``."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise InvalidValueError(f"push must be a list of at most {MAX_RULES} rules")
    return tuple(map(_rule, value))


def parse_options(value: object) -> tuple[str, ...]:
    """Parse an allowlist of push options. Raises ``InvalidValueError``."""
    return _patterns(value, "push_options", "push option", check_option)


def parse_globs(value: object) -> tuple[str, ...]:
    """Parse a list of protected paths. Raises ``InvalidValueError``."""
    return _patterns(value, "protected_paths", "path glob", check_path_glob)


def check_rule_label(rules: Iterable[PushRule], label: str) -> None:
    """Refuse ref patterns that cannot match in a session with this label. Raises ``InvalidValueError``."""
    for refs in (rule.refs for rule in rules if "{label}" in rule.refs):
        if not label:
            raise InvalidValueError(f"The ref pattern {quoted(refs)} needs a session with a label")
        _pattern(refs.replace("{label}", label), "ref pattern", check_ref_pattern)


def refuse_unknown_keys(given: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise ``InvalidValueError`` for the first key that is not ``known``."""
    for key in given:
        if key not in known:
            raise InvalidValueError(f"Unknown key: {quoted(key)} (known: {', '.join(known)})")


def quoted(value: object) -> str:
    """Return a refused value in a form that may be sent back: short, printable ASCII."""
    text = value if isinstance(value, str) else type(value).__name__
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= MAX_QUOTED else shown[:MAX_QUOTED] + "..."


def _rule(item: object) -> PushRule:
    if not isinstance(item, dict) or any(key not in item for key in RULE_KEYS):
        raise InvalidValueError('Each push rule must be {"refs": pattern, "allow": [verbs]}')
    refuse_unknown_keys(item, RULE_KEYS)
    refs, allow = _pattern(item["refs"], "ref pattern", check_ref_pattern), item["allow"]
    if not isinstance(allow, list) or any(verb not in VERBS for verb in allow):
        raise InvalidValueError(f"allow must be a list of {', '.join(VERBS)}")
    return PushRule(refs=refs, allow=frozenset(allow))


def _patterns(value: object, key: str, what: str, check: Callable[[str], None]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        raise InvalidValueError(f"{key} must be a list of at most {MAX_LISTED} strings")
    return tuple(dict.fromkeys(_pattern(item, what, check) for item in value))


def _pattern(value: object, what: str, check: Callable[[str], None]) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"Invalid {what}: {quoted(value)} (expected a string)")
    try:
        check(value)
    except PatternError as error:
        raise InvalidValueError(f"Invalid {what}: {quoted(value)} ({error})") from None
    return value
