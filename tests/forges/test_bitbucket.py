"""Bitbucket Cloud: two segments, lower case on the forge, tokens instead of app passwords."""

from __future__ import annotations

from base64 import b64decode

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

CLOUD = driver_for(ForgeConfig("bitbucket.org", "bitbucket", "https://bitbucket.org"))


def test_an_api_token_has_its_own_user_name() -> None:
    """Access tokens have the default; a user's API token is configured with the name that Atlassian gives it."""
    driver = driver_for(ForgeConfig("b", "bitbucket", "https://bitbucket.org", "x-bitbucket-api-token-auth"))
    assert b64decode(driver.login("T").removeprefix(b"Basic ")) == b"x-bitbucket-api-token-auth:T"
    assert b64decode(CLOUD.login("T").removeprefix(b"Basic ")) == b"x-token-auth:T"


def test_a_410_from_bitbucket_is_an_ended_app_password() -> None:
    """Bitbucket answers 410 to a login that has ended: the credential is at fault, and only there."""
    assert "app passwords have ended" in CLOUD.sentence(410, Access.READ)
    assert CLOUD.refuses_credential(410)
    other = driver_for(ForgeConfig("g", "generic", "https://git.example"))
    assert "removed" in other.sentence(410, Access.READ)
    assert not other.refuses_credential(410)


def test_the_meaning_of_its_refusals() -> None:
    """A workspace's own conditions come as 403."""
    assert "two-step login or another address" in CLOUD.sentence(403, Access.READ)
    assert "repository write" in CLOUD.sentence(403, Access.WRITE)
