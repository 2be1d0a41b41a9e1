"""A gateway without sockets: the real services, connections, exchanges and pool between in-memory sandboxes and forges.

``House`` is all of it. ``client()`` is a sandbox's connection; ``forge`` the way to forges, which tests let in, refuse
or keep waiting. What either side received is read by h11, which shares no code with ours.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import h11
from attrs import define, evolve, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Clock

from credgate.config.schema import ForgeConfig, Limits, PushPolicy
from credgate.errors import CredentialError
from credgate.forges.registry import driver_for
from credgate.git.authorize import Authorizer
from credgate.git.pktline import FLUSH, encode
from credgate.lfs.handles import Handles
from credgate.service.credentials.sources import ANONYMOUS, Credential, CredentialRequest
from credgate.service.sandbox.listener import SandboxFactory, Sweep
from credgate.service.sandbox.refused_connections import RefusedConnections
from credgate.service.sandbox.request_judge import RequestJudge
from credgate.service.sandbox.services import Services
from credgate.service.sandbox.transfers import Transfers
from credgate.service.upstream.pool import ForgePool
from credgate.sessions.login_throttle import LoginThrottle
from credgate.sessions.model import Grant
from credgate.sessions.rate_limits import Rates
from credgate.values import Access, RepoPath
from tests.fakes.sessions import LeaseClock, session
from tests.fakes.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.audit.event import Event
    from credgate.git.authorize import Verdict
    from credgate.http.grammar import RequestHead
    from credgate.sessions.model import Session

PEER = "10.0.0.7"
FORGE_SECRET = "forge-secret"
ZERO, ONE = b"0" * 40, b"1" * 40
KIB64 = 64 * 1024
PACK = b"PACK" + b"\xff" * 1000


# Requests of a sandbox.


def login(token: str = "token", secret: str = "secret") -> bytes:
    """Make an Authorization field."""
    return b"Authorization: Basic " + base64.b64encode(f"x:{token}:{secret}".encode())


def ask(line: bytes, *fields: bytes, body: bytes = b"", auth: bytes | None = None, version: bytes = b"1.1") -> bytes:
    """Make a request, by default with the right credential."""
    shown = [login() if auth is None else auth] if auth != b"" else []
    return b"\r\n".join([line + b" HTTP/" + version, b"Host: gate", *shown, *fields, b"", body])


def discover(service: bytes = b"upload", repo: bytes = b"octo/hello", *fields: bytes, **more: Any) -> bytes:
    """Make a discovery."""
    return ask(b"GET /git/%b/info/refs?service=git-%b-pack" % (repo, service), *fields, **more)


def chunks(*pieces: bytes, last: bool = True) -> bytes:
    """Frame ``pieces`` as chunks; an empty piece is the last chunk."""
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces if one) + (b"0\r\n\r\n" if last else b"")


def post(
    body: bytes,
    *fields: bytes,
    service: bytes = b"upload",
    repo: bytes = b"octo/hello",
    chunked: bool = False,
    **more: Any,
) -> bytes:
    """Make a fetch (or, with ``service`` receive, a push) of ``body``."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    return ask(
        b"POST /git/%b/git-%b-pack" % (repo, service),
        b"Content-Type: application/x-git-%b-pack-request" % service,
        framing,
        *fields,
        body=chunks(body) if chunked else body,
        **more,
    )


def command(ref: bytes = b"refs/heads/main", *, first: bool = True, old: bytes = ZERO, new: bytes = ONE) -> bytes:
    """Make one line of a push's list."""
    return encode(b"%b %b %b%b" % (old, new, ref, b"\x00 report-status side-band-64k" if first else b""))


def commands(*refs: bytes) -> bytes:
    """Make a push's list."""
    return b"".join(command(ref, first=not at) for at, ref in enumerate(refs or (b"refs/heads/main",))) + FLUSH


# Responses of a forge.


def answer(
    body: bytes = b"",
    *fields: bytes,
    status: bytes = b"200 OK",
    kind: bytes = b"upload-pack-result",
    chunked: bool = False,
    length: int | None = None,
) -> bytes:
    """Make a response of git's type ``kind``; ``length`` may be wrong."""
    framing = (
        b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (len(body) if length is None else length)
    )
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/x-git-" + kind, framing, *fields, b"", b""]
    return b"\r\n".join(lines) + (chunks(body) if chunked else body)


ADVERTISED = encode(b"# service=git-upload-pack\n") + FLUSH + encode(ONE + b" HEAD\x00ofs-delta\n") + FLUSH
LISTED = answer(ADVERTISED, kind=b"upload-pack-advertisement")
RESULT = answer(b"packed")
REPORTED = answer(b"reported", kind=b"receive-pack-result")


# What was received, as h11 reads it.


@frozen
class Message:
    """A request or response as h11 reads it; ``whole`` is whether it is complete."""

    start: Any
    body: bytes
    whole: bool

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start.status_code)

    def field(self, name: bytes) -> bytes | None:
        """Return the value of a field, or None."""
        return dict(self.start.headers).get(name)


def _read(reader: h11.Connection, data: bytes, *, eof: bool) -> Message | None:
    if data:
        reader.receive_data(data)
    start, body = None, b""
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError:
            if eof:  # it ended in the middle
                return None if start is None else Message(start, body, whole=False)
            raise
        if isinstance(event, h11.Request | h11.Response):
            start = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Message(start, body, whole=True)
        elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return None if start is None else Message(start, body, whole=False)


def requests_in(data: bytes) -> list[Message]:
    """Read the requests that a forge received on one connection; the last may be incomplete."""
    reader, found = h11.Connection(h11.SERVER), []
    while (one := _read(reader, data, eof=False)) is not None:
        found.append(one)
        data = b""
        if not one.whole:
            break
        reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        reader.send(h11.EndOfMessage())
        if reader.our_state is not h11.DONE:
            break
        reader.start_next_cycle()
    return found


def answers_in(data: bytes, *methods: bytes) -> list[Message]:
    """Read the responses that a sandbox received to requests of ``methods`` (default: all GET)."""
    found: list[Message] = []
    data = data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    while data:
        reader = h11.Connection(h11.CLIENT)
        method = methods[len(found)] if len(methods) > len(found) else b"GET"
        reader.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        reader.send(h11.EndOfMessage())
        one = _read(reader, data, eof=False)
        if one is None:
            break
        found.append(one)
        data = reader.trailing_data[0] if one.whole else b""
    return found


def only(wire: Wire, method: bytes = b"GET") -> Message:
    """Read the only response that a sandbox received."""
    (one,) = answers_in(wire.received, method)
    return one


# The gateway.


@define
class Sessions:
    """Sessions by token and secret, with listeners for their end."""

    known: dict[tuple[str, str], Session] = field(factory=dict)
    touched: list[str] = field(factory=list)
    listeners: list[Callable[[Session, str], None]] = field(factory=list)

    def authenticate(self, token: str, secret: str, address: str) -> Session | None:
        """Find a session."""
        return self.known.get((token, secret))

    def usable(self, session_id: str, address: str) -> Session | None:
        """Find a session by its public id."""
        return next((one for one in self.known.values() if one.id == session_id), None)

    read_at = 0.0

    def touch(self, session_id: str, now: float | None = None) -> None:
        """Note it."""
        self.touched.append(session_id)

    def on_end(self, callback: Callable[[Session, str], None]) -> None:
        """Register a listener."""
        self.listeners.append(callback)

    def revoke(self, one: Session) -> None:
        """End a session as the registry does: first mark it dead, then call the listeners."""
        self.known = {key: value for key, value in self.known.items() if value != one}
        for listener in self.listeners:
            listener(one, "revoked")


@define
class Credentials:
    """One credential a forge, at hand; or, with ``late``, only once the test says so (``come``, ``fail``).

    ``renewed`` is what a refused one is replaced by.
    """

    held: dict[str, Credential]
    late: bool = False
    renewed: Credential | None = None
    asked: list[tuple[CredentialRequest, str]] = field(factory=list)
    waiting: list[Deferred[Credential]] = field(factory=list)
    named_for: list[Grant] = field(factory=list)

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return it."""
        return None if self.late else self.held.get(wanted.repo.forge, ANONYMOUS)

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Note that it was asked for, and answer when the test does."""
        self.asked.append((wanted, refused))
        if self.late:
            waiter: Deferred[Credential] = Deferred(self.waiting.remove)
            self.waiting.append(waiter)
            self.held[wanted.repo.forge] = await waiter
        elif refused and self.renewed is None:
            raise CredentialError("there is no other")
        elif self.renewed is not None:
            self.held[wanted.repo.forge] = self.renewed
        return self.held[wanted.repo.forge]

    def come(self, credential: Credential, *, late: bool = False) -> None:
        """Return it to all waiting requests; from then on it is cached."""
        self.late, waiting = late, list(self.waiting)
        self.waiting.clear()
        for one in waiting:
            one.callback(credential)

    def fail(self, why: Exception) -> None:
        """Do not."""
        waiting = list(self.waiting)
        self.waiting.clear()
        for one in waiting:
            one.errback(why)

    def configured(self, repo: RepoPath) -> bool:
        """Whether a credential is configured."""
        return self.late or repo.forge in self.held

    def named(self, grant: Grant, session: Session) -> list[dict[str, object]]:
        """Name it."""
        self.named_for.append(grant)
        credential = self.held.get(grant.forge)
        return [] if credential is None else [{"id": credential.id, "kind": credential.kind}]


@define
class Audit:
    """Keeps events; the test sets ``writable``."""

    events: list[Event] = field(factory=list)
    writable: bool = True

    def write(self, event: Event) -> None:
        """Keep one."""
        self.events.append(event)


@define(eq=False)
class Coming:
    """A connection attempt to a forge."""

    factory: Any
    made: Deferred[Any]
    reactor: Clock
    cancelled: bool = False

    def accept(self, *, shake: bool = True) -> Wire:
        """Accept it, and (with ``shake``) finish the TLS handshake, as ``TlsEndpoint`` reports it."""
        protocol = self.factory.buildProtocol(None)
        wire = Wire(self.reactor, protocol)
        self.made.callback(protocol)
        if shake:
            protocol.handshakeCompleted()
        return wire

    def fail(self, why: Exception) -> None:
        """Do not."""
        self.made.errback(why)


@define(eq=False)
class Forges:
    """The network to the forges: ``wires`` are or were open, ``coming`` wait to be accepted."""

    reactor: Clock
    open: bool = True
    """Accept every connection at once."""
    wires: list[Wire] = field(factory=list)
    coming: list[Coming] = field(factory=list)

    def connect(self, factory: Any) -> Deferred[Any]:
        """Begin a connection, as an endpoint does; cancelling fails it as an endpoint does."""
        made: Deferred[Any] = Deferred(lambda made: self._cancel(coming, made))
        coming = Coming(factory, made, self.reactor)
        self.coming.append(coming)
        if self.open:
            self.let_in()
        return made

    def _cancel(self, coming: Coming, made: Deferred[Any]) -> None:
        coming.cancelled = True
        self.coming.remove(coming)
        made.errback(ConnectingCancelledError(IPv4Address("TCP", "192.0.2.1", 443)))

    def let_in(self, *, shake: bool = True) -> Wire:
        """Accept the first attempt."""
        wire = self.coming.pop(0).accept(shake=shake)
        self.wires.append(wire)
        return wire

    def refuse(self, why: Exception) -> None:
        """Fail the first attempt."""
        self.coming.pop(0).fail(why)

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.wires[-1]

    def asked(self) -> Message:
        """Read the last request on the newest connection."""
        return requests_in(self.wire.received)[-1]


class House:
    """The whole gateway, with one session that may use ``octo/*`` and read ``read/only``."""

    def __init__(self, *, public_url: str = "", few_descriptors: bool = False, **limits: Any) -> None:
        self.reactor = Clock()
        self.limits = evolve(Limits(), **limits)
        self.forge = Forges(self.reactor)
        self.sessions, self.audit, self.clock = Sessions(), Audit(), LeaseClock()
        self.credentials = Credentials({"github.com": Credential("cred-1", FORGE_SECRET)})
        self.drivers = {
            "github.com": driver_for(ForgeConfig("github.com", "github", "https://github.com")),
            "lab": driver_for(ForgeConfig("lab", "generic", "http://lab.example/srv", allow_plain_http=True)),
        }
        grants = (
            Grant("octo/*", "github.com"),
            Grant("read/only", "github.com", Access.READ),
            Grant("team/*", "lab"),
        )
        self.session = session(grants=grants)
        self.sessions.known["token", "secret"] = self.session
        self.pool = ForgePool(self.reactor, self.limits.connect_timeout, lambda _: self.forge)
        authorizer = Authorizer(
            self.drivers,
            "github.com",
            self.sessions,
            LoginThrottle(10),
            self.credentials.configured,
            PushPolicy(),
            Handles(lambda: secrets.token_urlsafe(32)),
        )
        self.lane: Callable[[str], Callable[..., Deferred[Any]]] = lambda _session: maybeDeferred
        """Threads; by default each call is done at once."""
        limits = self.limits
        rates = Rates(limits.requests_per_minute, limits.requests_per_minute_per_address, limits.bytes_per_minute)
        parts: dict[str, Any] = {
            "limits": limits,
            "rates": rates,
            "transfers": Transfers(),
            "registry": self.sessions,
            "credentials": self.credentials,
            "audit": self.audit,
            "clock": lambda: self.clock(),  # noqa: PLW0108 - tests replace it
        }
        self.judge, self.transfers = RequestJudge(authorizer, **parts), parts["transfers"]
        self.services = Services(
            reactor=self.reactor,
            pool=self.pool,
            judge=self.judge,
            refused=RefusedConnections(self.audit, self.clock),
            lane=lambda session_id: self.lane(session_id),  # noqa: PLW0108 - as above
            public_url=public_url,
            **parts,
        )
        self.factory = SandboxFactory(self.services, few_descriptors=few_descriptors)
        self.service = Sweep(self.services)
        self.clients: list[Wire] = []
        self.sessions.on_end(self.services.session_ended)

    def judge_head(self, head: RequestHead, peer: str = PEER) -> Verdict:
        """Judge a head, as a connection does."""
        return self.judge.judge(head, peer, self.reactor.seconds())

    def client(self, peer: str = PEER) -> Wire:
        """Connect a sandbox."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", peer, 40000))
        self.clients.append(Wire(self.reactor, protocol))
        return self.clients[-1]

    def say(self, data: bytes, **more: Any) -> Wire:
        """Connect a sandbox that sends ``data``, and run everything that is due."""
        client = self.client(**more)
        client.deliver(data)
        self.settle()
        return client

    def settle(self) -> None:
        """Run everything that is due."""
        for _ in range(200):
            self.reactor.advance(0)

    def wait(self, seconds: float) -> None:
        """Advance the clock, with a sweep each second, as the service does."""
        for _ in range(int(seconds)):
            self.reactor.advance(1)
            self.service.sweep()
            self.settle()

    @property
    def reasons(self) -> list[str]:
        """The reasons of all audit lines so far."""
        return [event.reason for event in self.audit.events]

    def nothing_left(self) -> None:
        """Check that no exchange is registered, every connection has an owner, and no timer runs."""
        self.settle()
        assert self.transfers.running == 0
        assert self.transfers.snapshot() == []
        idle = {id(one) for kept in self.pool._idle.values() for one in kept}
        for wire in self.forge.wires:
            owner = wire.protocol
            assert wire.ended or (id(owner) in idle and wire.reading and owner.asker is None and wire.producer is None)
        assert {id(one.protocol) for one in self.forge.wires if not one.ended} == {id(one) for one in self.pool._open}
        for wire in self.clients:
            channel = wire.protocol
            assert wire.ended or (channel._exchange is None and (wire.reading or wire.disconnecting or channel._full))
        assert self.forge.coming == []
        assert self.reactor.getDelayedCalls() == []


def busy_house(**limits: Any) -> tuple[House, Wire]:
    """Return a gateway with a pooled connection to the forge, made by one discovery, and its client."""
    house = House(**limits)
    client = house.say(discover())
    house.forge.wire.deliver(LISTED)
    house.settle()
    house.audit.events.clear()
    client.received = b""
    return house, client
