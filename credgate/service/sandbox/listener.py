"""The sandbox side's listening port: bound with the start or the start fails, and able to say whether it accepts.

Twisted's own endpoint service logs a failed bind and runs on, deaf; and a port that is bound may still be unable to
accept (descriptors used up), so readiness connects to it.
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
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint

BACKLOG = 1024
"""Connections that the kernel holds until we accept them. Twisted's 50 let a sandbox's burst delay others by seconds:
what does not fit is dropped, and its client's kernel tries again after one second, then three (threats, 58)."""
PROBE_TIMEOUT = 2
"""Seconds in which our own port must accept."""
PROBES = 2
"""Connections that must fail before it does not accept. One may fail by a hang-up that was another connection's: the
reactor reports events by descriptor number, and Twisted's clients believe them (see ``descriptor``)."""
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
        """Bind, if ``privilegedStartService`` was not asked to."""
        super().startService()
        if self._port is None:
            self._bind()

    def _bind(self) -> None:
        outcome: list[IListeningPort | Failure] = []
        self._endpoint.listen(self._factory).addBoth(outcome.append)
        bound = outcome[0]
        if isinstance(bound, Failure):
            bound.raiseException()
        else:
            self._port = bound
            _deepen(bound)

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
        if client is None:  # a kind of port that this cannot judge is taken at its word
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


def _deepen(port: IListeningPort) -> None:
    """Give ``port`` our backlog, whatever its endpoint string says of it; what is no socket has none."""
    socket = getattr(port, "socket", None)
    if socket is not None:
        socket.listen(BACKLOG)  # allowed on a listening socket: only the length changes
