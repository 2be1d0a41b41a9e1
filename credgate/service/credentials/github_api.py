"""A GitHub App, at work: signs, finds its installation, mints and revokes. Keeps no token.

Remembers what is not secret: which installation an owner's repositories are in, the ids of repositories, and by how
much the forge's clock and ours differ (learnt when a JWT was refused for its times, which is then made once more).
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

import jwt
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from credgate.credentials import github, token_errors
from credgate.credentials.repositories import owner
from credgate.credentials.token_response import MAX_LIFETIME, MalformedResponse, forge_time, skew
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.api_client import NoResponseError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import AppConfig
    from credgate.credentials.github import InstallationToken
    from credgate.credentials.repositories import TokenScope
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse
    from credgate.service.credentials.api_client import ApiClient
    from credgate.service.credentials.signing_secret import Secret

MAX_KNOWN = 10_000
"""Repositories whose ids are remembered."""


@frozen(slots=True)
class Token:
    """A token that may be used for ``lifetime`` seconds from the moment that it was asked for."""

    secret: str = field(repr=False)
    lifetime: float


def check_key(key: str) -> None:
    """Raise ``ConfigError`` (without place) unless ``key`` is an RSA key in PEM that JWTs can be signed with."""
    try:
        jwt.encode({}, _private_key(key), algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
        raise ConfigError("an RSA private key in PEM is meant, as GitHub gives it for an App") from None


@lru_cache(maxsize=16)
def _private_key(pem: str) -> RSAPrivateKey:
    """Read a key. It is remembered: checking it takes 40 ms, signing with it one."""
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("no RSA key")
    return key


class GitHubApp:
    """One App on one forge. ``wall`` reads our clock."""

    def __init__(self, forge: str, app: AppConfig, key: Secret, api: ApiClient, wall: Callable[[], float]) -> None:
        self._forge, self._app, self._key, self._api, self._wall = forge, app, key, api, wall
        self._ahead = 0.0
        self._installations: dict[str, int] = {}
        self._ids: dict[str, int] = {}

    async def mint(self, scope: TokenScope, path: str) -> Token:
        """Mint a token for ``scope``; ``path`` is the repository in hand. Raises ``CredentialError``."""
        found = await self._installation(path)
        answer = await self._mint(found, scope)
        if answer.status == HTTPStatus.NOT_FOUND and not self._app.installation_id:
            # It was removed, and perhaps made again, since it was looked up.
            self._installations.pop(owner(path), None)
            answer = await self._mint(await self._installation(path), scope)
        if answer.status != HTTPStatus.CREATED:
            if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and len(scope.repositories) == 1:
                self.forget(scope)  # it is not there any more: another may have its name, and be what is granted
            raise github.mint_error(self._forge, scope, answer, self._wall())
        return await self._taken(answer, scope)

    async def prove(self, path: str) -> None:
        """Show the App's signature, and have the installation of ``path`` looked up, if one is named.

        Nothing is minted. Raises ``CredentialError`` unless the forge accepts it.
        """
        if path:
            self._installations.pop(owner(path), None)
        if path and not self._app.installation_id:
            await self._installation(path)
            return
        answer = await self._signed(lambda signature: github.itself(self._app.installation_id or 0, signature))
        if answer.status != HTTPStatus.OK:
            raise github.refused(self._forge, answer, self._wall())

    async def revoke(self, secret: str) -> bool:
        """End a token; whether the forge says that it has ended. Raises nothing that a forge could cause."""
        try:
            answer = await self._api.once(github.revoke(secret))
        except NoResponseError:
            return False
        # 401: it has ended by itself.
        return answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.UNAUTHORIZED)

    def forget(self, scope: TokenScope) -> None:
        """Forget the ids of repositories that no session uses any more: the next may mean what has the name then."""
        for path in scope.repositories.paths:
            self._ids.pop(path, None)

    async def _installation(self, path: str) -> int:
        known = self._app.installation_id or self._installations.get(owner(path), 0)
        if known:
            return known
        answer = await self._signed(lambda signature: github.find_installation(path, signature))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise github.not_found(self._forge, path)
        if answer.status != HTTPStatus.OK:
            raise github.refused(self._forge, answer, self._wall())
        try:
            found = self._installations[owner(path)] = github.read_installation(answer)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None
        return found

    async def _mint(self, installation: int, scope: TokenScope) -> TokenResponse:
        return await self._signed(lambda signature: github.mint(installation, scope, self._ids, signature))

    async def _signed(self, make: Callable[[str], Request]) -> TokenResponse:
        """Ask with a JWT; once more, by the forge's clock, if that is why it was refused."""
        key = await self._key.read()
        answer = await self._api.ask(make(self._signature(key)))
        now = self._wall()
        if github.clock_refused(answer, now + self._ahead):
            self._ahead = skew(answer, now)
            answer = await self._api.ask(make(self._signature(key)))
        return answer

    def _signature(self, key: str) -> str:
        try:
            claims = github.claims(self._app.app_id, self._wall() + self._ahead)
            return jwt.encode(claims, _private_key(key), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
            # The library's text may quote the key.
            text = (
                f"no credential for {self._forge}: the App's private_key is no RSA key in PEM; {token_errors.OPERATOR}"
            )
            raise CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON) from None

    async def _taken(self, answer: TokenResponse, scope: TokenScope) -> Token:
        """Judge what was minted; what is not as it was asked for is ended again."""
        try:
            minted = github.read_minted(answer)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None
        # Their clock tells whole seconds, so it may be one further than it says.
        lifetime = minted.expires_at - (forge_time(answer) or self._wall() + self._ahead) - 1
        wrong = github.excess(minted, scope, self._ids)
        if not wrong and not 0 < lifetime <= MAX_LIFETIME:
            wrong = "a token that has ended already"
        if wrong:
            await self.revoke(minted.token)
            raise token_errors.malformed(self._forge, f"it gave {wrong}")
        self._remember(minted, scope)
        return Token(minted.token, lifetime)

    def _remember(self, minted: InstallationToken, scope: TokenScope) -> None:
        if len(self._ids) > MAX_KNOWN:
            self._ids.clear()
        self._ids |= {path: number for path, number in minted.ids.items() if path in scope.repositories}
