"""The gate: what every sandbox connection shares, and the listener that makes them.

``Gate`` holds the rules and the means (sessions, credentials, forge connections, audit) and knows which exchange serves
which session, so that ending a session cuts its transfers at once. ``SandboxFactory`` accepts within the limits;
``GateService`` looks at every connection once a second, so that no deadline needs a timer of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from credgate.git.authorize import Authorizer, LfsRelay, Moved, Refuse, Relay, Serve, Verdict
from credgate.git.forge_response import refusal
from credgate.git.renames import Renames
from credgate.git.route import Kind
from credgate.git.whoami import whoami
from credgate.lfs.refusals import STOPPING_AFTER, stopping
from credgate.lfs.target import Call
from credgate.service.inspect.repository_client import RepositoryClient
from credgate.service.sandbox.connection import SandboxConnection
from credgate.service.sandbox.refused_connections import Limit, RefusedConnections
from credgate.service.turns import Turns
from credgate.service.upstream.project_paths import ProjectPaths
from credgate.service.upstream.request import credential_request
from credgate.sessions.address import rate_key
from credgate.sessions.rate_limits import Rates
from credgate.values import Decision, Reason, RepoPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from credgate.config.schema import Config, Limits, PushPolicy
    from credgate.http.grammar import RequestHead
    from credgate.lfs.handles import Handles
    from credgate.service.audit.log import AuditLog
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.registry import SessionRegistry
    from credgate.service.sandbox.local_answer import Exchange
    from credgate.service.upstream.pool import ForgePool
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session

LINGER = 2.0
"""Seconds that a refused connection may take to be told so."""
MAX_REFUSING = 128
"""Refused connections that are told so at the same time; more are closed without a word, to spare descriptors.

Over plain TCP one takes a turn of the reactor, in which about a hundred are accepted."""
MAX_PAGES = 32
"""Pages of sessions that are kept for a second, each of up to 200 KB."""
_STOPPING = "credgate is stopping; try again in a minute"
_log = Logger()


@define(eq=False)
class Gate:
    """What connections share."""

    reactor: IReactorTime
    limits: Limits
    admission: Authorizer
    registry: SessionRegistry
    credentials: Credentials
    pool: ForgePool
    audit: AuditLog
    clock: Callable[[], LeaseReading]
    lane: Callable[[str], Callable[..., Deferred[Any]]]
    """Gives a session's turns in the threads for what takes the processor's time: the reading of packs."""
    public_url: str = ""
    """The gateway's address as sandboxes know it; ``""``: as each says itself."""
    closing: bool = False
    channels: set[SandboxConnection] = field(factory=set, init=False)
    addresses: Counter[str] = field(factory=Counter, init=False)
    moves: Renames = field(factory=Renames, init=False)
    """Where a session's repositories went, as its last discovery found; a POST to the old name would be redirected."""
    _busy: dict[str, set[Exchange]] = field(factory=dict, init=False)
    _session_of: dict[Exchange, str] = field(factory=dict, init=False)
    rates: Rates = field(init=False)
    paths: ProjectPaths = field(init=False)
    """Whether repositories still have the names that grants give them, where forges are asked."""
    turns: Turns = field(init=False)
    """Of bodies that cost more than their bytes."""
    _pages: dict[tuple[str, float, PushPolicy], bytes] = field(factory=dict, init=False, repr=False)
    _pages_second: int = field(default=0, init=False)
    _vacant: Callable[[], None] = field(default=lambda: None, init=False)
    few_descriptors: bool = False
    """Whether ``limits.max_connections`` was lowered to what the process has file descriptors for."""
    refused: RefusedConnections = field(init=False)
    """Connections that a limit refused."""

    @refused.default
    def _refused(self) -> RefusedConnections:
        return RefusedConnections(self.audit, self.clock)

    @paths.default
    def _paths(self) -> ProjectPaths:
        return ProjectPaths(self.pool)

    @rates.default
    def _rates(self) -> Rates:
        limits = self.limits
        return Rates(limits.requests_per_minute, limits.requests_per_minute_per_address, limits.bytes_per_minute)

    @property
    def handles(self) -> Handles:
        """What sessions hold instead of links to LFS objects."""
        return self.admission.handles

    @turns.default
    def _turns(self) -> Turns:
        return Turns(self.reactor)

    def judge(self, head: RequestHead, peer: str) -> Verdict:
        """Ask the rules; then what only the gate knows: audit, and how much the session is doing already."""
        verdict = self._paced(self.admission.judge(head, peer, self.reactor.seconds()), peer)
        if isinstance(verdict, Relay | LfsRelay):
            verdict = self._stopping(head, verdict) if self.closing else self._able(head, verdict)
        return self._crowded(verdict) if isinstance(verdict, Refuse) else verdict

    def _crowded(self, refuse: Refuse) -> Refuse:
        """Refuse at once, without reading the body, if the session has its share of bodies being read already.

        A refused body is read to its end, which costs as a transfer does. So it counts as one, and a session may have
        as many of them again as it may have transfers: a client that does not count gets its refusal in git's words.
        """
        session = refuse.session
        most = 2 * self.limits.max_transfers_per_session
        if session is None or len(self._busy.get(session.id, ())) < most:
            return refuse
        text = f"this session has {most} requests running already"
        decision = Decision(allow=False, reason=Reason.TOO_MANY_TRANSFERS, rule="limits", text=text)
        return evolve(refuse, decision=decision, status=429, retry_after=5, refs=(), lines=(), early=True)

    def _stopping(self, head: RequestHead, verdict: Relay | LfsRelay) -> Verdict:
        """Begin nothing more; the verifying of an upload is its end, without which it was for nothing."""
        if isinstance(verdict, LfsRelay) and verdict.request.call is Call.VERIFY:
            return self._able(head, verdict)
        session, request = verdict.session, verdict.request
        if isinstance(verdict, LfsRelay):
            said = stopping(verdict.request.call, _STOPPING)
            return Refuse(said.decision, said.status, None, session, request, retry_after=said.retry_after, lfs=True)
        decision = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text=_STOPPING)
        return Refuse(decision, 503, verdict.request.kind, session, request, retry_after=STOPPING_AFTER)

    def _paced(self, verdict: Verdict, peer: str) -> Verdict:
        """Count what is asked with a right credential; what comes too often waits, unless it is refused anyway."""
        if verdict.session is None:
            return verdict
        wait = self.rates.admit(verdict.session.id, peer, self.reactor.seconds())
        if wait is None or isinstance(verdict, Refuse):
            return verdict
        request = getattr(verdict, "request", None)
        kind, session = getattr(request, "kind", None), verdict.session
        lfs = isinstance(verdict, LfsRelay)
        return Refuse(wait.decision, 429, kind, session, request, retry_after=wait.seconds, lfs=lfs)

    def _able(self, head: RequestHead, verdict: Relay | LfsRelay) -> Verdict:
        session, request = verdict.session, verdict.request
        kind, lfs = getattr(request, "kind", None), isinstance(verdict, LfsRelay)
        self.registry.touch(session.id)
        if not self.audit.writable:
            text = "the audit log cannot be written, so nothing is served; tell the operator"
            decision = Decision(allow=False, reason=Reason.AUDIT_UNWRITABLE, rule="audit", text=text)
            return Refuse(decision, 503, kind, session, request, retry_after=5, lfs=lfs)
        if len(self._busy.get(session.id, ())) >= self.limits.max_transfers_per_session:
            text = f"this session has {self.limits.max_transfers_per_session} transfers running already"
            decision = Decision(allow=False, reason=Reason.TOO_MANY_TRANSFERS, rule="limits", text=text)
            return Refuse(decision, 429, kind, session, request, retry_after=5, lfs=lfs)
        if head.version != b"1.1":
            decision = Decision(
                allow=False, reason=Reason.MALFORMED_REQUEST, rule="head", text="git is served over HTTP/1.1 only"
            )
            return Refuse(decision, 505, session=session, request=request, lfs=lfs)
        return self._moved(verdict)

    def _moved(self, verdict: Relay | LfsRelay) -> Relay | LfsRelay | Refuse:
        """Judge by the new name what is asked under a name that the session's last discovery found moved.

        A discovery itself asks under the old name again, for a repository may move back; ``RelayExchange`` judges it
        by the new name if it is redirected.
        """
        moved = self.moves.get((verdict.session.id, verdict.request.repo))
        if moved is None or (isinstance(verdict, Relay) and verdict.request.kind is Kind.ADVERTISEMENT):
            return verdict
        return self.admission.moved(verdict, moved)

    def record_rename(self, session_id: str, repo: RepoPath, moved: Moved) -> None:
        """Remember where a session's repository went."""
        self.moves[session_id, repo] = moved

    def is_there(self, session_id: str, repo: RepoPath) -> None:
        """Note that a discovery found the repository under this name."""
        self.moves.pop((session_id, repo), None)

    def page(self, serve: Serve) -> bytes:
        """Return the body of one of our own pages.

        A session's page is kept for the second that its times are written in: a thousand grants take milliseconds, and
        a sandbox may ask on all its connections at once.
        """
        if serve.session is None:
            return b'{"status":"healthy"}'
        now, session = self.clock(), serve.session
        second = int(now.wall)
        if self._pages_second != second or len(self._pages) >= MAX_PAGES:
            self._pages_second, self._pages = second, {}
        key = (session.id, session.absolute_ttl, self.admission.policy)
        if key not in self._pages:
            self._pages[key] = json.dumps(self._whoami(session, now)).encode()
        return self._pages[key]

    def _whoami(self, session: Session, now: LeaseReading) -> dict[str, object]:
        return whoami(session, now.boot, now.wall, self.admission.policy, self.credentials.named)

    async def take_up(self, config: Config) -> None:
        """Judge by another ``[policy]`` from the next request on; a push that is under way keeps its rules."""
        self.admission = evolve(self.admission, policy=config.policy)

    def inquiry(self, verdict: Relay) -> RepositoryClient:
        """Return the means to ask the forge about the repository that a push goes to."""
        return RepositoryClient(
            self.pool,
            self.credentials,
            credential_request(verdict),
            verdict.driver,
            verdict.path,
            verdict.dot_git,
            self.limits.inquiry_timeout,
            self.limits.forge_timeout,
            self.lane(verdict.session.id),
        )

    def entered(self, exchange: Exchange, session_id: str) -> None:
        """Note that ``exchange`` serves the session."""
        self._busy.setdefault(session_id, set()).add(exchange)
        self._session_of[exchange] = session_id

    def transfers(self) -> list[dict[str, object]]:
        """Return what is running for sessions now, in the order of its beginning."""
        return [exchange.record.snapshot() for exchange in self._session_of]

    @property
    def running(self) -> int:
        """How many transfers run."""
        return len(self._session_of)

    def meter(self) -> None:
        """Count what running transfers have moved since they were last looked at."""
        for exchange in self._session_of:
            exchange.record.meter()

    def left(self, exchange: Exchange) -> None:
        """Note that it no longer does."""
        session_id = self._session_of.pop(exchange, None)
        if session_id is None:
            return
        busy = self._busy[session_id]
        busy.discard(exchange)
        if not busy:
            del self._busy[session_id]

    def session_ended(self, session: Session, _reason: str) -> None:
        """Cut whatever the session is doing."""
        for exchange in list(self._busy.get(session.id, ())):
            exchange.cut(Reason.SESSION_ENDED)
        self.rates.forget(session.id)
        self.handles.forget(session.id)
        self.moves.forget(session.id)

    def retire(self, vacant: Callable[[], None]) -> None:
        """Take no further request; ``vacant`` is called when the last connection has gone."""
        self.closing, self._vacant = True, vacant
        for channel in list(self.channels):
            channel.retire()

    def dismiss(self) -> None:
        """Tell whoever still waits for an answer that none comes, as far as there are words for it."""
        text = "credgate is stopping and could not finish this; try again in a minute"
        decision = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text=text)
        for channel in list(self.channels):
            channel.dismiss(decision)

    def joined(self, channel: SandboxConnection) -> None:
        """Count a connection, as rates and the brake count addresses: an IPv6 host has a whole /64."""
        self.channels.add(channel)
        self.addresses[rate_key(channel.peer)] += 1

    def parted(self, channel: SandboxConnection) -> None:
        """Count it out."""
        self.channels.discard(channel)
        address = rate_key(channel.peer)
        self.addresses[address] -= 1
        if self.addresses[address] <= 0:
            del self.addresses[address]
        if self.closing and not self.channels:
            self._vacant()

    def full(self, peer: str) -> Limit | None:
        """Return the limit that one more connection from ``peer`` would exceed; None: there is room."""
        if self.addresses[rate_key(peer)] >= self.limits.max_connections_per_address:
            return Limit.ADDRESS
        if len(self.channels) >= self.limits.max_connections:
            return Limit.DESCRIPTORS if self.few_descriptors else Limit.TOTAL
        return None


_FULL = {
    Limit.ADDRESS: "too many connections from this address (max_connections_per_address); close some, or wait",
    Limit.TOTAL: "too many connections to the gateway (max_connections); wait",
    Limit.DESCRIPTORS: "the gateway has no file descriptors for more connections (RLIMIT_NOFILE); tell the operator",
}


class _Full(Protocol):
    """Refuses a connection over a limit; reads nothing."""

    def __init__(self, factory: SandboxFactory, limit: Limit) -> None:
        self._factory, self._limit = factory, limit
        self._cut: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._factory.refusing += 1
        decision = Decision(
            allow=False, reason=Reason.TOO_MANY_CONNECTIONS, rule=self._limit.value, text=_FULL[self._limit]
        )
        transport: Any = self.transport
        transport.write(refusal(Refuse(decision, 429, retry_after=5), None, close=True))
        transport.loseConnection()
        # Behind TLS this waits for a handshake, which a client may never finish.
        self._cut = self._factory.gate.reactor.callLater(LINGER, transport.abortConnection)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's own default differs
        self._factory.refusing -= 1
        if self._cut is not None and self._cut.active():
            self._cut.cancel()


class SandboxFactory(Factory):
    """Makes channels, within the limits."""

    noisy = False

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.refusing = 0
        """Refused connections that are still open."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a channel for the peer, named by its address alone; None closes the connection at once."""
        peer = str(getattr(addr, "host", ""))
        limit = self.gate.full(peer)
        if limit is None:
            return SandboxConnection(self.gate, peer)
        self.gate.refused.count(limit, rate_key(peer))
        return _Full(self, limit) if self.refusing < MAX_REFUSING else None


class GateService(Service):
    """Looks after the gate's connections."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = gate.reactor

    def startService(self) -> None:
        """Begin looking."""
        super().startService()
        self.gate.registry.on_end(self.gate.session_ended)
        self._sweep.start(1.0, now=False).addErrback(lambda failure: _log.failure("sweep stopped", failure))

    def sweep(self) -> None:
        """Act on every deadline that has passed; one connection's error is not another's."""
        now = self.gate.reactor.seconds()
        for channel in list(self.gate.channels):
            try:
                channel.overdue(now)
            except Exception:  # noqa: BLE001 - whatever broke one connection must not stop the clock of all
                _log.failure("a connection failed in the sweep and is cut")
                self._give_up(channel)
        try:
            self.gate.pool.sweep(now)
            self.gate.admission.brake.prune(now)
            self.gate.meter()
            self.gate.rates.prune(now)
            self.gate.refused.sweep()
        except Exception:  # noqa: BLE001 - it would stop the clock of all, for good
            _log.failure("the sweep failed; the next one tries again")

    def _give_up(self, channel: SandboxConnection) -> None:
        try:
            channel.broke()
        except Exception:  # noqa: BLE001 - it is aborted all the same, see broke()
            _log.failure("cutting it failed, too")

    def stopService(self) -> None:
        """Cut what is left."""
        super().stopService()
        self.gate.closing = True
        if self._sweep.running:
            self._sweep.stop()
        for channel in list(self.gate.channels):
            channel.cut(Reason.SHUTDOWN)
        self.gate.pool.close()
