"""Which addresses an answer must not contain: private, special and multicast ranges, in every form.

This is the protection against DNS rebinding. The owner of an allowed name could point it at ``127.0.0.1``, at a cloud's
metadata service or at the operator's network; a sandbox must not be sent there. The table has the IANA special-purpose
registries (RFC 6890 and its updates) and the metadata addresses of clouds that are outside of them. An IPv6 address
that embeds an IPv4 address (mapped, NAT64, 6to4) is treated like the embedded one. ``allow_private`` exempts networks,
in plain and in embedded form. This module never looks at names.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V4 = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "metadata"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_V6 = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "dummy"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_SPECIAL: dict[int, tuple[tuple[Network, str], ...]] = {
    4: tuple((IPv4Network(text), kind) for text, kind in _V4),
    6: tuple((IPv6Network(text), kind) for text, kind in _V6),
}
_NAT64 = IPv6Network("64:ff9b::/96")


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the embedded IPv4 address, which is where a packet to this address arrives."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def special(packed: bytes, allowed: Iterable[Network] = ()) -> str:
    """Return the kind of special range that contains the address (4 or 16 octets), or ``""`` for a public address.

    ``allowed``: the networks that the operator exempts (``[dns] allow_private``).
    """
    address = ipaddress.ip_address(packed)
    if any(address in network for network in allowed):
        return ""
    if isinstance(address, IPv6Address) and (inner := _embedded_ipv4(address)) is not None:
        return special(inner.packed, allowed)
    return next((kind for network, kind in _SPECIAL[address.version] if address in network), "")


def client(host: str) -> Address:
    """Return a peer's address without its zone, an IPv4-mapped one as IPv4. Raises ``ValueError`` for other text."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def reverse_name(address: Address) -> tuple[bytes, ...]:
    """Return the name under ``in-addr.arpa`` or ``ip6.arpa`` that a reverse lookup asks for."""
    return tuple(address.reverse_pointer.encode().split(b"."))
