"""A client endpoint whose connections go through a proxy's tunnel (CONNECT).

The proxy is dialled, asked for the tunnel and listened to (``http.connect_response``); only when it is open is the
protocol of whoever connects made, on the proxy's connection. So whatever is said in it, TLS above all, is between
credgate and the forge. A proxy that says no, or anything else, is a ``TunnelError`` and its connection is reset. The
deadline is the caller's, who cancels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone

from credgate.errors import TunnelError
from credgate.http.connect_response import ConnectResponseReader, connect_request

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from credgate.service.upstream.flow import Transport


class TunnelEndpoint:
    """Connects to ``target`` (``host:port``) through the proxy that ``proxy`` reaches."""

    def __init__(self, proxy: IStreamClientEndpoint, target: str) -> None:
        self._proxy, self._target = proxy, target

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect; fires with ``factory``'s protocol once the tunnel is open. Cancelling leaves the proxy."""
        opening = Factory.forProtocol(lambda: _Opening(self._target, factory))
        opening.noisy = False
        made: Deferred[Any] = self._proxy.connect(opening)
        return made.addCallback(lambda tunnel: tunnel.opened)


class _Opening(Protocol):
    """Asks for the tunnel, and is then the thinnest of layers below the protocol that uses it."""

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, target: str, factory: IProtocolFactory) -> None:
        self._target, self._factory = target, factory
        self.opened: Deferred[Any] = Deferred(lambda _: self.transport.abortConnection())
        self._reader = ConnectResponseReader()
        self._above: Any = None

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(connect_request(self._target))

    def dataReceived(self, data: bytes) -> None:
        """Read the proxy's answer; then everything is for the protocol above."""
        if self._above is not None:
            self._above.dataReceived(data)
        elif not self.opened.called:
            try:
                if self._reader.receive(data):
                    self._open()
            except TunnelError as why:
                self._fail(why)

    def _open(self) -> None:
        above: Any = self._factory.buildProtocol(HostnameAddress(b"", 0))  # whom the proxy reached, it alone knows
        if above is None:
            self._fail(TunnelError("nobody wants the tunnel"))
            return
        self._above = above
        above.makeConnection(self.transport)
        self.opened.callback(above)

    def _fail(self, why: TunnelError) -> None:
        self.transport.abortConnection()
        self.opened.errback(why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever waits, or whoever uses it."""
        if self._above is not None:
            self._above.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(TunnelError("the proxy closed the connection"))
