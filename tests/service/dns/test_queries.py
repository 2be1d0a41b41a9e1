"""The query handler: sessions, audit, waiting queries."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from credgate.audit.event import Happening, line
from credgate.config.schema import DnsConfig
from credgate.dns.answer import CheckedAnswer
from credgate.dns.query_policy import make_policy
from credgate.dns.upstream_response import Resource
from credgate.service.dns.queries import QueryHandler
from credgate.service.dns.resolver import UpstreamError
from credgate.sessions.model import Session
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeAudit, FakeRegistry

if TYPE_CHECKING:
    from twisted.python.failure import Failure

HOST = "10.0.0.1"
KEY = ((b"ok", b"example"), 1)
FOUND = CheckedAnswer(0, (KEY[0],), (Resource(KEY[0], 1, 60, b"\1\2\3\4"),), 60)


class Lookups:
    """An upstream whose answers the test gives."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Deferred[CheckedAnswer]]] = []

    def resolve(self, key: Any) -> Deferred[CheckedAnswer]:
        """Wait for the test."""
        self.waiting.append((key, Deferred()))
        return self.waiting[-1][1]


class Rig:
    """A query handler with a fake upstream, audit log and registry."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.registry, self.audit, self.lookups = Clock(), FakeRegistry(), FakeAudit(), Lookups()
        dns = DnsConfig(**({"allow": ("ok.example",), "rate": 0.0} | settings))
        self.handler = QueryHandler(
            dns,
            make_policy(dns),
            self.lookups,
            self.registry,
            self.audit,
            clock=self.clock.seconds,
            wall=lambda: 1700000000.0,
        )
        self.replies: list[bytes] = []

    def take(self, asked: str, qtype: int = 1) -> bool:
        """Send one query."""
        return self.handler.take(w.question(asked, qtype, edns=w.opt()), HOST, self.replies.append)


def session(*dns: str) -> Session:
    """Make a session bound to HOST."""
    return Session("s-1", b"", b"", (), 0.0, 0.0, 0.0, 1.0, 1.0, bound_to=ipaddress.ip_network(HOST), dns=dns)


def test_cached_answer_is_sent_at_once() -> None:
    """Refusals and static names need no upstream."""
    rig = Rig()
    assert rig.take("secret.example")
    assert w.rcode(rig.replies[0]) == "NXDOMAIN"
    assert rig.lookups.waiting == []


def test_what_must_not_be_answered_is_told_so() -> None:
    """``take`` returns ``False``, so a TCP connection does not count the message."""
    rig = Rig()
    assert not rig.handler.take(w.question("ok.example", flags=0x8000), HOST, rig.replies.append)
    assert rig.replies == []


def test_query_waits_for_its_upstream() -> None:
    """It is sent when the upstream answers."""
    rig = Rig()
    assert rig.take("ok.example")
    [(key, waiting)] = rig.lookups.waiting
    assert (key, rig.replies) == (KEY, [])
    waiting.callback(FOUND)
    assert w.answers(rig.replies[0]) == [("ok.example.", "A", "1.2.3.4")]


def test_upstream_failure_is_answered_and_audited() -> None:
    """SERVFAIL, one line."""
    rig = Rig()
    rig.take("ok.example")
    rig.lookups.waiting[0][1].errback(UpstreamError("none"))
    assert w.rcode(rig.replies[0]) == "SERVFAIL"
    assert [event.reason for event in rig.audit.events] == ["dns-upstream-failed"]


def test_unexpected_error_is_logged_and_answered(clean_reactor: list[Failure]) -> None:
    """The client gets SERVFAIL at once."""
    rig = Rig()
    rig.take("ok.example")
    rig.lookups.waiting[0][1].errback(ZeroDivisionError())
    assert w.rcode(rig.replies[0]) == "SERVFAIL"
    assert clean_reactor.pop().check(ZeroDivisionError)
    assert rig.handler.responder.clients.of(HOST, 0.0).pending == 0


def test_failed_send_is_logged(clean_reactor: list[Failure]) -> None:
    """Other queries are not affected."""
    rig = Rig()

    def broken(_: bytes) -> None:
        raise ZeroDivisionError

    rig.handler.take(w.question("ok.example"), HOST, broken)
    rig.lookups.waiting[0][1].callback(FOUND)
    assert clean_reactor.pop().check(ZeroDivisionError)


def test_nothing_goes_upstream_without_audit() -> None:
    """While the audit cannot be written nothing goes upstream; what needs no upstream is answered."""
    rig = Rig(static={"gateway": ("10.0.0.2",)})
    rig.audit.writable = False
    rig.take("ok.example")
    rig.take("gateway")
    assert [w.rcode(reply) for reply in rig.replies] == ["SERVFAIL", "NOERROR"]
    assert w.extended_error(rig.replies[0]) == (0, "credgate: the audit log cannot be written")
    assert rig.lookups.waiting == []
    rig.audit.writable = True
    rig.take("ok.example")
    assert len(rig.lookups.waiting) == 1


def test_session_events_take_effect_at_once() -> None:
    """Also for their names; the audit line has the session."""
    rig = Rig()
    one = session("own.example")
    rig.take("own.example")
    rig.registry.begin(one)
    rig.take("own.example")
    assert [key for key, _ in rig.lookups.waiting] == [((b"own", b"example"), 1)]
    rig.registry.end(one)
    rig.take("own.example", 28)
    assert [w.rcode(reply) for reply in rig.replies] == ["NXDOMAIN", "NXDOMAIN"]


def test_the_audit_line() -> None:
    """Client, session, escaped name, type, reason, rule."""
    rig = Rig(allow=("*.example", "!bad.example"))
    rig.registry.begin(session())
    rig.take("Bad.example", 28)
    [event] = rig.audit.events
    assert event.event is Happening.DNS
    assert line(event) == (
        '{"ts":"2023-11-14T22:13:20.000Z","event":"dns","session":"s-1","peer":"10.0.0.1","operation":"AAAA",'
        '"decision":"deny","reason":"dns-denied","rule":"!bad.example (dns.allow, entry 2)","text":"bad.example"}'
    )


def test_new_configuration_keeps_sessions() -> None:
    """Waiting queries are judged by the new configuration."""
    rig = Rig()
    rig.registry.begin(session("own.example"))
    rig.take("ok.example")
    dns = DnsConfig(allow=("new.example",), rate=0.0)
    rig.handler.replace(dns, make_policy(dns))
    rig.lookups.waiting[0][1].callback(FOUND)
    assert w.rcode(rig.replies[0]) == "NXDOMAIN"
    rig.take("own.example")
    rig.take("new.example")
    assert len(rig.lookups.waiting) == 3
