"""Connections to a forge's API: one place, its authorities, and nothing sent before the certificate is accepted."""

from __future__ import annotations

import socket
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from credgate.config.schema import ForgeConfig
from credgate.credentials.token_request import Request
from credgate.errors import ConfigError
from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.credentials.api_client import ApiClient, NoResponseError
from credgate.service.credentials.api_connection import agent_for
from credgate.service.upstream.endpoints import forge_endpoints
from tests.fakes.api import FakeApi
from tests.fakes.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.protocol import Factory

LAB = driver_for(ForgeConfig("lab", "github", "https://localhost"))
SECRET = Request("GET", "/thing", {"Authorization": "Bearer secret"})


class Endpoint:
    """Notes that it was asked for a connection; there never is one."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.factories: list[Any] = []

    def __call__(self, place: Place) -> Endpoint:
        """Return the endpoint of a place."""
        self.places.append(place)
        return self

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Note it."""
        self.factories.append(factory)
        return Deferred()


@pytest.mark.parametrize("tls", [True, False])
def test_every_request_connects_anew_to_the_one_place(*, tls: bool) -> None:
    """Whatever URL it is for; TLS is added over the plain endpoint of the place."""
    place, endpoint = Place.of(LAB), Endpoint()
    agent = agent_for(Clock(), evolve(place, tls=tls), endpoint)  # type: ignore[arg-type]
    for number in (1, 2):
        asking = agent.request(b"GET", b"https://evil.example/x").addErrback(lambda _: None)
        assert len(endpoint.factories) == number
        asking.cancel()
    assert endpoint.places == [evolve(place, tls=False)]


@pytest.mark.parametrize(
    ("names", "trusted"),
    [((), False), (("elsewhere.example",), True)],
    ids=["another authority", "another name"],
)
@ensureDeferred
async def test_nothing_is_sent_to_a_server_whose_certificate_is_not_accepted(
    tmp_path: Path, *, names: tuple[str, ...], trusted: bool
) -> None:
    """The request holds a token."""
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    api = FakeApi(authority.server_context(*names))
    ca_file = str((authority if trusted else other).ca_file)
    place = evolve(Place.at(LAB, Origin.parse(api.url, allow_plain_http=False)), ca_file=ca_file)
    agent = agent_for(reactor, place, forge_endpoints(reactor, 5))
    client = ApiClient("lab", Origin.parse(api.url, allow_plain_http=False), agent, reactor, wall=time.time)
    try:
        with pytest.raises(NoResponseError, match="its TLS certificate is not accepted"):
            await Deferred.fromCoroutine(client.once(SECRET)).addTimeout(20, reactor)
        assert api.asked == []
    finally:
        api.close()


@ensureDeferred
async def test_connection_is_closed_though_the_server_keeps_its_side_open(tmp_path: Path) -> None:
    """A server that never answers the close_notify must not keep the socket."""
    authority, listener, ends = Authority(tmp_path), socket.create_server(("127.0.0.1", 0)), Queue[bytes]()

    def serve() -> None:
        plain, _ = listener.accept()
        below = plain.dup()
        tls = authority.server_context().wrap_socket(plain, server_side=True)
        tls.recv(65536)
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        while below.recv(65536):
            pass
        ends.put(b"closed")
        tls.close()
        below.close()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    origin = Origin.parse(f"https://localhost:{listener.getsockname()[1]}", allow_plain_http=False)
    place = evolve(Place.at(LAB, origin), ca_file=str(authority.ca_file))
    agent = agent_for(reactor, place, forge_endpoints(reactor, 5))
    client = ApiClient("lab", origin, agent, reactor, wall=time.time)
    answer = await Deferred.fromCoroutine(client.once(SECRET)).addTimeout(20, reactor)
    assert answer.body == b"ok"
    assert await deferToThread(ends.get, timeout=20) == b"closed"
    serving.join()
    listener.close()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_bad_ca_file_is_a_configuration_error(tmp_path: Path, text: str | None) -> None:
    """With the key and the file."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        agent_for(Clock(), evolve(Place.of(LAB), ca_file=str(path)), Endpoint())  # type: ignore[arg-type]
    assert raised.value.key == "ca_file"
    assert str(path) in str(raised.value)
