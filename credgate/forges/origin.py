"""The configured URL of a forge, parsed strictly and once, when the configuration is read.

Accepts exactly ``https://host[:port][/prefix]`` and, for a loopback host or where the operator allows it, ``http://``.
The host is a name of letters, digits and hyphens, a dotted quad or a bracketed IPv6 address; user names, queries,
fragments, percent signs and number-like names (``127.1``, ``0x7f.1``) are refused, because resolvers and URL parsers
disagree about them. A forge's redirect is matched against this URL as a whole, by one pattern and never by parsing.
"""

from __future__ import annotations

import ipaddress
import re

from attrs import field, frozen

from credgate.errors import ConfigError

_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
_SEGMENT = r"[A-Za-z0-9._~+-]+"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[1-9][0-9]{{0,4}}))?(?P<prefix>(?:/{_SEGMENT})*)/?"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_WANTED = "expected https://host[:port][/prefix]"
_PORTS = {True: 443, False: 80}
_MAX_PORT = 65535
_MAX_LOCATION = 1024


@frozen(slots=True)
class Origin:
    """A parsed URL. Made by :meth:`parse` only."""

    tls: bool
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int
    prefix: str
    """``""`` or ``/some/path``, without a trailing slash."""
    _location: re.Pattern[bytes] = field(repr=False, eq=False)

    @classmethod
    def parse(cls, url: str, *, allow_plain_http: bool, key: str = "url") -> Origin:
        """Parse ``url``. Raises :class:`ConfigError` with ``key`` and the expected form."""
        match = _URL.fullmatch(url)
        if match is None:
            raise ConfigError(_WANTED, key=key)
        host, tls = _host(match["host"].lower(), key), match["scheme"] == "https"
        if not (tls or allow_plain_http or _loopback(host)):
            raise ConfigError(
                "plain http sends the credential in clear: use https, or allow_plain_http = true", key=key
            )
        port, prefix = int(match["port"] or _PORTS[tls]), match["prefix"]
        if port > _MAX_PORT or any(part in {".", ".."} for part in prefix.split("/")):
            raise ConfigError(_WANTED, key=key)
        return cls(tls, host, port, prefix, _location(match["host"], port, prefix, tls=tls))

    @property
    def authority(self) -> str:
        """The value of the ``Host`` field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.tls] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without a trailing slash."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"

    def repository_in(self, location: bytes) -> str | None:
        """Return the repository path, as spelled, of a ``Location`` that is an ``info/refs`` URL of this forge."""
        match = self._location.fullmatch(location) if len(location) <= _MAX_LOCATION else None
        return None if match is None else match["path"].decode("ascii")


def _host(text: str, key: str) -> str:
    """Return ``text`` without brackets. Raises ``ConfigError`` if resolvers may disagree about it."""
    bare = text[1:-1] if text.startswith("[") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        labels = bare.split(".")
        if text.startswith("[") or not all(map(_LABEL.fullmatch, labels)) or labels[-1][0].isdigit():
            raise ConfigError(f"{bare!r} is not a host name; {_WANTED}", key=key) from None
        return bare
    return str(address)


def _loopback(host: str) -> bool:
    """Whether plain text to ``host`` stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _location(host: str, port: int, prefix: str, *, tls: bool) -> re.Pattern[bytes]:
    """Make the pattern of the forge's ``info/refs`` URLs, absolute or as an absolute path (Gitea sends those)."""
    scheme = "https" if tls else "http"
    shown = f"(?::{port})?" if port == _PORTS[tls] else f":{port}"
    text = (
        rf"(?:(?i:{scheme}://{re.escape(host)}){shown})?{re.escape(prefix)}/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*)"
        r"/info/refs\?service=git-(?:upload|receive)-pack"
    )
    return re.compile(text.encode("ascii"))
