"""Addresses of clients: folded to one form, and held against the network that a session is bound to.

A client that connects over IPv4 to a dual-stack listener shows up as ``::ffff:192.0.2.1``; it is the same client as
``192.0.2.1``, so IPv4-mapped addresses and networks (RFC 4291 section 2.5.5.2) are folded to IPv4, on both sides of
every comparison. No other embedding is folded (NAT64, 6to4): those are other hosts' business. A zone (``fe80::1%eth0``)
says how to reach a peer, not who it is, and is dropped from a peer's address; a binding with one is refused.

What is no address matches no binding.
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
    """Fold the address of a peer; None when ``text`` is none (a UNIX socket's peer, say)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return _folded(address)


def binding(text: str, *, address_only: bool = False) -> Network:
    """Fold the network that ``text`` names: an address (then a /32 or /128) or, unless ``address_only``, a CIDR block.

    Raises ValueError: not an address or network, host bits set, or a zone.
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
    """Whether a session bound to ``bound_to`` may be used from ``address``; one that is not bound, from anywhere."""
    if bound_to is None:
        return True
    client = peer(address)
    return client is not None and client in bound_to


@lru_cache(maxsize=4096)
def rate_key(text: str) -> str:
    """Return the name under which a peer is counted, by every limit: IPv6 by its /64, which is what one host is given.

    Requests, wrong credentials, connections and DNS questions use this one function: a peer that one limit counts by
    its whole address has 2**64 of them.
    """
    client = peer(text)
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, _HOST_BITS), strict=False))
    return text if client is None else str(client)


def _folded(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
