"""Places: what a forge's table says about dialling it, and which forges count as internal without saying so."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.forges.registry import driver_for


def test_a_place_holds_what_is_needed_to_dial_a_forge() -> None:
    forge = ForgeConfig(
        "lab",
        "generic",
        "https://git.lab.example:8443/srv",
        credential="env://NOT_HERE",
        ca_file="/etc/lab.pem",
        proxy="http://10.0.0.1:3128",
    )
    assert Place.of(driver_for(forge)) == Place(
        name="lab",
        host="git.lab.example",
        port=8443,
        tls=True,
        authority="git.lab.example:8443",
        ca_file="/etc/lab.pem",
        internal=False,
        proxy="http://10.0.0.1:3128",
    )


@pytest.mark.parametrize(
    ("url", "internal"),
    [
        ("https://github.com", False),
        ("https://localhost.example", False),
        ("https://10.0.0.9", True),
        ("https://140.82.121.4", True),
        ("https://[fd00::9]:8443", True),
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
    ],
)
def test_a_forge_written_as_an_address_counts_as_internal(url: str, internal: bool) -> None:  # noqa: FBT001 - a table
    """Its operator said where it is; a name says nothing of the kind."""
    assert Place.of(driver_for(ForgeConfig("lab", "generic", url))).internal is internal


def test_a_name_is_internal_if_the_configuration_says_so() -> None:
    """By the forge's own key."""
    assert Place.of(driver_for(ForgeConfig("lab", "generic", "https://git.lab.example", internal=True))).internal


@pytest.mark.parametrize(
    ("api", "internal", "expected"),
    [
        ("https://api.lab.example", False, False),
        ("https://api.lab.example", True, True),
        ("https://10.0.0.9:8443", False, True),
        ("http://localhost:3000", False, True),
    ],
)
def test_an_api_is_judged_by_its_own_host_and_the_forges_key(api: str, internal: bool, expected: bool) -> None:  # noqa: FBT001 - a table
    """That the forge is written as an address says nothing of where the name of its API leads."""
    forge = ForgeConfig("lab", "generic", "https://10.0.0.1", internal=internal, proxy="http://10.0.0.1:3128")
    place = Place.at(driver_for(forge), Origin.parse(api, allow_plain_http=True))
    assert place.internal is expected
    assert f"{place.host}:{place.port}" in {api.partition("://")[2], api.partition("://")[2] + ":443"}
    assert place.proxy_address == ("10.0.0.1", 3128)


@pytest.mark.parametrize(
    ("url", "proxy", "target", "address"),
    [
        ("https://git.lab.example", "", "git.lab.example:443", None),
        ("https://git.lab.example:8443", "http://proxy.lab:8080", "git.lab.example:8443", ("proxy.lab", 8080)),
        ("https://[2001:db8::9]", "http://[::1]:3128", "[2001:db8::9]:443", ("::1", 3128)),
    ],
)
def test_a_proxy_is_asked_for_host_and_port(url: str, proxy: str, target: str, address: tuple[str, int] | None) -> None:
    """Always both; brackets keep an IPv6 address apart from its port."""
    place = Place.of(driver_for(ForgeConfig("lab", "generic", url, proxy=proxy)))
    assert (place.target, place.proxy_address) == (target, address)
