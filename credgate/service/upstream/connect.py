"""Connects one relayed request to its forge: first the credential that it needs, then a connection for that credential.

Usually both are cached and nothing is awaited. A credential that must be fetched first (a command runs, a token is
minted) is awaited for a bounded time; ``cancel`` ends that, because the client may leave or its session may end.
Connections are filed by forge and credential, so a request never uses one that was opened with another credential.
A failure is reported once, as a decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred

from credgate.errors import CredentialError
from credgate.forges.place import Place
from credgate.service.upstream.failures import BAD_GATEWAY, failure_decision
from credgate.service.upstream.request import credential_request, fetch_credential
from credgate.values import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.git.authorize import Relay
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection, ForgePool
    from credgate.service.upstream.project_paths import ProjectPaths
    from credgate.service.upstream.request import UpstreamRequest

T = TypeVar("T")

_UNAVAILABLE = 503
_FORBIDDEN = 403


class UpstreamConnect:
    """Connects one request, and once more after a closed connection, a rename or a refused credential."""

    def __init__(  # noqa: PLR0913 - all that a request needs of the gateway
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
        """``timeout`` is seconds for a credential.

        ``holds`` is called when something must be awaited, ``opened`` with the connection, ``broke`` with a defect of
        credgate, ``failed`` with a decision, a status and the seconds after which to try again (0: unknown).
        """
        self._credentials, self._pool, self._timeout = credentials, pool, timeout
        self._question, self._record, self._paths = question, record, paths
        self._holds, self._opened, self._failed, self._broke = holds, opened, failed, broke
        self._waiting: Deferred[Credential] | Deferred[Decision | None] | Deferred[ForgeConnection] | None = None

    @property
    def connecting(self) -> bool:
        """Whether something is awaited."""
        return self._waiting is not None

    def connect(self, verdict: Relay, *, kept: bool) -> None:
        """Connect, by a ``kept`` connection if there is one."""
        credential = self._credentials.cached(credential_request(verdict))
        if credential is not None:
            self._check(verdict, credential, kept=kept)
            return
        self._holds()
        self._fetch(verdict, "", lambda fetched: self._check(verdict, fetched, kept=kept), self._no_credential)

    def renew(self, verdict: Relay, renewed: Callable[[], None], failed: Callable[[], None]) -> None:
        """Replace the credential that the forge refused."""
        self._fetch(verdict, self._question.credential.id, lambda _: renewed(), lambda _: failed())

    def cancel(self) -> None:
        """Stop connecting. None of the callbacks is called any more."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _fetch(
        self,
        verdict: Relay,
        refused: str,
        fetched: Callable[[Credential], None],
        failed: Callable[[CredentialError], None],
    ) -> None:
        wanted = credential_request(verdict)
        fetching = ensureDeferred(
            fetch_credential(self._credentials, wanted, refused, self._pool.reactor, self._timeout)
        )

        def unfetched(failure: Failure) -> None:
            failure.trap(CredentialError)
            failed(failure.value)  # type: ignore[arg-type]  # what was trapped

        self._wait(fetching, fetched, unfetched)

    def _check(self, verdict: Relay, credential: Credential, *, kept: bool) -> None:
        """Connect, after the forge was asked whether the repository still has this name where that is configured."""
        driver, repo = verdict.driver, verdict.request.repo
        if not self._paths.due(driver, repo, credential):
            self._connect(verdict, credential, kept=kept)
            return
        self._holds()
        self._record.set_credential(credential)

        def checked(refused: Decision | None) -> None:
            if refused is None:
                self._connect(verdict, credential, kept=kept)
            else:
                self._failed(refused, _FORBIDDEN, 0)

        self._wait(ensureDeferred(self._paths.refused(driver, repo, credential)), checked, self._broke)

    def _connect(self, verdict: Relay, credential: Credential, *, kept: bool) -> None:
        self._question.address(verdict, credential)
        # The audit line names the credential even if the connection fails.
        self._record.set_credential(credential)
        idle = self._pool.take(self._question.key) if kept else None
        if idle is not None:
            self._opened(idle)
            return
        self._holds()

        def unreached(failure: Failure) -> None:
            decision, status = failure_decision(verdict.driver.forge.name, failure.value or failure)
            self._failed(decision, status, 0)

        self._wait(self._pool.connect(self._question.key, Place.of(verdict.driver)), self._opened, unreached)

    def _wait(self, waiting: Deferred[T], reached: Callable[[T], None], failed: Callable[[Failure], None]) -> None:
        """Await ``waiting``. A defect in one of the callbacks is reported by ``broke``."""
        self._waiting = waiting  # type: ignore[assignment]  # one of the three

        def on_result(result: T) -> None:
            self._waiting = None
            reached(result)

        def on_failure(failure: Failure) -> None:
            if self._waiting is not None:  # otherwise ``cancel`` was called: its CancelledError is ignored
                self._waiting = None
                failed(failure)

        waiting.addCallbacks(on_result, on_failure).addErrback(self._broke)

    def _no_credential(self, error: CredentialError) -> None:
        text = f"{error.text}; ask the operator of this gateway"
        decision = Decision(allow=False, reason=error.reason, rule="forge", text=text)
        self._failed(decision, _UNAVAILABLE if error.retry_after else BAD_GATEWAY, error.retry_after)
