"""A GitHub App at work, with an API that answers from a list: what is asked, remembered, forgotten and not shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pytest_twisted import ensureDeferred

from credgate.config.schema import AppConfig
from credgate.credentials.repositories import Repositories, TokenScope
from credgate.credentials.token_response import TokenResponse
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials import github_app
from credgate.service.credentials.api_client import NoResponseError
from credgate.service.credentials.github_app import GitHubApp, check_key
from credgate.values import Access, Reason
from tests.fakes.github_api import make_key

if TYPE_CHECKING:
    from credgate.credentials.token_request import Request

PEM, _ = make_key()
NOW = 1_800_000_000.0
HELLO = TokenScope(Repositories.of("octo/hello"), Access.READ)
FOUND = TokenResponse(200, {}, b'{"id": 7, "account": {"login": "octo"}}')


def minted(number: int = 1, lifetime: float = 3600.0) -> TokenResponse:
    """Make the answer that gives a token for the one repository."""
    ends = datetime.fromtimestamp(NOW + lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {
        "token": "ghs_" + "C4N4RY" * 6,
        "expires_at": ends,
        "permissions": {"contents": "read", "metadata": "read"},
        "repository_selection": "selected",
        "repositories": [{"id": number, "full_name": "octo/hello"}],
    }
    return TokenResponse(201, {}, json.dumps(told).encode())


class Listed:
    """An API that gives these answers, in order."""

    def __init__(self, *answers: TokenResponse | NoResponseError) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> TokenResponse:
        self.asked.append(request)
        given = self.answers.pop(0)
        if isinstance(given, NoResponseError):
            raise given
        return given

    once = ask


class Key:
    """The App's key, as a file that somebody may write to."""

    def __init__(self) -> None:
        self.pem = PEM

    async def read(self) -> str:
        """Return what is there now."""
        return self.pem


def app(*answers: TokenResponse | NoResponseError, **table: Any) -> tuple[GitHubApp, Listed, Key]:
    """Make an App before an API."""
    api, key = Listed(*answers), Key()
    return GitHubApp("github.com", AppConfig("42", **table), key, api, lambda: NOW), api, key  # type: ignore[arg-type]


def test_an_unusable_key_stops_the_start() -> None:
    """A certificate, a public key or a typing error signs nothing; the library's text may quote it."""
    check_key(PEM)
    for wrong in ("CANARY", "", PEM.replace("RSA PRIVATE", "PUBLIC"), PEM[:-100]):
        with pytest.raises(ConfigError, match="expected an RSA private key in PEM") as caught:
            check_key(wrong)
        assert caught.value.__cause__ is None
        assert "CANARY" not in str(caught.value)


@ensureDeferred
async def test_a_key_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking it takes 40 ms; what is signed differs, and another key is another one."""
    pem, _ = make_key()
    read: list[bytes] = []

    def load(data: bytes, password: None) -> Any:
        read.append(data)
        return load_pem_private_key(data, password)

    monkeypatch.setattr(github_app, "load_pem_private_key", load)
    made, api, key = app(FOUND, minted(), minted())
    for key.pem in (pem, pem):
        await made.mint(HELLO, "octo/hello")
    assert len(api.asked) == 3
    assert read == [pem.encode()]


@ensureDeferred
async def test_a_token_counts_from_the_forge_s_clock() -> None:
    """A second less than it says: whole seconds are told, and a token must not end on its way."""
    made, _, _ = app(FOUND, minted())
    token = await made.mint(HELLO, "octo/hello")
    assert token.lifetime == 3599
    assert "C4N4RY" not in repr(token)


@ensureDeferred
async def test_a_key_that_became_unusable_is_an_error_without_the_key() -> None:
    """It is read at each signing; what it holds now may be another secret."""
    made, api, key = app()
    key.pem = "CANARY of another file"
    with pytest.raises(CredentialError, match="private_key is not an RSA key in PEM") as caught:
        await made.mint(HELLO, "octo/hello")
    assert (caught.value.reason, api.asked) == (Reason.CREDENTIAL_DENIED, [])
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


@ensureDeferred
async def test_a_configured_installation_is_not_looked_up() -> None:
    """And not looked up elsewhere when it is gone: the operator meant this one."""
    made, api, _ = app(TokenResponse(404), installation_id=9)
    with pytest.raises(CredentialError):
        await made.mint(HELLO, "octo/hello")
    assert [one.path for one in api.asked] == ["/app/installations/9/access_tokens"]


@ensureDeferred
async def test_the_id_of_a_missing_repository_is_forgotten() -> None:
    """Its name may be another's by now, which is then what is granted."""
    made, api, _ = app(FOUND, minted(), TokenResponse(422), minted(2))
    await made.mint(HELLO, "octo/hello")
    with pytest.raises(CredentialError):
        await made.mint(HELLO, "octo/hello")
    assert json.loads(api.asked[-1].body)["repository_ids"] == [1]
    await made.mint(HELLO, "octo/hello")
    assert json.loads(api.asked[-1].body)["repositories"] == ["hello"]


@ensureDeferred
async def test_remembered_ids_and_scopes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes choose what is asked for; what is forgotten is asked for by name again."""
    monkeypatch.setattr(github_app, "MAX_KNOWN", 0)
    made, _, _ = app(FOUND, minted(), minted())
    await made.mint(HELLO, "octo/hello")
    made._ids["octo/other"] = 5
    await made.mint(HELLO, "octo/hello")
    assert made._ids == {"octo/hello": 1}


@ensureDeferred
async def test_a_token_that_cannot_be_read_is_not_used() -> None:
    """Nor is one that ended before it came, or would never end; those are taken back at once."""
    for answer, text in (
        (TokenResponse(201, {}, b"{"), "it is not JSON"),
        (minted(lifetime=0), "ended already"),
        (minted(lifetime=1e9), "ended already"),
    ):
        made, api, _ = app(FOUND, answer, TokenResponse(204))
        with pytest.raises(CredentialError, match=text):
            await made.mint(HELLO, "octo/hello")
        assert [one.method for one in api.asked[2:]] == ([] if answer.body == b"{" else ["DELETE"])


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        (TokenResponse(204), True),
        (TokenResponse(401), True),
        (TokenResponse(500), False),
        (NoResponseError("x"), False),
    ],
)
@ensureDeferred
async def test_a_token_has_ended_only_if_the_forge_says_so(
    said: TokenResponse | NoResponseError, *, ended: bool
) -> None:
    """Nobody waits for another try: it ends by itself, and the audit line says which it was."""
    made, _, _ = app(said)
    assert await made.revoke("ghs_x") is ended


# Whether credgate would be given a token, without one.


@pytest.mark.parametrize(
    ("table", "path", "asked"),
    [
        ({}, "", "/app"),
        ({"installation_id": 9}, "", "/app/installations/9"),
        ({"installation_id": 9}, "octo/hello", "/app/installations/9"),
        ({}, "octo/hello", "/repos/octo/hello/installation"),
    ],
)
@ensureDeferred
async def test_each_kind_has_a_small_proof_request(table: dict[str, Any], path: str, asked: str) -> None:
    """Of the App, or of the installation that the repository would get its token from; nothing is minted by it."""
    made, api, _ = app(FOUND, FOUND, **table)
    await made.prove(path)
    await made.prove(path)  # and what was found before proves nothing now
    assert [(one.method, one.path) for one in api.asked] == [("GET", asked)] * 2


@pytest.mark.parametrize("path", ["", "octo/hello"])
@ensureDeferred
async def test_a_refused_credential_is_not_accepted(path: str) -> None:
    """In the words that minting has for it."""
    made, _, _ = app(TokenResponse(401))
    with pytest.raises(CredentialError, match="it refuses the App's id or private key"):
        await made.prove(path)
