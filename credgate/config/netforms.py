"""Forms of values that name something on a network: URLs, hosts, addresses, networks, names of forges.

Like ``forms``: from what TOML gave to the value in its normal form, or ``ValueError`` with what was expected. A URL
must match one pattern as a whole and is rebuilt from its parts: RFC 3986 allows far more than a forge needs, and URL
libraries disagree about which part is the host. No error text repeats a URL, since people paste tokens into URLs.
Nothing is resolved.
"""

from __future__ import annotations

import ipaddress
import re

from credgate.config.forms import string, strings

MAX_PORT = 65535

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_URL = re.compile(rf"(?P<scheme>https?)://{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?P<prefix>(?:/[A-Za-z0-9._~-]+)*)/?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FORGE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?")
# Resolvers accept "127.1" and "0x7f.1" as addresses, so a host that ends in a number must be a complete address.
_ENDS_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def forge_url(value: object) -> str:
    """Accept ``https://host[:port][/prefix]`` (or http); return it with a lower-case host and no trailing slash."""
    form = _URL.fullmatch(string(value))
    if form is None:
        raise ValueError('expected a URL, "https://host[:port][/prefix]", without user, query or fragment')
    if {".", ".."} & set(form["prefix"].split("/")):
        raise ValueError('the path of a URL must not contain "." or ".."')
    if form["port"] and not 1 <= int(form["port"]) <= MAX_PORT:
        raise ValueError(f"the port must be 1 to {MAX_PORT}")
    host = _host(form["host"].lower())
    return f"{form['scheme']}://{host}" + (f":{int(form['port'])}" if form["port"] else "") + form["prefix"]


def proxy_url(value: object) -> str:
    """Accept ``http://host:port``, or ``""`` for none."""
    if not (text := string(value)):
        return ""
    form = _URL.fullmatch(text)
    if form is None or form["scheme"] != "http" or not form["port"] or form["prefix"] or text.endswith("/"):
        raise ValueError('expected a proxy, "http://host:port", without user or path')
    return forge_url(text)


def origin(value: object) -> str:
    """Accept ``https://host[:port]`` (or http) without a path, or ``""`` for none."""
    text = string(value)
    form = _URL.fullmatch(text)
    if text and (form is None or form["prefix"] or text.endswith("/")):
        raise ValueError('expected a URL without a path, such as "https://gate.example.com:8443", or "" for none')
    return forge_url(text) if text else ""


def host_patterns(value: object) -> tuple[str, ...]:
    """Accept a list of host names or ``*.example.com`` (all names below it); return them in lower case."""
    texts = tuple(text.lower() for text in strings(value))
    for text in texts:
        labels = text.removeprefix("*.").split(".")
        # "*.com" would match hosts of every owner.
        whole_tld = text.startswith("*.") and len(labels) == 1
        if whole_tld or not all(map(_LABEL.fullmatch, labels)):
            raise ValueError('expected host names, such as ["objects.example.com", "*.lfs.example.com"]')
    return texts


def _host(host: str) -> str:
    """Check a host that the pattern accepted: the labels of a name (RFC 1123), or the usual form of an address."""
    literal = host.startswith("[") or _ENDS_LIKE_A_NUMBER.fullmatch(host)
    try:
        if literal:
            ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError("the host looks like an IP address but is not a valid one") from None
    if not literal and not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("the host is not a valid DNS name")
    return host


def is_loopback(url: str) -> bool:
    """Return whether a forge's URL, in normal form, has a loopback host."""
    form = _URL.fullmatch(url)
    host = form["host"].strip("[]") if form else ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def forge_name(value: str) -> str:
    """Check the name of a forge, which is part of the sandbox's URLs, ``/forge/NAME/...``."""
    if not _FORGE_NAME.fullmatch(value):
        lower = value.lower()
        hint = f'; did you mean "{lower}"?' if _FORGE_NAME.fullmatch(lower) else ""
        raise ValueError(f'a forge name consists of lower-case letters, digits, "." and "-"{hint}')
    return value


def address_port(value: object) -> str:
    """Accept ``address:port`` (IPv6 in brackets), or ``""`` for off."""
    if (text := string(value)) and not _is_address_port(text):
        raise ValueError('expected address:port, such as "127.0.0.1:5353" or "[::1]:5353", or "" for off')
    return text


def loopback_port(value: object) -> str:
    """Accept ``address:port`` with a loopback address, or ``""`` for off."""
    # Loopback only, since the metrics page has no authentication.
    text = string(value)
    if text and not (_is_address_port(text) and ipaddress.ip_address(text.rpartition(":")[0].strip("[]")).is_loopback):
        raise ValueError('expected address:port with a loopback address, such as "127.0.0.1:9464", or "" for off')
    return text


def upstreams(value: object) -> tuple[str, ...]:
    """Accept a list of ``address`` or ``address:port``."""
    texts = strings(value)
    for text in texts:
        if not (_is_address(text) or _is_address_port(text)):
            raise ValueError('expected addresses, such as ["9.9.9.9", "[2620:fe::fe]:53"]')
    return texts


def networks(value: object) -> tuple[str, ...]:
    """Accept a list of networks in CIDR form; a single address counts as a network."""
    texts = strings(value)
    for text in texts:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f'expected networks, such as ["10.1.0.0/16"]: {error}') from None
    return texts


def static_names(value: object) -> dict[str, tuple[str, ...]]:
    """Accept a table of names, each with an address or a list of addresses. ``credgate.dns`` checks the names."""
    if not isinstance(value, dict):
        raise ValueError('expected a table, such as gateway = "10.0.0.2"')  # noqa: TRY004 - one error type for all forms
    if dotted := next((name for name, held in value.items() if isinstance(held, dict)), ""):
        raise ValueError(f'a name with dots needs quotes: "{dotted[:40]}..." = "10.0.0.2"')
    static = {str(name): strings([held] if isinstance(held, str) else held) for name, held in value.items()}
    for name, addresses in static.items():
        if not addresses or not all(_is_address(address) for address in addresses):
            raise ValueError(f'"{name[:40]}" needs an address, or a list of them')
    return static


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_address_port(text: str) -> bool:
    address, _, port = text.rpartition(":")
    if bracketed := re.fullmatch(r"\[(.*:.*)\]", address):
        address = bracketed[1]
    elif ":" in address:
        return False
    return _is_address(address) and bool(re.fullmatch(r"[0-9]{1,5}", port)) and int(port) <= MAX_PORT
