"""TOML's dictionaries become the schema's values, or a list of what is wrong with them.

cattrs walks; ``forms`` says what each key may hold; here the two are tied together, one line a key, and cattrs'
tree of exceptions is flattened into ``Problem``s: a path and one sentence, which ``load`` turns into file, line and
key. Every key is looked at, so that the caller can name the first in the file rather than the first in the schema.
Rules between keys are not here (``rules``), and nothing is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cattrs
from attrs import fields, frozen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from credgate.config import forms, netforms, pushforms
from credgate.config.schema import (
    AuditConfig,
    Config,
    ControlConfig,
    DnsConfig,
    ForgeConfig,
    Limits,
    ListenConfig,
    PushPolicy,
    SessionsConfig,
)
from credgate.config.short_lived import AppConfig, OAuthConfig, RotateConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from credgate.config.position import Path

SECTIONS = {
    "listen": ListenConfig,
    "sessions": SessionsConfig,
    "limits": Limits,
    "policy": PushPolicy,
    "audit": AuditConfig,
    "control": ControlConfig,
    "dns": DnsConfig,
}
FORGE_TABLES = {"app": AppConfig, "oauth": OAuthConfig, "rotate": RotateConfig}
KINDS = ("github", "gitlab", "gitea", "bitbucket", "bitbucket-datacenter", "azure", "generic")

# Not in a file: a forge's name is its table's, the rest is where the file was.
_UNWRITTEN = {"name", "source", "lines"}

# What other programs call our keys.
_SYNONYMS = {"token": "credential", "password": "credential", "secret": "credential", "user": "username"}

_count = forms.whole(1)
FORMS: dict[type, dict[str, Callable[[object], object]]] = {
    Config: {"default_forge": forms.filled},
    ListenConfig: {
        "git": forms.filled,
        "control": forms.socket_path,
        "dns": netforms.address_port,
        "metrics": netforms.loopback_port,
        "public_url": netforms.origin,
    },
    SessionsConfig: {
        "store": forms.store_url,
        "idle_ttl": forms.duration,
        "absolute_ttl": forms.duration,
        "gc_interval": forms.duration,
        "max_sessions": _count,
    },
    Limits: {
        "head_timeout": forms.duration,
        "idle_timeout": forms.duration,
        "stall_timeout": forms.duration,
        "forge_timeout": forms.duration,
        "connect_timeout": forms.duration,
        "drain_timeout": forms.duration_or_none,
        "inquiry_timeout": forms.duration,
        "max_head": forms.whole(1024, 1024 * 1024),
        "max_connections": _count,
        "max_connections_per_address": _count,
        "max_transfers_per_session": _count,
        "requests_per_minute": forms.whole(0),
        "requests_per_minute_per_address": forms.whole(0),
        "bytes_per_minute": forms.whole(0),
        "wrong_credentials_per_minute": _count,
        "max_drain": forms.whole(0),
    },
    ForgeConfig: {
        "kind": forms.one_of(*KINDS),
        "url": netforms.forge_url,
        "username": forms.username,
        "credential": forms.credential,
        "allow_plain_http": forms.boolean,
        "ca_file": forms.optional(forms.absolute_path),
        "internal": forms.boolean,
        "proxy": netforms.proxy_url,
        "api_url": forms.optional(netforms.forge_url),
        "lfs_hosts": netforms.host_patterns,
        "check_path": forms.boolean,
        "credentials": forms.credentials,
    },
    AppConfig: {"app_id": forms.app_id, "private_key": forms.credential, "installation_id": forms.whole(0)},
    OAuthConfig: {
        "client_id": forms.filled,
        "client_secret": forms.credential,
        "refresh_token": forms.credential,
        "key": forms.credential,
    },
    RotateConfig: {"token": forms.credential, "key": forms.credential, "lifetime": forms.duration},
    PushPolicy: {
        "push": pushforms.rules,
        "max_push_bytes": forms.whole(0),
        "max_refs": forms.whole(1, 20_000),
        "push_options": pushforms.options,
        "protected_paths": pushforms.globs,
        "require_old_oid": forms.boolean,
    },
    AuditConfig: {
        "to": forms.audit_target,
        "max_bytes": forms.whole(0),
        "keep": forms.whole(0),
        "sync": forms.one_of("always", "second", "never"),
    },
    ControlConfig: {"allow_uids": forms.uids},
    DnsConfig: {
        "allow": forms.strings,
        "allowlist_file": forms.optional(forms.absolute_path),
        "static": netforms.static_names,
        "clients": forms.one_of("any", "sessions"),
        "upstream": netforms.upstreams,
        "allow_private": netforms.networks,
        "aaaa": forms.boolean,
        "refused": forms.one_of("nxdomain", "refused"),
        "cname": forms.one_of("hide", "check"),
        "max_ttl": forms.duration,
        "negative_ttl": forms.duration,
        "stale_ttl": forms.duration_or_none,
        "cache_size": _count,
        "rate": forms.number(0),
        "burst": forms.number(1),
        "max_name": forms.whole(1, 255),
        "max_labels": forms.whole(1, 127),
        "max_label": forms.whole(1, 63),
        "names_per_minute": _count,
        "audit_per_minute": _count,
        "tcp_connections": _count,
        "tcp_connections_per_address": _count,
    },
}


@frozen(slots=True)
class Problem:
    """One thing that is wrong, at ``path``; ``text`` says what was meant."""

    path: Path
    text: str


def keys(cls: type[Any]) -> list[str]:
    """Return the keys that a table of ``cls`` may hold."""
    return [attribute.name for attribute in fields(cls) if attribute.name not in _UNWRITTEN]


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    # Config last: what its tables become is looked up when its own function is made.
    for cls in (*SECTIONS.values(), *FORGE_TABLES.values(), ForgeConfig, Config):
        rules: dict[str, Any] = {key: override(struct_hook=_hook(form)) for key, form in FORMS[cls].items()}
        if cls is Config:
            rules |= dict.fromkeys(("source", "lines"), override(omit=True))
        converter.register_structure_hook(cls, _table(make_dict_structure_fn(cls, converter, **rules)))
    return converter


def _hook(form: Callable[[object], object]) -> Callable[[Any, Any], Any]:
    return lambda value, _: form(value)


def _table(structure: Callable[[Mapping[str, Any], Any], Any]) -> Callable[[Any, Any], Any]:
    def hook(value: object, cls: type) -> object:
        if not isinstance(value, dict):
            raise ValueError("a table is meant, not a value")  # noqa: TRY004 - one error type for all forms
        return structure(value, cls)

    return hook


_CONVERTER = _converter()


def structure(written: Mapping[str, Any]) -> Config | list[Problem]:
    """Return the values of a whole document over the schema's defaults, or everything that is wrong with them.

    Forges come out with the names of their tables; a forge without ``url`` passes (``rules`` knows who may).
    """
    document, problems = _named(written)
    try:
        config = _CONVERTER.structure(document, Config)
    except ClassValidationError as error:
        return problems + _flat(error, (), written)
    return problems or config


def _named(written: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Put each forge's name into its table, where the schema has it; a file that does so itself is told."""
    document, problems = dict(written), []
    forges = written.get("forges")
    if not isinstance(forges, dict):
        if forges is not None:
            problems.append(Problem(("forges",), 'tables are meant, one a forge: [forges."NAME"]'))
            del document["forges"]
        return document, problems
    for name, table in forges.items():
        try:
            netforms.forge_name(name)
        except ValueError as error:
            problems.append(Problem(("forges", name), str(error)))
        if isinstance(table, dict) and "name" in table:
            problems.append(
                Problem(("forges", name, "name"), f"unknown key; the table's own name is the forge's: \"{name}\"")
            )
    document["forges"] = {
        name: {**table, "name": name} if isinstance(table, dict) else table for name, table in forges.items()
    }
    return document, problems


def _flat(error: BaseException, path: Path, written: object) -> list[Problem]:
    """Flatten cattrs' tree: inner nodes name a key or an index, leaves are our texts or a set of unknown keys."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        named, others = error.group_exceptions()
        inner = [(each, (*path, str(getattr(note, "name", getattr(note, "index", ""))))) for each, note in named]
        inner += [(each, path) for each in others]
        return [problem for each, place in inner for problem in _flat(each, place, written)]
    if isinstance(error, ForbiddenExtraKeysError):
        return [
            Problem((*path, key), _unknown(key, error.cl, _at(written, (*path, key)))) for key in error.extra_fields
        ]
    return [Problem(path, str(error))]


def _at(written: Any, path: Path) -> object:  # noqa: ANN401 - a document holds anything
    for part in path:
        written = written[part]
    return written


def _unknown(key: str, cls: type[Any], value: object = None) -> str:
    """Say what an unknown key may have meant: a neighbour, another table's key, or a name that needs quotes."""
    known = keys(cls)
    if cls is ForgeConfig and isinstance(value, dict):
        return 'unknown key; a name with dots needs quotes: [forges."git.example.com"]'
    if near := _SYNONYMS.get(key) if _SYNONYMS.get(key) in known else forms.nearest(key, known):
        return f'unknown key; did you mean "{near}"?'
    if home := next((section for section, other in SECTIONS.items() if key in keys(other)), ""):
        return f"unknown key; it belongs into [{home}]"
    return f"unknown key; known here: {', '.join(known)}"
