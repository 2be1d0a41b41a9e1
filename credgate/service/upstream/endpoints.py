"""How forges are reached: an endpoint each, made once, and what to say when none of it works.

Only places of the configuration, and only the ways that it names: straight, where a name is dialled at public addresses
alone unless the place is internal (``dial``), or through the place's own proxy (``tunnel``), which then is who resolves
the name. The environment's proxies are never looked at. Over either goes ``tls`` unless the place is plain. What an
authority's file holds is read when the endpoint is made, so that a bad one stops the start.
"""

from __future__ import annotations

import ssl
from functools import cache, lru_cache
from typing import TYPE_CHECKING, cast

from twisted.internet import error
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint

from credgate.errors import AddressError, ConfigError, TunnelError
from credgate.service.upstream.dial import CheckedEndpoint
from credgate.service.upstream.tls import TlsEndpoint, client_context
from credgate.service.upstream.tunnel import TunnelEndpoint
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.forges.place import Place

MAX_PLACES = 256
"""Endpoints that are kept."""
_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLCertVerificationError,), "its TLS certificate is not accepted"),
    ((ssl.SSLError,), "it does not speak TLS as we do"),
    # The last is what an endpoint makes of our own deadline.
    ((error.TimeoutError, DeferredTimeout, error.ConnectingCancelledError), "it does not answer in time"),
    ((error.ConnectionRefusedError,), "it refuses connections"),
    ((error.DNSLookupError,), "its name cannot be resolved"),
)


def unreachable(why: BaseException) -> str:
    """Say in a few words why no connection could be made; never with a library's own text, which may name anything."""
    if isinstance(why, AddressError | TunnelError):
        return str(why)
    return next((words for kinds, words in _WORDS if isinstance(why, kinds)), "the connection failed")


def unconnected(name: str, why: BaseException) -> Decision:
    """Return what to tell whoever wanted the place called ``name``; status 502."""
    text = f"{name} cannot be reached: {unreachable(why)}"
    if isinstance(why, AddressError):
        text = f"{name} is not dialled: {why}; its operator can declare it internal"
        return Decision(allow=False, reason=Reason.FORGE_ADDRESS, rule="forge", text=text)
    return Decision(allow=False, reason=Reason.FORGE_UNREACHABLE, rule="forge", text=f"{text}; try again later")


def forge_endpoints(reactor: object, connect_timeout: float) -> Callable[[Place], IStreamClientEndpoint]:
    """Return the function that makes a place's client endpoint; it raises ``ConfigError``.

    A file of authorities is read once. Endpoints are kept for the places used last: wildcards may name many.
    """
    context_for = cache(_context)

    @lru_cache(MAX_PLACES)
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
    """Return the endpoint for the way to ``place``, without TLS; ``timeout`` is seconds for each address."""
    if (proxy := place.proxy_address) is not None:
        return cast(
            "IStreamClientEndpoint", TunnelEndpoint(HostnameEndpoint(reactor, *proxy, timeout=timeout), place.target)
        )
    if place.internal:
        return HostnameEndpoint(reactor, place.host, place.port, timeout=timeout)
    return cast("IStreamClientEndpoint", CheckedEndpoint(reactor, place.host, place.port, timeout))
