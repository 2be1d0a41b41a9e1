"""Which credential a repository gets: the most specific pattern's, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.errors import ConfigError
from credgate.forges.choice import Choice, normal_patterns
from credgate.forges.registry import driver_for
from credgate.sessions import scope
from credgate.sessions.model import Grant
from credgate.values import Access, RepoPath

FOUR = Choice({"a/*": "below a", "a/b/*": "below b", "a/b/c": "its own", "x/y": "of y"})
ALL = Choice({**FOUR.patterns, "**": "the rest"})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/b/c", "its own"),
        ("a/b/d", "below b"),
        ("a/b/d/e", "below b"),
        ("a/b", "below a"),
        ("a/c", "below a"),
        ("x/y", "of y"),
        ("a", None),
        ("ab/c", None),
        ("x/y.wiki", None),
        ("x/y/z", None),
        ("x/z", None),
        ("", None),
    ],
)
def test_the_most_specific_pattern_wins(path: str, found: str | None) -> None:
    """What none matches gets none, unless a ``**`` says what the rest gets."""
    assert FOUR.find(path) == found
    assert ALL.find(path) == (found or "the rest")


@pytest.mark.parametrize(
    ("grant", "found"),
    [
        ("a/b/c", ["its own"]),
        ("a/*", ["below a", "below b", "its own"]),
        ("a/b/*", ["below b", "its own"]),
        ("x/*", ["of y"]),
        ("y/*", []),
        ("**", ["below a", "below b", "its own", "of y"]),
    ],
)
def test_a_grant_may_use_several(grant: str, found: list[str]) -> None:
    """A page about a session names them all, not one that happens to be asked first."""
    assert FOUR.within(grant) == found


def test_the_usual_one_comes_first() -> None:
    """For a pattern it is what most of its repositories get."""
    assert ALL.within("x/*") == ["the rest", "of y"]
    assert ALL.within("**")[0] == "the rest"


_SEGMENT = st.sampled_from(["a", "b", "ab", "a.b"])
_PATH = st.lists(_SEGMENT, min_size=1, max_size=4).map("/".join)
_PATTERN = _PATH | _PATH.map("{}/*".format) | st.just("**")


@given(st.sets(_PATTERN), _PATH)
def test_patterns_agree_with_grants(patterns: set[str], path: str) -> None:
    """Judged by ``sessions.scope``: what is found matches, and nothing that matches is more specific."""

    def matches(pattern: str) -> bool:
        grant = Grant(pattern, "f", Access.READ, normal=pattern)
        return scope.find([grant], RepoPath("f", path), Access.READ).decision.allow

    def specific(pattern: str) -> tuple[bool, int]:
        return (not pattern.endswith("*"), 0 if pattern == "**" else len(pattern))

    found = Choice({one: one for one in patterns}).find(path)
    matching = [one for one in patterns if matches(one)]
    assert found == max(matching, key=specific, default=None)


@given(st.sets(_PATTERN), _PATTERN, _PATH)
def test_within_includes_the_credential_of_every_repository_of_a_grant(
    patterns: set[str], grant: str, path: str
) -> None:
    choice = Choice({one: one for one in patterns})
    inside = scope.find([Grant(grant, "f", Access.READ, normal=grant)], RepoPath("f", path), Access.READ)
    found = choice.find(path)
    if inside.decision.allow and found is not None:
        assert found in choice.within(grant)


GITHUB = driver_for(ForgeConfig("github.com", "github", "https://github.com"))


def test_patterns_are_compared_as_the_forge_compares() -> None:
    """GitHub folds letters; ``.git`` is no part of a name."""
    assert normal_patterns({"Octo/*": "1", "octo/Hello.git": "2", "**": "3"}, GITHUB) == {
        "octo/*": "1",
        "octo/hello": "2",
        "**": "3",
    }


@pytest.mark.parametrize("pattern", ["", "octo", "octo/hello/x", "*", "octo/**", "oc*/x", "/octo/x"])
def test_an_invalid_pattern_is_an_error(pattern: str) -> None:
    """It would match nothing, and its repositories would silently have no credential."""
    with pytest.raises(ConfigError, match="not a pattern of repositories") as caught:
        normal_patterns({pattern: "x"}, GITHUB)
    assert caught.value.key == pattern


def test_two_spellings_of_one_pattern_are_an_error() -> None:
    """Which of the two credentials was meant is anybody's guess."""
    with pytest.raises(ConfigError, match="names the same repositories"):
        normal_patterns({"octo/hello": "1", "Octo/Hello": "2"}, GITHUB)
