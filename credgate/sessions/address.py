"""Addresses of clients: folded to one form, and compared with the network that a session is bound to.

A client that connects over IPv4 to a dual-stack listener has the address ``::ffff:192.0.2.1``, but it is the same
client as ``192.0.2.1``. So IPv4-mapped addresses and networks (RFC 4291 section 2.5.5.2) are folded to IPv4 on both
sides of every comparison. Other embeddings (NAT64, 6to4) are not folded: they are other hosts. A zone
(``fe80::1%eth0``) does not identify a peer; it is removed from a peer's address, and refused in a binding.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credgate.sessions.model import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_HOST_BITS = 64


@lru_cache(maxsize=4096)
def peer(text: str) -> Address | None:
    """Return the folded address of a peer, or None if ``text`` is not an address (the peer of a UNIX socket)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return _folded(address)


def binding(text: str, *, address_only: bool = False) -> Network:
    """Return the folded network in ``text``: an address (a /32 or /128) or, unless ``address_only``, a CIDR block.

    Raises ValueError if it is not an address or network, has host bits set, or has a zone.
    """
    if "%" in text or (address_only and "/" in text):
        msg = "not a plain address"
        raise ValueError(msg)
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = _folded(network.network_address)
        return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    return network


def admits(bound_to: Network | None, address: str) -> bool:
    """Return whether a session bound to ``bound_to`` (None: not bound) may be used from ``address``."""
    if bound_to is None:
        return True
    client = peer(address)
    return client is not None and client in bound_to


@lru_cache(maxsize=4096)
def rate_key(text: str) -> str:
    """Return the key by which every limit counts a peer; for IPv6 its /64.

    Requests, wrong credentials, connections and DNS queries all use this function.
    """
    client = peer(text)
    # One host is assigned a /64, so a limit that counted whole IPv6 addresses could be evaded with 2**64 of them.
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, _HOST_BITS), strict=False))
    return text if client is None else str(client)


def _folded(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
