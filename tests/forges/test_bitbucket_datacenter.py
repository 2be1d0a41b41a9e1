"""Bitbucket Data Center: ``scm/`` in every URL and in no name, Bearer tokens."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

CENTER = driver_for(ForgeConfig("dc", "bitbucket-datacenter", "https://git.example"))


@pytest.mark.parametrize("spelled", ["PROJ/repo", "scm/PROJ/repo", "scm/proj/repo.git", "Proj/Repo.git"])
def test_clone_url_and_name_are_one_repository(spelled: str) -> None:
    """People grant what they see in the address bar or in the clone button: either works, for either request."""
    assert CENTER.normal(spelled) == "proj/repo"
    assert CENTER.path(spelled, "git-upload-pack").lower() == "/scm/proj/repo.git/git-upload-pack"


def test_a_project_called_scm_is_a_project() -> None:
    """``scm/*`` is all of that project and not all of the forge, which is ``**``."""
    assert CENTER.normal_pattern("scm/*") == "scm/*"
    assert CENTER.normal("scm/PROJ/repo") == "proj/repo"
    assert CENTER.normal("scm/repo") == "scm/repo"
    assert CENTER.path("scm/repo", "git-upload-pack") == "/scm/scm/repo.git/git-upload-pack"


def test_a_redirect_is_normalised_without_scm() -> None:
    """In the form that scope compares."""
    assert CENTER.moved(b"https://git.example/scm/NEW/repo.git/info/refs?service=git-upload-pack") == "new/repo"


def test_the_meaning_of_its_refusals() -> None:
    """A CAPTCHA cannot be solved by another credential, so the credential is not read again for it."""
    assert "CAPTCHA" in CENTER.sentence(403, Access.READ)
    assert not CENTER.refuses_credential(403)
    assert "heavy load" in CENTER.sentence(503, Access.READ)
