"""The body of a create request."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import Config, ForgeConfig, SessionsConfig
from credgate.errors import InvalidValueError
from credgate.forges.registry import driver_for
from credgate.sessions.body import KEYS, MAX_NAMES, parse_create
from credgate.sessions.model import Grant, SessionRequest

DRIVERS = {
    forge.name: driver_for(forge)
    for forge in (*Config().forges.values(), ForgeConfig(name="git.example", kind="generic", url="https://git.example"))
}
LIMITS = SessionsConfig(idle_ttl=3600.0, absolute_ttl=7200.0)


def parse(payload: object, *, legacy: bool = False) -> SessionRequest:
    """Parse with two real drivers."""
    return parse_create(payload, forges=DRIVERS, default_forge="github.com", sessions=LIMITS, legacy=legacy)


def refusal(payload: object, *, legacy: bool = False) -> str:
    """Return the text that refuses ``payload``."""
    with pytest.raises(InvalidValueError) as caught:
        parse(payload, legacy=legacy)
    return str(caught.value)


def test_legacy_body_is_read() -> None:
    """Host scripts written for the ancestor must work."""
    body = {"container_ip": "172.18.0.5", "container_id": "dev-1.box_2", "repos": ["octo/hello", "Octo/World.git"]}
    expected = SessionRequest(
        idle_ttl=3600.0,
        absolute_ttl=7200.0,
        bound_to=ipaddress.ip_network("172.18.0.5"),
        label="dev-1.box_2",
        grants=(
            Grant("octo/hello", "github.com"),
            Grant("Octo/World", "github.com", normal="octo/world"),
        ),
    )
    assert parse(body, legacy=True) == expected
    assert parse(body) == expected


def test_minimal_legacy_body_grants_nothing() -> None:
    """In the ancestor, absent repos granted all."""
    assert parse({"container_ip": "172.18.0.5"}, legacy=True).grants == ()
    assert parse({"container_ip": "172.18.0.5", "container_id": None, "repos": None}, legacy=True).grants == ()


def test_empty_v1_body_is_valid() -> None:
    """It gives an unbound session without label and grants."""
    assert parse({}) == SessionRequest(idle_ttl=3600.0, absolute_ttl=7200.0)


def test_complete_v1_body_is_read() -> None:
    """Every key means something."""
    body = {
        "bind": "::ffff:10.1.0.0/112",
        "label": "sandbox-7",
        "idle_ttl": "15m",
        "absolute_ttl": "2h",
        "dns": ["PyPI.org", "files.pythonhosted.org.", "pypi.org"],
        "repos": [{"repo": "octo/hello", "access": "read"}],
    }
    assert parse(body) == SessionRequest(
        idle_ttl=900.0,
        absolute_ttl=7200.0,
        bound_to=ipaddress.ip_network("10.1.0.0/16"),
        label="sandbox-7",
        dns=("pypi.org", "files.pythonhosted.org"),
        grants=parse({"repos": body["repos"]}).grants,
    )


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({}, "container_ip is required"),
        ({"container_ip": None}, "container_ip is required"),
        ({"container_ip": ""}, "container_ip is required"),
        ({"container_ip": 3221225985}, "container_ip must be a valid IP address"),
        ({"container_ip": True}, "container_ip must be a valid IP address"),
        ({"container_ip": "172.18.0"}, "container_ip must be a valid IP address"),
        ({"container_ip": "172.18.0.0/16"}, "container_ip must be a valid IP address"),
        ({"container_ip": "fe80::1%eth0"}, "container_ip must be a valid IP address"),
        ({"container_ip": " 172.18.0.5"}, "container_ip must be a valid IP address"),
        (
            {"container_ip": "172.18.0.5", "container_id": "a b"},
            "container_id must be alphanumeric with optional _.- separators",
        ),
        (
            {"container_ip": "172.18.0.5", "container_id": "../x"},
            "container_id must be alphanumeric with optional _.- separators",
        ),
        (
            {"container_ip": "172.18.0.5", "container_id": "x\n"},
            "container_id must be alphanumeric with optional _.- separators",
        ),
        (
            {"container_ip": "172.18.0.5", "container_id": 5},
            "container_id must be alphanumeric with optional _.- separators",
        ),
        ({"container_ip": "172.18.0.5", "repos": {}}, "repos must be a list"),
        ({"container_ip": "172.18.0.5", "repos": ""}, "repos must be a list"),
        ({"container_ip": "172.18.0.5", "repos": "octo/hello"}, "repos must be a list"),
        ({"container_ip": "172.18.0.5", "repos": [5]}, "Each repo must be in owner/repo format"),
        ({"container_ip": "172.18.0.5", "repos": ["octo"]}, "Invalid repo format: octo"),
    ],
)
def test_legacy_error_texts_are_unchanged(payload: dict[str, Any], text: str) -> None:
    """Scripts and people know them; the quirks behind some (an integer address crashed later) are gone."""
    assert refusal(payload, legacy=True) == text


@pytest.mark.parametrize("payload", [None, [], "x", 5, True])
def test_body_that_is_not_an_object_is_refused(payload: object) -> None:
    """The ancestor answered 500."""
    assert refusal(payload) == refusal(payload, legacy=True) == "The body must be a JSON object"


def test_unknown_key_is_refused_even_if_null() -> None:
    """A misspelt limit must not be silently missing."""
    assert refusal({"idle_tll": "5m"}) == f"Unknown key: idle_tll (known: {', '.join(KEYS)})"
    assert refusal({"Bind": None}).startswith("Unknown key: Bind")


@pytest.mark.parametrize("key", ["bind", "label", "idle_ttl", "absolute_ttl", "dns"])
def test_legacy_route_refuses_v1_keys(key: str) -> None:
    """An ignored limit is worse than a refused one."""
    assert refusal({"container_ip": "172.18.0.5", key: "x"}, legacy=True).startswith(f"Unknown key: {key}")


def test_two_keys_with_the_same_meaning_are_refused() -> None:
    """It is unclear which one counts."""
    text = "container_ip and bind mean the same: send only one of them"
    assert refusal({"container_ip": "10.0.0.1", "bind": "10.0.0.1"}) == text
    assert refusal({"container_id": "a", "label": "a"}) == "container_id and label mean the same: send only one of them"


@pytest.mark.parametrize("value", [5, "10.1.2.3/16", "localhost", "", [], "fe80::%1/64"])
def test_invalid_binding_is_refused(value: object) -> None:
    """The session must not become unbound instead."""
    assert refusal({"bind": value}) == "bind must be an IP address or a network such as 10.1.0.0/16"


def test_label_is_bounded_and_may_be_empty() -> None:
    """It is part of every audit line."""
    assert parse({"label": "x" * 128}).label == "x" * 128
    assert parse({"label": ""}).label == ""
    assert refusal({"label": "x" * 129}) == "label must be alphanumeric with optional _.- separators"


@pytest.mark.parametrize("key", ["idle_ttl", "absolute_ttl"])
def test_lifetimes_may_only_be_shorter_than_configured(key: str) -> None:
    """The configuration is the upper limit."""
    longest = getattr(LIMITS, key)
    assert getattr(parse({key: f"{longest:g}s"}), key) == longest
    assert (
        refusal({key: f"{longest + 1:g}s"}) == f"{key} must be more than zero and at most the configured {longest:g}s"
    )
    assert refusal({key: "0s"}).startswith(f"{key} must be more than zero")
    assert refusal({key: "1 hour"}).startswith(f"{key}: expected a duration, a number with its unit")
    assert refusal({key: 60}) == f"{key} must be a duration such as 90s, 15m, 24h or 7d"


@pytest.mark.parametrize(
    "name",
    [
        5,
        "",
        ".",
        "localhost",
        "*.pypi.org",
        "a..b",
        "-a.org",
        "a-.org",
        "a_b.org",
        "10.1.2.3",
        "a.0x7f",
        "p\u0443pi.org",
        "PYPI.OR\u212a",
        "pypi.org\n",
        "pypi.org..",
        "a" * 64 + ".org",
        "a." * 126 + "com",
    ],
)
def test_invalid_dns_name_is_refused(name: object) -> None:
    """No wildcard, address or name that resolvers may read differently."""
    assert parse({"dns": ["pypi.org"]}).dns == ("pypi.org",)
    assert refusal({"dns": [name]}).startswith("Invalid dns name: ")


def test_dns_list_is_bounded() -> None:
    """It is searched for every query."""
    assert refusal({"dns": "pypi.org"}) == "dns must be a list of names"
    names = [f"n{number}.example" for number in range(MAX_NAMES + 1)]
    assert len(parse({"dns": names[:-1]}).dns) == MAX_NAMES
    assert refusal({"dns": names}) == f"dns must hold at most {MAX_NAMES} names"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
bodies = json_values | st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5)


@given(payload=bodies, legacy=st.booleans())
def test_arbitrary_json_raises_only_invalid_value_error(payload: object, *, legacy: bool) -> None:
    """Read or refuse, never another exception (a 500)."""
    try:
        asked = parse(payload, legacy=legacy)
    except InvalidValueError as error:
        text = str(error)
        assert (len(text) < 400, text.isprintable()) == (True, True)
    else:
        assert 0 < asked.idle_ttl <= LIMITS.idle_ttl
        assert 0 < asked.absolute_ttl <= LIMITS.absolute_ttl


def test_pattern_with_label_is_checked_with_the_label() -> None:
    """A pattern that cannot match is reported to its author."""
    repos = [{"repo": "octo/hello", "push": [{"refs": "refs/heads/{label}/*", "allow": ["create"]}]}]
    assert parse({"repos": repos, "label": "box"}).label == "box"
    assert refusal({"repos": repos}) == "The ref pattern refs/heads/{label}/* needs a session with a label"
