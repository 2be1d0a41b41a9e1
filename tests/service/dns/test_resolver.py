"""The upstream resolver, on real sockets on loopback."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import defer, reactor
from twisted.internet.task import deferLater

from credgate.dns import upstream_response
from credgate.service.dns import resolver as module
from credgate.service.dns.resolver import UpstreamError, UpstreamResolver
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeUpstream
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from credgate.dns.answer import CheckedAnswer

KEY = ((b"ok", b"example"), 1)
A = w.record(w.ASKED, 1, b"\1\2\3\4")
READY = upstream_response.ask((b"ready",), 1, bytes)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a third of the time."""
    monkeypatch.setattr(module, "TIMEOUTS", (0.3, 0.6))


class Played:
    """Fake upstreams and an ``UpstreamResolver`` that asks them."""

    def __init__(self, *scripts: Any, **more: Any) -> None:
        self.fakes = [FakeUpstream(reactor, script, **more) for script in scripts]
        self.upstream = UpstreamResolver([fake.server for fake in self.fakes], reactor)

    async def resolve(self, key: Any = KEY) -> CheckedAnswer:
        """Resolve, with a deadline."""
        return await self.upstream.resolve(key).addTimeout(10, reactor)

    async def stop(self) -> None:
        """Stop it all."""
        self.upstream.stop()
        await defer.gatherResults([fake.stop() for fake in self.fakes])


def answer(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
    """Answer with an address."""
    return [w.response(query, (A,))]


def silent(_query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
    """Never answer."""
    return []


@ensureDeferred
async def test_an_answer() -> None:
    """The positive control: one question over UDP, from a fresh port."""
    played = Played(answer)
    found = await played.resolve()
    assert [one.rdata for one in found.resources] == [b"\1\2\3\4"]
    assert [tcp for _, tcp, _ in played.fakes[0].asked] == [False]
    await played.stop()


@ensureDeferred
async def test_ports_ids_and_cases_are_random() -> None:
    """An attacker has to guess port, id and letter case for each query."""
    played = Played(answer)
    for number in range(20):
        await played.resolve(((f"some-longer-name{number % 2}".encode(), b"example"), 1))
    asked = played.fakes[0].asked
    assert len({message[:2] for message, _, _ in asked}) > 15
    assert len({peer[1] for _, _, peer in asked}) > 15
    assert len({message[12:30] for message, _, _ in asked}) > 15
    await played.stop()


@ensureDeferred
async def test_datagram_from_another_port_is_not_received() -> None:
    """The kernel drops it: the socket is connected. The stock resolver took answers from anyone until 26.10."""
    forged = bytes.fromhex("06060606")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:

        def script(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
            peer = played.fakes[0].asked[-1][2]
            stranger.sendto(w.response(query, (w.record(w.ASKED, 1, forged),)), peer)
            return [w.response(query, (A,))]

        played = Played(script)
        found = await played.resolve()
    assert [one.rdata for one in found.resources] == [b"\1\2\3\4"]
    await played.stop()


@ensureDeferred
async def test_forged_responses_are_ignored_until_the_right_one() -> None:
    """Wrong id, wrong question, QR=0: the right response after them is accepted."""

    def script(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        right = w.response(query, (A,))
        return [bytes([right[0] ^ 1]) + right[1:], right.replace(b"\0\1\0\1", b"\0\2\0\1", 1), query, right]

    played = Played(script)
    assert (await played.resolve()).resources
    await played.stop()


@ensureDeferred
async def test_many_forged_responses_switch_to_tcp() -> None:
    """After ``MAX_FORGED`` mismatching responses the query is sent over TCP."""

    def script(query: bytes, tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        return [w.response(query, (A,))] if tcp else [b"\0\0" + w.response(query)[2:]] * module.MAX_FORGED

    played = Played(script)
    assert (await played.resolve()).resources
    assert [tcp for _, tcp, _ in played.fakes[0].asked] == [False, True]
    await played.stop()


@ensureDeferred
async def test_changed_letter_case_is_retried_over_tcp() -> None:
    """0x20: the response may come from an attacker who has not seen the query."""

    def script(query: bytes, tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        return [w.response(query, (A,))] if tcp else [w.response(query[:12] + query[12:].swapcase(), (A,))]

    played = Played(script)
    assert (await played.resolve()).resources
    assert [tcp for _, tcp, _ in played.fakes[0].asked] == [False, True]
    await played.stop()


@ensureDeferred
async def test_truncated_response_is_retried_over_tcp() -> None:
    """The response is larger than a datagram."""
    many = tuple(w.record(w.ASKED, 1, bytes([1, 1, 1, number])) for number in range(60))

    def script(query: bytes, tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        return [w.response(query, many)] if tcp else [w.response(query, many[:20], flags=0x8380)]

    played = Played(script)
    assert len((await played.resolve()).resources) == 60
    await played.stop()


@pytest.mark.parametrize(
    "bad",
    [
        lambda query, _: [w.response(query, rcode=2)],
        lambda query, _: [w.response(query, rcode=5)],
        lambda query, _: [w.response(query, (A,)) + b"\0"],
        lambda query, _: [w.response(query, (A,), flags=0x8380)],
        silent,
    ],
    ids=["servfail", "refused", "broken", "truncated over tcp too", "silent"],
)
@ensureDeferred
async def test_next_server_is_tried_after_a_failure(bad: Any) -> None:
    """In order; the failure of the first is not the answer."""
    played = Played(bad, answer)
    assert (await played.resolve()).resources
    assert len(played.fakes[0].asked) >= 1
    await played.stop()


@ensureDeferred
async def test_unreachable_server_is_skipped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port-unreachable error, a refused and a cut TCP connection are noticed at once."""
    monkeypatch.setattr(module, "TIMEOUTS", (30.0, 30.0))
    played = Played(answer)
    played.upstream.servers = (("127.0.0.1", free_port()), *played.upstream.servers)
    before = reactor.seconds()
    assert (await played.resolve()).resources
    assert reactor.seconds() - before < 4.0
    await played.stop()
    for script in (lambda query, tcp: [] if tcp else [w.response(query, flags=0x8380)],):
        cut = Played(script, answer)
        assert (await cut.resolve()).resources
        await cut.stop()
        no_tcp = Played(script, tcp=False)
        with pytest.raises(UpstreamError):
            await no_tcp.resolve()
        await no_tcp.stop()


@ensureDeferred
async def test_servers_are_tried_in_two_rounds() -> None:
    """If none answers: each server twice, the second time for longer; then ``UpstreamError``."""
    played = Played(silent, silent)
    before = reactor.seconds()
    with pytest.raises(UpstreamError, match="no upstream"):
        await played.resolve()
    assert 1.7 < reactor.seconds() - before < 9.0
    assert [len(fake.asked) for fake in played.fakes] == [2, 2]
    await played.stop()


@ensureDeferred
async def test_all_tries_end_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's resolver waits five seconds; SERVFAIL is sent before."""
    monkeypatch.setattr(module, "DEADLINE", 0.45)
    played = Played(silent, silent, silent)
    before = reactor.seconds()
    with pytest.raises(UpstreamError):
        await played.resolve()
    assert reactor.seconds() - before < 3.0
    assert [len(fake.asked) for fake in played.fakes] == [1, 1, 0]
    await played.stop()


@ensureDeferred
async def test_resolve_without_servers_fails() -> None:
    """A gateway without any resolver answers static names only."""
    with pytest.raises(UpstreamError):
        await UpstreamResolver((), reactor).resolve(KEY)


@ensureDeferred
async def test_identical_queries_are_sent_once() -> None:
    """However many clients wait; another type is another query."""
    played = Played(answer)
    results = await defer.gatherResults(
        [played.upstream.resolve(KEY) for _ in range(50)] + [played.upstream.resolve((KEY[0], 28))]
    )
    assert len(results) == 51
    assert len(played.fakes[0].asked) == 2
    await played.resolve()
    assert len(played.fakes[0].asked) == 3
    await played.stop()


@ensureDeferred
async def test_waiting_queries_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of one query and queries are limited; excess ones fail at once."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(module, "MAX_FLIGHTS", 2)
    played = Played(silent)
    other = ((b"b", b"example"), 1)
    waiting = [played.upstream.resolve(key) for key in (KEY, KEY, other)]
    for key in (KEY, ((b"c", b"example"), 1)):
        with pytest.raises(UpstreamError, match="too many"):
            await played.upstream.resolve(key)
    for one in waiting:
        with pytest.raises(UpstreamError):
            await one
    await played.stop()


@ensureDeferred
async def test_aliases_are_followed_over_several_answers() -> None:
    """An upstream that gives only the first alias is asked for its target."""
    target = w.name("c.example")

    def script(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        if query[12:].lower().startswith(w.name("ok.example")):
            return [w.response(query, (w.record(w.ASKED, 5, target),))]
        return [w.response(query, (A,))]

    played = Played(script)
    found = await played.resolve()
    assert (found.chain, len(found.resources)) == (((b"ok", b"example"), (b"c", b"example")), 1)
    await played.stop()


@ensureDeferred
async def test_alias_loop_fails() -> None:
    """As a failure."""

    def script(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        return [w.response(query, (w.record(w.ASKED, 5, w.ASKED),))]

    played = Played(script)
    with pytest.raises(UpstreamError, match="loop"):
        await played.resolve()
    await played.stop()


@ensureDeferred
async def test_stop_cancels_running_queries() -> None:
    """No socket, no delayed call is left: the fixture around each test looks."""
    played = Played(silent)
    waiting = [played.upstream.resolve(KEY), played.upstream.resolve((KEY[0], 28))]
    await deferLater(reactor, 0.02, lambda: None)
    played.upstream.stop()
    for one in waiting:
        with pytest.raises(UpstreamError):
            await one
    await played.stop()


@ensureDeferred
async def test_stop_cancels_a_connection_attempt() -> None:
    """A TCP server that accepts and says nothing."""

    def script(query: bytes, _tcp: bool) -> list[bytes]:  # noqa: FBT001 - a script
        return [w.response(query, flags=0x8380)]

    played = Played(script, tcp=False)
    with socket.socket() as deaf:
        deaf.bind(played.fakes[0].server)
        deaf.listen()
        waiting = played.upstream.resolve(KEY)
        await deferLater(reactor, 0.02, lambda: None)
        played.upstream.stop()
        with pytest.raises(UpstreamError):
            await waiting
        assert len(played.fakes[0].asked) == 1
    await played.stop()


def test_udp_socket_implements_the_reactor_interface() -> None:
    """It has a log prefix, and a socket error fails the query."""
    asked = upstream_response.ask(KEY[0], 1, bytes)
    exchange = module.UDPExchange(("127.0.0.1", 9), asked, reactor)
    assert exchange.logPrefix() == "dns upstream"
    assert exchange.fileno() > 0
    failed: list[Any] = []
    exchange.done.addErrback(failed.append)
    exchange.connectionLost(module.Failure(OSError()))
    exchange.connectionLost(module.Failure(OSError()))
    assert len(failed) == 1
    unreachable = module.UDPExchange(("255.255.255.255", 53), asked, reactor)
    unreachable.send().done.addErrback(failed.append)
    assert len(failed) == 2


@ensureDeferred
async def test_read_without_data_is_ignored() -> None:
    """The kernel may report a datagram that it then drops (a bad checksum)."""
    played = Played(silent)
    exchange = module.UDPExchange(played.fakes[0].server, upstream_response.ask(KEY[0], 1, bytes), reactor).send()
    exchange.doRead()
    assert not exchange.done.called
    exchange.done.addErrback(lambda _: None)
    exchange.done.cancel()
    await played.stop()


@ensureDeferred
async def test_ipv6_server_is_used() -> None:
    """Both transports of a server that is not there, over ::1: refused, not confused."""
    upstream = UpstreamResolver([("::1", free_port())], reactor)
    with pytest.raises(UpstreamError):
        await upstream.resolve(KEY).addTimeout(5, reactor)


@pytest.mark.parametrize("rcode", [0, 3, 5])
@ensureDeferred
async def test_probe_accepts_any_rcode(rcode: int) -> None:
    """Also REFUSED."""
    server = FakeUpstream(reactor, lambda query, _: [w.response(query, rcode=rcode)])
    assert await module.probe(server.server, READY, reactor)
    assert [tcp for _, tcp, _ in server.asked] == [False, True]
    await server.stop()


@ensureDeferred
async def test_probe_repeats_a_lost_datagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent at most three times."""
    monkeypatch.setattr(module, "PROBE_TIMEOUT", 0.05)
    server = FakeUpstream(reactor, lambda query, _: [w.response(query)] if len(server.asked) > 2 else [])
    assert await module.probe(server.server, READY, reactor)
    assert [tcp for _, tcp, _ in server.asked] == [False, False, False, True]
    await server.stop()


@ensureDeferred
async def test_probe_needs_udp_and_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """UDP silent, TCP closed, TCP cut, no server."""
    monkeypatch.setattr(module, "PROBE_TIMEOUT", 0.05)
    for script, tcp in (
        (lambda _query, tcp: [w.response(_query)] if tcp else [], True),
        (lambda query, _tcp: [w.response(query)], False),
        (lambda query, tcp: [] if tcp else [w.response(query)], True),
        (lambda query, _tcp: [query], True),
    ):
        server = FakeUpstream(reactor, script, tcp=tcp)
        assert not await module.probe(server.server, READY, reactor)
        await server.stop()
    assert not await module.probe(("::1", free_port()), READY, reactor)
    assert not await module.probe(("127.0.0.1", free_port()), READY, reactor)
