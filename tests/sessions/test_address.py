"""Client addresses and bindings."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.address import admits, binding, peer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_a_peer_is_folded(text: str, expected: str) -> None:
    """A dual-stack listener shows IPv4 clients as mapped IPv6."""
    assert str(peer(text)) == expected


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.256", "192.0.2.1:80", "0300.0.2.1", "3221225985", "/run/x"])
def test_what_is_no_address_is_none(text: str) -> None:
    """It must match no binding, rather than raise in the hot path."""
    assert peer(text) is None
    assert not admits(binding("0.0.0.0/0"), text)
    assert admits(None, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_binding_is_folded(text: str, expected: str) -> None:
    """Both sides of the comparison are folded, or a mapped binding would admit nobody."""
    assert str(binding(text)) == expected


@pytest.mark.parametrize("text", ["", "10.1.2.3/16", "fe80::1%eth0", "fe80::%1/64", "10.1", "10.0.0.0/33", "x"])
def test_a_doubtful_binding_is_refused(text: str) -> None:
    """Host bits or a zone: could not tell what was meant."""
    with pytest.raises(ValueError, match=r"address|network|bits"):
        binding(text)


def test_a_network_is_refused_where_an_address_is_asked_for() -> None:
    """The ancestor's container_ip is one container's."""
    assert str(binding("10.1.2.3", address_only=True)) == "10.1.2.3/32"
    with pytest.raises(ValueError, match="plain address"):
        binding("10.1.2.3/32", address_only=True)


@pytest.mark.parametrize(
    ("bound_to", "address", "expected"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "::ffff:10.1.2.3", True),
        ("::ffff:10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.0.0/16", "::ffff:10.1.9.9", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("::/0", "10.1.2.3", False),
        ("2001:db8::/64", "2001:db8::1", True),
        ("2001:db8::/64", "2001:db8:0:1::1", False),
        ("10.1.2.3", "::10.1.2.3", False),
        ("10.1.2.3", "64:ff9b::10.1.2.3", False),
    ],
)
def test_admits(bound_to: str, address: str, *, expected: bool) -> None:
    """The second lock: a stolen token is of no use next door."""
    assert admits(binding(bound_to), address) == expected


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_mapping_changes_no_verdict(base: ipaddress.IPv4Address, prefix: int, client: ipaddress.IPv4Address) -> None:
    """Plain or mapped, binding or client: four spellings, one answer, and it is ipaddress's."""
    network = ipaddress.IPv4Network((base, prefix), strict=False)
    mapped = f"::ffff:{network.network_address}/{prefix + 96}"
    verdicts = {
        admits(binding(one), two) for one in (str(network), mapped) for two in (f"{client}", f"::ffff:{client}")
    }
    assert verdicts == {client in network}


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    """Never an exception from a peer's name."""
    assert peer(text) is None or not str(peer(text)).startswith("::ffff:")
