"""The listening port: bound with the start or no start, deep enough, and able to say whether it accepts."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import defer, reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from credgate.service.sandbox.listener import SandboxListener

if TYPE_CHECKING:
    from pathlib import Path


class Noted(Factory):
    """Counts connections."""

    noisy = False
    made = 0

    def buildProtocol(self, addr: Any) -> Protocol:
        """Count one."""
        self.made += 1
        return Protocol()


def listener(endpoint: str, factory: Any = None) -> SandboxListener:
    """Make one on the real reactor."""
    return SandboxListener(serverFromString(reactor, endpoint), factory or Noted(), reactor)


async def stopped(service: SandboxListener) -> None:
    """Stop, and wait for it."""
    await defer.maybeDeferred(service.stopService)


@pytest.mark.parametrize("privileged", [False, True])
@pytest_twisted.ensureDeferred
async def test_it_listens_once_it_is_started(*, privileged: bool) -> None:
    """Once, whether or not twistd was privileged first; and no more when it is stopped."""
    factory = Noted()
    service = listener("tcp:0:interface=127.0.0.1", factory)
    assert not await service.accepts()
    if privileged:
        service.privilegedStartService()
    service.startService()
    port = service._port.getHost().port  # type: ignore[union-attr]
    assert await service.accepts()
    assert factory.made == 1
    await stopped(service)
    assert not await service.accepts()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    await stopped(service)


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_stops_the_start() -> None:
    """Twisted's own service would log it and run on, deaf."""
    first = listener("tcp:0:interface=127.0.0.1")
    first.startService()
    port = first._port.getHost().port  # type: ignore[union-attr]
    second = listener(f"tcp:{port}:interface=127.0.0.1")
    with pytest.raises(CannotListenError):
        second.privilegedStartService()
    assert not await second.accepts()
    await stopped(first)


@pytest_twisted.ensureDeferred
async def test_a_port_that_does_not_accept_says_so() -> None:
    """Bound is not enough."""
    service = listener("tcp:0:interface=127.0.0.1")
    service.startService()
    port = service._port
    assert port is not None
    where = port.getHost()
    await defer.maybeDeferred(port.stopListening)
    port.getHost = lambda: where  # type: ignore[method-assign]
    assert not await service.accepts()
    service._port = None


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_accepts_too(tmp_path: Path) -> None:
    """Endpoint strings are the operator's."""
    service = listener(f"unix:{tmp_path / 'git.sock'}")
    service.startService()
    assert await service.accepts()
    await stopped(service)


@pytest_twisted.ensureDeferred
async def test_one_failed_probe_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have failed by a hang-up that was another connection's; two are."""
    service = listener("tcp:0:interface=127.0.0.1")
    service.startService()
    connect, failures = TCP4ClientEndpoint.connect, [1]

    def failing(self: TCP4ClientEndpoint, factory: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            return defer.fail(ConnectError("Connection was closed cleanly."))
        return connect(self, factory)

    monkeypatch.setattr(TCP4ClientEndpoint, "connect", failing)
    assert await service.accepts()
    failures[0] = 2
    assert not await service.accepts()
    await defer.maybeDeferred(service.stopService)


@pytest_twisted.ensureDeferred
async def test_the_kernel_holds_a_burst() -> None:
    """Twisted's 50 let a sandbox's burst delay the others'."""
    service = listener("tcp:0:interface=127.0.0.1:backlog=5")
    service.startService()
    port = service._port
    assert port is not None
    reactor.removeReader(port)  # type: ignore[attr-defined]  # nobody accepts
    where = port.getHost()
    clients = [socket.create_connection((where.host, where.port), timeout=5) for _ in range(20)]
    for client in clients:
        client.close()
    await stopped(service)


@pytest.mark.parametrize(
    ("where", "asked"),
    [
        (IPv4Address("TCP", "0.0.0.0", 80), ("127.0.0.1", 80)),
        (IPv4Address("TCP", "10.0.0.7", 80), ("10.0.0.7", 80)),
        (IPv6Address("TCP", "::", 80), ("::1", 80)),
        (UNIXAddress("/run/git.sock"), b"/run/git.sock"),
        (object(), None),
    ],
)
def test_it_asks_where_it_listens(where: object, asked: object) -> None:
    """An address that means all of them is asked at loopback; what cannot be asked is not."""
    memory = MemoryReactorClock()
    service = SandboxListener(None, None, memory)  # type: ignore[arg-type]
    client = service._client(where)
    if asked is None:
        assert client is None
        return
    client.connect(Noted()).addErrback(lambda _: None)
    made = [one[:2] for one in memory.tcpClients] + [one[0] for one in memory.unixClients]
    assert made == [asked]


@pytest_twisted.ensureDeferred
async def test_a_port_of_another_kind_is_taken_at_its_word() -> None:
    """There is no way to ask it, and it is listening."""

    class Elsewhere:
        def getHost(self) -> object:
            return object()

        def stopListening(self) -> None:
            self.stopped = True

    class Endpoint:
        def listen(self, factory: Any) -> defer.Deferred[Any]:
            return defer.succeed(port)

    port = Elsewhere()
    service = SandboxListener(Endpoint(), Noted(), reactor)  # type: ignore[arg-type]
    service.startService()
    assert await service.accepts()
    await stopped(service)
    assert port.stopped


@pytest.mark.parametrize(
    ("endpoint", "spelled"),
    [("tcp:0:interface=127.0.0.1", "127.0.0.1:"), (r"tcp:0:interface=\:\:1", "[::1]:"), ("unix:{}/s", "{}/s")],
)
@pytest_twisted.ensureDeferred
async def test_it_says_where_it_is_bound(endpoint: str, spelled: str, tmp_path: Path) -> None:
    """As a client would write it; a port that the kernel chose is told nowhere else."""
    service = listener(endpoint.format(tmp_path))
    assert service.address == ""
    service.startService()
    assert service.address.startswith(spelled.format(tmp_path))
    assert not service.address.endswith(":0")
    await stopped(service)
    assert service.address == ""
