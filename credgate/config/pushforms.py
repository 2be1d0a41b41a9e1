"""The forms of ``[policy]``: ref rules, push options, path globs.

They are read as a grant's are (``rules.parse``), so that a rule means the same wherever it is written; here only
the error becomes the one that all forms raise. Defaults pass through their own forms, as everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from credgate.errors import InvalidValueError
from credgate.rules import parse as push_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.rules.parse import PushRule

Values = TypeVar("Values")


def rules(value: object) -> tuple[PushRule, ...]:
    """Accept a list of ref rules. Raises ``ValueError``."""
    return _as_form(push_rules.parse_push, value)


def options(value: object) -> tuple[str, ...]:
    """Accept an allow-list of push options. Raises ``ValueError``."""
    return _as_form(push_rules.parse_options, value)


def globs(value: object) -> tuple[str, ...]:
    """Accept a list of path globs. Raises ``ValueError``."""
    return _as_form(push_rules.parse_globs, value)


def _as_form(parse: Callable[[object], Values], value: object) -> Values:
    try:
        return parse(list(value) if isinstance(value, tuple) else value)
    except InvalidValueError as error:
        raise ValueError(str(error)) from None
