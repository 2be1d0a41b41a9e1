"""What each question gets, and why."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import DnsConfig
from credgate.dns import query_policy
from credgate.dns.query_policy import Disposition, QueryPolicy, QueryVerdict, make_policy, session_entries
from credgate.errors import ConfigError
from credgate.loading.load import load
from credgate.values import Reason

if TYPE_CHECKING:
    from pathlib import Path

ALLOW = ("example.com", "*.wild.example", "text.example TXT", "!no.wild.example", "!gone.example")
STATIC = {"gateway": ("10.0.0.2", "fd00::2"), "Git.Internal": ("10.0.0.3",), "same.internal": ("10.0.0.2",)}


def name(text: str) -> tuple[bytes, ...]:
    """Make labels of a dotted name."""
    return tuple(text.encode().split(b"."))


def made(**more: Any) -> QueryPolicy:
    """Make the policy of these tests, with changes."""
    return make_policy(DnsConfig(**({"allow": ALLOW, "static": STATIC} | more)))


def verdict(asked: str, qtype: int = 1, qclass: int = 1, **more: Any) -> QueryVerdict:
    """Judge a dotted name."""
    return made(**more).judge(name(asked), qtype, qclass)


def outcome(asked: str, qtype: int = 1, qclass: int = 1, **more: Any) -> tuple[Disposition, Reason]:
    """Judge, and say what was decided for which reason."""
    found = verdict(asked, qtype, qclass, **more)
    assert found.decision.allow == (found.outcome in (Disposition.ASK, Disposition.STATIC))
    return found.outcome, found.decision.reason


@pytest.mark.parametrize("qtype", [1, 28, 5, 64, 65])
def test_default_types_of_allowed_name_go_upstream(qtype: int) -> None:
    """A, AAAA, CNAME, SVCB, HTTPS."""
    assert outcome("example.com", qtype) == (Disposition.ASK, Reason.ALLOWED)
    assert outcome("a.wild.example", qtype) == (Disposition.ASK, Reason.ALLOWED)


@pytest.mark.parametrize("qtype", [2, 6, 12, 15, 16, 33, 43, 48, 257, 13, 99])
def test_other_types_of_an_allowed_name_have_no_data(qtype: int) -> None:
    """The name exists, this of it is not for the sandbox; NXDOMAIN would deny its addresses too (RFC 8020)."""
    assert outcome("example.com", qtype) == (Disposition.NO_TYPE, Reason.DNS_TYPE)


def test_entry_grants_types() -> None:
    """``text.example TXT``, and nothing else beside it."""
    assert outcome("text.example", 16) == (Disposition.ASK, Reason.ALLOWED)
    assert outcome("text.example", 15) == (Disposition.NO_TYPE, Reason.DNS_TYPE)
    assert outcome("text.example", 1) == (Disposition.ASK, Reason.ALLOWED)


@pytest.mark.parametrize("qtype", [0, 10, 41, 249, 250, 251, 252, 253, 254, 255, 128, 65280, 65534, 65535])
@pytest.mark.parametrize("asked", ["example.com", "gateway", "other.example"])
def test_some_types_are_never_answered(asked: str, qtype: int) -> None:
    """ANY, AXFR, IXFR, NULL, OPT and private types: REFUSED, whatever the name."""
    assert outcome(asked, qtype) == (Disposition.REFUSED, Reason.DNS_TYPE)


@pytest.mark.parametrize("qclass", [0, 2, 3, 4, 254, 255])
def test_only_class_in_is_served(qclass: int) -> None:
    """CHAOS would tell versions; ANY would tell everything."""
    assert outcome("example.com", 1, qclass) == (Disposition.REFUSED, Reason.DNS_CLASS)


@pytest.mark.parametrize(
    "asked", ["other.example", "www.example.com", "wild.example", "com", "localhost", "2.0.0.10.in-addr.arpa.x"]
)
def test_unlisted_name_is_refused(asked: str) -> None:
    """Default deny, single labels included."""
    assert outcome(asked) == (Disposition.NO_NAME, Reason.DNS_NAME)


def test_an_empty_policy_refuses_everything() -> None:
    """An empty list means none."""
    assert outcome("example.com", allow=(), static={}) == (Disposition.NO_NAME, Reason.DNS_NAME)
    assert made(allow=(), static={}).judge((), 1).outcome is Disposition.NO_NAME


def test_a_denial_names_its_entry() -> None:
    """``credgate-dns-check`` and the audit say which line decided."""
    found = verdict("no.wild.example")
    assert (found.outcome, found.decision.reason) == (Disposition.NO_NAME, Reason.DNS_DENIED)
    assert found.decision.rule == "!no.wild.example (dns.allow, entry 4)"
    assert verdict("a.wild.example").decision.rule == "*.wild.example (dns.allow, entry 2)"


def test_static_names_and_their_reverse() -> None:
    """The gateway's own names need no entry; what points back at them neither."""
    found = made()
    assert found.static[name("gateway")] == (ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("fd00::2"))
    assert found.static[name("git.internal")] == (ipaddress.ip_address("10.0.0.3"),)
    assert found.reverse[name("2.0.0.10.in-addr.arpa")] == (name("gateway"), name("same.internal"))
    assert outcome("gateway") == outcome("2.0.0.10.in-addr.arpa", 12) == (Disposition.STATIC, Reason.ALLOWED)
    assert outcome("4.0.0.10.in-addr.arpa", 12) == (Disposition.NO_NAME, Reason.DNS_NAME)
    assert made().judge(query_policy.READY, 1).outcome is Disposition.STATIC


def test_aaaa_can_be_disabled() -> None:
    """AAAA is then NODATA: a client goes on with A at once."""
    assert outcome("example.com", 28, aaaa=False) == (Disposition.NO_TYPE, Reason.DNS_TYPE)
    assert outcome("example.com", 1, aaaa=False) == (Disposition.ASK, Reason.ALLOWED)


@pytest.mark.parametrize(
    "asked",
    [
        "a" * 41 + ".wild.example",
        ".".join("abcdefghi") + ".wild.example",
        ".".join(["a" * 39] * 3) + ".wild.example",
        "a b.wild.example",
        "a\0.wild.example",
        "-a.wild.example",
        "a%41.wild.example",
        "\u00fc.wild.example",
    ],
)
def test_wildcard_refuses_names_that_could_carry_data(asked: str) -> None:
    """Long labels, many labels, long names and octets no host name has carry data out."""
    assert outcome(asked) == (Disposition.NO_NAME, Reason.DNS_NAME_FORM)


@pytest.mark.parametrize(
    "asked", ["a" * 40 + ".wild.example", ".".join("abcdefgh") + ".wild.example", "_a._b.wild.example"]
)
def test_a_wildcard_allows_up_to_its_limits(asked: str) -> None:
    """Positive control."""
    found = verdict(asked)
    assert (found.outcome, found.wildcard) == (Disposition.ASK, name("wild.example"))


def test_the_longest_name_that_a_wildcard_allows() -> None:
    """Octets are counted as on the wire: 128 is allowed, 129 is not."""
    longest = f"{'a' * 38}.{'b' * 38}.{'c' * 35}.wild.example"
    assert len(longest) + 2 == 128
    assert outcome(longest) == (Disposition.ASK, Reason.ALLOWED)
    assert outcome("d" + longest) == (Disposition.NO_NAME, Reason.DNS_NAME_FORM)


def test_an_exact_entry_is_not_limited_nor_counted() -> None:
    """The operator wrote every octet of it: it carries nothing out."""
    long = ".".join(["x" * 50] * 4)
    found = verdict(long, allow=(long, "*." + long.partition(".")[2]))
    assert (found.outcome, found.wildcard) == (Disposition.ASK, None)


def test_a_session_adds_names_and_cannot_lift_a_denial() -> None:
    """For the clients it is bound to; ``!`` of the operator wins, its own does nothing, what is unreadable neither."""
    session = session_entries(
        ["own.example", "gone.example", "*.mine.example TXT", "!example.com", "not a name", ""], "s-1"
    )
    found = made()
    assert found.judge(name("own.example"), 1).outcome is Disposition.NO_NAME
    assert found.judge(name("own.example"), 1, session=session).outcome is Disposition.ASK
    assert found.judge(name("own.example"), 1, session=session).decision.rule == "own.example (s-1)"
    assert found.judge(name("a.mine.example"), 16, session=session).outcome is Disposition.ASK
    assert found.judge(name("gone.example"), 1, session=session).decision.reason is Reason.DNS_DENIED
    assert found.judge(name("example.com"), 1, session=session).outcome is Disposition.ASK


def test_names_in_answers_are_checked() -> None:
    """A chain's names are judged without their types."""
    found = made()
    assert found.allows_name(name("example.com"))
    assert not found.allows_name(name("gone.example"), session_entries(["gone.example"], ""))
    assert not found.allows_name(name("own.example"))
    assert found.allows_name(name("own.example"), session_entries(["own.example"], ""))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"allow": ("ok.example", "10.0.0.1")}, "dns.allow"),
        ({"static": {"a b": ("10.0.0.1",)}}, "dns.static"),
        ({"static": {"gateway": ("10.0.0.256",)}}, "dns.static"),
        ({"allow_private": ("10.0.0.1/8",)}, "dns.allow_private"),
    ],
)
def test_a_bad_setting_stops_the_start(settings: dict[str, Any], key: str) -> None:
    """With its key."""
    with pytest.raises(ConfigError) as caught:
        made(**settings)
    assert caught.value.key == key
    [(found, text)] = query_policy.faults(DnsConfig(**settings))
    assert (f"dns.{found}", text) == (key, caught.value.text)


def test_loading_the_configuration_checks_the_entries(tmp_path: Path) -> None:
    """File, line and key of the bad entry, before anything starts; a good section comes out as it was written."""
    file = tmp_path / "credgate.toml"
    section = '[dns]\nallow = ["example.com TXT"]\nstatic = { gateway = "10.0.0.2" }\nclients = "sessions"\n'
    file.write_text(section)
    dns = load(file, {"HOME": str(tmp_path)}).dns
    assert (dns.allow, dns.static, dns.clients) == (("example.com TXT",), {"gateway": ("10.0.0.2",)}, "sessions")
    assert query_policy.faults(dns) == []
    file.write_text(section.replace("example.com TXT", "example.com txt"))
    with pytest.raises(ConfigError) as caught:
        load(file, {"HOME": str(tmp_path)})
    assert (caught.value.file, caught.value.line, caught.value.key) == (str(file), 2, "dns.allow")


def test_the_file_adds_to_the_list(tmp_path: Path) -> None:
    """Both count, and a denial in either wins."""
    file = tmp_path / "allowlist.conf"
    file.write_text("file.example github\n!example.com\n")
    assert outcome("file.example", allowlist_file=str(file)) == (Disposition.ASK, Reason.ALLOWED)
    assert outcome("text.example", allowlist_file=str(file)) == (Disposition.ASK, Reason.ALLOWED)
    assert verdict("example.com", allowlist_file=str(file)).decision.rule == f"!example.com ({file}:2)"
    file.write_text("a b c\n")
    with pytest.raises(ConfigError):
        made(allowlist_file=str(file))


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5).map(tuple), st.integers(0, 65535))
def test_only_listed_names_go_upstream(asked: tuple[bytes, ...], qtype: int) -> None:
    """The property behind all of the above, over names of any octets."""
    found = MADE.judge(asked, qtype)
    if found.outcome is Disposition.ASK:
        assert asked in {name("example.com"), name("text.example")} or asked[-2:] == name("wild.example")


MADE = made()
