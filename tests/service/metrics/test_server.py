"""The listener for Prometheus: one route, this machine alone, few connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol

from credgate.service.metrics.server import MAX_CONNECTIONS, MetricsService
from tests.fakes.control import answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.control import Answer

DEADLINE = 10.0


async def page() -> bytes:
    """Stand in for the page."""
    return b"credgate_sessions 1.0\n"


class _Client(Protocol):
    """Sends, and collects until the end."""

    def __init__(self) -> None:
        self.heard, self.over = b"", Deferred[bytes]()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.over.callback(self.heard)


async def connect(service: MetricsService) -> _Client:
    """Open a connection."""
    port = int(service.address.rpartition(":")[2])
    client: _Client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), _Client())
    return client


async def ask(service: MetricsService, line: str) -> Answer:
    """Send one request; its answer."""
    client = await connect(service)
    assert client.transport is not None
    client.transport.write(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    (answer,) = answers(await client.over.addTimeout(DEADLINE, reactor), method=line.split(maxsplit=1)[0])
    return answer


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[MetricsService]:
    """Start one and stop it."""
    made = MetricsService("127.0.0.1:0", page, reactor)
    made.startService()
    yield made
    await made.stopService().addTimeout(DEADLINE, reactor)


@pytest_twisted.ensureDeferred
async def test_page_is_served(service: MetricsService) -> None:
    """It has the media type of Prometheus and is not cacheable."""
    answer = await ask(service, "GET /metrics")
    assert (answer.status, answer.body) == (200, b"credgate_sessions 1.0\n")
    assert answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.fields["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 404),
        ("GET /v1/sessions", 404),
        ("GET /metrics/", 404),
        ("GET /metrics?x", 404),
        ("POST /metrics", 405),
        ("DELETE /metrics", 405),
    ],
)
@pytest_twisted.ensureDeferred
async def test_other_paths_are_not_served(service: MetricsService, line: str, status: int) -> None:
    """No route of the control API is reachable by TCP."""
    assert (await ask(service, line)).status == status


@pytest_twisted.ensureDeferred
async def test_connections_are_limited(service: MetricsService) -> None:
    """Clients must not use up the descriptors; more connections are closed."""
    held = [await connect(service) for _ in range(MAX_CONNECTIONS)]
    one_more = await connect(service)
    assert await one_more.over.addTimeout(DEADLINE, reactor) == b""
    assert held[0].transport is not None
    held[0].transport.loseConnection()
    await held[0].over.addTimeout(DEADLINE, reactor)
    for _ in range(100):
        if len(service._site.channels) < MAX_CONNECTIONS:
            break
        await maybeDeferred(_turn)
    assert (await ask(service, "GET /metrics")).status == 200
    for client in held[1:]:
        assert client.transport is not None
        client.transport.loseConnection()
        await client.over.addTimeout(DEADLINE, reactor)


def _turn() -> Deferred[None]:
    turned = Deferred[None]()
    reactor.callLater(0.01, turned.callback, None)  # type: ignore[attr-defined]
    return turned


@pytest_twisted.ensureDeferred
async def test_empty_address_does_not_listen() -> None:
    """This is the default."""
    made = MetricsService("", page, reactor)
    made.startService()
    assert made.address == ""
    await made.stopService().addTimeout(DEADLINE, reactor)


@pytest_twisted.ensureDeferred
async def test_port_in_use_stops_the_start(service: MetricsService) -> None:
    """The operator must notice that there are no metrics."""
    made = MetricsService(service.address, page, reactor)
    with pytest.raises(CannotListenError):
        made.startService()
    await made.stopService().addTimeout(DEADLINE, reactor)
