"""Credentials whose renewal uses up a token: the next one is on disk before anything is done with it.

The forge gives the next token once, and may have ended the one that asked for it. So each renewal goes: read what is
kept (or, the first time, what the operator wrote), ask, write and sync what came, then use it. Ended by ``kill -9`` in
between, the next start finds the old token or the new one; what is lost is only an answer that never reached the disk,
and the refusal then says that the operator must begin anew. If the disk refuses, nothing is used; what came is held in
memory and written again, before anything else is asked. One credential serves all of a forge's repositories: these
forges mint no smaller ones. It is renewed in time even when nobody asks, since a token that ends unused is lost too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import frozen
from twisted.logger import Logger

from credgate.credentials import token_errors
from credgate.credentials.token_response import MalformedResponse
from credgate.errors import CredentialError, StoreError
from credgate.service.credentials import token_file
from credgate.service.credentials.cached import CachedCredential, FailedFetch, ForcedRenewal
from credgate.service.credentials.single_flight import SingleFlight
from credgate.service.credentials.sources import Credential, Ids, SourceDescription
from credgate.service.credentials.token_file import SavedToken
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from credgate.credentials.renewal import Renewed
    from credgate.service.credentials.api_client import ApiClient
    from credgate.service.credentials.credential_audit import CredentialAudit
    from credgate.service.credentials.plans import Plan
    from credgate.service.credentials.signing_secret import Secret
    from credgate.service.credentials.sources import CredentialRequest
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session

AGAIN_SECONDS = 60.0
"""Between two tries to renew when nobody asks."""
LONGEST_TIMER = 6 * 3600.0
"""Seconds: a machine that slept looks at its clock this soon."""

_log = Logger()


@frozen(slots=True)
class TokenKeeping:
    """Where the token is kept, and under which key."""

    path: Path
    key: Secret


@frozen(slots=True)
class _Came:
    """What a renewal brought, and when it was asked for."""

    renewed: Renewed
    asked: LeaseReading


class RotatingSource:
    """One forge's credential."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        forge: str,
        plan: Plan,
        keeping: TokenKeeping,
        api: ApiClient,
        told: CredentialAudit,
        *,
        clock: Callable[[], LeaseReading],
        reactor: Any,  # noqa: ANN401 - time alone, but as many interfaces
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self.kind = plan.kind
        self._forge, self._plan, self._keeping, self._api, self._told = forge, plan, keeping, api, told
        self._clock, self._reactor, self._in_thread = clock, reactor, in_thread
        self._ids, self._flight, self._forced = (
            Ids(f"{forge} {plan.kind}"),
            SingleFlight(self._renew),
            ForcedRenewal(forge),
        )
        self._held: CachedCredential | None = None
        self._failed: FailedFetch | None = None
        self._unwritten: _Came | None = None
        self._refused = False
        self._timer: IDelayedCall | None = None
        self._running = False

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        held = self._held
        return None if held is None or self._refused or self._clock().boot >= held.due else held.credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        held, now = self._held, self._clock().boot
        if held is not None and held.credential.id == refused:
            self._forced.again(now)
            self._refused = True
        elif held is not None and not self._refused and now < held.due:
            return held.credential
        return await self._obtained(now)

    async def session_ended(self, session: Session) -> None:
        """Nothing was made for it."""

    def describe(self) -> list[SourceDescription]:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        trouble = "" if self._failed is None else self._failed.error.text
        if self._held is None:
            return [SourceDescription("", self.kind, trouble=trouble)]
        return [SourceDescription(self._held.credential.id, self.kind, self._held.credential.expires_at, trouble)]

    def start(self) -> None:
        """Renew in time from now on."""
        self._running = True
        self._later(0.0)

    def stop(self) -> None:
        """Renew no more."""
        self._running = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    async def _obtained(self, now: float) -> Credential:
        failed = self._failed
        try:
            if failed is not None and now < failed.until and not self._flight.aloft:
                raise failed.error
            return (await self._flight.join()).credential
        except CredentialError:
            held = self._held
            if held is not None and not self._refused and self._clock().boot < held.ends:
                return held.credential
            raise

    async def _renew(self) -> CachedCredential:
        """Renew, keep, use: in this order. One at a time."""
        try:
            held = await self._next()
        except CredentialError as error:
            self._failed = FailedFetch.at(self._clock().boot, error)
            self._told.failed(error)
            self._later(AGAIN_SECONDS)
            raise
        self._held, self._failed, self._refused = held, None, False
        self._later(held.due - self._clock().boot)
        return held

    async def _next(self) -> CachedCredential:
        key = await self._keeping.key.read()
        first = await self._plan.first.read()
        if self._unwritten is None:
            found = await self._stored(token_file.read, key, first)
            if found is not None and self._plan.usable and self._held is None:
                held = self._again(found)
                if held is not None:
                    return held
            self._unwritten = await self._asked(first if found is None else found.token)
        came = self._unwritten
        ends = came.asked.wall + came.renewed.lifetime
        await self._stored(token_file.write, key, first, SavedToken(came.renewed.kept, ends))
        self._unwritten = None
        credential = Credential(self._ids.another(), came.renewed.secret, self.kind, ends)
        self._told.minted(credential)
        return CachedCredential.of(
            credential, came.renewed.lifetime, self._plan.margin(came.renewed.lifetime), came.asked
        )

    def _again(self, found: SavedToken) -> CachedCredential | None:
        """Use a token that was kept by an earlier process, unless it is due."""
        now = self._clock()
        left = found.expires_at - now.wall
        credential = Credential(self._ids.another(), found.token, self.kind, found.expires_at)
        held = CachedCredential.of(credential, left, self._plan.margin(float("inf")), now)
        return held if now.boot < held.due else None

    async def _asked(self, token: str) -> _Came:
        asked = self._clock()
        answer = await self._api.ask(await self._plan.request(token, asked.wall))
        if answer.status not in (200, 201):
            raise self._plan.refused(answer, asked.wall)
        try:
            return _Came(self._plan.read(answer, token, asked.wall), asked)
        except MalformedResponse as error:
            raise token_errors.malformed(self._forge, str(error)) from None

    async def _stored(self, call: Callable[..., Any], key: str, first: str, *args: object) -> SavedToken | None:
        try:
            return cast("SavedToken | None", await self._in_thread(call, self._keeping.path, key, first, *args))
        except StoreError as error:
            _log.error("{text}", text=str(error))
            if call is token_file.write:
                raise token_errors.unsaved(self._forge) from None
            text = f"no credential for {self._forge}: what was kept of it cannot be read; {token_errors.OPERATOR}"
            raise CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON) from None

    def _later(self, seconds: float) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._running:
            self._timer = self._reactor.callLater(min(max(seconds, 0.0), LONGEST_TIMER), self._in_background)

    def _in_background(self) -> None:
        held = self._held
        if held is not None and self._clock().boot < held.due:
            self._later(held.due - self._clock().boot)
        else:
            self._flight.join().addErrback(self._not_renewed)

    def _not_renewed(self, failure: Failure) -> None:
        if failure.check(CredentialError) is None:  # which is told already
            _log.failure("Renewing the credential of {forge} failed.", failure, forge=self._forge)
