"""Twisted's HTTP client for a forge's API, over the TCP connections of the relay's endpoints.

So addresses are checked and the forge's proxy is used (``upstream.endpoints``). TLS is Twisted's own, with the name and
the authorities of the place: it sends nothing of a request before the certificate was accepted. Every request opens a
new connection to the one configured place, whatever an answer names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocolFactory, IStreamClientEndpoint
    from twisted.web.client import URI

    from credgate.forges.place import Place


def agent_for(reactor: Any, place: Place, endpoints: Callable[[Place], IStreamClientEndpoint]) -> Agent:  # noqa: ANN401 - TCP and time at once
    """Return an agent that connects to ``place``. Raises ``ConfigError`` for a bad ``ca_file``."""
    endpoint = endpoints(evolve(place, tls=False))
    if place.tls:
        endpoint = cast("IStreamClientEndpoint", _TlsEndpoint(endpoint, tls_options(place)))
    pool = HTTPConnectionPool(reactor, persistent=False)
    agent: Agent = Agent.usingEndpointFactory(reactor, _OnePlace(endpoint), pool)
    return agent


def tls_options(place: Place) -> IOpenSSLClientConnectionCreator:
    """Return the TLS settings for ``place``: Twisted's defaults, TLS 1.2 at least. Raises ``ConfigError``."""
    trusted = None  # the system's authorities
    if place.ca_file:
        try:
            certificates = load_pem_x509_certificates(Path(place.ca_file).read_bytes())
        except OSError as why:
            raise ConfigError(f"cannot read ca_file {place.ca_file}: {why.strerror}", key="ca_file") from None
        except ValueError:
            raise ConfigError(f"ca_file {place.ca_file} holds no PEM certificate", key="ca_file") from None
        trusted = trustRootFromCertificates([Certificate.load(one.public_bytes(Encoding.DER)) for one in certificates])
    options: IOpenSSLClientConnectionCreator = optionsForClientTLS(place.host, trusted)
    return options


class _TlsEndpoint:
    """Twisted's ``wrapClientTLS``, but for ``_ClosingTls``."""

    def __init__(self, plain: IStreamClientEndpoint, options: IOpenSSLClientConnectionCreator) -> None:
        self._plain, self._options = plain, options

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        tls = TLSMemoryBIOFactory(self._options, isClient=True, wrappedFactory=factory)
        tls.protocol, tls.noisy = _ClosingTls, False
        connecting: Deferred[Any] = self._plain.connect(tls)
        return connecting.addCallback(lambda protocol: protocol.wrappedProtocol)


class _ClosingTls(TLSMemoryBIOProtocol):
    """Closes the connection at once."""

    def loseConnection(self) -> None:
        super().loseConnection()
        # Twisted waits for the server's close_notify without a time limit: a server could keep the socket for ever.
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IAgentEndpointFactory)
class _OnePlace:
    """The same endpoint for every URL."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoint
