"""Converts a session to a row of a table and back.

Scalars are columns; grants and DNS names are JSON. Reading is strict: a row that ``write`` would have written
differently, or that has an impossible time, size or network, raises ValueError and grants nothing. The limits of a
grant are written only if they differ from their defaults, so that rows written before a limit existed are still valid.
Nothing here accesses a database.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from functools import lru_cache
from socket import AF_INET, inet_ntop, inet_pton
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from credgate.rules.parse import PushRule
from credgate.sessions.model import Grant, Session
from credgate.values import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from credgate.sessions.model import Network

# In the order of ``Session``'s fields, which is the order of a row.
COLUMNS = tuple(attribute.name for attribute in attrs.fields(Session))
DIGEST_BYTES = 32

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
_CONVERTER.register_unstructure_hook_func(lambda kind: kind == frozenset[str], sorted)
# Only limits that differ from their defaults, so that rows from before a limit existed are still valid.
_LIMITS = {each.name: override(omit_if_default=True) for each in attrs.fields(Grant) if each.kw_only}
_written = make_dict_unstructure_fn(Grant, _CONVERTER, **_LIMITS)  # type: ignore[arg-type]  # keys are attributes
_CONVERTER.register_unstructure_hook(Grant, _written)

# Created once: ``json.dumps`` with these separators creates an encoder for each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"))

Row = tuple[Any, ...]


def write(session: Session) -> Row:
    """Return the values of ``COLUMNS`` for a session."""
    values = {name: getattr(session, name) for name in COLUMNS}
    bound_to = "" if session.bound_to is None else str(session.bound_to)
    grants = _json(_CONVERTER.unstructure(session.grants, tuple[Grant, ...]))
    values |= {"bound_to": bound_to, "grants": grants, "dns": _json(session.dns)}
    return tuple(values.values())


def read(row: Sequence[Any]) -> Session:
    """Return the session in a row. Raises ValueError with the reason, which never contains a digest."""
    try:
        ident, token, secret, grants, created, used, wall, idle, absolute, bound_to, label, dns = row
        times = created, used, wall, idle, absolute
        session = Session(ident, token, secret, _grants(grants), *times, _network(bound_to), label, _names(dns))
    except _UnfaithfulError:
        raise
    except Exception as error:  # noqa: BLE001 - any failure means one bad row
        raise ValueError(f"unreadable ({type(error).__name__})") from None
    _judge(session)
    return session


def forget() -> None:
    """Clear the caches of a load."""
    # They would keep the grants of ended sessions in memory.
    for reader in (_network, _grants, _push, _rule):
        reader.cache_clear()


class _UnfaithfulError(ValueError):
    """``write`` would have written the row differently."""

    def __init__(self) -> None:
        super().__init__("not as credgate writes it")


@lru_cache(maxsize=4096)
def _network(text: str) -> Network | None:
    if not text:
        return None
    address, _, length = text.rpartition("/")
    if length == "32" and ":" not in address:  # one IPv4 address, as in most bound rows: half the time of ip_network
        packed = inet_pton(AF_INET, address)
        if inet_ntop(AF_INET, packed) != address:
            raise _UnfaithfulError
        return ipaddress.IPv4Network((packed, 32))
    network = ipaddress.ip_network(text)
    if str(network) != text:
        raise _UnfaithfulError
    return network


def _names(text: str) -> tuple[str, ...]:
    if text == "[]":  # most rows
        return ()
    names = json.loads(text)
    if not _is_texts(names) or _json(names) != text:
        raise _UnfaithfulError
    return tuple(names)


@lru_cache(maxsize=1024)
def _grants(text: str) -> tuple[Grant, ...]:
    """Read the grants of a row. Sessions with equal grants share the objects."""
    # Written by hand: with cattrs, this took two thirds of a start with 100,000 sessions.

    plain = _PLAIN.fullmatch(text)
    if plain is not None:  # one grant without limits, as in most rows: half the time
        repo, forge, access, push, normal = plain.groups()
        return (Grant(repo, forge, _ACCESS[access], _push(push), repo if normal == repo else normal),)
    items = json.loads(text)
    # The keys, their order and the spelling of values must be as ``write`` writes them.
    if type(items) is not list or any(tuple(item)[:_REQUIRED] != _KEYS for item in items) or _json(items) != text:
        raise _UnfaithfulError
    return tuple([_grant(*item.values()) if len(item) == _REQUIRED else _limited(item) for item in items])


def _grant(repo: object, forge: object, access: object, push: object, normal: object, **limits: Any) -> Grant:  # noqa: ANN401 - judged by _limited
    if not (type(repo) is type(forge) is type(normal) is str):
        raise _UnfaithfulError
    return Grant(repo, forge, _ACCESS[access], None if push is None else _rules(push), normal, **limits)  # type: ignore[index]  # what is no key raises


def _limited(item: dict[str, Any]) -> Grant:
    """Read a grant with limits, which are in the order of the fields and never at their defaults."""
    names = list(item)[_REQUIRED:]
    if names != [name for name in _LIMITS if name in item]:
        raise _UnfaithfulError
    limits = {name: _LIMIT_FORMS[type(default)](item[name]) for name, default in _DEFAULTS.items() if name in item}
    return _grant(*list(item.values())[:_REQUIRED], **limits)


@lru_cache(maxsize=1024)
def _push(text: str) -> tuple[PushRule, ...] | None:
    push = json.loads(text)
    if _json(push) != text:
        raise _UnfaithfulError
    return None if push is None else _rules(push)


def _rules(push: object) -> tuple[PushRule, ...]:
    if type(push) is not list:
        raise _UnfaithfulError
    return tuple([_rule(rule["refs"], tuple(rule["allow"])) if tuple(rule) == _RULE else _refuse() for rule in push])


@lru_cache(maxsize=1024)
def _rule(refs: object, allow: tuple[object, ...]) -> PushRule:
    verbs = frozenset(allow)
    if type(refs) is not str or not _is_texts(list(allow)) or sorted(verbs) != list(allow):  # type: ignore[type-var]  # all are texts
        raise _UnfaithfulError
    return PushRule(refs, verbs)  # type: ignore[arg-type]  # as above


def _is_texts(value: object) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _number(value: object) -> int:
    return value if type(value) is int else _refuse()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(value) if value and _is_texts(value) else _refuse()  # type: ignore[arg-type]  # a list


def _refuse() -> NoReturn:
    raise _UnfaithfulError


# ``T`` is text that JSON writes as it is: printable ASCII without quotation mark and backslash. Rules are matched one
# by one: an expression for any list would match from the first grant's rules to the last one's, as if they were one.
_RULES = r'\[(?:\{"refs":"T","allow":\[(?:"[a-z]+",?)*\]\},?)*\]'
_PLAIN = re.compile(
    (
        r'\[\{"repo":"(T)","forge":"(T)","access":"(read|write)","push":(null|' + _RULES + r'),"normal":"(T)"\}\]'
    ).replace("T", r"[ !#-\[\]-~]*")
)
_KEYS = tuple(each.name for each in attrs.fields(Grant) if not each.kw_only)
_REQUIRED = len(_KEYS)
_RULE = tuple(each.name for each in attrs.fields(PushRule))
_ACCESS = {access.value: access for access in Access}
_DEFAULTS = {each.name: each.default for each in attrs.fields(Grant) if each.kw_only}
# Readers of limits by the type of the default.
_LIMIT_FORMS: dict[type, Callable[[object], Any]] = {
    type(None): _number,
    bool: lambda value: True if value is True else _refuse(),
    tuple: _texts,
}


def _judge(session: Session) -> None:
    for value in (session.created, session.used, session.created_wall, session.idle_ttl, session.absolute_ttl):
        if type(value) is not float or not math.isfinite(value):
            raise ValueError("a time is not a finite number")
    if session.created > session.used or min(session.idle_ttl, session.absolute_ttl) <= 0:
        raise ValueError("impossible times")
    if not (isinstance(session.id, str) and isinstance(session.label, str)):
        raise ValueError("a text is not UTF-8")  # noqa: TRY004 - one error for every bad row
    for digest in (session.token_digest, session.secret_digest):
        if type(digest) is bytes and len(digest) == DIGEST_BYTES:
            continue
        raise ValueError("a digest has the wrong size")


def _json(value: object) -> str:
    return _ENCODER.encode(value)
