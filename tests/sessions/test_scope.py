"""Scope: the table of grants against repositories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.model import Grant
from credgate.sessions.scope import MAX_LISTED, find
from credgate.values import Access, Decision, Reason, RepoPath

HUB = "github.com"


def grant(repo: str, access: Access = Access.WRITE, forge: str = HUB) -> Grant:
    """Make a grant whose forge folds case."""
    return Grant(repo=repo, forge=forge, access=access, normal=repo.lower())


@pytest.mark.parametrize(
    ("granted", "path", "expected"),
    [
        ("Octo/Hello", "octo/hello", "Octo/Hello"),
        ("octo/hello", "octo/hello", "octo/hello"),
        ("octo/*", "octo/hello", "octo/hello"),
        ("octo/*", "octo/sub/hello", "octo/sub/hello"),
        ("octo/sub/*", "octo/sub/hello", "octo/sub/hello"),
        ("**", "octo/hello", "octo/hello"),
        ("**", "a/b/c/d", "a/b/c/d"),
    ],
)
def test_granted_repository_has_the_path_of_the_grant(granted: str, path: str, expected: str) -> None:
    """The URL on the forge never contains the client's bytes."""
    match = find([grant(granted)], RepoPath(HUB, path), Access.WRITE)
    assert match.decision == Decision(allow=True, reason=Reason.ALLOWED, rule=granted)
    assert match.grant == grant(granted)
    assert match.path == expected


@pytest.mark.parametrize(
    ("granted", "path"),
    [
        ("octo/hello", "octo/hello2"),
        ("octo/hello", "octo/hell"),
        ("octo/hello", "octo/hello/wiki"),
        ("octo/hello", "octo/hello.wiki"),
        ("octo/hello", "xocto/hello"),
        ("octo/hello", "octo"),
        ("octo/*", "octo"),
        ("octo/*", "octo/"),
        ("octo/*", "octopus/hello"),
        ("octo/*", "x/octo/hello"),
        ("octo/sub/*", "octo/subway/x"),
        ("octo/sub/*", "octo/x"),
    ],
)
def test_repository_without_grant_is_outside(granted: str, path: str) -> None:
    """Prefixes and suffixes of a name do not match."""
    match = find([grant(granted)], RepoPath(HUB, path), Access.READ)
    assert not match.decision.allow
    assert match.decision.reason is Reason.OUTSIDE_SESSION
    assert (match.grant, match.path) == (None, "")


@pytest.mark.parametrize("granted", ["octo/hello", "octo/*", "**"])
def test_grant_on_another_forge_does_not_match(granted: str) -> None:
    """The same name elsewhere is another repository."""
    assert find([grant(granted)], RepoPath(HUB, "octo/hello"), Access.READ).decision.allow
    match = find([grant(granted, forge="gitlab.example")], RepoPath(HUB, "octo/hello"), Access.READ)
    assert match.decision.reason is Reason.OUTSIDE_SESSION


def test_session_without_grants_reaches_nothing() -> None:
    """An empty list is none, and the refusal says so."""
    decision = find([], RepoPath(HUB, "octo/hello"), Access.READ).decision
    assert decision.reason is Reason.OUTSIDE_SESSION
    assert decision.text == "github.com/octo/hello is outside this session, which may use nothing"


def test_read_grant_allows_reading_only() -> None:
    """The refusal lists what may be written."""
    grants = [grant("octo/docs", Access.READ), grant("octo/hello")]
    assert find(grants, RepoPath(HUB, "octo/docs"), Access.READ).decision.allow
    decision = find(grants, RepoPath(HUB, "octo/docs"), Access.WRITE).decision
    assert (decision.allow, decision.reason, decision.rule) == (False, Reason.READ_ONLY, "grants")
    assert decision.text == "this session may only read github.com/octo/docs; it may write octo/hello (write)"


def test_one_sufficient_grant_is_enough() -> None:
    """A read pattern does not restrict an exact write grant, and vice versa."""
    repo = RepoPath(HUB, "octo/hello")
    pattern, exact = grant("octo/*", Access.READ), grant("Octo/Hello", Access.WRITE)
    assert find([pattern, exact], repo, Access.WRITE).grant == exact
    assert find([exact, pattern], repo, Access.READ).grant == exact
    assert find([grant("octo/*"), grant("octo/hello", Access.READ)], repo, Access.WRITE).grant == grant("octo/*")


def test_exact_grant_is_preferred_then_the_order() -> None:
    """The chosen grant determines the ref rules."""
    repo = RepoPath(HUB, "octo/hello")
    assert find([grant("**"), grant("octo/*"), grant("octo/hello")], repo, Access.WRITE).grant == grant("octo/hello")
    assert find([grant("**"), grant("octo/*")], repo, Access.WRITE).grant == grant("**")


def test_refusal_lists_the_grants() -> None:
    """An agent that reads it can continue."""
    grants = [grant("octo/hello"), grant("team/lib", Access.READ, "gitlab.example")]
    text = find(grants, RepoPath(HUB, "octo/other"), Access.READ).decision.text
    assert text == (
        "github.com/octo/other is outside this session, which may use "
        "octo/hello (write), gitlab.example/team/lib (read)"
    )


def test_refusal_is_bounded() -> None:
    """A session with a thousand grants still gets one line."""
    grants = [grant(f"octo/repository-{number}") for number in range(1000)]
    text = find(grants, RepoPath(HUB, "octo/other"), Access.READ).decision.text
    assert "octo/repository-0 (write), " in text
    assert text.endswith(" more")
    assert len(text) < MAX_LISTED + 120
    long = [grant("octo/" + "x" * 240), grant("octo/" + "y" * 240)]
    assert find(long, RepoPath(HUB, "octo/other"), Access.READ).decision.text.endswith("may use 2 others")


segments = st.sampled_from(["a", "b", "ab"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(paths, st.sampled_from(["", "/*"]), st.sampled_from(Access)), max_size=4), paths)
def test_find_agrees_with_a_naive_implementation(written: list[tuple[str, str, Access]], path: str) -> None:
    """The same rule said the long way."""
    grants = [grant(name + tail, access) for name, tail, access in written]
    for needed in Access:
        expected = any(
            access.covers(needed)
            and (
                path.split("/")[: len(name.split("/"))] == name.split("/")
                and len(path.split("/")) > len(name.split("/"))
                if tail
                else path == name
            )
            for name, tail, access in written
        )
        assert find(grants, RepoPath(HUB, path), needed).decision.allow == expected
