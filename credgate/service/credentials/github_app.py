"""Installation tokens as a source: one for each scope that sessions need, for as long as one of them needs it.

A scope is what ``credentials.repositories`` makes of a session's grants, so two sessions with the same grants share a
token and two with different ones never do. A token is minted when the first request needs it, replaced in good time (a
transfer that runs goes on with the one it began with) and revoked, with those it replaced, when the last session that
used it has ended. Where GitHub will not mint for all repositories of a scope together, each gets a token by itself.
What failed is not tried again for a few seconds; a token that is still good is used meanwhile. Every token that is
minted, revoked or refused is told to the audit log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.credentials import token_errors
from credgate.credentials.renewal import early
from credgate.credentials.repositories import granted
from credgate.errors import CredentialError
from credgate.service.credentials.cached import CachedCredential, FailedFetch, ForcedRenewal
from credgate.service.credentials.single_flight import SingleFlight
from credgate.service.credentials.sources import Credential, Ids, SourceDescription
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.credentials.repositories import TokenScope
    from credgate.service.credentials.credential_audit import CredentialAudit
    from credgate.service.credentials.github_api import GitHubApp
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session

MAX_SCOPES = 10_000
"""Scopes of one forge in use at once: a session with a pattern has one for each repository that it touches."""
MAX_MEMORY = 10_000
"""Answers to "what is the scope of this request" that are remembered."""
SPLIT_SECONDS = 300.0
"""How long repositories that got no token together are asked for one by one."""


class AppSource:
    """All tokens of one App."""

    kind: SourceKind = "app"

    def __init__(self, forge: str, app: GitHubApp, clock: Callable[[], LeaseReading], told: CredentialAudit) -> None:
        self._forge, self._app, self._clock, self._told = forge, app, clock, told
        self._ids = Ids(f"{forge} app")
        self._held: dict[TokenScope, CachedCredential] = {}
        self._replaced: dict[TokenScope, list[CachedCredential]] = {}
        self._users: dict[TokenScope, set[str]] = {}
        self._used: dict[str, dict[TokenScope, None]] = {}
        """The same by session: an end must not walk the scopes of all other sessions."""
        self._flights: dict[TokenScope, SingleFlight[CachedCredential]] = {}
        self._failed: dict[TokenScope, FailedFetch] = {}
        self._forced: dict[TokenScope, ForcedRenewal] = {}
        self._split: dict[TokenScope, float] = {}
        self._scopes: dict[str, dict[tuple[str, str], TokenScope]] = {}
        """By session, then by path and access."""
        self._remembered = 0
        """How many these are."""

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """See :class:`~credgate.service.credentials.sources.Source`; for a pattern there is nothing."""
        if "*" in wanted.repo.path:
            return None
        scope = self._scope(wanted)
        held = self._held.get(scope)
        if held is None or self._clock().boot >= held.due:
            return None
        self._use(scope, wanted.session.id)
        return held.credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        scope = self._scope(wanted)
        try:
            return await self._obtain(scope, wanted, refused)
        except CredentialError as error:
            if error.reason is not Reason.CREDENTIAL_NOT_COVERING or len(scope.repositories) == 1:
                raise
        self._split[scope] = self._clock().boot + SPLIT_SECONDS
        return await self._obtain(scope.alone(wanted.repo.path), wanted, refused)

    async def prove(self, path: str) -> None:
        """See :class:`~credgate.service.credentials.sources.Proving`."""
        await self._app.prove(path)

    async def session_ended(self, session: Session) -> None:
        """Revoke what nobody needs any more."""
        self._remembered -= len(self._scopes.pop(session.id, ()))
        for scope in self._used.pop(session.id, ()):
            users = self._users.get(scope, set())
            users.discard(session.id)
            if not users:
                await self._retire(scope)

    def describe(self) -> list[SourceDescription]:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        trouble = next((failed.error.text for failed in self._failed.values()), "")
        held = [held.credential for held in self._held.values()]
        told = [SourceDescription(one.id, self.kind, one.expires_at, trouble) for one in held]
        return told or [SourceDescription("", self.kind, trouble=trouble)]

    def _scope(self, wanted: CredentialRequest) -> TokenScope:
        known = (wanted.repo.path, str(wanted.access))
        scope = self._scopes.get(wanted.session.id, {}).get(known)
        if scope is None:
            if self._remembered >= MAX_MEMORY:
                self._scopes.clear()
                self._remembered = 0
            scope = granted(wanted.session.grants, wanted.repo, wanted.access)
            self._scopes.setdefault(wanted.session.id, {})[known] = scope
            self._remembered += 1
        if scope in self._split and self._clock().boot < self._split[scope]:
            return scope.alone(wanted.repo.path)
        return scope

    def _use(self, scope: TokenScope, session_id: str) -> None:
        self._users.setdefault(scope, set()).add(session_id)
        self._used.setdefault(session_id, {})[scope] = None

    async def _obtain(self, scope: TokenScope, wanted: CredentialRequest, refused: str) -> Credential:
        now = self._clock().boot
        held = self._held.get(scope)
        if held is not None and held.credential.id == refused:
            self._forced.setdefault(scope, ForcedRenewal(self._forge)).again(now)
            # It may be good for what is under way; it is not handed out again, and revoked with the others.
            self._replace(scope, self._held.pop(scope))
            held = None
        if held is not None and now < held.due:
            return held.credential
        if scope not in self._users and len(self._users) >= MAX_SCOPES:
            text = f"no credential for {self._forge}: sessions use {MAX_SCOPES} already; end some"
            raise CredentialError(text, retry_after=token_errors.SOON)
        self._use(scope, wanted.session.id)
        try:
            return (await self._minted(scope, wanted.repo.path, now)).credential
        except CredentialError:
            if held is not None and self._clock().boot < held.ends:
                return held.credential
            raise

    async def _minted(self, scope: TokenScope, path: str, now: float) -> CachedCredential:
        failed = self._failed.get(scope)
        if failed is not None and now < failed.until:
            raise failed.error
        if scope not in self._flights:
            self._flights[scope] = SingleFlight(lambda: self._mint(scope, path))
        return await self._flights[scope].join()

    async def _mint(self, scope: TokenScope, path: str) -> CachedCredential:
        """Mint, hold, tell. One at a time for a scope."""
        asked = self._clock()
        try:
            token = await self._app.mint(scope, path)
        except CredentialError as error:
            self._fails(scope, error)
            raise
        finally:
            self._flights.pop(scope, None)
        self._failed.pop(scope, None)
        credential = Credential(self._ids.another(), token.secret, self.kind, asked.wall + token.lifetime)
        held = CachedCredential.of(credential, token.lifetime, early(token.lifetime), asked)
        self._told.minted(held.credential, scope)
        before = self._held.get(scope)
        if before is not None:
            self._replace(scope, before)
        self._held[scope] = held
        if not self._users.get(scope):  # whoever wanted it has ended meanwhile
            await self._retire(scope)
        return held

    def _fails(self, scope: TokenScope, error: CredentialError) -> None:
        now = self._clock().boot
        self._failed = {known: failed for known, failed in self._failed.items() if now < failed.until}
        self._failed[scope] = FailedFetch.at(now, error)
        self._told.failed(error, scope)

    def _replace(self, scope: TokenScope, held: CachedCredential) -> None:
        now = self._clock().boot
        left = [one for one in self._replaced.get(scope, []) if now < one.ends]
        self._replaced[scope] = [*left, held]

    async def _retire(self, scope: TokenScope) -> None:
        """Forget a scope, and end its tokens."""
        self._users.pop(scope, None)
        self._split.pop(scope, None)
        self._failed.pop(scope, None)
        self._forced.pop(scope, None)
        held = self._held.pop(scope, None)
        tokens = [*self._replaced.pop(scope, []), *([held] if held is not None else [])]
        self._app.forget(scope)
        for one in tokens:
            if self._clock().boot < one.ends:
                self._told.revoked(one.credential, scope, done=await self._app.revoke(one.credential.secret))
