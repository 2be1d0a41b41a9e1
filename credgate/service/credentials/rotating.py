"""Credentials whose renewal uses up a token: the next token is on disk before it is used.

The forge gives the next token once, and the request for it may end the old one. Each renewal therefore reads the saved
token (the first time, the operator's), asks the forge, writes and syncs the new token, and then uses it. After a crash
at any point, the next start finds the old token or the new one. Only a response that never reached the disk is lost;
the operator must then configure a new first token.

One credential serves all of a forge's repositories, because these forges cannot limit a token further. It is renewed
by a timer even when no request needs it: a token that ends unused is lost too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from attrs import frozen
from twisted.logger import Logger

from credgate.credentials import refresh_tokens, token_errors
from credgate.credentials.token_response import MalformedResponse
from credgate.errors import CredentialError, StoreError
from credgate.service.credentials import token_file
from credgate.service.credentials.renewal import CachedCredential, Renewal, RenewalPolicy, early
from credgate.service.credentials.sources import Credential, Ids, SourceDescription
from credgate.service.credentials.token_file import SavedToken
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from credgate.credentials.refresh_tokens import RenewedToken
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse
    from credgate.service.credentials.api_client import ApiClient
    from credgate.service.credentials.credential_audit import CredentialAudit
    from credgate.service.credentials.signing_secret import Secret
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session

_log = Logger()


class RenewalMethod(Protocol):
    """How one kind of forge is asked for the next token, and how its response is read."""

    @property
    def kind(self) -> SourceKind:
        """The kind of the credentials."""
        ...

    @property
    def first(self) -> Secret:
        """The operator's token, which the first renewal uses."""
        ...

    @property
    def saved_is_credential(self) -> bool:
        """Whether the saved token is itself the credential."""
        ...

    async def request(self, token: str, now: float) -> Request:
        """Make the request with ``token``; ``now`` is in wall seconds. Raises ``CredentialError``."""
        ...

    def read(self, answer: TokenResponse, token: str, now: float) -> RenewedToken:
        """Read the response to a request with ``token``. Raises ``MalformedResponse``."""
        ...

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        """Return the error for a response without a token."""
        ...

    def margin(self, lifetime: float) -> float:
        """Return how many seconds before its end a credential is replaced."""
        ...


@frozen(slots=True)
class OAuthRefresh:
    """The OAuth 2.0 refresh token of Gitea, Forgejo and Bitbucket Cloud."""

    forge: str
    forge_kind: str
    client_id: str
    client_secret: Secret
    first: Secret
    kind: SourceKind = "oauth"
    saved_is_credential: bool = False

    async def request(self, token: str, now: float) -> Request:
        return refresh_tokens.refresh(self.forge_kind, self.client_id, await self.client_secret.read(), token)

    def read(self, answer: TokenResponse, token: str, now: float) -> RenewedToken:
        return refresh_tokens.read_refreshed(answer, token)

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        return refresh_tokens.refresh_error(self.forge, answer, now)

    def margin(self, lifetime: float) -> float:
        return early(lifetime)


@frozen(slots=True)
class TokenRotation:
    """The access token of GitLab, which rotates itself."""

    forge: str
    lifetime: float
    first: Secret
    kind: SourceKind = "rotated"
    saved_is_credential: bool = True

    async def request(self, token: str, now: float) -> Request:
        return refresh_tokens.rotate(token, now, self.lifetime)

    def read(self, answer: TokenResponse, token: str, now: float) -> RenewedToken:
        return refresh_tokens.read_rotated(answer, now)

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        return refresh_tokens.rotate_error(self.forge, answer, now)

    def margin(self, lifetime: float) -> float:
        # Half the requested lifetime, because a token that ends before it is rotated is lost.
        return min(lifetime, self.lifetime) / 2


@frozen(slots=True)
class TokenKeeping:
    """The file of the saved token, and the key that encrypts it."""

    path: Path
    key: Secret


@frozen(slots=True)
class _Unsaved:
    """A token that the forge gave and that is not on disk yet, with the time of the request."""

    renewed: RenewedToken
    asked: LeaseReading


class RotatingSource:
    """The credential of one forge."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        forge: str,
        method: RenewalMethod,
        keeping: TokenKeeping,
        api: ApiClient,
        audit: CredentialAudit,
        *,
        clock: Callable[[], LeaseReading],
        reactor: Any,  # noqa: ANN401 - IReactorTime, but tests pass a clock with more interfaces
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self.kind = method.kind
        self._forge, self._method, self._keeping, self._api, self._audit = forge, method, keeping, api, audit
        self._clock, self._in_thread, self._ids = clock, in_thread, Ids(f"{forge} {method.kind}")
        self._unsaved: _Unsaved | None = None
        self._renewal = Renewal(
            forge,
            RenewalPolicy.for_token(forge, token_errors.OPERATOR),
            self._renew,
            seconds=lambda: clock().boot,
            lifetime_clock=lambda: clock().boot,
            reactor=reactor,
            on_failed=audit.failed,
        )
        self.start, self.stop = self._renewal.start, self._renewal.stop

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        return self._renewal.cached()

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        return await self._renewal.fetch(refused)

    async def session_ended(self, session: Session) -> None:
        """Do nothing: the credential does not belong to a session."""

    def describe(self) -> list[SourceDescription]:
        held, trouble = self._renewal.held, self._renewal.trouble
        if held is None:
            return [SourceDescription("", self.kind, trouble=trouble)]
        return [SourceDescription(held.credential.id, self.kind, held.credential.expires_at, trouble)]

    async def _renew(self) -> CachedCredential:
        key = await self._keeping.key.read()
        first = await self._method.first.read()
        if self._unsaved is None:
            saved = await self._in_store(token_file.read, key, first)
            if saved is not None and self._method.saved_is_credential and self._renewal.held is None:
                cached = self._from_saved(saved)
                if cached is not None:
                    return cached
            self._unsaved = await self._ask(first if saved is None else saved.token)
        renewed, asked = self._unsaved.renewed, self._unsaved.asked
        ends = asked.wall + renewed.lifetime
        # On disk before it is used: the request may have ended the old token, and the forge gives the new one once.
        # If the disk refuses, the token stays in ``_unsaved``, and is written again before the forge is asked again.
        await self._in_store(token_file.write, key, first, SavedToken(renewed.next_token, ends))
        self._unsaved = None
        credential = Credential(self._ids.another(), renewed.secret, self.kind, ends)
        self._audit.minted(credential)
        return CachedCredential.of(credential, renewed.lifetime, self._method.margin(renewed.lifetime), asked)

    def _from_saved(self, saved: SavedToken) -> CachedCredential | None:
        """Use the token that an earlier process saved, unless it is due for renewal."""
        now = self._clock()
        credential = Credential(self._ids.another(), saved.token, self.kind, saved.expires_at)
        # The lifetime that it was given is not saved, so the margin is that of the longest one.
        margin = self._method.margin(float("inf"))
        cached = CachedCredential.of(credential, saved.expires_at - now.wall, margin, now)
        return cached if now.boot < cached.due else None

    async def _ask(self, token: str) -> _Unsaved:
        asked = self._clock()
        answer = await self._api.ask(await self._method.request(token, asked.wall))
        if answer.status not in (200, 201):
            raise self._method.refused(answer, asked.wall)
        try:
            return _Unsaved(self._method.read(answer, token, asked.wall), asked)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None

    async def _in_store(self, call: Callable[..., Any], key: str, first: str, *args: object) -> SavedToken | None:
        """Read or write the saved token in a thread."""
        try:
            return cast("SavedToken | None", await self._in_thread(call, self._keeping.path, key, first, *args))
        except StoreError as error:
            _log.error("{text}", text=str(error))  # the path is for the operator's log, not for a sandbox
            if args:
                raise token_errors.unsaved(self._forge) from None
            text = f"no credential for {self._forge}: its saved token cannot be read; {token_errors.OPERATOR}"
            raise CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON) from None
