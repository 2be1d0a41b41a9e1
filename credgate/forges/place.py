"""Where a connection goes: a forge, or a host that holds objects for one, as its shell needs to know it.

A ``Place`` says what may be dialled and how, and nothing of what is said there. Whoever wrote an address instead of a
name (or ``localhost``) into the configuration knows where it leads, so a forge written that way counts as internal:
its addresses are not judged. A name is judged each time it is dialled (``dns.addresses``), unless the configuration
calls the forge ``internal``. Opens nothing and resolves nothing.
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
    """One host and port, and the conditions on which it is dialled. Equal places share what is made for them."""

    name: str
    """What people call it: the forge's configured name, or the host of its objects."""
    host: str
    """A name or an address; an IPv6 address stands without brackets."""
    port: int
    tls: bool
    """Verified against ``host``."""
    authority: str
    """The value of the ``Host`` field."""
    ca_file: str = ""
    """PEM file of the only authorities trusted; ``""``: the system's."""
    internal: bool = False
    """Whether ``host`` may lead to a private or special address. Never true of a host that a forge's answer named."""
    proxy: str = ""
    """``http://host:port`` that is asked for a tunnel (CONNECT); ``""``: dialled straight, whatever the environment."""

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
        """Return the place of something else that is configured for a forge: its API."""
        forge = driver.forge
        internal = forge.internal or _chosen(origin.host)
        return cls(
            forge.name, origin.host, origin.port, origin.tls, origin.authority, forge.ca_file, internal, forge.proxy
        )

    @property
    def target(self) -> str:
        """What a proxy is asked to connect to: host and port, always both (RFC 9112 section 3.2.3)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def proxy_address(self) -> tuple[str, int] | None:
        """The host and port of ``proxy``."""
        if not self.proxy:
            return None
        host, _, port = self.proxy.removeprefix("http://").rpartition(":")
        return host.strip("[]"), int(port)


def _chosen(host: str) -> bool:
    """Whether whoever wrote ``host`` wrote where it leads."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
