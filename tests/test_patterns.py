"""The regular expressions that are compiled at import match the same on every supported Python."""

from __future__ import annotations

import importlib
import pkgutil
import re
from re import _constants, _parser  # type: ignore[attr-defined]  # what a pattern is parsed into
from typing import TYPE_CHECKING, Any

import pytest

import credgate

if TYPE_CHECKING:
    from collections.abc import Iterator


def patterns() -> dict[str, re.Pattern[Any]]:
    """Return each pattern of each module by its name."""
    found = {}
    for info in pkgutil.walk_packages(credgate.__path__, "credgate."):
        module = importlib.import_module(info.name)
        named = {name: value for name, value in vars(module).items() if isinstance(value, re.Pattern)}
        found |= {f"{info.name}.{name}": value for name, value in named.items()}
    return found


def possessive_groups(node: Any) -> Iterator[object]:
    """Find the possessive repeats of more than one character."""
    if isinstance(node, _parser.SubPattern):
        for op, argument in node.data:
            if op is _constants.POSSESSIVE_REPEAT and [kind for kind, _ in argument[2].data] not in _SINGLE:
                yield argument
            yield from possessive_groups(argument)
    elif isinstance(node, list | tuple):
        for one in node:
            yield from possessive_groups(one)


_SINGLE = [[kind] for kind in (_constants.IN, _constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY)]


@pytest.mark.parametrize(
    ("text", "number"), [("[a]*+b++", 0), ("(?>(?:ab?c)*)", 0), ("x(?:ab?c)*+", 1), ("((?:ab)?+)", 1)]
)
def test_possessive_groups_are_found(text: str, number: int) -> None:
    """Characters may be repeated possessively, groups in an atomic group."""
    assert len(list(possessive_groups(_parser.parse(text)))) == number


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 matches ``(?:ab?c)*+`` with "a" (python/cpython#106052); Debian 12 has 3.11.2."""
    found = patterns()
    assert len(found) > 50
    assert "credgate.http.grammar.REQUEST_HEAD" in found
    wrong = [name for name, one in found.items() if list(possessive_groups(_parser.parse(one.pattern, one.flags)))]
    assert wrong == []
