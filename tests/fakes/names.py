"""A reactor with a name resolver of the test; everything else is the real reactor.

``Names`` returns the next list of addresses each time a name is resolved, and records the names. A connection to a
public address in ``detours`` is made to a loopback port instead, so that no test leaves the machine; the original
address is recorded. This proves nothing about the system's own resolver.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Sequence


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class Names:
    """``answers`` are what the name leads to, first, second and so on; the last one stays."""

    def __init__(self, reactor: Any, *answers: Sequence[str], detours: Sequence[str] = ()) -> None:
        self._reactor, self._answers, self._detours = reactor, list(answers), detours
        self.asked: list[str] = []
        self.dialled: list[str] = []
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, *_: object) -> Any:  # noqa: N803 - Twisted's name
        """Answer at once."""
        self.asked.append(name)
        receiver.resolutionBegan(self)
        for text in self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]:
            address = ipaddress.ip_address(text)
            receiver.addressResolved((IPv6Address if address.version == 6 else IPv4Address)("TCP", text, portNumber))
        receiver.resolutionComplete()
        return self

    def connectTCP(self, host: str, port: int, *more: Any, **also: Any) -> Any:
        """Dial, or go the detour."""
        self.dialled.append(host)
        return self._reactor.connectTCP("127.0.0.1" if host in self._detours else host, port, *more, **also)
