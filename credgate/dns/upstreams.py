"""Which upstream resolvers are used: ``[dns] upstream``, or the system's, but never the gateway itself.

Upstreams are addresses, because resolving a name would need a resolver. An upstream that is the gateway itself would be
an endless loop. In ``[dns] upstream`` it is an error; in the system's ``resolv.conf`` it is skipped, because a host
that uses the gateway has it there. This module reads no file and no interface: its arguments are the text of
``resolv.conf`` and a function that says whether an address is local. resolv.conf(5).
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
# As many as the system's resolver uses. Each adds its timeouts.
MAX_SERVERS = 3


def endpoint(text: str, default_port: int = DNS_PORT) -> Endpoint:
    """Parse ``address``, ``address:port`` or ``[IPv6]:port``. Raises ``ValueError`` for other text."""
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
        raise ValueError(f"{text!r}: expected a port from 0 to 65535")
    return address, int(port)


def nameservers(resolv_conf: str) -> list[Endpoint]:
    """Return the resolvers in the text of ``/etc/resolv.conf``; lines without an address are skipped."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(endpoint(words[1].partition("%")[0]))
            except ValueError:
                continue
    return found


def _is_self(server: Endpoint, listening: Endpoint, is_local: Callable[[str], bool]) -> bool:
    # Another server on the same address is usual: a local resolver on port 53 beside the gateway.
    if server[1] != listening[1]:
        return False
    wildcard = ipaddress.ip_address(listening[0]).is_unspecified
    return (
        server[0] == listening[0]
        or ipaddress.ip_address(server[0]).is_unspecified
        or (wildcard and is_local(server[0]))
    )


def choose(
    written: Sequence[str], resolv_conf: str, listening: Endpoint, is_local: Callable[[str], bool]
) -> list[Endpoint]:
    """Return the resolvers to use, in order. ``is_local(address)``: whether it is an address of this machine.

    Raises ``ConfigError`` if ``[dns] upstream`` has something other than an address, or the gateway itself.
    """
    if not written:
        return [one for one in nameservers(resolv_conf) if not _is_self(one, listening, is_local)][:MAX_SERVERS]
    try:
        servers = [endpoint(text) for text in written]
    except ValueError as error:
        raise ConfigError(str(error), key="dns.upstream") from None
    for text, server in zip(written, servers, strict=True):
        if _is_self(server, listening, is_local):
            raise ConfigError(f"{text!r} is this gateway itself, which would be an endless loop", key="dns.upstream")
    return servers
