"""Twisted's HTTP client over the relay's connections: a connection is there when its certificate is, and not before."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from credgate.config.schema import ForgeConfig
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.credentials.api_connection import _Shaken, _Transport, agent_for

PLACE = Place.of(driver_for(ForgeConfig("lab", "github", "https://lab.example")))


class Above(Protocol):
    """What was to be connected; notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def connectionMade(self) -> None:
        """Write, as Twisted's client does."""
        self.said.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.said.append(data.decode())

    def connectionLost(self, reason: Failure = ...) -> None:  # type: ignore[assignment]
        """Note it."""
        self.said.append("lost")


class Tls:
    """A TLS connection, as far as it goes."""

    def __init__(self) -> None:
        self.called: list[Any] = []

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        """Note it."""
        self.called.append((producer, streaming))

    def abortConnection(self) -> None:
        """Note it."""
        self.called.append("aborted")

    def write(self, data: bytes) -> None:
        """Note it."""
        self.called.append(data)


class Endpoint:
    """One whose connections the test makes."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.factory: Any = None
        self.made: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Begin."""
        self.factory = factory
        return self.made


class Connecting:
    """A connection that is being made, and what became of it."""

    def __init__(self) -> None:
        self.endpoint, self.above, self.tls = Endpoint(), Above(), Tls()
        self.results: list[Any] = []
        self.waiting = _Shaken(self.endpoint).connect(Factory.forProtocol(lambda: self.above))  # type: ignore[arg-type]
        self.waiting.addBoth(self.results.append)
        self.below: Any = None

    def connect(self) -> None:
        """TCP is there."""
        self.below = self.endpoint.factory.buildProtocol(None)
        self.below.makeConnection(self.tls)
        self.endpoint.made.callback(self.below)


def test_nothing_is_written_before_the_certificate_is_accepted() -> None:
    """A JWT would be; it is made when the handshake is, and once."""
    one = Connecting()
    one.connect()
    assert (one.results, one.above.said) == ([], [])
    one.below.handshakeCompleted()
    one.below.handshakeCompleted()
    assert (one.results, one.above.said) == ([one.above], ["made"])
    one.below.dataReceived(b"x")
    one.below.connectionLost(Failure(ConnectionLost()))
    assert one.above.said == ["made", "x", "lost"]


def test_a_handshake_that_fails_is_no_connection() -> None:
    """The reason is the certificate's, and nothing was built that could have written."""
    one = Connecting()
    one.connect()
    one.below.dataReceived(b"x")
    one.below.connectionLost(Failure(ConnectionLost()))
    assert one.results[0].check(ConnectionLost)
    assert one.above.said == []


def test_who_cannot_be_reached_is_no_connection() -> None:
    """The endpoint's reason comes through."""
    one = Connecting()
    one.endpoint.made.errback(ConnectionLost())
    assert one.results[0].check(ConnectionLost)


@pytest.mark.parametrize("connected", [True, False])
def test_who_leaves_before_it_stands_leaves_nothing(*, connected: bool) -> None:
    """The connection is aborted, or no longer made; what comes of it later is nobody's."""
    one = Connecting()
    if connected:
        one.connect()
    one.waiting.cancel()
    assert one.results[0].check(CancelledError)
    assert (one.tls.called, one.endpoint.cancelled) == ((["aborted"], 0) if connected else ([], 1))
    if connected:
        one.below.handshakeCompleted()
        one.below.connectionLost(Failure(ConnectionLost()))
    assert one.above.said == []


def test_leaving_what_is_lost_already_aborts_nothing() -> None:
    """Twisted's own transports would take it amiss."""
    one = Connecting()
    one.connect()
    one.below._lost = True
    one.waiting.cancel()
    assert one.tls.called == []


def test_the_client_s_form_of_a_transport_is_ours() -> None:
    """It registers producers by position, and stops them when nobody reads; all else is the connection's."""
    tls = Tls()
    transport = _Transport(tls)
    transport.registerProducer(tls, True)  # noqa: FBT003 - as Twisted's client does
    transport.write(b"x")
    transport.stopProducing()
    assert tls.called == [(tls, True), b"x", "aborted"]


@pytest.mark.parametrize("tls", [True, False])
def test_an_agent_connects_to_its_place_whatever_it_is_told(*, tls: bool) -> None:
    """An answer that names another host leads nowhere else; and no connection is kept for a next request."""
    endpoint = Endpoint()
    agent = agent_for(Clock(), evolve(PLACE, tls=tls), lambda _: endpoint)  # type: ignore[arg-type]
    for _ in range(2):
        endpoint.factory = None
        asking = agent.request(b"GET", b"https://evil.example/x").addErrback(lambda _: None)
        assert endpoint.factory is not None
        asking.cancel()
