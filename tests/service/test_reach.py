"""How forges are reached: endpoints, and words for the trouble with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from twisted.internet import error
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.testing import MemoryReactorClock

from credgate.config.schema import Forge
from credgate.errors import ConfigError
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.reach import forge_endpoints, unreachable
from credgate.service.tls import TlsEndpoint

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Place.of(driver_for(Forge("lab", "generic", "http://127.0.0.1:8000")))
TLS = Place.of(driver_for(Forge("github.com", "github", "https://github.com")))


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (ssl.SSLCertVerificationError(), "its TLS certificate is not accepted"),
        (ssl.SSLError(), "it does not speak TLS as we do"),
        (error.TimeoutError(), "it does not answer in time"),
        (DeferredTimeout(), "it does not answer in time"),
        (error.ConnectionRefusedError(), "it refuses connections"),
        (error.DNSLookupError(), "its name cannot be resolved"),
        (error.NoRouteError("secret"), "the connection failed"),
    ],
)
def test_trouble_is_named_without_the_errors_own_words(why: Exception, text: str) -> None:
    """They may name anything."""
    assert unreachable(why) == text


def test_an_endpoint_is_made_once_a_forge() -> None:
    """With TLS unless the forge is plain."""
    endpoints = forge_endpoints(MemoryReactorClock(), 30)
    plain, tls = endpoints(PLAIN), endpoints(TLS)
    assert isinstance(plain, HostnameEndpoint)
    assert isinstance(tls, TlsEndpoint)
    assert endpoints(PLAIN) is plain
    assert endpoints(TLS) is tls


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, text: str | None) -> None:
    """It stops the start, with the key's name."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    driver = driver_for(Forge("x", "generic", "https://x.example", ca_file=str(path)))
    with pytest.raises(ConfigError) as raised:
        forge_endpoints(MemoryReactorClock(), 30)(Place.of(driver))
    assert raised.value.key == "ca_file"
    assert str(path) in str(raised.value)
