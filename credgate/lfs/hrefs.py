"""The ``href`` of an action (a subset of RFC 3986): matched whole by one pattern and rebuilt from its parts.

No URL library is used: they disagree about user names, backslashes, brackets and numbers, and a hostile forge may use
that. The alphabet is small and the host is a name (or the forge's own address). The host must be the forge's own, or in
the list of its driver or of the operator. The scheme is https, unless the forge itself is plain http. Other ports than
the default are allowed only for the forge's own host and for hosts that the operator lists.

The target holds signatures: it is in no ``repr`` and in no error. Addresses are checked when the host is dialled
(``service.upstream.endpoints``).
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from credgate.forges.hosts import among
from credgate.forges.place import Place
from credgate.lfs.refusals import LfsError
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

# Characters: four times the longest presigned URL that was seen.
MAX_HREF: Final = 8192

# Excluded: coded control characters (%00-%1F, %7F), and in a path coded "." and "\".
_CODED = r"%(?!0|1|7[Ff]|2[Ee]|5[Cc])[0-9A-Fa-f]{2}"
_CODED_IN_QUERY = r"%(?!0|1|7[Ff])[0-9A-Fa-f]{2}"
_PLAIN = r"[A-Za-z0-9._~!$&'()*+,;=:@-]"
_HREF: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>(?>(?:/(?:{_PLAIN}|{_CODED})+)+))"
    rf"(?P<query>\?(?>(?:{_PLAIN}|[/?]|{_CODED_IN_QUERY})*))?"
)
_DOTS: Final = re.compile(r"/\.\.?(?:/|\Z)")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORTS: Final = {"https": 443, "http": 80}
_MAX_PORT: Final = 65535


@frozen(slots=True)
class Href:
    """An ``href`` that is allowed."""

    place: Place
    target: str = field(repr=False)
    """Path and query."""
    own: bool
    """Whether it has the forge's own host, port and scheme: only there may the forge's credential be sent."""


def read_href(text: str, driver: Driver) -> Href:
    """Read an ``href``. Raises LfsError, whose text has no part of it except for a host that is a plain name."""
    found = _HREF.fullmatch(text) if len(text) <= MAX_HREF else None
    if found is None or _DOTS.search(found["path"]):
        raise _refused(driver, "at a malformed URL")
    scheme, host = found["scheme"], found["host"].lower().strip("[]")
    port = int(found["port"] or _PORTS[scheme])
    if port > _MAX_PORT:
        raise _refused(driver, "at a malformed URL")
    literal = _address(host)
    if literal is None and not _is_name(host):
        raise _refused(driver, "at a malformed host name")
    if scheme == "http" and driver.tls:
        raise _refused(driver, "at an http URL")
    _judge_place(driver, host, port, usual=port == _PORTS[scheme])
    # An address literal is not resolved, so the check of the endpoint is made here as well.
    if literal is not None and host != driver.host and not (literal.is_global or driver.forge.internal):
        raise _refused(driver, "at a private address")
    own = (host, port, scheme == "https") == (driver.host, driver.port, driver.tls)
    return Href(_place(driver, scheme, host, port, own=own), found["path"] + (found["query"] or ""), own)


def _judge_place(driver: Driver, host: str, port: int, *, usual: bool) -> None:
    """Raise unless the host is allowed, and this port of it."""
    by_operator = among(driver.forge.lfs_hosts, host)
    if not driver.lfs_host(host):
        raise _refused(driver, f"on {host}, which is not among lfs_hosts")
    if not (usual or by_operator or (host == driver.host and port == driver.port)):
        raise _refused(driver, "at another port than the default")


def _place(driver: Driver, scheme: str, host: str, port: int, *, own: bool) -> Place:
    forge, its = driver.forge, Place.of(driver)
    if own:
        return its
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[scheme] else f"{shown}:{port}"
    # The forge's private authorities must not vouch for any other host.
    trusted = host == driver.host or among(forge.lfs_hosts, host)
    ca_file = its.ca_file if trusted else ""
    # A host written as an address counts as internal by itself only if it is the forge's own.
    internal = its.internal if host == driver.host else forge.internal
    return Place(host, host, port, scheme == "https", authority, ca_file, internal, its.proxy)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address in its canonical form; None for anything else."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address if str(address) == host else None


def _is_name(host: str) -> bool:
    """Whether every resolver takes it for a name: labels of letters, digits and hyphens."""
    labels = host.split(".")
    # A last label that begins with a digit may be read as the end of an address.
    return all(map(_LABEL.fullmatch, labels)) and labels[-1][0].isalpha()


def _refused(driver: Driver, what: str) -> LfsError:
    text = f"{driver.forge.name} stores this object {what}; credgate does not connect to it"
    return LfsError(text, reason=Reason.LFS_STORAGE, status=502, rule="lfs_hosts")
