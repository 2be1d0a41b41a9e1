"""Twisted's HTTP client over connections as the relay makes them: checked addresses, the forge's proxy and authorities.

``reach`` tells the protocol above when TLS stands (``handshakeCompleted``); Twisted's client writes as soon as it is
connected. So here a connection counts as made when its certificate was accepted, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure
    from twisted.web.client import URI

    from credgate.forges.place import Place


def agent_for(reactor: Any, place: Place, endpoints: Callable[[Place], IStreamClientEndpoint]) -> Agent:  # noqa: ANN401 - TCP and time at once
    """Return an agent that connects to ``place`` whatever URL it is given, anew for every request."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    endpoint = endpoints(place)
    agent: Agent = Agent.usingEndpointFactory(reactor, _Always(_Shaken(endpoint) if place.tls else endpoint), pool)
    return agent


@implementer(IAgentEndpointFactory)
class _Always:
    """One place, and no other: nothing in an answer can lead anywhere else."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IStreamClientEndpoint)
class _Shaken:
    """A TLS endpoint whose connections are made when the handshake is."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Factory) -> Deferred[Any]:  # type: ignore[override]  # noqa: N803 - Twisted's name
        shaking = _Shaking(protocolFactory)
        connecting = self._endpoint.connect(Factory.forProtocol(lambda: shaking))
        connecting.addErrback(shaking.unconnected)
        shaking.leave = connecting.cancel
        return shaking.made


class _Shaking(Protocol):
    """Waits for the handshake, then is the way between TLS and the protocol that was wanted."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._above: Any = None
        self._peer: IAddress | None = None
        self._lost = False
        self.made: Deferred[Any] = Deferred(lambda _: self._cancel())
        self.leave: Callable[[], None] = lambda: None

    def handshakeCompleted(self) -> None:
        """Build what was wanted, and hand it over."""
        if self.made.called:
            return
        self._above = self._factory.buildProtocol(self._peer)
        self._above.makeConnection(_Transport(self.transport))
        self.made.callback(self._above)

    def dataReceived(self, data: bytes) -> None:
        """Pass it up."""
        if self._above is not None:
            self._above.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass it up, or say that there never was a connection."""
        self._lost = True
        if self._above is not None:
            self._above.connectionLost(reason)
        else:
            self.unconnected(reason)

    def unconnected(self, reason: Failure) -> None:
        """Fail, unless whoever waited has left."""
        if not self.made.called:
            self.made.errback(reason)

    def _cancel(self) -> None:
        if self.transport is not None and not self._lost:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # TLS has it
        else:
            self.leave()


class _Transport:
    """TLS, with what Twisted's HTTP client asks of a transport besides."""

    def __init__(self, tls: Any) -> None:  # noqa: ANN401 - service.tls.TlsClient, whose factory is not typed
        self._tls = tls

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._tls, name)

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: FBT001 - Twisted's form
        """Have it paused while the transport below holds too much."""
        self._tls.registerProducer(producer, streaming=streaming)

    def stopProducing(self) -> None:
        """Nobody reads any more."""
        self._tls.abortConnection()
