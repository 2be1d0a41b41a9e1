"""Which of a forge's credentials a repository gets: that of the most specific pattern that matches it.

Patterns have the form of grants (``owner/repo``, ``owner/*`` at any depth below, ``**``). Patterns and repositories are
in the driver's normal form. The repository's own name comes first, then a longer ``/*`` before a shorter one, then
``**``, which is also the pattern of a plain ``credential``. A repository that no pattern matches has no credential.
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
    """The values of patterns. Used on every request: one look-up a segment of the path."""

    patterns: Mapping[str, T]
    """By normal form."""

    def find(self, path: str) -> T | None:
        """Return the value for the repository ``path``, or for the grant ``owner/*`` as a whole; ``None``: none."""
        if (own := self.patterns.get(path)) is not None:
            return own
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if (found := self.patterns.get(above + BELOW)) is not None:
                return found
        return self.patterns.get(EVERYTHING)

    def within(self, pattern: str) -> list[T]:
        """Return the values for all repositories that the grant ``pattern`` covers, the usual one first."""
        usual = self.find(pattern)
        found = [] if usual is None else [usual]
        if pattern == EVERYTHING or pattern.endswith(BELOW):
            above = "" if pattern == EVERYTHING else pattern.removesuffix("*")
            found += [one for key, one in self.patterns.items() if key.startswith(above)]
        return list(dict.fromkeys(found))


def normal_patterns(written: Mapping[str, str], driver: Driver) -> dict[str, str]:
    """Return the values by normal pattern. Raises ``ConfigError`` (without a file) for an invalid pattern."""
    found: dict[str, str] = {}
    for pattern, value in written.items():
        normal = driver.normal_pattern(pattern)
        if normal is None:
            raise ConfigError('not a pattern of repositories; write "owner/repo", "owner/*" or "**"', key=pattern)
        if normal in found:
            raise ConfigError("another pattern here names the same repositories", key=pattern)
        found[normal] = value
    return found
