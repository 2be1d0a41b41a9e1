"""The two renewal methods: requests, responses and margins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred

from credgate.credentials.token_response import MalformedResponse, TokenResponse
from credgate.forges.driver import basic
from credgate.service.credentials.renewal import early
from credgate.service.credentials.rotating import OAuthRefresh, TokenRotation
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.service.credentials.rotating import RenewalMethod

NOW = 1_800_000_000.0
DAY = 24 * 3600.0


class Written:
    """A secret that is at hand."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def read(self) -> str:
        return self.text


OAUTH: Any = OAuthRefresh("lab", "gitea", "client", Written("client-secret"), Written("first"))  # type: ignore[arg-type]
ROTATE: Any = TokenRotation("lab", 7 * DAY, Written("first"))  # type: ignore[arg-type]
BOTH = pytest.mark.parametrize("method", [OAUTH, ROTATE])
GIVEN = {
    OAUTH: {"access_token": "a" * 40, "token_type": "bearer", "expires_in": 3600, "refresh_token": "r" * 40},
    ROTATE: {"token": "glpat-" + "t" * 20, "expires_at": "2027-01-22", "active": True, "revoked": False},
}


def answer(members: object, status: int = 200) -> TokenResponse:
    """Make an answer of JSON."""
    return TokenResponse(status, {"content-type": "application/json"}, json.dumps(members).encode())


@BOTH
@ensureDeferred
async def test_a_renewal_sends_the_token_in_no_url(method: RenewalMethod) -> None:
    """And the token is in no URL: those are logged at every forge."""
    request = await method.request("the-token", NOW)
    assert request.method == "POST"
    assert "the-token" not in request.path
    assert "the-token" in str(request.headers) + str(request.body)
    assert "the-token" not in repr(request)


@ensureDeferred
async def test_an_oauth_client_secret_is_read_for_each_request() -> None:
    """Its secret is read when it is needed, so that a rotated one is the one."""
    method = OAuthRefresh("lab", "gitea", "client", Written("of-the-client"), Written("first"))  # type: ignore[arg-type]
    assert basic("client", "of-the-client").decode() in str((await method.request("the-token", NOW)).headers)
    method.client_secret.text = "another"  # type: ignore[attr-defined]
    assert basic("client", "another").decode() in str((await method.request("the-token", NOW)).headers)


@BOTH
def test_a_renewal_returns_the_credential_and_the_next_token(method: RenewalMethod) -> None:
    """Where they are one, it is kept as one; what is not whole is neither."""
    renewed = method.read(answer(GIVEN[method]), "the-token", NOW)
    assert renewed.secret in GIVEN[method].values()
    assert (renewed.secret == renewed.next_token) is method.saved_is_credential
    assert renewed.lifetime > 0
    (name,) = {"access_token", "token"} & set(GIVEN[method])
    with pytest.raises(MalformedResponse):
        method.read(answer({**GIVEN[method], name: 7}), "the-token", NOW)


@BOTH
def test_a_refusal_does_not_repeat_the_forges_text(method: RenewalMethod) -> None:
    """A token that was used up is the operator's to begin anew; the forge's own words stay there."""
    error = method.refused(answer({"error": "invalid_grant", "error_description": "CANARY"}, 400), NOW)
    assert error.text.startswith("no credential for lab: ")
    assert "CANARY" not in error.text
    assert error.reason in {Reason.CREDENTIAL_DENIED, Reason.CREDENTIAL_UNAVAILABLE}


def test_a_credential_is_replaced_in_time() -> None:
    """An hour's a little before its end; a token that is lost with its end at half its life, whatever it was given."""
    assert OAUTH.margin(3600.0) == early(3600.0) < 3600.0
    assert ROTATE.margin(7 * DAY) == 3.5 * DAY
    assert ROTATE.margin(365 * DAY) == 3.5 * DAY
    assert ROTATE.margin(2 * DAY) == DAY
