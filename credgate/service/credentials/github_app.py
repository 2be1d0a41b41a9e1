"""Installation tokens of a GitHub App: ``GitHubApp`` asks the API, ``AppSource`` caches and revokes the tokens.

A token is limited to a scope, which ``credentials.repositories`` derives from a session's grants. Two sessions with the
same grants share a token; two with different grants never do. A token is made when the first request needs it, and
replaced before its end; a transfer that runs keeps the token it started with. When the last session that used a scope
has ended, its token and those it replaced are revoked. Where GitHub refuses one token for all repositories of a scope,
each repository gets its own. Every token that is made, revoked or refused gets an audit line.

``GitHubApp`` keeps no token. It remembers what is not secret: the installation of each owner, the ids of repositories,
and the difference between the forge's clock and ours (known after a JWT was refused for its times).
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

import jwt
from attrs import define, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from credgate.credentials import installation_tokens, token_errors
from credgate.credentials.repositories import granted, owner
from credgate.credentials.token_response import MAX_LIFETIME, MalformedResponse, forge_time, skew
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.api_client import NoResponseError
from credgate.service.credentials.renewal import CachedCredential, Renewal, RenewalPolicy, early
from credgate.service.credentials.sources import Credential, Ids, SourceDescription
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import AppConfig
    from credgate.credentials.repositories import TokenScope
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse
    from credgate.service.credentials.api_client import ApiClient
    from credgate.service.credentials.credential_audit import CredentialAudit
    from credgate.service.credentials.signing_secret import Secret
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session

MAX_KNOWN = 10_000
"""Maximum number of repositories whose ids are remembered."""
MAX_SCOPES = 10_000
"""Maximum number of scopes of one forge in use: a session with a pattern has one for each repository that it uses."""
MAX_MEMORY = 10_000
"""Maximum number of requests whose scope is remembered."""
SPLIT_SECONDS = 300.0
"""How long each repository of a scope gets its own token after GitHub refused one for all of them."""


@frozen(slots=True)
class Token:
    """A token that may be used for ``lifetime`` seconds from the time of the request for it."""

    secret: str = field(repr=False)
    lifetime: float


def check_key(key: str) -> None:
    """Raise ``ConfigError`` (without a place) unless ``key`` is an RSA key in PEM that can sign JWTs."""
    try:
        jwt.encode({}, _private_key(key), algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
        raise ConfigError("expected an RSA private key in PEM, as GitHub gives it for an App") from None


@lru_cache(maxsize=16)
def _private_key(pem: str) -> RSAPrivateKey:
    """Parse a key."""
    # Cached: checking a key takes 40 ms, and signing with it one.
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key


class GitHubApp:
    """The API of one App on one forge. ``wall`` reads our wall clock."""

    def __init__(self, forge: str, app: AppConfig, key: Secret, api: ApiClient, wall: Callable[[], float]) -> None:
        self._forge, self._app, self._key, self._api, self._wall = forge, app, key, api, wall
        self._ahead = 0.0
        """Seconds that the forge's clock is ahead of ours."""
        self._installations: dict[str, int] = {}
        self._ids: dict[str, int] = {}

    async def mint(self, scope: TokenScope, path: str) -> Token:
        """Make a token for ``scope``; ``path`` is the repository of the request. Raises ``CredentialError``."""
        found = await self._installation(path)
        answer = await self._mint(found, scope)
        if answer.status == HTTPStatus.NOT_FOUND and not self._app.installation_id:
            # The App was uninstalled since the last look-up, and perhaps installed again.
            self._installations.pop(owner(path), None)
            answer = await self._mint(await self._installation(path), scope)
        if answer.status != HTTPStatus.CREATED:
            if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and len(scope.repositories) == 1:
                # The repository with this id is gone. Another one may have its name now, and be what is granted.
                self.forget(scope)
            raise installation_tokens.mint_error(self._forge, scope, answer, self._wall())
        return await self._check_token(answer, scope)

    async def prove(self, path: str) -> None:
        """Have the forge check the App's signature, and the installation of ``path`` if one is given.

        Makes no token. Raises ``CredentialError`` unless the forge accepts the signature.
        """
        if path:
            self._installations.pop(owner(path), None)
        if path and not self._app.installation_id:
            await self._installation(path)
            return
        answer = await self._signed(
            lambda signature: installation_tokens.itself(self._app.installation_id or 0, signature)
        )
        if answer.status != HTTPStatus.OK:
            raise installation_tokens.refused(self._forge, answer, self._wall())

    async def revoke(self, secret: str) -> bool:
        """Revoke a token; return whether the forge confirms it. No response of the forge makes it raise."""
        try:
            answer = await self._api.once(installation_tokens.revoke(secret))
        except NoResponseError:
            return False
        # 401: the token has expired or was revoked before.
        return answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.UNAUTHORIZED)

    def forget(self, scope: TokenScope) -> None:
        """Forget the ids of repositories that no session uses."""
        # The next session means the repository that has the name then.
        for path in scope.repositories.paths:
            self._ids.pop(path, None)

    async def _installation(self, path: str) -> int:
        known = self._app.installation_id or self._installations.get(owner(path), 0)
        if known:
            return known
        answer = await self._signed(lambda signature: installation_tokens.find_installation(path, signature))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise installation_tokens.not_found(self._forge, path)
        if answer.status != HTTPStatus.OK:
            raise installation_tokens.refused(self._forge, answer, self._wall())
        try:
            found = self._installations[owner(path)] = installation_tokens.read_installation(answer)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None
        return found

    async def _mint(self, installation: int, scope: TokenScope) -> TokenResponse:
        return await self._signed(lambda signature: installation_tokens.mint(installation, scope, self._ids, signature))

    async def _signed(self, make: Callable[[str], Request]) -> TokenResponse:
        """Send a request with a JWT."""
        # A JWT that is refused for its times is made again by the forge's clock, once.
        key = await self._key.read()
        answer = await self._api.ask(make(self._signature(key)))
        now = self._wall()
        if installation_tokens.clock_refused(answer, now + self._ahead):
            self._ahead = skew(answer, now)
            answer = await self._api.ask(make(self._signature(key)))
        return answer

    def _signature(self, key: str) -> str:
        try:
            claims = installation_tokens.claims(self._app.app_id, self._wall() + self._ahead)
            return jwt.encode(claims, _private_key(key), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
            # The library's text may quote the key, so it is not repeated.
            what = "the App's private_key is not an RSA key in PEM"
            text = f"no credential for {self._forge}: {what}; {token_errors.OPERATOR}"
            raise CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON) from None

    async def _check_token(self, answer: TokenResponse, scope: TokenScope) -> Token:
        """Compare the token with the request for it; revoke it if it differs."""
        try:
            minted = installation_tokens.read_minted(answer)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None
        # The forge's Date has whole seconds, so its clock may be up to one second further.
        lifetime = minted.expires_at - (forge_time(answer) or self._wall() + self._ahead) - 1
        wrong = installation_tokens.excess(minted, scope, self._ids)
        if not wrong and not 0 < lifetime <= MAX_LIFETIME:
            wrong = "a token that has ended already"
        if wrong:
            await self.revoke(minted.token)
            raise token_errors.malformed(self._forge, f"it gave {wrong}")
        if len(self._ids) > MAX_KNOWN:
            self._ids.clear()
        self._ids |= {path: number for path, number in minted.ids.items() if path in scope.repositories}
        return Token(minted.token, lifetime)


@define(slots=True, eq=False)
class _Use:
    """The use of one scope: its token, and the sessions that need it."""

    renewal: Renewal
    path: str
    """The repository of the last request, which a failure names."""
    sessions: set[str] = field(factory=set)
    replaced: list[CachedCredential] = field(factory=list)
    """Tokens that transfers may still use; revoked with the last one."""
    split_until: float = float("-inf")
    """Until when each repository gets its own token."""


class AppSource:
    """All tokens of one App."""

    kind: SourceKind = "app"

    def __init__(self, forge: str, app: GitHubApp, clock: Callable[[], LeaseReading], audit: CredentialAudit) -> None:
        self._forge, self._app, self._clock, self._audit = forge, app, clock, audit
        self._ids, self._policy = Ids(f"{forge} app"), RenewalPolicy.for_token(forge, token_errors.OPERATOR)
        self._uses: dict[TokenScope, _Use] = {}
        self._by_session: dict[str, dict[TokenScope, None]] = {}
        """The scopes of each session, so that its end does not walk the scopes of all others."""
        self._scopes: dict[str, dict[tuple[str, str], TokenScope]] = {}
        """The scope of each request: by session, then by path and access."""
        self._remembered = 0
        """The number of these scopes."""

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        if "*" in wanted.repo.path:  # a token for a pattern does not exist
            return None
        scope = self._scope(wanted)
        use = self._uses.get(scope)
        credential = None if use is None else use.renewal.cached()
        if use is not None and credential is not None:
            self._add_session(scope, use, wanted.session.id)
        return credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        scope = self._scope(wanted)
        try:
            return await self._fetch(scope, wanted, refused)
        except CredentialError as error:
            if error.reason is not Reason.CREDENTIAL_NOT_COVERING or len(scope.repositories) == 1:
                raise
        # One repository outside the installation must not lock out the others.
        if scope in self._uses:
            self._uses[scope].split_until = self._clock().boot + SPLIT_SECONDS
        return await self._fetch(scope.alone(wanted.repo.path), wanted, refused)

    async def prove(self, path: str) -> None:
        await self._app.prove(path)

    async def session_ended(self, session: Session) -> None:
        self._remembered -= len(self._scopes.pop(session.id, ()))
        for scope in self._by_session.pop(session.id, ()):
            use = self._uses.get(scope)
            if use is None:
                continue
            use.sessions.discard(session.id)
            if use.sessions:
                continue
            if not use.renewal.running:  # else the end of the run removes it
                del self._uses[scope]
            await self._revoke(scope, use)

    def describe(self) -> list[SourceDescription]:
        renewals = [use.renewal for use in self._uses.values()]
        trouble = next((renewal.trouble for renewal in renewals if renewal.trouble), "")
        held = [renewal.held.credential for renewal in renewals if renewal.held is not None]
        described = [SourceDescription(one.id, self.kind, one.expires_at, trouble) for one in held]
        return described or [SourceDescription("", self.kind, trouble=trouble)]

    def _scope(self, wanted: CredentialRequest) -> TokenScope:
        request = (wanted.repo.path, str(wanted.access))
        scope = self._scopes.get(wanted.session.id, {}).get(request)
        if scope is None:
            if self._remembered >= MAX_MEMORY:
                self._scopes.clear()
                self._remembered = 0
            scope = granted(wanted.session.grants, wanted.repo, wanted.access)
            self._scopes.setdefault(wanted.session.id, {})[request] = scope
            self._remembered += 1
        use = self._uses.get(scope)
        if use is not None and self._clock().boot < use.split_until:
            return scope.alone(wanted.repo.path)
        return scope

    def _add_session(self, scope: TokenScope, use: _Use, session_id: str) -> None:
        use.sessions.add(session_id)
        # By session, too: its end does not walk the scopes of all others.
        self._by_session.setdefault(session_id, {})[scope] = None

    async def _fetch(self, scope: TokenScope, wanted: CredentialRequest, refused: str) -> Credential:
        use = self._uses.get(scope)
        if use is None:
            if len(self._uses) >= MAX_SCOPES:
                text = f"no credential for {self._forge}: {MAX_SCOPES} tokens are in use; end some sessions"
                raise CredentialError(text, retry_after=token_errors.SOON)
            use = self._uses[scope] = _Use(self._make_renewal(scope), wanted.repo.path)
        use.path = wanted.repo.path
        self._add_session(scope, use, wanted.session.id)
        return await use.renewal.fetch(refused)

    def _make_renewal(self, scope: TokenScope) -> Renewal:
        async def mint() -> CachedCredential:
            return await self._mint(scope, self._uses[scope].path)

        async def renewed(old: CachedCredential | None, new: CachedCredential) -> None:
            await self._renewed(scope, old, new)

        return Renewal(
            self._forge,
            self._policy,
            mint,
            seconds=lambda: self._clock().boot,
            lifetime_clock=lambda: self._clock().boot,
            on_failed=lambda error: self._failed(scope, error),
            on_renewed=renewed,
        )

    async def _mint(self, scope: TokenScope, path: str) -> CachedCredential:
        asked = self._clock()
        token = await self._app.mint(scope, path)
        credential = Credential(self._ids.another(), token.secret, self.kind, asked.wall + token.lifetime)
        return CachedCredential.of(credential, token.lifetime, early(token.lifetime), asked)

    async def _renewed(self, scope: TokenScope, old: CachedCredential | None, new: CachedCredential) -> None:
        self._audit.minted(new.credential, scope)
        use, now = self._uses[scope], self._clock().boot
        if old is not None:  # a transfer that runs keeps the token it started with
            use.replaced = [*(one for one in use.replaced if now < one.ends), old]
        if not use.sessions:  # the session ended while its token was made
            del self._uses[scope]
            await self._revoke(scope, use)

    def _failed(self, scope: TokenScope, error: CredentialError) -> None:
        self._audit.failed(error, scope)
        if not self._uses[scope].sessions:
            del self._uses[scope]

    async def _revoke(self, scope: TokenScope, use: _Use) -> None:
        """Revoke the tokens of a scope that no session uses."""
        held, tokens = use.renewal.clear(), use.replaced
        use.replaced, use.split_until = [], float("-inf")
        self._app.forget(scope)
        for one in [*tokens, *([held] if held is not None else [])]:
            if self._clock().boot < one.ends:
                self._audit.revoked(one.credential, scope, done=await self._app.revoke(one.credential.secret))
