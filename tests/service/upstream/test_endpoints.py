"""The client endpoints of places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from credgate.config.schema import ForgeConfig
from credgate.errors import ConfigError
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.upstream.endpoints import (
    MAX_PLACES,
    CheckedEndpoint,
    TunnelEndpoint,
    forge_endpoints,
    tcp_endpoint,
)
from credgate.service.upstream.tls import TlsEndpoint
from tests.fakes.names import Names

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Place.of(driver_for(ForgeConfig("lab", "generic", "http://127.0.0.1:8000")))
TLS = Place.of(driver_for(ForgeConfig("github.com", "github", "https://github.com")))


def test_endpoint_is_direct_checked_or_through_a_proxy() -> None:
    """Addresses are checked unless the forge is internal or has a proxy."""
    net = MemoryReactorClock()
    assert isinstance(tcp_endpoint(net, PLAIN, 30), HostnameEndpoint)
    assert isinstance(tcp_endpoint(net, TLS, 30), CheckedEndpoint)
    assert isinstance(tcp_endpoint(net, evolve(TLS, internal=True), 30), HostnameEndpoint)
    for proxy, address in (("http://127.0.0.1:3128", "127.0.0.1"), ("http://[::1]:3128", "::1")):
        net = MemoryReactorClock()
        net.nameResolver = Names(net, [address])
        way = tcp_endpoint(net, evolve(TLS, proxy=proxy), 30)
        assert isinstance(way, TunnelEndpoint)
        way.connect(Factory()).addErrback(lambda _: None)
        assert [one[:2] for one in net.tcpClients] == [(address, 3128)]


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable in the gateway's environment must not redirect its connections."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(tcp_endpoint(MemoryReactorClock(), TLS, 30), CheckedEndpoint)


def test_ca_files_are_read_once_and_endpoints_are_bounded() -> None:
    """A wildcard of object hosts names as many places as a forge likes."""
    endpoints = forge_endpoints(MemoryReactorClock(), 30)
    first = endpoints(TLS)
    made = [endpoints(evolve(TLS, host=f"h{number}.example.com")) for number in range(MAX_PLACES)]
    assert {id(one._context) for one in made} == {id(first._context)}  # type: ignore[attr-defined]
    assert endpoints(TLS) is not first


def test_endpoint_is_made_once_for_a_forge() -> None:
    """With TLS unless the forge is plain."""
    endpoints = forge_endpoints(MemoryReactorClock(), 30)
    plain, tls = endpoints(PLAIN), endpoints(TLS)
    assert isinstance(plain, HostnameEndpoint)
    assert isinstance(tls, TlsEndpoint)
    assert endpoints(PLAIN) is plain
    assert endpoints(TLS) is tls


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_unreadable_ca_file_is_a_configuration_error(tmp_path: Path, text: str | None) -> None:
    """It stops the start, with the key's name."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    driver = driver_for(ForgeConfig("x", "generic", "https://x.example", ca_file=str(path)))
    with pytest.raises(ConfigError) as raised:
        forge_endpoints(MemoryReactorClock(), 30)(Place.of(driver))
    assert raised.value.key == "ca_file"
    assert str(path) in str(raised.value)
