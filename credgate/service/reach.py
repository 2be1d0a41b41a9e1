"""How forges are reached: an endpoint each, made once, and what to say when none of it works.

Names are resolved and addresses tried by Twisted's own ``HostnameEndpoint``; over it goes ``tls`` unless the forge is
plain. What an authority's file holds is read when the endpoint is made, so that a bad one stops the start.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, cast

from twisted.internet import error
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint

from credgate.errors import ConfigError
from credgate.service.tls import TlsEndpoint, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.forges.place import Place


def unreachable(why: BaseException) -> str:
    """Say in a few words why no connection could be made; never with the error's own text, which may name anything."""
    if isinstance(why, ssl.SSLCertVerificationError):
        return "its TLS certificate is not accepted"
    if isinstance(why, ssl.SSLError):
        return "it does not speak TLS as we do"
    # The last is what an endpoint makes of our own deadline.
    if isinstance(why, error.TimeoutError | DeferredTimeout | error.ConnectingCancelledError):
        return "it does not answer in time"
    if isinstance(why, error.ConnectionRefusedError):
        return "it refuses connections"
    if isinstance(why, error.DNSLookupError):
        return "its name cannot be resolved"
    return "the connection failed"


def forge_endpoints(reactor: object, connect_timeout: float) -> Callable[[Place], IStreamClientEndpoint]:
    """Return the function that makes a place's client endpoint, once for each; it raises ``ConfigError``."""
    made: dict[Place, IStreamClientEndpoint] = {}

    def endpoint(place: Place) -> IStreamClientEndpoint:
        if place not in made:
            made[place] = _endpoint(reactor, place, connect_timeout)
        return made[place]

    return endpoint


def _endpoint(reactor: object, place: Place, connect_timeout: float) -> IStreamClientEndpoint:
    plain = HostnameEndpoint(reactor, place.host, place.port, timeout=connect_timeout)
    if not place.tls:
        return plain
    path = place.ca_file
    try:
        context = client_context(path)
    except ssl.SSLError:
        raise ConfigError(f"ca_file {path} holds no PEM certificate", key="ca_file") from None
    except OSError as why:
        raise ConfigError(f"cannot read ca_file {path}: {why.strerror}", key="ca_file") from None
    return cast("IStreamClientEndpoint", TlsEndpoint(plain, context, place.host))
