"""The stock server's ten defects and its starvation, each absent here.

Found on the wire of Twisted Names 26.10, whose protocols carry this server. One test a defect, numbered as they were
written down; where a fix could be "refuse everything" a right question beside it is answered.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from credgate.config.schema import Config, DnsConfig, ListenConfig
from credgate.service.dns import listeners
from credgate.service.dns.dns_service import MAX_THROUGHPUT, dns_service
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeAudit, FakeRegistry
from tests.service.dns.test_listeners import Door, Line
from tests.service.dns.test_queries import FOUND, Rig


def ask(message: bytes, **settings: Any) -> bytes | None:
    """Send octets to a server that allows ``git.example.test`` and knows ``gateway``."""
    rig = Rig(**({"allow": ("git.example.test", "ok.example"), "static": {"gateway": ("10.0.0.2",)}} | settings))
    rig.handler.take(message, "10.0.0.1", rig.replies.append)
    return rig.replies[0] if rig.replies else None


def answered(message: bytes) -> bytes:
    """Send octets that must get a reply."""
    reply = ask(message)
    assert reply is not None
    return reply


def test_01_refusals_are_replies() -> None:
    """REFUSED and NOTIMP with QR=1: a client takes no query for its answer."""
    for message, code in (
        (w.question("gateway", 255), "REFUSED"),
        (w.question("gateway", flags=2 << 11), "NOTIMP"),
        (w.header(flags=5 << 11, counts=(0, 0, 0, 0)), "NOTIMP"),
        (w.header(counts=(0, 0, 0, 0)), "FORMERR"),
    ):
        reply = answered(message)
        assert (w.rcode(reply), reply[2] & 0x80) == (code, 0x80)


def test_02_responses_are_not_answered() -> None:
    """Otherwise two servers could answer each other endlessly."""
    assert ask(w.question("gateway", flags=0x8180)) is None
    assert ask(w.question("gateway")) is not None


def test_03_edns_is_spoken() -> None:
    """OPT gets OPT, another version BADVERS, no OPT none."""
    assert w.read(answered(w.question("gateway", edns=w.opt()))).edns == 0
    assert w.rcode(answered(w.question("gateway", edns=w.opt(version=1)))) == "BADVERS"
    assert w.read(answered(w.question("gateway"))).edns == -1


def test_04_large_replies_are_truncated_between_records() -> None:
    """At 512 octets without EDNS, at what the client says with it; never within a record."""
    many = {"gateway": tuple(f"10.0.0.{number}" for number in range(1, 100))}
    for edns, limit in ((None, 512), (w.opt(800), 800), (w.opt(4096), 1232)):
        reply = ask(w.question("gateway", edns=edns), static=many)
        assert reply is not None
        assert limit - 16 - 11 < len(reply) <= limit
        assert "TC" in w.flags(reply)
        assert len(w.answers(reply)) == int.from_bytes(reply[6:8])


def test_05_a_dot_in_a_label_is_no_separator() -> None:
    """The one label ``git.example.test`` matched the entry of three."""
    rig = Rig(allow=("git.example.test",))
    rig.handler.take(w.question(b"\x10git.example.test\0"), "10.0.0.1", rig.replies.append)
    assert w.rcode(rig.replies[0]) == "NXDOMAIN"
    assert rig.lookups.waiting == []
    rig.handler.take(w.question("git.example.test"), "10.0.0.1", rig.replies.append)
    assert len(rig.lookups.waiting) == 1


@pytest.mark.parametrize(
    "message",
    [
        w.question(b"\x47gateway" + bytes(64) + b"\0"),
        w.question(b"\x87gateway" + bytes(128) + b"\0"),
        w.question((b"\x3f" + b"a" * 63) * 4 + b"\0"),
        w.question(b"\x07gateway\xc0\x0c"),
        w.header(counts=(2, 0, 0, 0)) + (w.name("gateway") + b"\0\1\0\1") * 2,
        w.question("gateway")[:10] + b"\0\1" + w.question("gateway")[12:],
    ],
    ids=["type 0x40", "type 0x80", "257 octets", "pointer", "two questions", "count lies"],
)
def test_06_malformed_queries_get_formerr(message: bytes) -> None:
    """Label types, long names, pointers, several questions, wrong counts: FORMERR."""
    assert w.rcode(answered(message)) == "FORMERR"
    assert w.rcode(answered(w.question("gateway"))) == "NOERROR"


def test_06_the_class_counts() -> None:
    """A CHAOS query gets no data of class IN."""
    assert w.rcode(answered(w.question("gateway", qclass=3))) == "REFUSED"


def test_07_junk_is_answered_and_not_logged() -> None:
    """FORMERR where there is an id, and not one log line for three thousand."""
    door, lines = Door(), list[Any]()
    globalLogPublisher.addObserver(lines.append)
    try:
        for number in range(3000):
            door.send(number.to_bytes(2) + b"\1" + bytes(number % 40))
    finally:
        globalLogPublisher.removeObserver(lines.append)
    assert lines == []
    assert len(door.socket.sent) == 3000
    assert {w.rcode(reply) for reply, _ in door.socket.sent} == {"FORMERR"}


def test_08_any_is_refused_without_a_traceback() -> None:
    """The fixture around each test fails it for a logged failure."""
    assert w.rcode(answered(w.question("gateway", 255))) == "REFUSED"


def test_09_connections_end_and_are_counted() -> None:
    """Idle time and cap; byte by byte and pipelined all the same."""
    line = Line(most=1)
    assert line.connect() == (None, None)
    line.send(w.question("secret.example"), w.question("secret.example"))
    assert line.replies() == ["NXDOMAIN", "NXDOMAIN"]
    line.rig.clock.advance(listeners.IDLE + 1)
    assert line.transport.disconnected


def test_10_cache_is_limited_and_has_negative_answers() -> None:
    """No entry and no delayed call for each name; negative answers are kept; the letter case is the query's."""
    rig = Rig(allow=("*.example",), cache_size=10, names_per_minute=100000)
    for number in range(500):
        rig.handler.take(w.question(f"n{number}.example"), "10.0.0.1", rig.replies.append)
        rig.lookups.waiting.pop()[1].callback(FOUND)
    assert len(rig.handler.responder.answers) == 10
    assert rig.clock.getDelayedCalls() == []
    rig.handler.take(w.question("Nope.Example"), "10.0.0.1", rig.replies.append)
    rig.lookups.waiting.pop()[1].callback(FOUND.__class__(3, ((b"nope", b"example"),), (), 30))
    rig.handler.take(w.question("nOPE.example"), "10.0.0.1", rig.replies.append)
    assert rig.lookups.waiting == []
    assert [str(w.read(reply).question[0].name) for reply in rig.replies[-2:]] == ["Nope.Example.", "nOPE.example."]


def _blast(address: tuple[str, int], stop: list[bool]) -> int:
    """Send as fast as possible until told to stop; how many."""
    query, sent = w.question("secret.example"), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect(address)
        while not stop:
            sending.send(query)
            sent += 1
    return sent


@ensureDeferred
async def test_11_flood_does_not_block_the_reactor() -> None:
    """One turn takes at most 2 KiB of datagrams: some fifty questions, a millisecond."""
    config = Config(listen=ListenConfig(dns="127.0.0.1:0"), dns=DnsConfig(upstream=("127.0.0.1:9",), rate=0.0))
    service = dns_service(config, FakeRegistry(), FakeAudit(), reactor)
    service.privilegedStartService()
    [datagrams, _] = service._ports
    assert datagrams.maxThroughput == MAX_THROUGHPUT == 2048
    turns: list[int] = []

    def taken() -> int:
        counters = service.handler.responder.counters
        return counters.hits + counters.judged + counters.limited

    stop: list[bool] = []
    blasting = deferToThread(_blast, service.address, stop)
    while not taken():
        await deferLater(reactor, 0.001, lambda: None)
    while len(turns) < 100:  # turns with something in them: on a busy machine the sender has few
        before = taken()
        await deferLater(reactor, 0, lambda: None)
        turns += [taken() - before] if taken() > before else []
    stop.append(True)
    assert await blasting > 0
    assert max(turns) <= MAX_THROUGHPUT // len(w.question("secret.example")) + 1
    await maybeDeferred(service.stopService)
