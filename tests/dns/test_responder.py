"""The server without its sockets, judged by dnspython."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import DnsConfig
from credgate.dns import query, responder
from credgate.dns.answer import CheckedAnswer
from credgate.dns.clients import SessionIndex
from credgate.dns.query import Query
from credgate.dns.query_policy import make_policy
from credgate.dns.responder import Pending, QueryReport, Responder
from credgate.dns.upstream_response import Resource
from credgate.sessions.model import Session
from credgate.values import Reason
from tests.fakes import dnswire as w

if TYPE_CHECKING:
    from credgate.dns.domain_names import Name

HOST = "10.0.0.1"
ALLOW = ("ok.example", "*.wild.example", "text.example TXT")


def name(text: str) -> Name:
    """Make labels of a dotted name."""
    return tuple(text.encode().split(b"."))


def session(*dns: str, ident: str = "s-1", bound: str = HOST) -> Session:
    """Make a session bound to an address."""
    return Session(ident, b"", b"", (), 0.0, 0.0, 0.0, 1.0, 1.0, bound_to=ipaddress.ip_network(bound), dns=dns)


class Server:
    """A responder, its reports, and an upstream that the test plays."""

    def __init__(self, **settings: Any) -> None:
        self.dns = DnsConfig(
            **({"allow": ALLOW, "rate": 0.0, "static": {"gateway": ("10.9.9.9", "fd00::9")}} | settings)
        )
        self.reports: list[QueryReport] = []
        self.responder = Responder(self.dns, make_policy(self.dns), self.reports.append)
        self.now = 1000.0

    def send(self, message: bytes, host: str = HOST, *, udp: bool = True) -> bytes | Pending | None:
        """Send octets."""
        return self.responder.receive(message, host, self.now, udp=udp)

    def ask(self, asked: str | bytes, qtype: int = 1, host: str = HOST, **more: Any) -> bytes:
        """Ask; the reply has to be there at once."""
        reply = self.send(w.question(asked, qtype, **({"edns": w.opt()} | more)), host)
        assert isinstance(reply, bytes)
        return reply

    def pend(self, asked: str, qtype: int = 1, host: str = HOST, **more: Any) -> Pending:
        """Ask; the reply has to need an upstream."""
        pending = self.send(w.question(asked, qtype, **({"edns": w.opt()} | more)), host)
        assert isinstance(pending, Pending)
        return pending

    def found(
        self, pending: Pending, *packed: bytes, rcode: int = 0, ttl: int = 60, chain: tuple[Name, ...] = ()
    ) -> bytes:
        """Let the upstream say these addresses."""
        asked = pending.key[0]
        owner = chain[-1] if chain else asked
        resources = tuple(Resource(owner, pending.key[1], ttl, one) for one in packed)
        return self.responder.found(pending, CheckedAnswer(rcode, (asked, *chain), resources, ttl), self.now)

    def reasons(self) -> list[Reason]:
        """Say why, of all reports."""
        return [report.decision.reason for report in self.reports]


PUBLIC = b"\x5d\xb8\xd8\x22"


def test_name_not_in_allowlist_gets_nxdomain_with_reason() -> None:
    """NXDOMAIN that can be cached, the policy named where EDNS allows, and one report."""
    server = Server()
    reply = server.ask("Secret.example", 28)
    assert w.rcode(reply) == "NXDOMAIN"
    assert w.read(reply).authority
    text = "credgate: the name is not in the allowlist; GET /whoami lists the allowed names"
    assert w.extended_error(reply) == (15, text)
    [report] = server.reports
    assert (report.client, report.session, report.name, report.qtype) == (HOST, "", "secret.example", 28)
    assert report.decision.reason is Reason.DNS_NAME


def test_refused_setting_selects_rcode_refused() -> None:
    """``[dns] refused = "refused"``: no SOA then, it is no fact about the name."""
    reply = Server(refused="refused").ask("secret.example")
    assert (w.rcode(reply), w.read(reply).authority) == ("REFUSED", [])
    assert w.extended_error(reply) is not None


def test_refusal_without_edns_has_no_extended_error() -> None:
    """+noedns: nothing but the code and the SOA."""
    reply = Server().ask("secret.example", edns=None)
    assert w.rcode(reply) == "NXDOMAIN"
    assert w.read(reply).opt is None


@pytest.mark.parametrize(
    ("asked", "qtype", "qclass", "code"),
    [
        ("ok.example", 255, 1, "REFUSED"),
        ("ok.example", 252, 1, "REFUSED"),
        ("ok.example", 1, 3, "REFUSED"),
        ("ok.example", 16, 1, "NOERROR"),
        ("wild.example", 1, 1, "NXDOMAIN"),
    ],
)
def test_rcode_of_each_refusal(asked: str, qtype: int, qclass: int, code: str) -> None:
    """ANY, AXFR, CHAOS: REFUSED. A type that is off: NODATA."""
    reply = Server().ask(asked, qtype, qclass=qclass)
    assert (w.rcode(reply), w.answers(reply)) == (code, [])
    assert w.extended_error(reply) is not None


def test_static_names_need_no_upstream() -> None:
    """Both families, and backwards; what is not there of them is NODATA, unreported."""
    server = Server()
    assert w.answers(server.ask("Gateway")) == [("Gateway.", "A", "10.9.9.9")]
    assert w.answers(server.ask("gateway", 28)) == [("gateway.", "AAAA", "fd00::9")]
    assert w.answers(server.ask("9.9.9.10.in-addr.arpa", 12)) == [("9.9.9.10.in-addr.arpa.", "PTR", "gateway.")]
    empty = server.ask("gateway", 16)
    assert (w.rcode(empty), w.answers(empty)) == ("NOERROR", [])
    assert w.read(empty).authority
    assert server.reports == []
    assert w.answers(Server(aaaa=False).ask("gateway", 28)) == []


def test_allowed_name_is_resolved_once_then_cached() -> None:
    """Then from the cache, its time counting down, echoing each query's own case and id."""
    server = Server()
    pending = server.pend("ok.example")
    assert (pending.key, pending.rule) == ((name("ok.example"), 1), "ok.example (dns.allow, entry 1)")
    assert w.answers(server.found(pending, PUBLIC, ttl=60)) == [("ok.example.", "A", "93.184.216.34")]
    server.now += 20.0
    reply = server.ask("OK.example", ident=0x4321)
    assert reply[:2] == b"\x43\x21"
    assert w.read(reply).answer[0].ttl == 40
    assert str(w.read(reply).question[0].name) == "OK.example."
    server.now += 40.0
    server.pend("ok.example")
    assert server.reports == []


def test_fast_path_repeats_reply_until_ttl_changes() -> None:
    """The second time the same datagram costs a look-up; an id is not part of it; a second later the TTL has moved."""
    server = Server()
    server.found(server.pend("ok.example"), PUBLIC)
    first = server.ask("ok.example", ident=1)
    judged = server.responder.counters.judged
    second = server.ask("ok.example", ident=2)
    assert (second[2:], second[:2], server.responder.counters.judged) == (first[2:], b"\0\2", judged)
    server.now += 1.0
    assert w.read(server.ask("ok.example")).answer[0].ttl == 59


def test_fast_path_uses_both_cache_generations() -> None:
    """What is in use survives the turn-over of the cache, and is judged no second time."""
    server = Server()
    server.responder.clients.of(HOST, server.now).replies._size = 1
    for asked in ("gateway", "other.example", "gateway"):
        server.ask(asked)
    assert (server.responder.counters.judged, server.responder.counters.hits) == (2, 1)


def test_fast_path_entry_expires_with_the_answer() -> None:
    """An answer with half a second left is given for half a second, not for a whole one."""
    server = Server()
    server.found(server.pend("ok.example"), PUBLIC, ttl=60)
    server.now += 59.5
    server.ask("ok.example")
    server.now += 0.5
    server.pend("ok.example")


def test_fast_path_keeps_refusals_for_a_minute() -> None:
    """Thousands of repeats are judged once and logged once."""
    server = Server()
    for _ in range(1000):
        server.ask("secret.example")
    assert (server.responder.counters.judged, server.responder.counters.hits, len(server.reports)) == (1, 999, 1)
    server.now += 61.0
    server.ask("secret.example")
    assert (server.responder.counters.judged, len(server.reports)) == (2, 2)


def test_private_addresses_are_removed_and_reported() -> None:
    """Nothing left: NODATA with EDE, and a report. Something left: that."""
    server = Server()
    reply = server.found(server.pend("ok.example"), b"\x0a\0\0\1")
    assert (w.rcode(reply), w.answers(reply)) == ("NOERROR", [])
    code, text = w.extended_error(reply) or (0, "")
    assert code == 15
    assert "special range (private)" in text
    assert server.reasons() == [Reason.DNS_PRIVATE_ADDRESS]
    mixed = server.found(server.pend("a.wild.example"), b"\x0a\0\0\1", PUBLIC)
    assert w.answers(mixed) == [("a.wild.example.", "A", "93.184.216.34")]
    opened = Server(allow_private=("10.0.0.0/8",))
    assert w.answers(opened.found(opened.pend("ok.example"), b"\x0a\0\0\1")) == [("ok.example.", "A", "10.0.0.1")]


def test_alias_chain_is_hidden_or_checked() -> None:
    """By default the asked name owns the addresses; with ``check`` a name not allowed refuses them."""
    hidden = Server()
    reply = hidden.found(hidden.pend("ok.example"), PUBLIC, chain=(name("cdn.other"),))
    assert w.answers(reply) == [("ok.example.", "A", "93.184.216.34")]
    checking = Server(cname="check")
    refused = checking.found(checking.pend("ok.example"), PUBLIC, chain=(name("cdn.other"),))
    assert (w.rcode(refused), checking.reasons()) == ("NXDOMAIN", [Reason.DNS_NAME])
    shown = checking.found(checking.pend("a.wild.example"), PUBLIC, chain=(name("ok.example"),))
    assert w.answers(shown) == [("a.wild.example.", "CNAME", "ok.example."), ("ok.example.", "A", "93.184.216.34")]


def test_negative_answer_is_cached() -> None:
    """NXDOMAIN of an upstream, without any word of policy."""
    server = Server()
    reply = server.found(server.pend("a.wild.example"), rcode=3, ttl=20)
    assert (w.rcode(reply), w.extended_error(reply)) == ("NXDOMAIN", None)
    assert w.rcode(server.ask("a.wild.example")) == "NXDOMAIN"
    assert server.reports == []


def test_failed_upstream_gives_servfail_and_retry_pause() -> None:
    """SERVFAIL with EDE, reported; for some seconds nobody asks again; then somebody does."""
    server = Server()
    reply = server.responder.failed(server.pend("ok.example"), server.now)
    assert w.rcode(reply) == "SERVFAIL"
    assert w.extended_error(reply) == (22, "credgate: no upstream resolver answered")
    assert server.reasons() == [Reason.DNS_UPSTREAM_FAILED]
    assert w.rcode(server.ask("ok.example")) == "SERVFAIL"
    server.now += responder.RETRY_PAUSE
    server.pend("ok.example")


def test_stale_answer_is_given_until_stale_ttl() -> None:
    """RFC 8767: said by EDE, with a short TTL; after ``stale_ttl`` it is over."""
    server = Server(stale_ttl=100.0)
    server.found(server.pend("ok.example"), PUBLIC, ttl=60)
    server.found(server.pend("a.wild.example"), rcode=3, ttl=20)
    server.now += 90.0
    stale = server.responder.failed(server.pend("ok.example"), server.now)
    assert w.answers(stale) == [("ok.example.", "A", "93.184.216.34")]
    assert (w.read(stale).answer[0].ttl, (w.extended_error(stale) or (0,))[0]) == (30, 3)
    gone = server.responder.failed(server.pend("a.wild.example"), server.now)
    assert (w.rcode(gone), (w.extended_error(gone) or (0,))[0]) == ("NXDOMAIN", 19)
    assert server.responder.counters.stale == 2
    server.now += 71.0
    over = server.responder.failed(server.pend("ok.example"), server.now)
    assert w.rcode(over) == "SERVFAIL"
    never = Server(stale_ttl=0.0)
    never.found(never.pend("ok.example"), PUBLIC, ttl=60)
    never.now += 61.0
    assert w.rcode(never.responder.failed(never.pend("ok.example"), never.now)) == "SERVFAIL"


def test_names_under_wildcard_are_limited_and_reported_once() -> None:
    """Distinct names under one wildcard: past the limit nothing goes out; known ones and other names do."""
    server = Server(names_per_minute=3)
    for label in "abc":
        server.found(server.pend(f"{label}.wild.example"), PUBLIC)
    refused = [server.ask(f"{label}.wild.example") for label in "defdef"]
    assert {w.rcode(one) for one in refused} == {"REFUSED"}
    text = "credgate: too many different names under one wildcard; try again in a minute"
    assert w.extended_error(refused[0]) == (15, text)
    assert server.reasons().count(Reason.DNS_TOO_MANY_NAMES) == 3
    assert w.rcode(server.ask("a.wild.example")) == "NOERROR"
    server.pend("ok.example")
    server.pend("z.wild.example", host="10.0.0.2")
    server.now += 60.0
    server.pend("g.wild.example")


def test_names_under_wildcard_are_limited_for_all_clients() -> None:
    """UDP needs no reply to carry data out: forged sources share one more, larger bound."""
    server = Server(names_per_minute=2)
    sent = 0
    for host in range(50):
        for label in range(2):
            reply = server.send(w.question(f"h{host}x{label}.wild.example"), f"10.1.0.{host}")
            sent += isinstance(reply, Pending)
    assert sent == 2 * responder.ALL_CLIENTS


def test_audit_lines_of_a_client_are_limited() -> None:
    """A thousand refused names are a few lines and one that says that there are more."""
    server = Server(audit_per_minute=5)
    for number in range(1000):
        server.ask(f"n{number}.example")
    assert server.reasons() == [Reason.DNS_NAME] * 5 + [Reason.DNS_AUDIT_CUT]
    server.ask("n1.example", host="10.0.0.2")
    assert len(server.reports) == 6, "the reply was kept, and nobody was asked: there is nothing new to tell"
    server.ask("other.example", host="10.0.0.2")
    assert server.reports[-1].client == "10.0.0.2"


def test_report_escapes_control_octets() -> None:
    """A name is a sandbox's text: escaped before it reaches a log."""
    server = Server()
    server.ask(b"\x06a\x1b[31m\x05b.c\n\xe2\0")
    assert server.reports[0].name == r"a\027[31m.b\.c\010\226"


def test_session_names_are_answered_only_for_its_address() -> None:
    """Not for other clients, also not from a cache; the report names the session."""
    server = Server()
    server.responder.clients.use(SessionIndex([session("own.example")]))
    server.found(server.pend("own.example"), PUBLIC)
    assert w.answers(server.ask("own.example"))
    assert w.rcode(server.ask("own.example", host="10.0.0.2")) == "NXDOMAIN"
    server.ask("other.example")
    assert server.reports[-1].session == "s-1"
    server.responder.clients.use(SessionIndex())
    assert w.rcode(server.ask("own.example")) == "NXDOMAIN"


def test_new_session_takes_effect_at_once() -> None:
    """A cached refusal does not delay it."""
    server = Server()
    assert w.rcode(server.ask("own.example")) == "NXDOMAIN"
    server.responder.clients.use(SessionIndex([session("own.example")]))
    server.pend("own.example")


def test_clients_without_session_can_be_refused() -> None:
    """``clients = "sessions"``: REFUSED for whoever no session is bound to, static names included."""
    server = Server(clients="sessions")
    server.responder.clients.use(SessionIndex([session()]))
    server.pend("ok.example")
    assert w.answers(server.ask("gateway"))
    for asked in ("ok.example", "gateway", "secret.example"):
        reply = server.ask(asked, host="10.0.0.2")
        assert (w.rcode(reply), (w.extended_error(reply) or (0,))[0]) == ("REFUSED", 18)
    assert set(server.reasons()) == {Reason.DNS_UNKNOWN_CLIENT}


def test_waiting_query_is_judged_again_when_answered() -> None:
    """A session that ended, a policy that was replaced: the answer that lands is refused."""
    server = Server()
    server.responder.clients.use(SessionIndex([session("own.example")]))
    pending = server.pend("own.example")
    server.responder.clients.use(SessionIndex())
    assert w.rcode(server.found(pending, PUBLIC)) == "NXDOMAIN"
    pending = server.pend("ok.example")
    server.responder.replace(server.dns, make_policy(DnsConfig()))
    assert w.rcode(server.found(pending, PUBLIC)) == "NXDOMAIN"
    assert pending.client.pending == 0


def test_new_policy_empties_caches() -> None:
    """Reload: allowed names go, new ones come, without a restart."""
    server = Server()
    server.found(server.pend("ok.example"), PUBLIC)
    server.ask("ok.example")
    assert w.rcode(server.ask("new.example")) == "NXDOMAIN"
    dns = DnsConfig(allow=("new.example",), rate=0.0)
    server.responder.clients.session_began(session("own.example"))
    server.responder.replace(dns, make_policy(dns))
    assert w.rcode(server.ask("ok.example")) == "NXDOMAIN"
    server.pend("new.example")
    server.pend("own.example")


def test_waiting_queries_of_a_client_are_limited() -> None:
    """One sandbox cannot take every place upstream; what was answered gives its place back."""
    server = Server()
    waiting = [server.pend("ok.example", ident=number) for number in range(responder.MAX_PENDING)]
    busy = server.ask("text.example")
    text = "credgate: too many queries of this client are waiting for an upstream"
    assert (w.rcode(busy), w.extended_error(busy)) == ("SERVFAIL", (0, text))
    server.pend("ok.example", host="10.0.0.2")
    server.responder.failed(waiting.pop(), server.now)
    server.found(waiting.pop(), PUBLIC)
    assert w.rcode(server.responder.unaudited(waiting.pop())) == "SERVFAIL"
    server.pend("text.example")


def test_client_above_rate_gets_truncated_replies() -> None:
    """Every second excess datagram gets a truncated reply, the others none; TCP is not limited here."""
    server = Server(rate=1.0, burst=2.0)
    replies = [server.send(w.question("gateway")) for _ in range(6)]
    assert [reply is None for reply in replies] == [False, False, True, False, True, False]
    assert isinstance(replies[3], bytes)
    assert w.flags(replies[3]) >= {"QR", "TC"}
    assert w.answers(replies[3]) == []
    assert server.send(w.question("gateway"), udp=False) == replies[0]
    assert isinstance(server.send(w.question("gateway"), "10.0.0.2"), bytes)
    assert server.responder.counters.limited == 4
    for _ in range(4):
        assert server.send(b"junk") is None


def test_truncated_reply_is_not_reused_over_tcp() -> None:
    """The same octets over TCP get the whole answer, whichever came first."""
    server = Server()
    server.found(server.pend("ok.example"), *(bytes([1, 1, 1, n]) for n in range(1, 60)))
    udp = server.ask("ok.example", edns=None)
    tcp = server.send(w.question("ok.example"), udp=False)
    assert isinstance(tcp, bytes)
    assert ("TC" in w.flags(udp), len(udp) <= 512) == (True, True)
    assert ("TC" in w.flags(tcp), len(w.answers(tcp))) == (False, 59)
    again = server.ask("ok.example", edns=None)
    assert len(again) <= 512, "a whole reply kept from TCP must not be sent over UDP"


def test_replies_to_bad_version_malformed_message_and_response() -> None:
    """BADVERS; FORMERR without a question; silence for a response."""
    server = Server()
    assert w.rcode(server.ask("ok.example", edns=w.opt(version=1))) == "BADVERS"
    fault = server.send(b"\x12\x34" + bytes(10))
    assert isinstance(fault, bytes)
    assert w.rcode(fault) == "FORMERR"
    assert server.send(w.question("ok.example", flags=0x8100)) is None
    counters = server.responder.counters
    assert (counters.faults, counters.silent) == (1, 1)


def test_malformed_service_record_is_an_upstream_failure() -> None:
    """Hints of a wrong length: nothing of the answer is used."""
    server = Server()
    pending = server.pend("ok.example", 65)
    assert w.rcode(server.found(pending, b"\0\1\0\0\4\0\3abc")) == "SERVFAIL"
    assert pending.client.pending == 0


FUZZED = Server(clients="any")


@given(st.binary(max_size=200), st.booleans())
def test_any_input_gets_a_well_formed_reply_or_none(message: bytes, udp: bool) -> None:  # noqa: FBT001 - drawn
    """Never an exception, never more than the query allows, never QR=0."""
    reply = FUZZED.send(message, udp=udp)
    if isinstance(reply, bytes):
        w.read(reply)
        assert reply[2] & 0x80
        assert reply[:2] == message[:2]
        asked = query.decode(message)
        assert not udp or len(reply) <= (asked.limit() if isinstance(asked, Query) else 12)


@given(st.text("abc.-_*", max_size=120), st.integers(0, 300), st.sampled_from([None, w.opt(512), w.opt(4096)]))
def test_refusal_is_never_larger_than_its_query_allows(asked: str, qtype: int, edns: bytes | None) -> None:
    """Well-formed names of every length and type: 512 octets, or what EDNS says."""
    labels = b"".join(len(part).to_bytes() + part.encode() for part in asked.split(".") if 0 < len(part) < 64)
    message = w.question(labels + b"\0", qtype, edns=edns)
    reply = FUZZED.send(message)
    if isinstance(reply, bytes):
        w.read(reply)
        assert len(reply) <= (1232 if edns == w.opt(4096) else 512)
        assert w.answers(reply) == []
    elif reply is not None:
        FUZZED.responder.failed(reply, FUZZED.now)
        FUZZED.now += 100.0


@given(st.data())
def test_changed_query_never_sends_another_name_upstream(data: st.DataObject) -> None:
    """Whatever goes upstream is a listed name of an allowed type; whatever does not is refused or silent."""
    message = bytearray(
        data.draw(st.sampled_from([w.question("ok.example", edns=w.opt()), w.question("a.wild.example")]))
    )
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))
    reply = FUZZED.send(bytes(message))
    if isinstance(reply, Pending):
        asked, qtype = reply.key
        assert asked in (name("ok.example"), name("text.example")) or asked[-2:] == name("wild.example")
        assert qtype in (1, 5, 28, 64, 65)
        assert isinstance(reply.query, Query)
        FUZZED.responder.failed(reply, FUZZED.now)
        FUZZED.now += 100.0
    elif isinstance(reply, bytes):
        assert w.answers(reply) == []
