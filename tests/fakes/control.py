"""The control API without a process: its real site and routes on a wire in memory, and the parts that it talks to."""

from __future__ import annotations

import io
import json
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from credgate.config.schema import Config, ControlConfig, ForgeConfig, ListenConfig, PushPolicy
from credgate.errors import CapacityError
from credgate.forges.registry import driver_for
from credgate.service.control.http_server import ControlSite
from credgate.service.control.peer import Peer, PeerRule
from credgate.service.control.routes import ControlAPI
from credgate.service.gateway import Gateway
from credgate.sessions import tokens
from credgate.sessions.extension import extended
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.model import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from credgate.audit.event import Event, Happening
    from credgate.service.sandbox.refused_connections import Limit
    from credgate.sessions.model import SessionRequest

NOW = LeaseReading(boot_id="boot", boot=1000.0, wall=1_700_000_000.0)
OWN_UID = 1000
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    """Make a create request with these fields."""
    return b"\r\n".join([b"POST /session/create HTTP/1.1", b"Host: localhost", *fields, b"", body])


def config(socket: Path | str = "/run/credgate/control.sock", **control: Any) -> Config:
    """Return a configuration with two forges and a limit of three sessions."""
    forges = {
        "github.com": ForgeConfig(name="github.com", kind="github", url="https://github.com"),
        "git.example": ForgeConfig(name="git.example", url="https://git.example"),
    }
    base = Config(listen=ListenConfig(control=str(socket)), control=ControlConfig(**control), forges=forges)
    return evolve(base, sessions=evolve(base.sessions, max_sessions=3))


def drivers(of: Config) -> dict[str, Any]:
    """Return the real drivers of a configuration's forges."""
    return {name: driver_for(forge) for name, forge in of.forges.items()}


@define
class Auditor:
    """Keeps the events that it is told."""

    events: list[Event] = field(factory=list)

    def write(self, event: Event) -> None:
        """Keep one."""
        self.events.append(event)


@define
class FakeRegistry:
    """Sessions in a dict; ``fails`` is raised by whatever changes them, ``hold`` keeps a create waiting."""

    limit: int = 3
    fails: Exception | None = None
    hold: Deferred[None] | None = None
    on_question: Callable[[], None] = lambda: None
    sessions: dict[str, Session] = field(factory=dict)
    revoked: list[str] = field(factory=list)
    _made: int = 0

    def create(self, request: SessionRequest) -> Deferred[tuple[Session, tokens.NewToken]]:
        """Make a session with secrets that tell which one it is."""
        gate = self.hold if self.hold is not None else succeed(None)
        return gate.addCallback(lambda _: self._create(request))

    def _create(self, request: SessionRequest) -> tuple[Session, tokens.NewToken]:
        if self.fails is not None:
            raise self.fails
        if len(self.sessions) >= self.limit:
            raise CapacityError("full")
        self._made += 1
        minted = tokens.mint(lambda n: bytes([self._made]) * n)
        session = Session(
            id=minted.id,
            token_digest=tokens.digest(minted.token),
            secret_digest=tokens.digest(minted.secret),
            grants=request.grants,
            created=NOW.boot - 10 + self._made,
            used=NOW.boot,
            created_wall=NOW.wall,
            idle_ttl=request.idle_ttl,
            absolute_ttl=request.absolute_ttl,
            bound_to=request.bound_to,
            label=request.label,
            dns=request.dns,
        )
        self.sessions[session.id] = session
        return session, minted

    def revoke(self, session_id: str, reason: str) -> Deferred[bool]:
        """Forget a session."""
        self.revoked.append(session_id)
        return succeed(None).addCallback(lambda _: self._revoke(session_id))

    def _revoke(self, session_id: str) -> bool:
        if self.fails is not None:
            raise self.fails
        return self.sessions.pop(session_id, None) is not None

    def extend(self, session_id: str, seconds: float) -> Deferred[Session | None]:
        """Let a session live longer."""
        return succeed(None).addCallback(lambda _: self._extend(session_id, seconds))

    def _extend(self, session_id: str, seconds: float) -> Session | None:
        if self.fails is not None:
            raise self.fails
        if session_id not in self.sessions:
            return None
        longest = config().sessions.absolute_ttl
        self.sessions[session_id] = extended(self.sessions[session_id], seconds, NOW.boot, longest)
        return self.sessions[session_id]

    def revoke_token(self, token: str) -> Deferred[bool]:
        """Forget a session that is named by its token."""
        self.on_question()
        found = [s.id for s in self.sessions.values() if s.token_digest == tokens.digest(token)]
        return self.revoke(found[0] if found else "", "revoked")

    def get(self, session_id: str) -> Session | None:
        """Find a session."""
        return self.sessions.get(session_id)

    def ids(self) -> list[str]:
        """List their ids, the oldest first."""
        return list(self.sessions)


class Wire(StringTransport):
    """A connection that a test can look at, half closed or not."""

    half_closed = aborted = False

    def loseWriteConnection(self) -> None:
        """Note it."""
        self.half_closed = True

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True
        super().abortConnection()


@define
class Answer:
    """One response as a client sees it."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of a refusal; the only thing in its body."""
        assert list(self.json) == ["error"]
        text: str = self.json["error"]
        return text


class _Stream(io.BytesIO):
    """Bytes in the guise of a socket, which outlives the response that reads it."""

    def makefile(self, _mode: str) -> _Stream:
        return self

    def close(self) -> None:
        """Stay open for the next response."""


def answers(data: bytes, *, method: str = "GET") -> list[Answer]:
    """All responses in ``data``, read by the standard library; it must end where the last one does."""
    found = []
    stream = _Stream(data)
    while stream.tell() < len(data):
        response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        response.begin()
        length = 0 if method == "HEAD" else int(response.headers["Content-Length"])
        body = stream.read(length)
        assert len(body) == length, "an answer is cut"
        found.append(Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, body))
    return found


def _ready() -> Deferred[dict[str, bool]]:
    return succeed({"git": True})


@define
class Desk:
    """The control API with fakes around it; ``ask`` sends bytes on a connection of its own."""

    registry: FakeRegistry = field(factory=FakeRegistry)
    config: Config = field(factory=config)
    clock: Clock = field(factory=Clock)
    peer: Peer | None = Peer(OWN_UID, OWN_UID)  # noqa: RUF009 - immutable
    readiness: Any = _ready
    turned_away: list[tuple[Limit, str]] = field(factory=list)
    audit: Auditor = field(factory=Auditor)
    reload: Any = None
    policy: PushPolicy = field(factory=PushPolicy)
    without: set[str] = field(factory=set)
    status: Any = None
    transfers: Any = list
    forges: Any = list
    check: Any = None

    def granted(self, happening: Happening) -> list[tuple[str, str]]:
        """Return the session and the peer of each audit line of this kind."""
        return [(event.session, event.peer) for event in self.audit.events if event.event is happening]

    def connect(self) -> tuple[Any, Wire]:
        """Open a connection."""
        gateway = Gateway(
            config=self.config,
            registry=self.registry,
            drivers=drivers(self.config),
            clock=lambda: NOW,
            readiness=self.readiness,
            policy=lambda: self.policy,
            has_credential=lambda repo: repo.forge not in self.without,
            reload=self.reload,
            status=self.status,
            transfers=self.transfers,
            forges=self.forges,
            check=self.check,
        )
        api = ControlAPI(gateway, self.audit, self.clock)  # type: ignore[arg-type]
        site = ControlSite(
            api.app.resource(),
            PeerRule((), lambda: OWN_UID),
            self.clock,  # type: ignore[arg-type]
            refused=lambda limit, client: self.turned_away.append((limit, client)),
            read_peer=lambda _transport: self.peer,
        )
        channel, wire = site.buildProtocol(None), Wire()
        channel.makeConnection(wire)
        return channel, wire

    def ask(self, data: bytes, *, method: str = "GET") -> list[Answer]:
        """Send ``data``; return all answers."""
        channel, wire = self.connect()
        channel.dataReceived(data)
        return answers(wire.value(), method=method)

    def call(self, method: str, path: str, payload: object = None, **fields: str) -> Answer:
        """Send one well-formed request; return its one answer."""
        body = b"" if payload is None else json.dumps(payload).encode()
        named = {"Host": "localhost", "Content-Length": str(len(body)), **fields}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        (answer,) = self.ask(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body, method=method)
        return answer
