"""Which resolvers are asked: ``[dns] upstream``, or the system's; never the gateway itself.

Addresses only, so that finding the resolver needs no resolver. A loop (the gateway asking itself) is refused where an
operator wrote it and left out where the system's ``resolv.conf`` has it, as it does on a host that uses the gateway.
Reads no file and knows no interface: text and "is this address mine" come in. resolv.conf(5).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Endpoint = tuple[str, int]

DNS_PORT = 53
_MAX_PORT = 65535
MAX_SERVERS = 3
"""As many as the system's resolver uses; each costs its timeouts."""


def endpoint(text: str, default_port: int = DNS_PORT) -> Endpoint:
    """Read ``address``, ``address:port`` or ``[v6]:port``; ``ValueError`` for anything else."""
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        colon, port = rest[:1] if closed else "?", rest[1:]
    elif not colon or ":" in host:
        host, colon, port = text, "", ""
    address = str(ipaddress.ip_address(host))
    if not colon and not port:
        return address, default_port
    if colon != ":" or not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ValueError(f"{text!r} has no port from 0 to 65535")
    return address, int(port)


def nameservers(resolv_conf: str) -> list[Endpoint]:
    """Return the system's resolvers from the text of ``/etc/resolv.conf``; lines that hold no address are skipped."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(endpoint(words[1].partition("%")[0]))
            except ValueError:
                continue
    return found


def _is_self(server: Endpoint, listening: Endpoint, is_mine: Callable[[str], bool]) -> bool:
    if server[1] != listening[1]:
        return False
    wildcard = ipaddress.ip_address(listening[0]).is_unspecified
    return (
        server[0] == listening[0] or ipaddress.ip_address(server[0]).is_unspecified or (wildcard and is_mine(server[0]))
    )


def choose(
    written: Sequence[str], resolv_conf: str, listening: Endpoint, is_mine: Callable[[str], bool]
) -> list[Endpoint]:
    """Return the resolvers to ask, in order. ``is_mine`` says whether an address is one of this machine's.

    ``ConfigError`` when ``[dns] upstream`` names what is no address, or the gateway itself.
    """
    if not written:
        return [one for one in nameservers(resolv_conf) if not _is_self(one, listening, is_mine)][:MAX_SERVERS]
    try:
        servers = [endpoint(text) for text in written]
    except ValueError as error:
        raise ConfigError(str(error), key="dns.upstream") from None
    for text, server in zip(written, servers, strict=True):
        if _is_self(server, listening, is_mine):
            raise ConfigError(f"{text!r} is this gateway itself: it would ask itself for ever", key="dns.upstream")
    return servers
