"""The DNS server without its sockets: a message in; a reply, no reply, or a query for an upstream out.

The fast path is the first lines of ``receive``: if the same octets (without the id) were answered before in the same
scope, that reply is sent again. Otherwise the query is parsed and judged. It is either answered, or returned as
``Pending`` for the shell to resolve, and finished by ``found``, ``failed`` or ``unaudited``.

Refusals are passed to ``report`` for the audit log, limited for each client and minute. Times are seconds of a
monotonic clock. No input raises an exception; a property test checks this. RFC 2308, RFC 6891 section 6.1.3 (BADVERS),
RFC 8767 (stale answers), RFC 8914.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from credgate.dns import answer, domain_names, query, reply
from credgate.dns.cache import AnswerCache
from credgate.dns.clients import Clients
from credgate.dns.codes import MAX_MESSAGE, ExtendedError, Rcode, RRType
from credgate.dns.domain_names import WireError
from credgate.dns.limits import DistinctWindow, Seen
from credgate.dns.query import Query, QueryFault
from credgate.dns.query_policy import Disposition, QueryPolicy, QueryVerdict
from credgate.dns.reply import REFUSAL_TTL, Content, Extended, ReplyRecord
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import DnsConfig
    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.cache import AnswerEntry, Key
    from credgate.dns.clients import Client

# Seconds that a refusal stays in the reply cache. Then it is judged, and reported, again.
REFUSAL_KEPT = 60.0
# Seconds that an answer stays in the reply cache: its TTL changes every second.
POSITIVE_KEPT = 1.0
STATIC_TTL = 60
# TTL of a stale answer (RFC 8767 section 5).
STALE_TTL = 30
# Seconds after a failure before the same query is sent upstream again (RFC 9520).
RETRY_PAUSE = 5.0
MAX_PENDING = 128
"""Queries of one client that may wait for upstreams at the same time."""
ALL_CLIENTS = 10
"""All clients together may query this many times the names of one client under one wildcard."""


@define
class Counters:
    """Events since the start, for the metrics and for the log line once a minute."""

    hits: int = 0
    judged: int = 0
    silent: int = 0
    faults: int = 0
    refused: int = 0
    asked: int = 0
    failed: int = 0
    stale: int = 0
    limited: int = 0
    truncated: int = 0


@frozen(slots=True)
class QueryReport:
    """One refusal or failure for the audit log. ``name`` is escaped."""

    client: str
    session: str
    name: str
    qtype: int
    decision: Decision


@frozen(slots=True)
class Pending:
    """A query that needs an upstream: resolve ``key``, then call ``found`` or ``failed``."""

    key: Key
    query: Query
    client: Client = field(repr=False)
    rule: str
    limit: int


def _refuse(reason: Reason, text: str) -> Decision:
    return Decision(allow=False, reason=reason, text=f"credgate: {text}")


_UNBOUND = _refuse(Reason.DNS_UNKNOWN_CLIENT, "no session is bound to this address")
_TOO_MANY = _refuse(Reason.DNS_TOO_MANY_NAMES, "too many different names under one wildcard; try again in a minute")
_CUT = _refuse(Reason.DNS_AUDIT_CUT, "further refusals of this client in this minute are not logged")
_FAILED = _refuse(Reason.DNS_UPSTREAM_FAILED, "no upstream resolver answered")
_BUSY = Content(
    Rcode.SERVFAIL,
    extended=Extended(ExtendedError.OTHER, "credgate: too many queries of this client are waiting for an upstream"),
)
_UNAUDITED = Content(
    Rcode.SERVFAIL, extended=Extended(ExtendedError.OTHER, "credgate: the audit log cannot be written")
)


class Responder:
    """One DNS server. ``report`` is called for each refusal that is to be logged."""

    def __init__(self, dns: DnsConfig, policy: QueryPolicy, report: Callable[[QueryReport], None]) -> None:
        self.counters = Counters()
        self.sample = ""
        """Describes the last malformed message, for the log line once a minute."""
        self.clients = Clients(dns.rate, dns.burst)
        self._report = report
        self._audit = DistinctWindow(dns.audit_per_minute)
        self._set(dns, policy)

    def _set(self, dns: DnsConfig, policy: QueryPolicy) -> None:
        self._dns, self.policy = dns, policy
        self._check = dns.cname == "check"
        self._limited = dns.rate > 0.0
        self._sessions_only = dns.clients == "sessions"
        self.answers = AnswerCache(
            size=dns.cache_size, max_ttl=dns.max_ttl, negative_ttl=dns.negative_ttl, stale_ttl=dns.stale_ttl
        )
        self._names = DistinctWindow(dns.names_per_minute)
        self._all_names = DistinctWindow(dns.names_per_minute * ALL_CLIENTS)

    def replace(self, dns: DnsConfig, policy: QueryPolicy) -> None:
        """Apply a new configuration. All caches are emptied."""
        index = self.clients.index
        self._set(dns, policy)
        self.clients = Clients(dns.rate, dns.burst)
        self.clients.use(index)

    def receive(self, message: bytes, host: str, now: float, *, udp: bool = True) -> bytes | Pending | None:
        """Handle one message from ``host``. Returns the reply, a query for an upstream, or ``None`` for no reply."""
        # The hot path: one lookup of the client, one token, one lookup of the reply.
        client = self.clients.current.get(host) or self.clients.of(host, now)
        # TCP has limits of its own (connections, waiting queries), and its source address cannot be forged.
        if udp and self._limited and not client.bucket.take(now):
            return self._limit(message, client)
        hit = client.replies.young.get(message[2:])
        if hit is not None and now < hit[0]:
            self.counters.hits += 1
            return message[:2] + hit[1]
        return self._answer(message, client, now, udp=udp)

    def _limit(self, message: bytes, client: Client) -> bytes | None:
        self.counters.limited += 1
        # A truncated reply is no larger than its query, so a forged source cannot use it to amplify.
        asked = query.decode(message) if client.bucket.slip() else None
        return reply.truncated(asked) if isinstance(asked, Query) else None

    def _answer(self, message: bytes, client: Client, now: float, *, udp: bool) -> bytes | Pending | None:
        if (tail := client.replies.get(message[2:], now)) is not None:
            self.counters.hits += 1
            return message[:2] + tail
        asked = query.decode(message)
        if asked is None:
            self.counters.silent += 1
            return None
        if isinstance(asked, QueryFault):
            self.counters.faults += 1
            self.sample = f"{asked.rcode.name} to {client.key} for {len(message)} octets"
            return asked.reply
        self.counters.judged += 1
        limit = asked.limit() if udp else MAX_MESSAGE
        content, kept = self._judge(asked, client, now, limit)
        if isinstance(content, Pending):
            return content
        built = reply.build(asked, content, limit)
        # The reply cache does not distinguish UDP from TCP. A truncated reply must not be sent over TCP, and a reply
        # that is too large for UDP must not be sent over UDP: neither is cached.
        if built[2] & 0x02:  # TC
            self.counters.truncated += 1
        elif kept and len(built) <= asked.limit():
            client.replies.put(message[2:], built[2:], now + kept)
        return built

    def _judge(self, asked: Query, client: Client, now: float, limit: int) -> tuple[Content | Pending, float]:
        """Return the content of the reply, and for how many seconds it may be cached (0: not at all)."""
        if asked.edns is not None and asked.edns.version:
            return Content(Rcode.BADVERS), REFUSAL_KEPT
        if self._sessions_only and client.scope is self.clients.unbound:
            return self._refused(asked, client, _UNBOUND, now, Rcode.REFUSED), REFUSAL_KEPT
        verdict = self.policy.judge(asked.name, asked.qtype, asked.qclass, client.scope.entries)
        if verdict.outcome is Disposition.STATIC:
            return self._static(asked), REFUSAL_KEPT
        if verdict.outcome is not Disposition.ASK:
            return self._refused(asked, client, verdict.decision, now, self._rcode(verdict)), REFUSAL_KEPT
        return self._look_up(asked, client, verdict, now, limit)

    def _rcode(self, verdict: QueryVerdict) -> Rcode:
        if verdict.outcome is Disposition.NO_TYPE:
            return Rcode.NOERROR
        if verdict.outcome is Disposition.REFUSED or self._dns.refused == "refused":
            return Rcode.REFUSED
        return Rcode.NXDOMAIN

    def _refused(self, asked: Query, client: Client, decision: Decision, now: float, rcode: Rcode) -> Content:
        self.counters.refused += 1
        self.report_refusal(client, asked, decision, now)
        code = ExtendedError.PROHIBITED if decision is _UNBOUND else ExtendedError.BLOCKED
        # REFUSED says nothing about the name, so it has no SOA and is not cached.
        ttl = 0 if rcode is Rcode.REFUSED else REFUSAL_TTL
        return Content(rcode, negative_ttl=ttl, extended=Extended(code, decision.text))

    def report_refusal(self, client: Client, asked: Query, decision: Decision, now: float) -> None:
        """Report a refusal or failure once a minute, up to the limit of reports for a client."""
        match self._audit.see(client.key, (asked.name, asked.qtype, decision.reason), now):
            case Seen.NEW:
                pass
            case Seen.FULL:
                decision = _CUT
            case _:
                return
        self._report(
            QueryReport(client.key, client.scope.session, domain_names.presentation(asked.name), asked.qtype, decision)
        )

    def _static(self, asked: Query) -> Content:
        """Answer from the static table; without a record of the type the answer is NODATA."""
        records: list[ReplyRecord] = []
        for address in self.policy.static.get(asked.name, ()):
            rtype = RRType.A if address.version == 4 else RRType.AAAA  # noqa: PLR2004
            if rtype == asked.qtype and (rtype is RRType.A or self.policy.aaaa):
                records.append(ReplyRecord(rtype, STATIC_TTL, address.packed))
        pointed = self.policy.reverse.get(asked.name, ()) if asked.qtype == RRType.PTR else ()
        records += [ReplyRecord(RRType.PTR, STATIC_TTL, domain_names.encode(name)) for name in pointed]
        return Content(records=tuple(records), negative_ttl=0 if records else REFUSAL_TTL)

    def _look_up(
        self, asked: Query, client: Client, verdict: QueryVerdict, now: float, limit: int
    ) -> tuple[Content | Pending, float]:
        key = (asked.name, asked.qtype)
        known = self.answers.get(key)
        if known is not None and known.fresh(now):
            return self._content(asked, client, known, now), min(POSITIVE_KEPT, known.expires - now)
        # RFC 9520: a failed query is not sent again at once, however many clients repeat it.
        if known is not None and now < known.retry_at:
            return self._without_upstream(asked, client, known, now), 0.0
        if client.pending >= MAX_PENDING:
            return _BUSY, 0.0
        if verdict.wildcard is not None and not self._within_name_limit(client, verdict.wildcard, asked.name, now):
            return self._refused(asked, client, _TOO_MANY, now, Rcode.REFUSED), 0.0
        client.pending += 1
        self.counters.asked += 1
        return Pending(key, asked, client, verdict.decision.rule, limit), 0.0

    def _within_name_limit(
        self, client: Client, wildcard: domain_names.Name, name: domain_names.Name, now: float
    ) -> bool:
        """Count a name under a wildcard; return ``False`` if the client, or all clients together, reached the limit."""
        # Over UDP the source may be forged, and data goes out even if no reply arrives, so all clients share a limit.
        own = self._names.see((client.key, wildcard), name, now)
        if own not in (Seen.NEW, Seen.AGAIN):
            return False
        return self._all_names.see(wildcard, name, now) in (Seen.NEW, Seen.AGAIN)

    def _content(self, asked: Query, client: Client, known: AnswerEntry, now: float, *, stale: bool = False) -> Content:
        """Return the content of the reply for a cached answer."""
        found, entries = known.answer, client.scope.entries
        assert found is not None
        if answer.chain_fault(found, self.policy, entries, check=self._check) is not None:
            decision = _refuse(Reason.DNS_NAME, "the name is an alias of a name that is not allowed")
            return self._refused(asked, client, decision, now, Rcode.NXDOMAIN)
        ttl = STALE_TTL if stale else known.ttl(now)
        content = answer.render(found, self.policy, entries, ttl, check=self._check)
        if found.dropped and not found.resources:
            text = f"the answer has only addresses in a special range ({found.dropped}); see [dns] allow_private"
            self.report_refusal(client, asked, _refuse(Reason.DNS_PRIVATE_ADDRESS, text), now)
            return evolve(content, extended=Extended(ExtendedError.BLOCKED, f"credgate: {text}"))
        if stale:
            code = ExtendedError.STALE_NXDOMAIN_ANSWER if found.rcode else ExtendedError.STALE_ANSWER
            return evolve(content, extended=Extended(code, "credgate: no upstream resolver answered"))
        return content

    def found(self, pending: Pending, found: CheckedAnswer, now: float) -> bytes:
        """Finish a query with the unfiltered answer of an upstream."""
        # Judged again: the session may have ended, or the policy may have been replaced, while the query waited.
        asked, client = pending.query, self.clients.of(pending.client.host, now)
        verdict = self.policy.judge(asked.name, asked.qtype, asked.qclass, client.scope.entries)
        if verdict.outcome is not Disposition.ASK:
            pending.client.pending -= 1
            content = self._refused(asked, client, verdict.decision, now, self._rcode(verdict))
            return reply.build(asked, content, pending.limit)
        try:
            known = self.answers.put(pending.key, answer.guard(found, self.policy), now)
        except WireError:  # a service record whose hints cannot be checked
            return self.failed(pending, now)
        pending.client.pending -= 1
        return reply.build(asked, self._content(asked, client, known, now), pending.limit)

    def failed(self, pending: Pending, now: float) -> bytes:
        """Finish a query that no upstream answered."""
        pending.client.pending -= 1
        known = self.answers.fail(pending.key, now, RETRY_PAUSE)
        content = self._without_upstream(pending.query, pending.client, known, now)
        return reply.build(pending.query, content, pending.limit)

    def unaudited(self, pending: Pending) -> bytes:
        """Finish a query that must not be sent upstream, because the audit log cannot be written."""
        pending.client.pending -= 1
        return reply.build(pending.query, _UNAUDITED, pending.limit)

    def _without_upstream(self, asked: Query, client: Client, known: AnswerEntry, now: float) -> Content:
        self.counters.failed += 1
        self.report_refusal(client, asked, _FAILED, now)
        if known.stale(now):
            self.counters.stale += 1
            return self._content(asked, client, known, now, stale=True)
        return Content(Rcode.SERVFAIL, extended=Extended(ExtendedError.NO_REACHABLE_AUTHORITY, _FAILED.text))
