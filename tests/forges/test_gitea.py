"""Gitea and Forgejo: two segments, folded, and redirects by path alone."""

from __future__ import annotations

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

TEA = driver_for(ForgeConfig("codeberg.org", "gitea", "https://codeberg.org"))


def test_a_renamed_repository_is_told_by_an_absolute_path() -> None:
    """Gitea's redirect has no host; one that names another host is no move."""
    assert TEA.moved(b"/New/Name/info/refs?service=git-receive-pack") == "new/name"
    assert TEA.moved(b"//evil.example/New/Name/info/refs?service=git-receive-pack") is None


def test_the_meaning_of_its_refusals() -> None:
    """Scopes, archived repositories and mirrors; two-factor login is a 401."""
    assert "read:repository" in TEA.sentence(403, Access.READ)
    assert "write:repository" in TEA.sentence(403, Access.WRITE)
    assert "archived or a mirror" in TEA.sentence(403, Access.WRITE)
    assert TEA.sentence(404, Access.WRITE).endswith("may not write to")
    assert "two-factor" in TEA.sentence(401, Access.READ)
