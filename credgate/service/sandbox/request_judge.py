"""Judges one request head: first by the session's grants, then by what only the running gateway knows.

``git.authorize`` decides what a session may ask. This module adds the conditions of the moment, in this order: the
rate limits, a stop that has begun, an audit log that cannot be written, the session's running transfers, and renames
that the session's discoveries found. It sends nothing and starts nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import evolve

from credgate.git.authorize import Authorizer, LfsRelay, Moved, Refuse, Relay, Serve, Verdict
from credgate.git.renames import Renames
from credgate.git.route import Kind
from credgate.git.whoami import whoami
from credgate.lfs.refusals import STOPPING_AFTER, stopping
from credgate.lfs.target import Call
from credgate.values import Decision, Reason, RepoPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import Config, Limits, PushPolicy
    from credgate.http.grammar import RequestHead
    from credgate.service.audit.log import AuditLog
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.registry import SessionRegistry
    from credgate.service.sandbox.transfers import Transfers
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.rate_limits import Rates

MAX_PAGES = 32
"""Sessions whose page is kept for a second; a page has up to 200 KB."""
_STOPPING = "credgate is stopping; try again in a minute"


class RequestJudge:
    """Returns the verdict on each request head."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it compares
        self,
        authorizer: Authorizer,
        limits: Limits,
        rates: Rates,
        transfers: Transfers,
        registry: SessionRegistry,
        credentials: Credentials,
        audit: AuditLog,
        clock: Callable[[], LeaseReading],
    ) -> None:
        self.authorizer, self._limits, self._rates, self._transfers = authorizer, limits, rates, transfers
        self._registry, self._credentials, self._audit, self._clock = registry, credentials, audit, clock
        self._limited = bool(
            limits.requests_per_minute or limits.requests_per_minute_per_address or limits.bytes_per_minute
        )
        self._renamed_once = False
        """Whether any rename was ever recorded: most gateways never see one."""
        self.renames = Renames()
        """Where the sessions' repositories moved to; a POST to an old name would be redirected."""
        self._pages: dict[tuple[str, float, PushPolicy], bytes] = {}
        self._pages_second = 0

    def judge(self, head: RequestHead, peer: str, now: float) -> Verdict:
        """Return the verdict on a request of ``peer`` at ``now`` (the reactor's seconds)."""
        verdict = self.authorizer.judge(head, peer, now)
        session = verdict.session
        if session is None:
            return verdict
        wait = self._rates.admit(session.id, peer, now) if self._limited else None
        kind = type(verdict)
        if kind is Refuse:
            return self._crowded(verdict)  # type: ignore[arg-type]  # a type is not narrowed by its identity
        if wait is not None:
            return self._crowded(self._refuse(verdict, wait.decision, 429, wait.seconds))
        if kind is Serve:
            return verdict
        assert isinstance(verdict, Relay | LfsRelay)
        verdict = self._stopping(head, verdict) if self._transfers.closing else self._conditions(head, verdict)
        return self._crowded(verdict) if type(verdict) is Refuse else verdict

    def _refuse(self, verdict: Verdict, decision: Decision, status: int, retry_after: int = 0) -> Refuse:
        request = getattr(verdict, "request", None)
        kind, lfs = getattr(request, "kind", None), isinstance(verdict, LfsRelay)
        return Refuse(decision, status, kind, verdict.session, request, retry_after=retry_after, lfs=lfs)

    def _crowded(self, refuse: Refuse) -> Refuse:
        """Refuse without reading the body if many requests of the session are running already."""
        # A refused body is read to its end, which costs as much as a transfer, so it counts as one. A session may have
        # twice ``max_transfers_per_session`` in all, so that an honest client still gets its refusal in git's protocol.
        session = refuse.session
        most = 2 * self._limits.max_transfers_per_session
        if session is None or self._transfers.count(session.id) < most:
            return refuse
        text = f"this session has {most} requests running already"
        decision = Decision(allow=False, reason=Reason.TOO_MANY_TRANSFERS, rule="limits", text=text)
        return evolve(refuse, decision=decision, status=429, retry_after=5, refs=(), lines=(), early=True)

    def _stopping(self, head: RequestHead, verdict: Relay | LfsRelay) -> Relay | LfsRelay | Refuse:
        """Refuse, because credgate is stopping."""
        if isinstance(verdict, LfsRelay):
            # Without its verification the upload before it would be lost.
            if verdict.request.call is Call.VERIFY:
                return self._conditions(head, verdict)
            error = stopping(verdict.request.call, _STOPPING)
            return self._refuse(verdict, error.decision, error.status, error.retry_after)
        decision = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text=_STOPPING)
        return self._refuse(verdict, decision, 503, STOPPING_AFTER)

    def _conditions(self, head: RequestHead, verdict: Relay | LfsRelay) -> Relay | LfsRelay | Refuse:
        session, most = verdict.session, self._limits.max_transfers_per_session
        self._registry.touch(session.id, self._registry.read_at)
        # What cannot be audited is not served: checked before any byte is sent to the forge.
        if not self._audit.writable:
            text = "the audit log cannot be written, so nothing is served; tell the operator"
            decision = Decision(allow=False, reason=Reason.AUDIT_UNWRITABLE, rule="audit", text=text)
            return self._refuse(verdict, decision, 503, 5)
        if self._transfers.count(session.id) >= most:
            text = f"this session has {most} transfers running already"
            decision = Decision(allow=False, reason=Reason.TOO_MANY_TRANSFERS, rule="limits", text=text)
            return self._refuse(verdict, decision, 429, 5)
        if head.version != b"1.1":
            text = "git is served over HTTP/1.1 only"
            decision = Decision(allow=False, reason=Reason.MALFORMED_REQUEST, rule="head", text=text)
            lfs = isinstance(verdict, LfsRelay)
            return Refuse(decision, 505, session=session, request=verdict.request, lfs=lfs)
        return self._renamed(verdict) if self._renamed_once else verdict

    def _renamed(self, verdict: Relay | LfsRelay) -> Relay | LfsRelay | Refuse:
        """Judge a request by the new name if the session's last discovery found the repository moved."""
        # A discovery itself uses the old name again, because a repository may move back. ``RelayExchange`` judges it by
        # the new name if the forge redirects it.
        moved = self.renames.get((verdict.session.id, verdict.request.repo))
        if moved is None or (isinstance(verdict, Relay) and verdict.request.kind is Kind.ADVERTISEMENT):
            return verdict
        return self.authorizer.moved(verdict, moved)

    def record_rename(self, session_id: str, repo: RepoPath, moved: Moved) -> None:
        """Remember where a session's repository moved to."""
        self._renamed_once = True
        self.renames[session_id, repo] = moved

    def forget_rename(self, session_id: str, repo: RepoPath) -> None:
        """Forget a move: a discovery found the repository under this name."""
        if self._renamed_once:
            self.renames.pop((session_id, repo), None)

    def forget(self, session_id: str) -> None:
        """Drop what is remembered for a session that ended."""
        self.renames.forget(session_id)
        self.authorizer.handles.forget(session_id)

    def page(self, serve: Serve) -> bytes:
        """Return the body of one of the gateway's own pages."""
        if serve.session is None:
            return b'{"status":"healthy"}'
        # Kept for the current second, in which its times do not change: the page of a session with a thousand grants
        # takes milliseconds, and a sandbox may request it on all its connections at once.
        now, session = self._clock(), serve.session
        second = int(now.wall)
        if self._pages_second != second or len(self._pages) >= MAX_PAGES:
            self._pages_second, self._pages = second, {}
        policy = self.authorizer.policy
        key = (session.id, session.absolute_ttl, policy)
        if key not in self._pages:
            page = whoami(session, now.boot, now.wall, policy, self._credentials.named)
            self._pages[key] = json.dumps(page).encode()
        return self._pages[key]

    async def apply_config(self, config: Config) -> None:
        """Judge by another ``[policy]`` from the next request on; a push that is running keeps its rules."""
        self.authorizer = evolve(self.authorizer, policy=config.policy)
