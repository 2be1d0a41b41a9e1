"""Which of a forge's credentials a repository gets: that of the most specific pattern that matches it.

Patterns are those of grants (``owner/repo``, ``owner/*`` at any depth below, ``**``), in the driver's normal form, and
so is the repository. The repository's own name beats every ``/*``, a longer ``/*`` beats a shorter one, and ``**``
(where a plain ``credential`` stands, too) is last. What no pattern matches has no credential: never the nearest
other's. Pure; holds whatever a pattern stands for without looking at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from credgate.errors import ConfigError
from credgate.sessions.scope import BELOW, EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.forges.driver import Driver

T = TypeVar("T")


@frozen(slots=True)
class Choice(Generic[T]):
    """What patterns stand for. Asked on every request: one look-up a segment of the path."""

    patterns: Mapping[str, T]
    """By normal form."""

    def find(self, path: str) -> T | None:
        """Return what the repository ``path`` gets (or the grant ``owner/*``, as a whole); ``None``: nothing."""
        if (own := self.patterns.get(path)) is not None:
            return own
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if (found := self.patterns.get(above + BELOW)) is not None:
                return found
        return self.patterns.get(EVERYTHING)

    def within(self, pattern: str) -> list[T]:
        """Return all that repositories which the grant ``pattern`` covers may get, the usual one first."""
        usual = self.find(pattern)
        found = [] if usual is None else [usual]
        if pattern == EVERYTHING or pattern.endswith(BELOW):
            above = "" if pattern == EVERYTHING else pattern.removesuffix("*")
            found += [one for key, one in self.patterns.items() if key.startswith(above)]
        return list(dict.fromkeys(found))


def normal_patterns(written: Mapping[str, str], driver: Driver) -> dict[str, str]:
    """Return the written patterns' values by normal form; raise ``ConfigError`` (without file) for one that is none."""
    found: dict[str, str] = {}
    for pattern, value in written.items():
        normal = driver.normal_pattern(pattern)
        if normal is None:
            raise ConfigError('not a pattern of repositories; write "owner/repo", "owner/*" or "**"', key=pattern)
        if normal in found:
            raise ConfigError("another pattern here names the same repositories", key=pattern)
        found[normal] = value
    return found
