"""Aliases followed, special addresses dropped, names hidden."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from credgate.config.schema import DnsConfig
from credgate.dns import answer, domain_names
from credgate.dns.answer import AliasChain, CheckedAnswer
from credgate.dns.domain_names import WireError
from credgate.dns.query_policy import NO_ENTRIES, make_policy, session_entries
from credgate.dns.reply import Content
from credgate.dns.upstream_response import Resource, Response

ASKED, MIDDLE, END = (b"a", b"example"), (b"b", b"cdn", b"example"), (b"c", b"cdn", b"example")
PUBLIC, PRIVATE = b"\1\2\3\4", b"\x0a\0\0\1"


def alias(owner: domain_names.Name, target: domain_names.Name, ttl: int = 60) -> Resource:
    """Make a CNAME."""
    return Resource(owner, 5, ttl, domain_names.encode(target), target)


def address(owner: domain_names.Name, packed: bytes = PUBLIC, ttl: int = 60) -> Resource:
    """Make an A record."""
    return Resource(owner, 1, ttl, packed)


def follow(*responses: Response, qtype: int = 1) -> CheckedAnswer | None:
    """Follow responses from ASKED."""
    trail = AliasChain(qtype, [ASKED])
    found = None
    for one in responses:
        found = trail.follow(one)
    return found


def policy(**more: Any) -> Any:
    """Make a policy that allows the asked name."""
    return make_policy(DnsConfig(**({"allow": ("a.example",)} | more)))


def test_records_of_the_queried_name() -> None:
    """No alias: each record once, with the smallest TTL."""
    found = follow(Response(0, answers=(address(ASKED), address(ASKED), address(ASKED, PRIVATE, ttl=20))))
    assert found == CheckedAnswer(0, (ASKED,), (address(ASKED), address(ASKED, PRIVATE, ttl=20)), 20)


def test_aliases_are_followed_within_a_response() -> None:
    """In any order; the TTLs of the aliases count."""
    found = follow(Response(0, answers=(address(END), alias(MIDDLE, END, 10), alias(ASKED, MIDDLE))))
    assert found == CheckedAnswer(0, (ASKED, MIDDLE, END), (address(END),), 10)


def test_open_chain_needs_another_query() -> None:
    """An upstream may return only the first alias."""
    trail = AliasChain(1, [ASKED])
    assert trail.follow(Response(0, answers=(alias(ASKED, MIDDLE),))) is None
    assert trail.chain[-1] == MIDDLE
    assert trail.follow(Response(0, answers=(address(MIDDLE, ttl=5),))) == CheckedAnswer(
        0, (ASKED, MIDDLE), (address(MIDDLE, ttl=5),), 5
    )


@pytest.mark.parametrize(("rcode", "negative", "ttl"), [(0, 30, 30), (3, 30, 30), (0, None, 0), (3, None, 0)])
def test_negative_responses(rcode: int, negative: int | None, ttl: int) -> None:
    """NODATA and NXDOMAIN, with an SOA's time or without."""
    assert follow(Response(rcode, negative_ttl=negative)) == CheckedAnswer(rcode, (ASKED,), (), ttl)


def test_negative_response_at_end_of_chain() -> None:
    """RFC 6604: the code speaks of the last name; an SOA says that the chain is at its end."""
    found = follow(Response(3, answers=(alias(ASKED, MIDDLE, 50),), negative_ttl=20))
    assert found == CheckedAnswer(3, (ASKED, MIDDLE), (), 20)
    assert follow(Response(0, answers=(alias(ASKED, MIDDLE),), negative_ttl=20)) == CheckedAnswer(
        0, (ASKED, MIDDLE), (), 20
    )
    assert follow(Response(3, answers=(alias(ASKED, MIDDLE),))) == CheckedAnswer(3, (ASKED, MIDDLE), (), 0)


def test_record_outside_the_chain_is_ignored() -> None:
    """Out of bailiwick: an address of another name in the answer section is not the asked name's."""
    found = follow(Response(0, answers=(address((b"evil", b"example")),), negative_ttl=1))
    assert found is not None
    assert found.resources == ()


def test_alias_loops_and_long_chains_are_refused() -> None:
    """Eight aliases and no more, in one response or over many."""
    with pytest.raises(WireError, match="loop"):
        follow(Response(0, answers=(alias(ASKED, MIDDLE), alias(MIDDLE, ASKED))))
    line = [(str(n).encode(),) for n in range(10)]
    links = tuple(alias(one, other) for one, other in zip([ASKED, *line], line, strict=False))
    assert follow(Response(0, answers=(*links[:8], address(line[7])))) is not None
    with pytest.raises(WireError, match="many"):
        follow(Response(0, answers=(*links[:9], address(line[8]))))
    with pytest.raises(WireError, match="many"):
        follow(*(Response(0, answers=(link,)) for link in links))


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_other_rcodes_are_failures(rcode: int) -> None:
    """SERVFAIL and REFUSED are failures of the server."""
    with pytest.raises(WireError):
        follow(Response(rcode))


def test_cname_query_is_not_followed() -> None:
    """``dig CNAME`` asks for the alias itself."""
    assert follow(Response(0, answers=(alias(ASKED, MIDDLE),)), qtype=5) == CheckedAnswer(
        0, (ASKED,), (alias(ASKED, MIDDLE),), 60
    )


def test_guard_removes_special_addresses() -> None:
    """Rebinding: the remaining addresses are answered, and the kind of the removed ones is recorded."""
    found = CheckedAnswer(0, (ASKED,), (address(ASKED), address(ASKED, PRIVATE)), 60)
    guarded = answer.guard(found, policy())
    assert (guarded.resources, guarded.dropped) == ((address(ASKED),), "private")
    opened = answer.guard(found, policy(allow_private=("10.0.0.0/8",)))
    assert opened == found


def service(*params: tuple[int, bytes], target: domain_names.Name = (), priority: int = 1) -> Resource:
    """Make an HTTPS record."""
    written = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in params)
    return Resource(ASKED, 65, 60, priority.to_bytes(2) + domain_names.encode(target) + written, target)


def test_guard_filters_service_hints() -> None:
    """HTTPS records carry addresses too; with IPv6 off their IPv6 hints go."""
    found = CheckedAnswer(
        0, (ASKED,), (service((4, PUBLIC + PRIVATE), (6, bytes.fromhex("2606470000000000") + bytes(8))),), 60
    )
    guarded = answer.guard(found, policy())
    assert guarded.resources == (service((4, PUBLIC), (6, bytes.fromhex("2606470000000000") + bytes(8))),)
    assert guarded.dropped == "private"
    assert answer.guard(found, policy(aaaa=False)).resources == (service((4, PUBLIC)),)
    needed = CheckedAnswer(0, (ASKED,), (service((0, b"\0\4"), (4, PRIVATE)),), 60)
    assert answer.guard(needed, policy()).resources == ()
    other = CheckedAnswer(0, (ASKED,), (Resource(ASKED, 16, 60, b"\3abc"),), 60)
    assert answer.guard(other, policy()) == other


CHAIN = CheckedAnswer(0, (ASKED, MIDDLE, END), (address(END),), 60)


def shown(found: CheckedAnswer, rules: Any, session: Any = NO_ENTRIES, *, check: bool = False) -> Content:
    """Render."""
    return answer.render(found, rules, session, 7, check=check)


def test_chain_is_hidden_by_default() -> None:
    """Only the queried name and its addresses are shown."""
    content = shown(CHAIN, policy())
    assert [(one.rtype, one.owner, one.rdata, one.ttl) for one in content.records] == [(1, None, PUBLIC, 7)]
    assert content.negative_ttl == 0


def test_chain_is_shown_when_checked() -> None:
    """Each alias under its own owner."""
    content = shown(CHAIN, policy(), check=True)
    assert [(one.rtype, one.owner) for one in content.records] == [(5, None), (5, MIDDLE), (1, END)]


def test_every_name_of_a_chain_is_judged() -> None:
    """Denied names refuse it always, names that are not allowed when chains are checked; a session's names count."""
    wide = policy(allow=("a.example", "*.cdn.example"))
    denied = policy(allow=("a.example", "*.cdn.example", "!c.cdn.example"))
    partly = policy(allow=("a.example", "c.cdn.example"))
    session = session_entries(["b.cdn.example"], "")
    assert answer.chain_fault(CHAIN, wide, NO_ENTRIES, check=True) is None
    assert answer.chain_fault(CHAIN, denied, NO_ENTRIES, check=False) == END
    assert answer.chain_fault(CHAIN, partly, NO_ENTRIES, check=False) is None
    assert answer.chain_fault(CHAIN, partly, NO_ENTRIES, check=True) == MIDDLE
    assert answer.chain_fault(CHAIN, partly, session, check=True) is None


def test_answer_without_remaining_records_is_negative() -> None:
    """Its SOA has the remaining TTL."""
    assert shown(CheckedAnswer(3, (ASKED,), (), 60), policy()) == Content(3, negative_ttl=7)


@pytest.mark.parametrize(
    ("resource", "kept"),
    [
        (service(), True),
        (service(target=ASKED), True),
        (service(target=MIDDLE), False),
        (service(target=(b"ok", b"example")), True),
        (alias(ASKED, MIDDLE), False),
        (alias(ASKED, (b"ok", b"example")), True),
        (Resource(ASKED, 15, 60, b"\0\1" + domain_names.encode(MIDDLE), MIDDLE), True),
    ],
)
def test_record_with_disallowed_target_is_left_out(resource: Resource, kept: bool) -> None:  # noqa: FBT001 - a table's column
    """A target that the client could not resolve; mail exchanges are data of a type that was granted."""
    rules = policy(allow=("a.example", "ok.example"))
    content = shown(CheckedAnswer(0, (ASKED,), (resource,), 60), rules)
    assert bool(content.records) is kept
    assert bool(content.negative_ttl) is not kept
