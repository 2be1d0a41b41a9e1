"""Reads the body of a request to create a session into a ``SessionRequest``; nothing is used unless all of it is valid.

Two routes use it. The ancestor's ``POST /session/create`` (``legacy``) accepts ``container_ip`` (required, an address),
``container_id`` and ``repos``; its error texts are unchanged. ``POST /v1/sessions`` also accepts ``bind`` (an address
or network), ``label``, ``idle_ttl``, ``absolute_ttl`` and ``dns``. Unknown keys are refused, so that a misspelt limit
is not silently missing. An optional key that is null counts as absent.

In ``repos``, a string grants read and write on the default forge; an object names forge, access and ref rules
(``grants``). An absent or empty ``repos`` grants nothing. Lifetimes may only be shorter than the configured ones. The
caller bounds the size and depth of the body. Every error is an ``InvalidValueError`` with a text for the client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credgate.errors import InvalidValueError
from credgate.rules.duration import parse_duration
from credgate.rules.parse import quoted, refuse_unknown_keys
from credgate.sessions import address
from credgate.sessions.grants import Names, check_label, parse_repos
from credgate.sessions.model import Lifetimes, Network, SessionRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

LEGACY_KEYS = ("container_ip", "container_id", "repos")
KEYS = (*LEGACY_KEYS, "bind", "label", "idle_ttl", "absolute_ttl", "dns")
MAX_NAMES = 64
"""DNS names in one request."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# Preferred name syntax (RFC 1123 section 2.1): labels of letters, digits and inner hyphens, 63 octets each. The last
# label begins with a letter, so that no notation of an IPv4 address is accepted as a name.
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


def parse_create(
    payload: object,
    *,
    forges: Mapping[str, Names],
    default_forge: str,
    sessions: Lifetimes,
    legacy: bool,
) -> SessionRequest:
    """Return the request in the decoded JSON; raise InvalidValueError (HTTP 400) with the text for the client."""
    if not isinstance(payload, dict):
        raise InvalidValueError("The body must be a JSON object")
    # So that a misspelt limit is not silently missing.
    refuse_unknown_keys(payload, LEGACY_KEYS if legacy else KEYS)
    given = {key: value for key, value in payload.items() if value is not None}
    if legacy and not given.get("container_ip"):
        raise InvalidValueError("container_ip is required")
    label, grants = _label(given), parse_repos(given.get("repos", []), forges, default_forge)
    check_label(grants, label)
    return SessionRequest(
        bound_to=_binding(given),
        label=label,
        grants=grants,
        idle_ttl=_ttl(given, "idle_ttl", sessions.idle_ttl),
        absolute_ttl=_ttl(given, "absolute_ttl", sessions.absolute_ttl),
        dns=_names(given.get("dns", [])),
    )


def _binding(given: Mapping[str, object]) -> Network | None:
    _refuse_both(given, "container_ip", "bind")
    if "container_ip" in given:
        return _network(given["container_ip"], "container_ip must be a valid IP address", address_only=True)
    if "bind" in given:
        return _network(
            given["bind"], "bind must be an IP address or a network such as 10.1.0.0/16", address_only=False
        )
    return None


def _network(value: object, text: str, *, address_only: bool) -> Network:
    # ipaddress accepts integers; the ancestor did so too, and crashed later.
    if not isinstance(value, str):
        raise InvalidValueError(text)
    try:
        return address.binding(value, address_only=address_only)
    except ValueError:
        raise InvalidValueError(text) from None


def _label(given: Mapping[str, object]) -> str:
    _refuse_both(given, "container_id", "label")
    key = "label" if "label" in given else "container_id"
    value = given.get(key, "")
    if value == "":
        return ""
    if not isinstance(value, str) or _LABEL.fullmatch(value) is None:
        raise InvalidValueError(f"{key} must be alphanumeric with optional _.- separators")
    return value


def _ttl(given: Mapping[str, object], key: str, longest: float) -> float:
    """Return the lifetime in seconds under ``key``, or the configured ``longest``."""
    if key not in given:
        return longest
    value = given[key]
    if not isinstance(value, str):
        raise InvalidValueError(f"{key} must be a duration such as 90s, 15m, 24h or 7d")
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise InvalidValueError(f"{key}: {error}") from None
    if not 0 < seconds <= longest:
        raise InvalidValueError(f"{key} must be more than zero and at most the configured {longest:g}s")
    return seconds


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidValueError("dns must be a list of names")
    if len(value) > MAX_NAMES:
        raise InvalidValueError(f"dns must hold at most {MAX_NAMES} names")
    return tuple(dict.fromkeys(_name(item) for item in value))


def _name(item: object) -> str:
    name = item.removesuffix(".").lower() if isinstance(item, str) and item.isascii() else ""
    if _NAME.fullmatch(name) is None:
        raise InvalidValueError(f"Invalid dns name: {quoted(item)}")
    return name


def _refuse_both(given: Mapping[str, object], one: str, other: str) -> None:
    if one in given and other in given:
        raise InvalidValueError(f"{one} and {other} mean the same: send only one of them")
