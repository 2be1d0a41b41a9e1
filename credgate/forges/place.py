"""The target of a connection: a forge, or a host that stores objects for one.

A ``Place`` contains what is needed to connect. An operator who configured an address (or ``localhost``) instead of a
name chose the target, so such a forge counts as internal: its address is not checked. A name is checked on each
connection (``dns.addresses``), unless the configuration calls the forge ``internal``. This module connects to nothing
and resolves nothing.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from credgate.forges.driver import Driver
    from credgate.forges.origin import Origin


@frozen(slots=True)
class Place:
    """One host and port, and the conditions of the connection. Equal places share their connections."""

    name: str
    """The name for log lines: the forge's configured name, or the host of its objects."""
    host: str
    """A name or an address; an IPv6 address has no brackets."""
    port: int
    tls: bool
    """Verified against ``host``."""
    authority: str
    """The value of the ``Host`` field."""
    ca_file: str = ""
    """PEM file of the only authorities trusted; ``""``: the system's."""
    internal: bool = False
    """Whether ``host`` may have a private or special address. Never true for a host from a forge's response."""
    proxy: str = ""
    """``http://host:port`` of a proxy (CONNECT); ``""``: a direct connection, whatever the environment says."""

    @classmethod
    def of(cls, driver: Driver) -> Place:
        """Return the place of a configured forge."""
        forge = driver.forge
        return cls(
            forge.name,
            driver.host,
            driver.port,
            driver.tls,
            driver.authority,
            forge.ca_file,
            forge.internal or _chosen(driver.host),
            forge.proxy,
        )

    @classmethod
    def at(cls, driver: Driver, origin: Origin) -> Place:
        """Return the place of another configured URL of a forge: its API."""
        forge = driver.forge
        internal = forge.internal or _chosen(origin.host)
        return cls(
            forge.name, origin.host, origin.port, origin.tls, origin.authority, forge.ca_file, internal, forge.proxy
        )

    @property
    def target(self) -> str:
        """The target of a CONNECT request: host and port, always both (RFC 9112 section 3.2.3)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """The host and port of ``proxy``."""
        if not self.proxy:
            return None
        host, _, port = self.proxy.removeprefix("http://").rpartition(":")
        return host.strip("[]"), int(port)


def _chosen(host: str) -> bool:
    """Whether ``host`` is an address or ``localhost``, so that the operator chose where it leads."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
