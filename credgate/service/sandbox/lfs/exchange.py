"""The base of all LFS exchanges: handles, credentials, the end of a request, and its time limits.

An exchange (``service.sandbox.ports.Exchange``) serves one request of a sandbox's connection. It ends once: by
an answer, by a refusal (JSON, which git-lfs prints), by a reset when bytes of an answer were sent already, or because
the client left. Each end closes the log line and the connection to the forge or storage; later results are ignored.

This is the only part of LFS that sees a forge's credential. The forge's own LFS server gets the credential that git's
requests to the repository use. A storage gets it only if it is the forge itself (same host, port and TLS) and the forge
expects it there (``Action.login``); any other login of a storage is one that the forge wrote into the action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger

from credgate.errors import CredentialError
from credgate.git.authorize import Refuse
from credgate.lfs.refusals import LfsError, no_handle, stopping
from credgate.service.sandbox.stall_clock import StallClock
from credgate.service.upstream.client import UpstreamClient
from credgate.service.upstream.failures import no_answer_decision
from credgate.service.upstream.pool import Key
from credgate.service.upstream.request import credential_request, fetch_credential
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.python.failure import Failure

    from credgate.forges.driver import Driver
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead
    from credgate.lfs.handles import Action
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.values import Access

_log = Logger()


def authorization(driver: Driver, credential: Credential | None) -> bytes | None:
    """Return the ``Authorization`` value for the forge; None for an anonymous request."""
    # Not an empty password: some forges answer 401 to that even for public repositories.
    return driver.login(credential.secret) if credential is not None and credential.secret else None


def forge_key(driver: Driver, credential: Credential) -> Key:
    """Return the key of connections that carry the forge's credential: the same as git's."""
    return Key(driver.forge.name, credential.id)


def storage_key(driver: Driver, action: Action) -> Key:
    """Return the key of all other connections to where objects are stored: apart from git's, and by session."""
    place = action.href.place
    scheme = "https" if place.tls else "http"
    return Key(f"{driver.forge.name} lfs {scheme}://{place.authority}", action.session)


class LfsExchange:
    """One LFS request of one sandbox."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        self.channel, self.record, self.head, self.verdict = channel, record, head, verdict
        self.services = channel.services
        self.client = UpstreamClient(self.services.pool)
        self.whole = False
        """Whether the sandbox has sent all of its request."""
        self._work: Deferred[None] | None = None
        self._over = False
        self._stall = StallClock(self.services.reactor.seconds())

    # The kinds of exchange override these.

    def leave(self) -> None:
        """Close the connection to the storage, if there is one."""

    @property
    def answering(self) -> bool:
        """Whether bytes of an answer were sent, so that a refusal must be a reset."""
        return False

    @property
    def waits_for_client(self) -> bool:
        """Whether the next bytes must come from the client."""
        return not self.whole

    # Handles and credentials.

    def find_action(self) -> Action:
        """Return the action of the request's handle. Raises LfsError (404), upon which git-lfs asks for a new batch."""
        request, session = self.verdict.request, self.verdict.session.id
        action = self.services.handles.find(
            request.handle, session, request.asked, request.call, self.services.reactor.seconds()
        )
        if action is None:
            raise no_handle()
        self.record.set_object(action.oid, action.size)
        return action

    async def credential(self, access: Access, refused: str = "") -> Credential:
        """Return the credential for the forge; ``refused`` is the id of one that it rejected. Raises LfsError."""
        # Not the access of the request's target: what a batch needs is known only from its body.
        wanted = evolve(credential_request(self.verdict), access=access)
        credential = None if refused else self.services.credentials.cached(wanted)
        if credential is None:
            gate = self.services
            try:
                credential = await fetch_credential(
                    gate.credentials, wanted, refused, gate.reactor, gate.limits.connect_timeout
                )
            except CredentialError as error:
                raise LfsError(
                    error.text, reason=error.reason, status=503, rule="forge", retry_after=error.retry_after
                ) from None
        self.record.set_credential(credential)
        return credential

    # The end.

    def do(self, work: Coroutine[Deferred[object], object, None]) -> None:
        """Run ``work``; an LfsError that it raises is the refusal."""
        self._work = ensureDeferred(work)
        self._work.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, LfsError):
            self.refuse(failure.value)
        # ``_end`` cancels the work: its CancelledError is no defect.
        elif not (self._over and failure.check(CancelledError)):
            self.broke(failure)

    def broke(self, failure: Failure) -> None:
        """Reset the connection because of a defect of credgate."""
        _log.failure("an LFS request failed and is cut", failure)
        self.channel.broke()

    def refuse(self, error: LfsError) -> None:
        """Answer with ``error`` once the body was read; reset the connection if an answer has begun."""
        if self._over:
            return
        if self.answering:
            self._cut(error.decision)
            return
        self._end()
        verdict = self.verdict
        refuse = Refuse(
            error.decision,
            error.status,
            session=verdict.session,
            request=verdict.request,
            retry_after=error.retry_after,
            lfs=True,
        )
        self.channel.refuse(refuse, self.record, None, whole=self.whole)

    def finish(self) -> None:
        """End after a whole answer."""
        self._end()
        self.record.close()
        self.channel.finished()

    def _end(self) -> None:
        # Set before ``work`` is cancelled, so that its CancelledError is ignored.
        self._over = True
        work, self._work = self._work, None
        self.leave()
        if work is not None:
            work.cancel()

    def _stop(self, decision: Decision) -> None:
        self._end()
        self.record.set_decision(decision).close()

    def _cut(self, decision: Decision) -> None:
        self._stop(decision)
        self.channel.abort()

    # The connection calls these.

    def client_lost(self) -> None:
        self._stop(Decision(allow=False, reason=Reason.CLIENT_LEFT))

    def dropped(self, decision: Decision, status: int) -> bool:
        """End because of a protocol error of the client; return whether the connection may answer it."""
        possible = not self.answering
        if possible:
            self.record.set_status(status)
        self._stop(decision)
        return possible

    def cut(self, reason: Reason) -> None:
        """Reset the connections to the client and to the forge."""
        self._cut(Decision(allow=False, reason=reason))

    def refuse_pending(self, decision: Decision) -> None:
        """End because credgate stops."""
        # git-lfs tries again after this answer, but gives up when the connection is closed.
        self.refuse(stopping(self.verdict.request.call, decision.text))

    def overdue(self, now: float) -> None:
        """Reset a client that sends or reads nothing, or refuse if the forge does; each has its own time limit."""
        if self._stall.moved(self.record.bytes_up + self.record.bytes_down, now):
            # A long transfer must not let its session expire as idle.
            self.services.registry.touch(self.verdict.session.id)
            return
        limits = self.services.limits
        if self.waits_for_client:
            if self._stall.overdue(now, limits.stall_timeout):
                self.cut(Reason.STALLED)
        elif self._stall.overdue(now, limits.forge_timeout):
            self.refuse(LfsError.of(*no_answer_decision(self.verdict.driver.forge.name)))
