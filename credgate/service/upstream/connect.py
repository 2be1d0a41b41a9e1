"""The way to the forge for one request: the credential that it needs, then a connection that belongs to it.

Both are usually at hand, and then nothing is waited for. A credential that must first be got (a command that runs, a
token that is minted) is waited for so long; the sandbox may leave meanwhile, its session may end, and then nothing
comes of it. Connections are filed by forge and credential, so a request never travels on one that another credential
has opened. What goes wrong is told once, as a decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import (
    Deferred,
    TimeoutError,  # noqa: A004 - Twisted's own, as addTimeout raises it
    ensureDeferred,
)

from credgate.errors import CredentialError
from credgate.forges.place import Place
from credgate.service.upstream.endpoints import unconnected
from credgate.service.upstream.request import credential_request
from credgate.values import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.git.authorize import Relay
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential, CredentialRequest
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection, ForgePool
    from credgate.service.upstream.project_paths import ProjectPaths
    from credgate.service.upstream.request import UpstreamRequest

T = TypeVar("T")

_UNAVAILABLE = 503
_FORBIDDEN = 403
_BAD_GATEWAY = 502


class UpstreamConnect:
    """One way, gone once or (after a closed connection, a rename, a refused credential) again."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        credentials: Credentials,
        pool: ForgePool,
        timeout: float,
        question: UpstreamRequest,
        record: RequestLog,
        *,
        paths: ProjectPaths,
        holds: Callable[[], None],
        opened: Callable[[ForgeConnection], None],
        failed: Callable[[Decision, int, int], None],
        broke: Callable[[Failure], None],
    ) -> None:
        """``timeout`` is seconds for a credential; ``failed`` is told a decision, a status and when to try again."""
        self._credentials, self._pool, self._timeout = credentials, pool, timeout
        self._question, self._record, self._paths = question, record, paths
        self._holds, self._opened, self._failed, self._broke = holds, opened, failed, broke
        self._waiting: Deferred[Credential] | Deferred[Decision | None] | Deferred[ForgeConnection] | None = None

    @property
    def connecting(self) -> bool:
        """Whether it is still on its way."""
        return self._waiting is not None

    def connect(self, verdict: Relay, *, kept: bool) -> None:
        """Go, on a ``kept`` connection if there is one."""
        wanted = credential_request(verdict)
        credential = self._credentials.cached(wanted)
        if credential is not None:
            self._check(verdict, credential, kept=kept)
            return
        self._holds()
        self._obtain(wanted, "", lambda got: self._check(verdict, got, kept=kept), self._unobtained)

    def renew(self, verdict: Relay, renewed: Callable[[], None], failed: Callable[[], None]) -> None:
        """Have the credential that the forge refused replaced by another."""
        refused = self._question.credential.id
        self._obtain(credential_request(verdict), refused, lambda _: renewed(), lambda _: failed())

    def cancel(self) -> None:
        """Go nowhere any more."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _obtain(
        self,
        wanted: CredentialRequest,
        refused: str,
        got: Callable[[Credential], None],
        failed: Callable[[CredentialError], None],
    ) -> None:
        obtaining = Deferred.fromCoroutine(self._credentials.fetch(wanted, refused))
        self._waiting = obtaining
        obtaining.addTimeout(self._timeout, self._pool.reactor)
        obtaining.addCallbacks(self._reached(got), self._lost(self._in_time(failed))).addErrback(self._broke)

    def _check(self, verdict: Relay, credential: Credential, *, kept: bool) -> None:
        """Connect, but first ask whether the repository still has this name, where that is wanted."""
        driver, repo = verdict.driver, verdict.request.repo
        if not self._paths.due(driver, repo, credential):
            self._connect(verdict, credential, kept=kept)
            return
        self._holds()
        self._record.set_credential(credential)

        def judged(refused: Decision | None) -> None:
            if refused is None:
                self._connect(verdict, credential, kept=kept)
            else:
                self._failed(refused, _FORBIDDEN, 0)

        checking = self._waiting = ensureDeferred(self._paths.refused(driver, repo, credential))
        checking.addCallbacks(self._reached(judged), self._lost(self._broke)).addErrback(self._broke)

    def _connect(self, verdict: Relay, credential: Credential, *, kept: bool) -> None:
        self._question.address(verdict, credential)
        self._record.set_credential(credential)
        idle = self._pool.take(self._question.key) if kept else None
        if idle is not None:
            self._opened(idle)
            return
        self._holds()
        connecting = self._waiting = self._pool.connect(self._question.key, Place.of(verdict.driver))
        unreached = self._lost(lambda failure: self._unreachable(verdict, failure))
        connecting.addCallbacks(self._reached(self._opened), unreached).addErrback(self._broke)

    def _reached(self, then: Callable[[T], None]) -> Callable[[T], None]:
        def reached(result: T) -> None:
            self._waiting = None
            then(result)

        return reached

    def _lost(self, then: Callable[[Failure], None]) -> Callable[[Failure], None]:
        def lost(failure: Failure) -> None:
            if self._waiting is not None:  # else given up by us, not failed
                self._waiting = None
                then(failure)

        return lost

    def _in_time(self, failed: Callable[[CredentialError], None]) -> Callable[[Failure], None]:
        def told(failure: Failure) -> None:
            failure.trap(CredentialError, TimeoutError)
            late = CredentialError(f"no credential came within {self._timeout:g} s", retry_after=30)
            failed(failure.value if isinstance(failure.value, CredentialError) else late)

        return told

    def _unobtained(self, error: CredentialError) -> None:
        text = f"{error.text}; ask the operator of this gateway"
        decision = Decision(allow=False, reason=error.reason, rule="forge", text=text)
        self._failed(decision, _UNAVAILABLE if error.retry_after else _BAD_GATEWAY, error.retry_after)

    def _unreachable(self, verdict: Relay, failure: Failure) -> None:
        self._failed(unconnected(verdict.driver.forge.name, failure.value or failure), _BAD_GATEWAY, 0)
