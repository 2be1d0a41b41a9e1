"""Azure DevOps: two spellings of one repository, no ``.git``, and a sign-in page for a refusal."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

AZURE = driver_for(ForgeConfig("azure", "azure", "https://dev.azure.com"))
PROBE = b"/info/refs?service=git-upload-pack"


@pytest.mark.parametrize("spelled", ["Org/_git/Web", "Org/Web/_git/Web", "org/web/_git/WEB.git", "ORG/_git/web.git"])
def test_the_short_form_is_the_long_one(spelled: str) -> None:
    """A grant in one reaches a request in the other, and none reaches a repository of another project."""
    assert AZURE.normal(spelled) == "org/web/_git/web"
    assert AZURE.path(spelled, "git-upload-pack", dot_git=True).lower() == "/org/web/_git/web/git-upload-pack"
    assert AZURE.normal("org/other/_git/web") == "org/other/_git/web"


def test_ids_stand_for_names_that_a_url_would_escape() -> None:
    """Nothing is decoded: a name with a space is refused, its id is a name like any other."""
    assert AZURE.normal("org/My%20Project/_git/repo") is None
    assert AZURE.normal("org/My Project/_git/repo") is None
    ids = "6ce954b1-ce1f-45d1-b94d-e6bf2464ba2c", "278d5cd2-584d-4b63-824a-2ba458937249"
    assert AZURE.normal(f"org/{ids[0]}/_git/{ids[1]}") == f"org/{ids[0]}/_git/{ids[1]}"


def test_a_server_has_its_collection_for_an_organisation() -> None:
    """Azure DevOps Server lives below a path as often as not."""
    server = driver_for(ForgeConfig("tfs", "azure", "https://tfs.example/tfs"))
    assert (
        server.path("DefaultCollection/P/_git/R", "git-upload-pack")
        == "/tfs/DefaultCollection/P/_git/R/git-upload-pack"
    )
    assert server.api == "https://tfs.example/tfs"
    assert server.api_login("pat") == server.login("pat"), "the API takes a PAT as the password of nobody"


def test_a_redirect_within_the_forge_is_not_a_sign_in_page() -> None:
    """Both are redirects; the one that names a repository of this place is judged as a move."""
    assert AZURE.moved(b"https://dev.azure.com/Org/P/_git/New" + PROBE) == "org/p/_git/new"
    assert AZURE.moved(b"https://spsprodeus2.vssps.visualstudio.com/_signin?realm=dev.azure.com") is None


@pytest.mark.parametrize("status", [203, 302])
def test_the_meaning_of_its_refusals(status: int) -> None:
    """A PAT that is not accepted is answered by a page for people."""
    assert "sign-in page: credgate's PAT" in AZURE.sentence(status, Access.READ)
    assert "Code (read)" in AZURE.sentence(403, Access.READ)
    assert "Contribute" in AZURE.sentence(403, Access.WRITE)
    assert "TF401019" in AZURE.sentence(404, Access.WRITE)
