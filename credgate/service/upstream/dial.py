"""Dials a name, and only at addresses that may be dialled.

A name is resolved for each connection, each address that comes is judged (``dns.addresses``), and those that pass are
dialled as they are: nothing is resolved a second time, so a name that leads somewhere else a moment later leads
nowhere. What is left of the list is tried in its order, the next one if the one before is slow or fails; that is
Twisted's ``HostnameEndpoint``, which here is given a reactor whose name resolver leaves out what may not be dialled.
If nothing is left, the connection fails with ``AddressError``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver, IResolutionReceiver
from zope.interface import implementer

from credgate.dns.addresses import special
from credgate.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IHostResolution, IProtocolFactory
    from twisted.python.failure import Failure


class CheckedEndpoint:
    """A client endpoint like ``HostnameEndpoint`` that never dials a private or special address."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:  # noqa: ANN401 - TCP, names and time at once
        self._reactor, self._host, self._port, self._timeout = reactor, host, port, timeout

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Resolve, judge, dial. Fails with ``AddressError`` if the name has addresses and none may be dialled."""
        guarded = _Guarded(self._reactor)
        made = HostnameEndpoint(guarded, self._host, self._port, timeout=self._timeout).connect(factory)
        return made.addErrback(guarded.explain)


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _Guarded:
    """The reactor, for one connection, with a name resolver that passes on what may be dialled."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - as above
        self._reactor = reactor
        self._kinds: set[str] = set()
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a reactor has
        return getattr(self._reactor, name)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's names
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        """See IHostnameResolver."""
        judging, resolver = _Judging(resolutionReceiver, self._kinds), self._reactor.nameResolver
        resolution: IHostResolution = resolver.resolveHostName(
            judging, hostName, portNumber, addressTypes, transportSemantics
        )
        return resolution

    def explain(self, failure: Failure) -> Failure:
        """Say that a name without addresses had some, if so: a connection that failed at a good one failed there."""
        if self._kinds and failure.check(DNSLookupError):
            raise AddressError(frozenset(self._kinds)) from None
        return failure


@implementer(IResolutionReceiver)
class _Judging:
    """Passes addresses on to ``receiver``, but for those whose kind it notes."""

    def __init__(self, receiver: IResolutionReceiver, kinds: set[str]) -> None:
        self._receiver, self._kinds = receiver, kinds

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Pass it on."""
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IAddress) -> None:
        """Pass it on, or do not."""
        kind = _kind(address)
        if kind:
            self._kinds.add(kind)
        else:
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """Pass it on."""
        self._receiver.resolutionComplete()


def _kind(address: IAddress) -> str:
    """Return the special range that ``address`` is in, ``""`` for a public one; what is no IP address is "unknown"."""
    try:
        return special(ipaddress.ip_address(getattr(address, "host", "")).packed)
    except ValueError:
        return "unknown"
