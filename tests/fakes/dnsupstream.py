"""Fakes around the DNS server: an upstream on real sockets, a session registry, an audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from credgate.dns.framing import Frames, frame

if TYPE_CHECKING:
    from credgate.audit.event import Event
    from credgate.sessions.model import Session

Script = Callable[[bytes, bool], "list[bytes]"]
"""From a query and whether it came over TCP to the messages to send back."""


class FakeRegistry:
    """Sessions that the test sets."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._begun: list[Callable[[Session], None]] = []
        self._ended: list[Callable[[Session, str], None]] = []

    def all(self) -> list[Session]:
        """List them."""
        return list(self.sessions)

    def on_begin(self, callback: Callable[[Session], None]) -> None:
        """Register a callback for the begin of a session."""
        self._begun.append(callback)

    def on_end(self, callback: Callable[[Session, str], None]) -> None:
        """Register a callback for the end of a session."""
        self._ended.append(callback)

    def begin(self, session: Session) -> None:
        """Begin a session."""
        self.sessions.append(session)
        for callback in self._begun:
            callback(session)

    def end(self, session: Session) -> None:
        """End it."""
        self.sessions.remove(session)
        for callback in self._ended:
            callback(session, "revoked")


class FakeAudit:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.writable = True

    def write(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)


class FakeUpstream:
    """A resolver on loopback, UDP and TCP on one port, that answers by a script and records the queries."""

    def __init__(self, reactor: Any, script: Script, *, tcp: bool = True) -> None:
        self.script, self.asked = script, list[tuple[bytes, bool, tuple[str, int]]]()
        factory = Factory.forProtocol(lambda: _Stream(self))
        factory.noisy = False
        # TCP first: its ports are the scarcer ones, and the number has to be free for both.
        self._ports = [reactor.listenTCP(0, factory, interface="127.0.0.1")] if tcp else []
        number = self._ports[0].getHost().port if tcp else 0
        self._ports.append(reactor.listenUDP(number, _Datagrams(self), interface="127.0.0.1"))
        self.number: int = self._ports[-1].getHost().port

    @property
    def server(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.number

    def take(self, message: bytes, peer: tuple[str, int], *, tcp: bool) -> list[bytes]:
        """Record a query and return the messages to send back."""
        self.asked.append((message, tcp, peer))
        return self.script(message, tcp)

    def stop(self) -> Any:
        """Close both ports."""
        return defer.gatherResults([defer.maybeDeferred(port.stopListening) for port in self._ports])


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for reply in self._upstream.take(datagram, addr, tcp=False):
            self.transport.write(reply, addr)  # type: ignore[union-attr]


class _Stream(Protocol):
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream, self._frames = upstream, Frames(512)

    def dataReceived(self, data: bytes) -> None:
        for message in self._frames.receive(data):
            peer = self.transport.getPeer()  # type: ignore[union-attr]
            replies = self._upstream.take(message, (peer.host, peer.port), tcp=True)  # type: ignore[union-attr]
            if not replies:
                self.transport.loseConnection()  # type: ignore[union-attr]
            for reply in replies:
                self.transport.write(frame(reply))  # type: ignore[union-attr]
