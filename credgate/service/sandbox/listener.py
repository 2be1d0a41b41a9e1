"""The sandbox side's listening port, its connections and their limits.

``SandboxListener`` binds the port at the start, or the start fails. A bound port may still be unable to accept (no file
descriptors left), so readiness connects to it. ``SandboxFactory`` accepts connections within the limits and answers the
others with the limit that they exceed. ``Sweep`` looks at every connection once a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import (
    ConnectError,
    TimeoutError,  # noqa: A004 - Twisted's own, as endpoints fail with it
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from credgate.git.authorize import Refuse
from credgate.git.forge_response import refusal
from credgate.service.sandbox.connection import SandboxConnection
from credgate.service.sandbox.refused_connections import Limit
from credgate.sessions.address import rate_key
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

    from credgate.service.sandbox.services import Services

BACKLOG = 1024
"""Connections that the kernel queues for us. With Twisted's 50 one sandbox's burst delays others by seconds: what does
not fit is dropped, and the client's kernel tries again after one second, then three (docs/attacks.md, row 58)."""
PROBE_TIMEOUT = 2
"""Seconds in which our own port must accept."""
PROBES = 2
"""Connections that must fail before the port counts as not accepting. One may fail by the hang-up of another
connection: the reactor reports events by descriptor number, and Twisted's clients trust them (see ``descriptor``)."""
REFUSAL_SECONDS = 2.0
"""Seconds in which a refused connection may read why."""
MAX_REFUSING = 128
"""Refused connections that are told why at the same time; more are closed at once, to save file descriptors.

Over plain TCP a refusal takes one turn of the reactor, in which about a hundred connections are accepted."""
_FULL = {
    Limit.ADDRESS: "too many connections from this address (max_connections_per_address); close some, or wait",
    Limit.TOTAL: "too many connections to the gateway (max_connections); wait",
    Limit.DESCRIPTORS: "the gateway has no file descriptors for more connections (RLIMIT_NOFILE); tell the operator",
}
_log = Logger()
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound to


class _Quiet(Factory):
    noisy = False


class SandboxListener(Service):
    """Serves ``factory`` on ``endpoint``; binds while twistd is still privileged."""

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory, reactor: Any) -> None:  # noqa: ANN401 - TCP, UNIX and time at once
        self._endpoint, self._factory, self._reactor = endpoint, factory, reactor
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind. Raises what the endpoint fails with."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Bind, unless ``privilegedStartService`` was called before."""
        super().startService()
        if self._port is None:
            self._bind()

    def _bind(self) -> None:
        # Twisted's own endpoint service logs a failed bind and continues without a port. ``listen`` has its result at
        # once, so a failure can be raised here, and the start fails.
        outcome: list[IListeningPort | Failure] = []
        self._endpoint.listen(self._factory).addBoth(outcome.append)
        bound = outcome[0]
        if isinstance(bound, Failure):
            bound.raiseException()
        else:
            self._port = bound
            # The endpoint string may state a smaller backlog. A port that is not a socket has none.
            socket = getattr(bound, "socket", None)
            if socket is not None:
                socket.listen(BACKLOG)  # allowed on a listening socket: only the length of its queue changes

    def stopService(self) -> Deferred[None] | None:
        """Stop accepting; fires when the port is closed."""
        super().stopService()
        port, self._port = self._port, None
        return None if port is None else port.stopListening()

    @property
    def address(self) -> str:
        """Where it is bound: ``127.0.0.1:8080``, ``[::1]:8080`` or a path; "" while it is not."""
        return "" if self._port is None else _spelled(self._port.getHost())

    async def accepts(self) -> bool:
        """Whether a connection to our own port is accepted now."""
        if self._port is None:
            return False
        client = self._client(self._port.getHost())
        if client is None:  # another kind of port cannot be tested: it is assumed to accept
            return True
        for _ in range(PROBES):
            try:
                protocol = await client.connect(_Quiet.forProtocol(Protocol))
            except TimeoutError:
                return False
            except ConnectError:
                continue
            protocol.transport.abortConnection()
            return True
        return False

    def _client(self, where: object) -> Any:  # noqa: ANN401 - one of three endpoints
        if isinstance(where, IPv4Address):
            return TCP4ClientEndpoint(self._reactor, _ANY.get(where.host, where.host), where.port, PROBE_TIMEOUT)
        if isinstance(where, IPv6Address):
            return TCP6ClientEndpoint(self._reactor, _ANY.get(where.host, where.host), where.port, PROBE_TIMEOUT)
        if isinstance(where, UNIXAddress):
            return UNIXClientEndpoint(self._reactor, where.name, PROBE_TIMEOUT)
        return None


def _spelled(where: object) -> str:
    if isinstance(where, IPv6Address):
        return f"[{where.host}]:{where.port}"
    if isinstance(where, IPv4Address):
        return f"{where.host}:{where.port}"
    if isinstance(where, UNIXAddress):
        return str(where.name if isinstance(where.name, str) else (where.name or b"").decode(errors="replace"))
    return "?"


class _RefusedConnection(Protocol):
    """Refuses a connection that exceeds a limit. Reads nothing."""

    def __init__(self, factory: SandboxFactory, limit: Limit) -> None:
        self._factory, self._limit = factory, limit
        self._cut: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._factory.refusing += 1
        limit = self._limit
        decision = Decision(allow=False, reason=Reason.TOO_MANY_CONNECTIONS, rule=limit.value, text=_FULL[limit])
        transport: Any = self.transport
        transport.write(refusal(Refuse(decision, 429, retry_after=5), None, close=True))
        transport.loseConnection()
        # Over TLS the close waits for a handshake, which a client may never finish.
        self._cut = self._factory.services.reactor.callLater(REFUSAL_SECONDS, transport.abortConnection)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's own default differs
        self._factory.refusing -= 1
        if self._cut is not None and self._cut.active():
            self._cut.cancel()


class SandboxFactory(Factory):
    """Makes the protocols of accepted connections; ``few_descriptors``: ``max_connections`` had to be lowered."""

    noisy = False

    def __init__(self, services: Services, *, few_descriptors: bool = False) -> None:
        self.services = services
        self.refusing = 0
        """Refused connections that are still open."""
        self._total = Limit.DESCRIPTORS if few_descriptors else Limit.TOTAL

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Return a connection's protocol; None closes it at once."""
        peer = str(getattr(addr, "host", ""))
        transfers, limits = self.services.transfers, self.services.limits
        if transfers.addresses[rate_key(peer)] >= limits.max_connections_per_address:
            limit = Limit.ADDRESS
        elif len(transfers.connections) >= limits.max_connections:
            limit = self._total
        else:
            return SandboxConnection(self.services, peer)
        self.services.refused.count(limit, rate_key(peer))
        # A refused connection still holds a file descriptor: beyond the limit it is closed without an answer.
        return _RefusedConnection(self, limit) if self.refusing < MAX_REFUSING else None


class Sweep(Service):
    """Acts once a second on every time limit of connections, and ends the connections that are left at the stop."""

    def __init__(self, services: Services) -> None:
        self.services = services
        # One timer for all connections, so that no time limit needs a timer of its own.
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = services.reactor

    def startService(self) -> None:
        super().startService()
        self.services.registry.on_end(self.services.session_ended)
        self._loop.start(1.0, now=False).addErrback(lambda failure: _log.failure("sweep stopped", failure))

    def sweep(self) -> None:
        """Look at every connection; an error in one does not keep the others from their turn."""
        services = self.services
        now = services.reactor.seconds()
        for connection in list(services.transfers.connections):
            try:
                connection.overdue(now)
            except Exception:  # noqa: BLE001 - an error would end the loop, and with it every time limit
                _log.failure("a connection failed in the sweep and is cut")
                try:
                    connection.broke()
                except Exception:  # noqa: BLE001 - ``broke`` has reset the connection before it raised
                    _log.failure("cutting a failed connection failed, too")
        try:
            services.pool.sweep(now)
            services.judge.authorizer.brake.prune(now)
            services.transfers.meter()
            services.rates.prune(now)
            services.refused.sweep()
        except Exception:  # noqa: BLE001 - as above
            _log.failure("the sweep failed; the next one tries again")

    def stopService(self) -> None:
        super().stopService()
        transfers = self.services.transfers
        transfers.closing = True
        if self._loop.running:
            self._loop.stop()
        for connection in list(transfers.connections):
            connection.cut(Reason.SHUTDOWN)
        self.services.pool.close()
