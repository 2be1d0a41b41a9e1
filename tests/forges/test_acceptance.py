"""What one answer says of a credential: accepted and refused only where it can mean nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from credgate.config.schema import ForgeConfig
from credgate.errors import CredentialError, InvalidValueError
from credgate.forges import acceptance
from credgate.forges.registry import driver_for
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

KINDS = ["github", "gitlab", "gitea", "bitbucket", "bitbucket-datacenter", "azure", "generic"]
PATH = {"azure": "org/project/_git/repo"}


def driver(kind: str, url: str = "https://git.example", **more: Any) -> Driver:
    """Make the driver of one forge."""
    return driver_for(ForgeConfig("lab", kind, url, **more))


@pytest.mark.parametrize("kind", KINDS)
def test_only_200_and_401_of_an_api_decide(kind: str) -> None:
    """200 is yes, and what the kind calls a refusal of the credential is no, in its own words."""
    lab = driver(kind)
    assert acceptance.by_api(lab, 200).state == "accepted"
    refused = acceptance.by_api(lab, 401)
    assert (refused.state, refused.text) == ("refused", lab.sentence(401, Access.READ))
    for status in (204, 301, 403, 404, 429, 500):
        told = acceptance.by_api(lab, status)
        assert (told.state, f"answered {status}, which does not decide it" in told.text) == ("unknown", True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_proves_something_only_if_it_is_private(kind: str) -> None:
    """A public repository is also readable with a wrong credential."""
    lab, path = driver(kind), PATH.get(kind, "octo/hello")
    assert acceptance.by_repository(lab, path, 200, 401).state == "accepted"
    assert acceptance.by_repository(lab, path, 200, 404).state == "accepted"
    assert acceptance.by_repository(lab, path, 401, None).state == "refused"
    public = acceptance.by_repository(lab, path, 200, 200)
    assert (public.state, f"{path} is public" in public.text) == ("unknown", True)
    assert acceptance.by_repository(lab, path, 200, None).state == "unknown"
    missing = acceptance.by_repository(lab, path, 404, None)
    assert (missing.state, lab.sentence(404, Access.READ) in missing.text) == ("unknown", True)


@pytest.mark.parametrize("status", [203, 302])
def test_a_sign_in_page_is_a_refusal_where_a_forge_refuses_so(status: int) -> None:
    """Azure does; elsewhere the same status says nothing."""
    path = PATH["azure"]
    assert acceptance.by_repository(driver("azure"), path, status, None).state == "refused"
    assert acceptance.by_repository(driver("generic"), path, status, None).state == "unknown"


def test_each_kind_has_its_own_request() -> None:
    """Nothing where no question is answered differently to a wrong credential, or the API takes another login."""
    com = driver("github", "https://github.com")
    assert (com.api, com.proof("file")) == ("https://api.github.com", "/rate_limit")
    assert driver("github").proof("file") == "/meta"
    assert driver("gitlab").proof("rotated") == "/personal_access_tokens/self"
    assert driver("gitlab").proof("oauth") == "/user"
    assert driver("gitlab", username="gitlab+deploy-token-1").proof("file") is None
    assert (driver("gitea").proof("file"), driver("bitbucket").proof("file")) == ("/user", "/user")
    assert driver("bitbucket", username="x-bitbucket-api-token-auth").proof("file") is None
    assert [driver(kind).proof("file") for kind in ("bitbucket-datacenter", "azure", "generic")] == [None] * 3
    assert (com.api_login("ghp_x"), driver("gitea").api_login("p w")[:6]) == (b"Bearer ghp_x", b"Basic ")


def test_a_refused_token_request_is_a_refusal() -> None:
    """What could not be got for another reason says nothing of the forge."""
    told = acceptance.not_available(CredentialError("it refuses the App", reason=Reason.CREDENTIAL_DENIED))
    assert (told.state, told.text) == ("refused", "it refuses the App")
    assert acceptance.not_available(CredentialError("the file is gone")).state == "unknown"
    assert acceptance.not_asked(driver("generic")).text.startswith("a forge of kind generic cannot be checked")
    assert acceptance.not_answered(driver("generic"), "it was silent").text == "lab could not be checked: it was silent"


def test_a_question_names_a_repository_or_nothing() -> None:
    assert (acceptance.parse_check({}), acceptance.parse_check({"repo": None})) == ("", "")
    assert acceptance.parse_check({"repo": "octo/hello"}) == "octo/hello"
    for payload in ([], {"repo": ""}, {"repo": 7}, {"url": "https://elsewhere.example"}):
        with pytest.raises(InvalidValueError):
            acceptance.parse_check(payload)
