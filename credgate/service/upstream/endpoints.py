"""How upstreams are dialled: one client endpoint for each place of the configuration.

A connection is direct or goes through the place's own proxy; the proxy variables of the environment are never read.
``TlsEndpoint`` adds TLS unless the place is plain. A file of authorities is read when its endpoint is made, so that a
bad file stops the start.

A direct connection to a place that is not internal goes to public addresses only (``CheckedEndpoint``). The name is
resolved for each connection, each address is checked (``dns.addresses``) and the checked address itself is dialled:
the name is never resolved a second time, so DNS rebinding has no effect.

A proxy opens a tunnel by CONNECT (RFC 9110, section 9.3.6) and resolves the name itself. TLS runs inside the tunnel,
between credgate and the forge.
"""

from __future__ import annotations

import ipaddress
import ssl
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import implementer

from credgate.dns.addresses import special
from credgate.errors import AddressError, ConfigError, TunnelError
from credgate.http.connect_response import ConnectResponseReader, connect_request
from credgate.service.upstream.tls import TlsEndpoint, client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IAddress, IHostResolution, IProtocolFactory, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from credgate.forges.place import Place
    from credgate.service.upstream.flow import Transport

MAX_PLACES = 256
"""Endpoints that are kept."""


def forge_endpoints(reactor: object, connect_timeout: float) -> Callable[[Place], IStreamClientEndpoint]:
    """Return the function that makes the client endpoint of a place; it raises ``ConfigError``."""
    context_for = cache(_context)  # each file of authorities is read once

    @lru_cache(MAX_PLACES)  # a forge whose name is a wildcard may have any number of places
    def endpoint(place: Place) -> IStreamClientEndpoint:
        plain = tcp_endpoint(reactor, place, connect_timeout)
        if not place.tls:
            return plain
        return cast("IStreamClientEndpoint", TlsEndpoint(plain, context_for(place.ca_file), place.host))

    return endpoint


def _context(path: str) -> ssl.SSLContext:
    try:
        return client_context(path)
    except ssl.SSLError:
        raise ConfigError(f"ca_file {path} holds no PEM certificate", key="ca_file") from None
    except OSError as why:
        raise ConfigError(f"cannot read ca_file {path}: {why.strerror}", key="ca_file") from None


def tcp_endpoint(reactor: object, place: Place, timeout: float) -> IStreamClientEndpoint:
    """Return the endpoint for ``place`` without TLS; ``timeout`` is seconds for each address."""
    if (proxy := place.proxy_address) is not None:
        return cast(
            "IStreamClientEndpoint", TunnelEndpoint(HostnameEndpoint(reactor, *proxy, timeout=timeout), place.target)
        )
    if place.internal:
        return HostnameEndpoint(reactor, place.host, place.port, timeout=timeout)
    return cast("IStreamClientEndpoint", CheckedEndpoint(reactor, place.host, place.port, timeout))


class CheckedEndpoint:
    """A ``HostnameEndpoint`` that never dials a private or special address."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:  # noqa: ANN401 - TCP, names and time at once
        self._reactor, self._host, self._port, self._timeout = reactor, host, port, timeout

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect. Fails with ``AddressError`` if the name has addresses and none of them is public."""
        # Twisted tries the addresses one after another; it is given a resolver that omits those that are not public.
        guarded = _GuardedReactor(self._reactor)
        # HostnameEndpoint dials several addresses with a delay between them (RFC 8305).
        made = HostnameEndpoint(guarded, self._host, self._port, timeout=self._timeout).connect(factory)
        return made.addErrback(guarded.explain)


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _GuardedReactor:
    """The reactor, for one connection, with a name resolver that omits addresses that are not public."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - as above
        self._reactor = reactor
        self._kinds: set[str] = set()
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a reactor
        return getattr(self._reactor, name)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's names
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        receiver, resolver = _PublicAddresses(resolutionReceiver, self._kinds), self._reactor.nameResolver
        resolution: IHostResolution = resolver.resolveHostName(
            receiver, hostName, portNumber, addressTypes, transportSemantics
        )
        return resolution

    def explain(self, failure: Failure) -> Failure:
        """Replace "no address" by ``AddressError`` if all addresses of the name were omitted."""
        # Any other failure came from a public address that was dialled.
        if self._kinds and failure.check(DNSLookupError):
            raise AddressError(frozenset(self._kinds)) from None
        return failure


@implementer(IResolutionReceiver)
class _PublicAddresses:
    """Passes public addresses to ``receiver`` and adds the kinds of all others to ``kinds``."""

    def __init__(self, receiver: IResolutionReceiver, kinds: set[str]) -> None:
        self._receiver, self._kinds = receiver, kinds

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IAddress) -> None:
        try:
            kind = special(ipaddress.ip_address(getattr(address, "host", "")).packed)
        except ValueError:
            kind = "unknown"  # not an IP address
        if kind:
            # Only the kind is kept: an address of the gateway's network must not get into a text for a sandbox.
            self._kinds.add(kind)
        else:
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


class TunnelEndpoint:
    """Connects to ``target`` (``host:port``) through the proxy that the endpoint ``proxy`` dials."""

    def __init__(self, proxy: IStreamClientEndpoint, target: str) -> None:
        self._proxy, self._target = proxy, target

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect; fires with ``factory``'s protocol once the tunnel is open.

        Fails with ``TunnelError`` if the proxy refuses. The caller sets the deadline, and cancels.
        """
        opening = Factory.forProtocol(lambda: _Tunnel(self._target, factory))
        opening.noisy = False
        made: Deferred[Any] = self._proxy.connect(opening)
        return made.addCallback(lambda tunnel: tunnel.opened)


class _Tunnel(Protocol):
    """Asks the proxy for the tunnel, then passes all bytes to the protocol that uses it."""

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, target: str, factory: IProtocolFactory) -> None:
        self._target, self._factory = target, factory
        self.opened: Deferred[Any] = Deferred(lambda _: self.transport.abortConnection())
        self._reader = ConnectResponseReader()
        self._above: Any = None

    def connectionMade(self) -> None:
        self.transport.write(connect_request(self._target))

    def dataReceived(self, data: bytes) -> None:
        if self._above is not None:
            self._above.dataReceived(data)
        elif not self.opened.called:
            try:
                if self._reader.receive(data):
                    self._open()
            except TunnelError as why:
                self._fail(why)

    def _open(self) -> None:
        above: Any = self._factory.buildProtocol(HostnameAddress(b"", 0))  # only the proxy knows the address
        if above is None:
            self._fail(TunnelError("the connection is not wanted any more"))
            return
        self._above = above
        above.makeConnection(self.transport)
        self.opened.callback(above)

    def _fail(self, why: TunnelError) -> None:
        self.transport.abortConnection()
        self.opened.errback(why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._above is not None:
            self._above.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(TunnelError("the proxy closed the connection"))
