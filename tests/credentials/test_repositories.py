"""What a credential is limited to: never to nothing, which a forge takes for everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials.repositories import MAX_REPOSITORIES, Repositories, TokenScope, granted, owner
from credgate.sessions import scope
from credgate.sessions.model import Grant
from credgate.values import Access, RepoPath

READ, WRITE = Access.READ, Access.WRITE


def grant(repo: str, access: Access = WRITE, *, forge: str = "f", workflows: bool = False) -> Grant:
    return Grant(repo=repo, forge=forge, access=access, workflows=workflows)


def minted(*grants: Grant, repo: str = "octo/a", access: Access = WRITE) -> tuple[list[str], bool]:
    """Return the repositories and whether workflows are among it."""
    found = granted(grants, RepoPath("f", repo), access)
    assert found.access is access
    return found.repositories.sorted, found.workflows


@pytest.mark.parametrize(
    "paths", [[], ["octo/*"], ["**"], ["octo"], ["/a"], ["octo/a", "else/b"], [f"octo/{n}" for n in range(101)]]
)
def test_an_empty_or_mixed_list_cannot_be_made(paths: list[str]) -> None:
    """Nothing, patterns, two owners, and more than one answer can describe."""
    with pytest.raises(ValueError, match="a credential"):
        Repositories.of(*paths)


def test_repositories_know_their_names() -> None:
    both = Repositories.of("octo/b", "octo/a")
    assert (both.owner, both.sorted, both.names, len(both)) == ("octo", ["octo/a", "octo/b"], ["a", "b"], 2)
    assert "octo/a" in both
    assert both == Repositories.of("octo/a", "octo/b")


def test_a_scope_for_one_repository_keeps_its_rights() -> None:
    """And nothing that was not among them can be taken out."""
    both = TokenScope(Repositories.of("octo/a", "octo/b"), WRITE, workflows=True)
    assert both.alone("octo/b") == TokenScope(Repositories.of("octo/b"), WRITE, workflows=True)
    with pytest.raises(ValueError, match="not one of these"):
        both.alone("octo/c")


def test_the_owners_other_named_repositories_are_included() -> None:
    """Of this forge, with as much access; not those that only a pattern grants."""
    grants = (
        grant("octo/a"), grant("octo/b"), grant("octo/c", READ), grant("else/d"), grant("octo/e", forge="g"),
        grant("octo/*", READ),
    )  # fmt: skip
    assert minted(*grants) == (["octo/a", "octo/b"], False)
    assert minted(*grants, access=READ) == (["octo/a", "octo/b", "octo/c"], False)


@pytest.mark.parametrize("pattern", ["octo/*", "**"])
def test_a_pattern_gets_one_repository_a_token(pattern: str) -> None:
    """Even beside repositories that are named."""
    assert minted(grant(pattern), grant("octo/b")) == (["octo/a"], False)


def test_workflows_need_write_access_and_their_own_grant() -> None:
    """They join only those that say the same."""
    grants = (grant("octo/a", workflows=True), grant("octo/b"), grant("octo/c", workflows=True))
    assert minted(*grants) == (["octo/a", "octo/c"], True)
    assert minted(*grants, repo="octo/b") == (["octo/b"], False)
    assert minted(*grants, access=READ) == (["octo/a", "octo/b", "octo/c"], False)
    assert minted(grant("octo/*", workflows=True)) == (["octo/a"], True)


def test_the_first_of_two_grants_of_one_repository_decides() -> None:
    """As it does for everything else."""
    assert minted(grant("octo/a"), grant("octo/a", workflows=True)) == (["octo/a"], False)


def test_too_many_repositories_get_one_token_each() -> None:
    """A session may name hundreds."""
    many = [grant(f"octo/{number}") for number in range(MAX_REPOSITORIES)]
    assert minted(*many, grant("octo/a")) == (["octo/a"], False)


def test_an_ungranted_repository_has_no_scope() -> None:
    """Whoever asks has been admitted; here it is not taken on trust."""
    with pytest.raises(ValueError, match="not granted"):
        granted([grant("octo/a", READ)], RepoPath("f", "octo/a"), WRITE)


def test_the_owner_is_the_first_segment() -> None:
    """Of a path of any depth."""
    assert [owner(path) for path in ("a/b", "a/b/c", "a", "")] == ["a", "a", "", ""]


NAMES = st.sampled_from(["octo/a", "octo/b", "else/a", "octo/*", "else/*", "**"])
GRANTS = st.builds(grant, NAMES, st.sampled_from(Access), forge=st.sampled_from(["f", "g"]), workflows=st.booleans())


@given(st.lists(GRANTS), st.sampled_from(["octo/a", "octo/b", "else/a"]), st.sampled_from(Access))
def test_no_credential_reaches_further_than_the_grants(grants: list[Grant], path: str, access: Access) -> None:
    """Each of its repositories is granted by itself, with this access, and with workflows if it has them."""
    if not scope.find(grants, RepoPath("f", path), access).decision.allow:
        return
    found = granted(grants, RepoPath("f", path), access)
    assert path in found.repositories
    for each in found.repositories.paths:
        match = scope.find(grants, RepoPath("f", each), access)
        assert match.grant is not None
        assert match.grant.workflows or not found.workflows
