"""Tunnels through a proxy: nothing of the protocol above exists before the tunnel does, and a no ends everything."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from credgate.errors import TunnelError
from credgate.service.upstream.endpoints import TunnelEndpoint
from tests.fakes.relay import Forges

TARGET = "git.example.com:443"
YES = b"HTTP/1.1 200 OK\r\n\r\n"


class Above(Protocol):
    """Records its calls."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Any] = []

    def connectionMade(self) -> None:
        """Speak first, as TLS does."""
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.got += data

    def connectionLost(self, reason: Any = None) -> None:
        """Keep it."""
        self.lost.append(reason)


class Way:
    """A tunnel in the making, to a proxy that the test plays."""

    def __init__(self, factory: Factory | None = None) -> None:
        self.reactor = Clock()
        self.net = Forges(self.reactor, open=False)
        self.made: list[Above] = []
        self.failed: list[Any] = []
        self.connecting: Deferred[Any] = TunnelEndpoint(self.net, TARGET).connect(  # type: ignore[arg-type]
            factory or Factory.forProtocol(Above)
        )
        self.connecting.addCallbacks(self.made.append, self.failed.append)
        self.proxy = self.net.let_in(shake=False)
        self.settle()

    def settle(self) -> None:
        """Let everything happen."""
        for _ in range(5):
            self.reactor.advance(0)

    def says(self, data: bytes) -> None:
        """Let the proxy answer."""
        self.proxy.deliver(data)
        self.settle()


def test_protocol_is_connected_when_the_tunnel_is_open() -> None:
    """What it says goes through; what the other side says reaches it."""
    way = Way()
    assert way.proxy.received.startswith(b"CONNECT git.example.com:443 HTTP/1.1\r\n")
    asked = way.proxy.received
    way.says(YES[:5])
    assert (way.made, way.proxy.received) == ([], asked)
    way.says(YES[5:])
    (above,) = way.made
    assert way.proxy.received == asked + b"hello"
    way.says(b"there")
    assert above.got == b"there"
    way.proxy.hang_up()
    assert above.lost[0].check(ConnectionDone)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy answered 403"),
        (YES + b"early", "the proxy sent data after its response"),
    ],
)
def test_refused_tunnel_resets_the_connection(answer: bytes, text: str) -> None:
    """And nothing was ever said through it."""
    way = Way()
    way.says(answer)
    assert str(way.failed[0].value) == text
    assert way.proxy.ended == "reset"
    assert b"hello" not in way.proxy.received


def test_proxy_that_closes_is_a_failure() -> None:
    """Not a silence."""
    way = Way()
    way.proxy.hang_up()
    assert way.failed[0].check(TunnelError)


def test_bytes_after_a_refusal_are_ignored() -> None:
    """It failed once; a second failure would be a bug's."""
    way = Way()
    way.proxy.protocol.dataReceived(b"HTTP/1.1 500 No\r\n\r\n")
    way.proxy.protocol.dataReceived(YES)
    assert (len(way.failed), way.made) == (1, [])
    way.settle()


def test_cancelling_resets_the_connection_to_the_proxy() -> None:
    """The caller's deadline is the deadline of the tunnel, too."""
    way = Way()
    way.connecting.cancel()
    way.settle()
    assert way.failed[0].check(CancelledError)
    assert way.proxy.ended == "reset"


def test_factory_without_a_protocol_resets_the_tunnel() -> None:
    """As with any endpoint."""

    class Nobody(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> None:
            return None

    way = Way(Nobody())
    way.says(YES)
    assert way.failed[0].check(TunnelError)
    assert way.proxy.ended == "reset"
