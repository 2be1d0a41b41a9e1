"""The rebinding table: every special range in every form that hides it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import addresses

SPECIAL = [
    ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"), ("10.255.255.255", "private"),
    ("100.64.0.1", "carrier-grade NAT"), ("100.100.100.200", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"), ("127.0.0.53", "loopback"), ("127.255.255.255", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.169.254", "link-local"), ("169.254.170.2", "link-local"), ("169.254.0.0", "link-local"),
    ("172.16.0.1", "private"), ("172.17.0.1", "private"), ("172.31.255.255", "private"),
    ("192.0.0.192", "protocol assignments"), ("192.0.0.170", "protocol assignments"),
    ("192.0.2.1", "documentation"), ("192.88.99.1", "6to4 relay"),
    ("192.168.0.1", "private"), ("192.168.255.255", "private"),
    ("198.18.0.1", "benchmarking"), ("198.19.255.255", "benchmarking"),
    ("198.51.100.7", "documentation"), ("203.0.113.9", "documentation"),
    ("224.0.0.1", "multicast"), ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"), ("255.255.255.255", "reserved"),
    ("::", "unspecified"), ("::1", "loopback"),
    ("::7f00:1", "IPv4-compatible"), ("::a00:1", "IPv4-compatible"), ("::808:808", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"), ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0.0.0.0", "unspecified"), ("::ffff:192.168.1.1", "private"), ("::ffff:172.17.0.1", "private"),
    ("::ffff:100.64.0.1", "carrier-grade NAT"), ("::ffff:168.63.129.16", "metadata"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("64:ff9b::127.0.0.1", "loopback"), ("64:ff9b::10.0.0.1", "private"),
    ("64:ff9b::169.254.169.254", "link-local"),
    ("64:ff9b::224.0.0.1", "multicast"), ("64:ff9b::100.100.100.200", "carrier-grade NAT"),
    ("64:ff9b:1::808:808", "local NAT64"), ("64:ff9b:1:ffff::1", "local NAT64"),
    ("2002:7f00:1::", "loopback"), ("2002:a00:1::1", "private"), ("2002:a9fe:a9fe::1", "link-local"),
    ("2002:c0a8:101::1", "private"), ("2002:e000:1::", "multicast"),
    ("2001::1", "protocol assignments"), ("2001:0:7f00:1::f5ff:fffe", "protocol assignments"),
    ("2001:2::1", "protocol assignments"), ("2001:10::1", "protocol assignments"),
    ("2001:20::1", "protocol assignments"),
    ("2001:db8::1", "documentation"), ("3fff::1", "documentation"), ("100::1", "discard"), ("100:0:0:1::1", "dummy"),
    ("5f00::1", "segment routing"),
    ("fc00::1", "private"), ("fd00::1", "private"), ("fd00:ec2::254", "private"), ("fd00:ec2::23", "private"),
    ("fe80::1", "link-local"), ("febf::1", "link-local"), ("fec0::1", "site-local"),
    ("ff02::1", "multicast"), ("ff0e::1", "multicast"),
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34",
    "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.1", "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1", "64:ff9b::8.8.8.8", "2002:808:808::1",
    "::ffff:8.8.8.8", "3ffe::1", "fbff::1",
]  # fmt: skip


def test_table_has_at_least_sixty_addresses() -> None:
    """At least 60 addresses in all forms."""
    assert len({address for address, _ in SPECIAL}) >= 60


@pytest.mark.parametrize(("address", "kind"), SPECIAL)
def test_special_address_has_its_kind(address: str, kind: str) -> None:
    """The owner of an allowed name must not be able to send a sandbox here."""
    assert addresses.special(ipaddress.ip_address(address).packed) == kind


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    """Positive control, at the borders of the ranges."""
    assert addresses.special(ipaddress.ip_address(address).packed) == ""


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_ipv4_addresses_private_in_ipaddress_are_special(address: ipaddress.IPv4Address) -> None:
    """The table of the standard library must not have a range that this one lacks."""
    if not address.is_global and address not in ipaddress.ip_network("192.175.48.0/24"):
        assert addresses.special(address.packed)


@given(st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_ipv6_addresses_private_in_ipaddress_are_special(address: ipaddress.IPv6Address) -> None:
    """The same for IPv6; documentation and discard ranges included."""
    if not address.is_global and address.sixtofour is None:
        assert addresses.special(address.packed)


@given(st.integers(0, 2**32 - 1))
def test_embedded_ipv4_address_decides(number: int) -> None:
    """Mapped, NAT64 and 6to4 reach the carried address: they are as special as it is."""
    inner = ipaddress.IPv4Address(number).packed
    forms = [bytes(10) + b"\xff\xff" + inner, b"\0\x64\xff\x9b" + bytes(8) + inner, b"\x20\x02" + inner + bytes(10)]
    assert {addresses.special(form) for form in forms} == {addresses.special(inner)}


def test_allow_private_exempts_its_network_in_every_form_only() -> None:
    """``allow_private`` names a network; its neighbours stay shut."""
    opened = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/32")]
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::", "fd00:1::5"):
        assert addresses.special(ipaddress.ip_address(text).packed, opened) == ""
    for text in ("10.2.0.0", "::ffff:10.2.0.0", "fd00:2::5"):
        assert addresses.special(ipaddress.ip_address(text).packed, opened) == "private"


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("fd00::2", "fd00::2")],
)
def test_client_address_is_normalised(host: str, address: str) -> None:
    """One sandbox is one client, whichever family its packet came in."""
    assert addresses.client(host) == ipaddress.ip_address(address)


def test_reverse_names() -> None:
    """What ``dig -x`` asks for."""
    assert addresses.reverse_name(ipaddress.ip_address("10.1.2.3")) == (b"3", b"2", b"1", b"10", b"in-addr", b"arpa")
    assert addresses.reverse_name(ipaddress.ip_address("::1"))[-2:] == (b"ip6", b"arpa")
