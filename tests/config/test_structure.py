"""Dictionaries become values; what is wrong becomes problems, all of them."""

from __future__ import annotations

import pytest
from attrs import fields

from credgate.config.schema import (
    FORGE_TABLES,
    SECTIONS,
    AppConfig,
    Config,
    ForgeConfig,
    OAuthConfig,
    RotateConfig,
    SessionsConfig,
)
from credgate.config.structure import Problem, keys, structure

TABLES = (*SECTIONS.values(), *FORGE_TABLES.values(), ForgeConfig, Config)


def test_every_key_has_a_form() -> None:
    """Cattrs would convert the value of a key without a form as it likes."""
    tables = {*SECTIONS, "forges", *FORGE_TABLES}
    for cls in TABLES:
        by_name = {each.name: each for each in fields(cls)}
        assert [key for key in keys(cls) if "form" not in by_name[key].metadata and key not in tables] == []


def test_every_default_passes_its_own_form() -> None:
    """The default of a key may also be written in the file."""
    for cls in (*SECTIONS.values(), Config):
        for each in fields(cls):
            if form := each.metadata.get("form"):
                value = getattr(cls(), each.name)
                seconds = isinstance(value, float) and cls is not SECTIONS["dns"]
                form(f"{value:g}s" if seconds else value)


def test_sections_are_the_tables_of_the_schema() -> None:
    """A table that is added to the schema may be written in a file."""
    written = {attribute.name for attribute in fields(Config)} - {"source", "lines", "default_forge", "forges"}
    assert set(SECTIONS) == written


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("max_name", "removed: now fixed at 128"),
        ("stale_ttl", "removed: now fixed at 3600 s"),
        ("cache_size", "removed: now fixed at 1000"),
    ],
)
def test_removed_key_is_reported_with_its_fixed_value(key: str, text: str) -> None:
    """An operator who upgrades must not be told that the key is misspelt."""
    assert structure({"dns": {key: 1}}) == [Problem(("dns", key), text)]


def test_empty_document_has_the_defaults_of_the_schema() -> None:
    """Defaults are declared only there."""
    assert structure({}) == Config()


def test_valid_keys_become_values() -> None:
    """This is the positive control of the refusals."""
    written = {"sessions": {"idle_ttl": "2h"}, "forges": {"a": {"url": "https://a"}}}
    assert structure(written) == Config(
        sessions=SessionsConfig(idle_ttl=7200.0), forges={"a": ForgeConfig(name="a", url="https://a")}
    )


def test_tables_of_a_forge_become_values() -> None:
    """They are read like other tables."""
    written = {
        "forges": {
            "a": {"app": {"app_id": 7, "private_key": "file:///k", "installation_id": 3}},
            "b": {
                "oauth": {"client_id": "c", "client_secret": "env://S", "refresh_token": "env://R", "key": "env://K"}
            },
            "c": {"rotate": {"token": "env://T", "key": "env://K", "lifetime": "2d"}},
        }
    }
    config = structure(written)
    assert isinstance(config, Config)
    assert config.forges["a"].app == AppConfig("7", "file:///k", 3)
    assert config.forges["b"].oauth == OAuthConfig("c", "env://S", "env://R", "env://K")
    assert config.forges["c"].rotate == RotateConfig("env://T", "env://K", 2 * 86400.0)


def test_unknown_key_in_a_table_of_a_forge_is_named() -> None:
    """A pasted value is not repeated."""
    problems = structure({"forges": {"a": {"app": {"app_idd": 1, "private_key": "hunter2"}, "oauth": 3}}})
    assert isinstance(problems, list)
    assert {problem.path for problem in problems} == {
        ("forges", "a", "app", "app_idd"),
        ("forges", "a", "app", "private_key"),
        ("forges", "a", "oauth"),
    }
    assert "hunter2" not in str(problems)


def test_all_problems_are_reported() -> None:
    """The caller chooses the first one in the file."""
    written = {
        "zzz": 1,
        "sessions": {"idle_ttl": 1, "max_sessions": 0},
        "forges": {"A": {"kind": "x"}, "b": 3, "c": {"name": "c", "urll": ""}},
        "limits": 3,
    }
    problems = structure(written)
    assert isinstance(problems, list)
    assert {problem.path for problem in problems} == {
        ("zzz",),
        ("sessions", "idle_ttl"),
        ("sessions", "max_sessions"),
        ("forges", "A"),
        ("forges", "A", "kind"),
        ("forges", "b"),
        ("forges", "c", "name"),
        ("forges", "c", "urll"),
        ("limits",),
    }


def test_fields_that_are_not_keys_are_unknown() -> None:
    """``source`` and ``lines`` describe the file."""
    known = "default_forge, listen, sessions, limits, policy, audit, control, dns, forges"
    assert structure({"lines": {}}) == [Problem(("lines",), f"unknown key; known keys: {known}")]
    assert structure({"source": ""}) == [Problem(("source",), f"unknown key; known keys: {known}")]


def test_synonym_of_a_key_is_suggested() -> None:
    """People write ``token`` for ``credential``."""
    assert structure({"forges": {"a": {"token": ""}}}) == [
        Problem(("forges", "a", "token"), 'unknown key; did you mean "credential"?')
    ]
    assert structure({"control": {"token": ""}}) == [
        Problem(("control", "token"), "unknown key; known keys: allow_uids")
    ]


def test_misplaced_key_is_reported_with_its_table() -> None:
    """The error also covers forge names without quotes."""
    assert structure({"listen": {"max_sessions": 1}}) == [
        Problem(("listen", "max_sessions"), "unknown key; it belongs in [sessions]")
    ]
    assert structure({"forges": {"git": {"example": {"url": ""}}}}) == [
        Problem(("forges", "git", "example"), 'unknown key; a name with dots needs quotes: [forges."git.example.com"]')
    ]
    assert structure({"forges": 3}) == [Problem(("forges",), 'expected one table for each forge: [forges."NAME"]')]
