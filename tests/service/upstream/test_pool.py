"""Connections to forges: when one is kept, when it ends, whom it tells, and how forges are reached."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from credgate.config.schema import ForgeConfig
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.upstream.failures import failure_text
from credgate.service.upstream.flow import BUFFER_SIZE, GROWN_SIZE, Valve
from credgate.service.upstream.pool import IDLE_SECONDS, MAX_ALL_IDLE, MAX_IDLE, ForgeConnection, ForgePool, Key
from credgate.values import Reason
from tests.fakes.relay import KIB64, Forges, answer

if TYPE_CHECKING:
    from credgate.errors import ResponseError
    from tests.fakes.wire import Wire

PLAIN = Place.of(driver_for(ForgeConfig("lab", "generic", "http://127.0.0.1:8000")))
TLS = Place.of(driver_for(ForgeConfig("github.com", "github", "https://github.com")))
KEY, OTHER = Key("lab", "one"), Key("lab", "two")
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Asked:
    """A handler that records its calls."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.connection: ForgeConnection | None = None
        self.on_head: str = ""
        self.repeatable: bool | None = None

    def answer_head(self, head: Any) -> None:
        """Note the status."""
        self.told.append(head.status)
        if self.on_head == "abort":
            assert self.connection is not None
            self.connection.abort()
        elif self.on_head:
            raise RuntimeError(self.on_head)

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Note the bytes."""
        self.told.append((b"".join(parts), last))

    def answer_end(self) -> None:
        """Note it."""
        self.told.append("end")

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Note why, and whether the question may be asked again."""
        self.told.append(error.reason)
        self.repeatable = repeatable


class Net:
    """A pool and the network that it reaches forges by."""

    def __init__(self, timeout: float = 30) -> None:
        self.reactor = Clock()
        self.forges = Forges(self.reactor)
        self.pool = ForgePool(self.reactor, timeout, lambda _: self.forges)

    def connect(self, key: Key = KEY, place: Place = PLAIN) -> tuple[ForgeConnection, Wire]:
        """Open a connection."""
        got: list[ForgeConnection] = []
        self.pool.connect(key, place).addCallback(got.append)
        (connection,) = got
        return connection, self.forges.wire

    def ask(self, connection: ForgeConnection, *, whole: bool = True) -> Asked:
        """Ask on it."""
        asked = Asked()
        asked.connection = connection
        valve = Valve(lambda: asked.told.append("full"), lambda: asked.told.append("empty"))
        connection.ask(asked, b"GET", HEAD, valve)
        if whole:
            connection.sent()
        self.settle()
        return asked

    def settle(self) -> None:
        """Let everything that is due happen."""
        for _ in range(10):
            self.reactor.advance(0)


# One request.


def test_answer_is_delivered_in_order_and_its_connection_kept() -> None:
    """Head, body, end; then it is idle, and of its key."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    assert wire.received == HEAD
    assert wire.nodelay
    wire.deliver(answer(b"body"))
    assert asked.told == [200, (b"body", True), "end"]
    assert net.pool.take(OTHER) is None
    assert net.pool.take(KEY) is connection
    assert connection.reused
    assert net.pool.take(KEY) is None


def test_paused_connection_resumes_before_it_is_kept() -> None:
    """By the last piece, for a client that drains when this is no longer its connection."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    wire.deliver(answer(b"body")[:-1])
    connection.pauseProducing()
    assert not wire.reading
    wire.reading = True  # one read was under way
    wire.deliver(b"y")
    assert asked.told[-1] == "end"
    assert wire.reading
    connection.pauseProducing()
    connection.resumeProducing()
    assert wire.reading


def test_reads_grow_while_they_are_full_and_shrink_when_paused() -> None:
    """A client that stalls holds no more than one that never moved."""
    net = Net()
    connection, wire = net.connect()
    net.ask(connection)
    assert wire.bufferSize == BUFFER_SIZE
    wire.deliver(answer(b"x" * (4 * KIB64)))
    assert wire.bufferSize == GROWN_SIZE
    connection.pauseProducing()
    assert wire.bufferSize == BUFFER_SIZE


def test_valve_is_registered_until_the_request_is_whole() -> None:
    """Afterwards it is unregistered."""
    net = Net()
    connection, wire = net.connect()
    wire.stall()
    asked = net.ask(connection, whole=False)
    connection.send([b"x" * KIB64, b"x"])
    assert asked.told == ["full"]
    wire.resume()
    assert asked.told == ["full", "empty"]
    connection.sent()
    connection.sent()
    assert wire.producer is None


@pytest.mark.parametrize(
    ("sent", "whole"),
    [
        (answer(b"body") + b"x", True),
        (answer(b"body", b"Connection: close"), True),
        (answer(b"body"), False),
    ],
)
def test_connection_with_an_anomaly_is_not_kept(sent: bytes, *, whole: bool) -> None:
    """Bytes behind the answer, a forge that wants to close, a request that was not whole."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection, whole=whole)
    wire.deliver(sent)
    net.settle()
    assert asked.told == [200, (b"body", True), "end"]
    assert wire.ended == "reset"
    assert net.pool.take(KEY) is None
    assert net.pool.count() == 0


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"garbage\r\n\r\n", [Reason.FORGE_MALFORMED]),
        (b"", [Reason.FORGE_CUT]),
        (answer(b"body")[:-1], [200, (b"bod", False), Reason.FORGE_CUT]),
    ],
)
def test_malformed_answer_is_reported_once(sent: bytes, told: list[Any]) -> None:
    """And its connection is gone by then."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    wire.deliver(sent)
    wire.hang_up()
    net.settle()
    assert asked.told == told
    assert wire.ended
    assert net.pool.count() == 0


@pytest.mark.parametrize(
    ("kept", "sent", "repeatable"),
    [(True, b"", True), (False, b"", False), (True, b"H", False), (True, answer(b"body")[:-1], False),
     (True, b"garbage\r\n\r\n", False)],
)  # fmt: skip
def test_failure_reports_whether_the_request_is_repeatable(sent: bytes, *, kept: bool, repeatable: bool) -> None:
    """Only on a kept connection that closed before it answered a byte; later requests on it change nothing of that."""
    net = Net()
    connection, wire = net.connect()
    if kept:
        net.ask(connection)
        wire.deliver(answer(b"body"))
        assert net.pool.take(KEY) is connection
    asked = net.ask(connection)
    wire.deliver(sent)
    wire.hang_up()
    net.settle()
    assert asked.told[-1] in (Reason.FORGE_CUT, Reason.FORGE_MALFORMED)
    assert asked.repeatable is repeatable


def test_handler_that_aborts_at_the_head_gets_no_body() -> None:
    """Not even what came in the same read."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    asked.on_head = "abort"
    wire.deliver(answer(b"body"))
    net.settle()
    assert asked.told == [200]
    assert wire.ended == "reset"


def test_handler_that_raises_in_a_whole_answer_gets_its_failure() -> None:
    """Twisted closes a connection whose protocol raised; the handler must not wait for ever."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    asked.on_head = "broken"
    with pytest.raises(RuntimeError):
        wire.deliver(answer(b"body"))
    wire.reset()
    assert asked.told == [200, Reason.FORGE_CUT]


def test_interim_answers_are_skipped() -> None:
    """A forge may say 100 or 103 first."""
    net = Net()
    connection, wire = net.connect()
    asked = net.ask(connection)
    wire.deliver(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert asked.told == []
    wire.deliver(answer(b""))
    assert asked.told == [200, (b"", True), "end"]


# The pool.


def test_bytes_without_a_request_close_an_idle_connection() -> None:
    """Whatever it is, it is no answer."""
    net = Net()
    connection, wire = net.connect()
    net.ask(connection)
    wire.deliver(answer(b""))
    wire.deliver(b"HTTP/1.1 408 Timeout\r\n\r\n")
    net.settle()
    assert wire.ended == "reset"
    assert net.pool.take(KEY) is None
    untouched, wire = net.connect()
    wire.deliver(b"hello")
    net.settle()
    assert wire.ended == "reset"
    assert untouched.asker is None


def test_closed_idle_connection_is_removed() -> None:
    """It is not handed out again."""
    net = Net()
    connection, wire = net.connect()
    net.ask(connection)
    wire.deliver(answer(b""))
    wire.hang_up()
    assert net.pool.take(KEY) is None
    assert net.pool._idle == {}


def test_newest_idle_connection_is_used_and_the_oldest_closed() -> None:
    """Few are kept, and only for a while."""
    net = Net()
    made = [net.connect() for _ in range(MAX_IDLE + 1)]
    for connection, wire in made:
        net.ask(connection)
        wire.deliver(answer(b""))
        net.reactor.advance(0.1)
    net.settle()
    assert made[0][1].ended == "reset"
    assert net.pool.count() == MAX_IDLE
    assert net.pool.take(KEY) is made[-1][0]
    net.pool.sweep(net.reactor.seconds() + IDLE_SECONDS - 2)
    assert net.pool.count() == MAX_IDLE
    net.pool.sweep(net.reactor.seconds() + IDLE_SECONDS)
    net.settle()
    assert [wire.ended for _, wire in made] == ["reset"] * MAX_IDLE + [""]
    net.pool.close()
    net.settle()
    assert made[-1][1].ended == "reset"
    assert net.pool.count() == 0


def test_idle_connections_are_bounded_in_all() -> None:
    """Places of LFS objects are named by a forge's answers: each of their own, they would use up all descriptors."""
    net = Net()
    made = [net.connect(Key(f"github.com lfs https://{number}.example", "s-1")) for number in range(MAX_ALL_IDLE + 2)]
    for connection, wire in made:
        net.ask(connection)
        wire.deliver(answer(b""))
        net.reactor.advance(0.01)
    net.settle()
    assert [wire.ended for _, wire in made] == ["reset"] * 2 + [""] * MAX_ALL_IDLE
    assert (net.pool.idle(), net.pool.count()) == (MAX_ALL_IDLE, MAX_ALL_IDLE)
    assert net.pool.take(made[2][0].key) is made[2][0]


# Connecting.


def test_tls_connection_is_ready_after_the_certificate_is_accepted() -> None:
    """The request holds the credential."""
    net = Net()
    net.forges.open = False
    got: list[ForgeConnection] = []
    net.pool.connect(KEY, TLS).addCallback(got.append)
    wire = net.forges.let_in(shake=False)
    assert got == []
    assert net.pool.count() == 0
    wire.protocol.handshakeCompleted()
    wire.protocol.handshakeCompleted()
    assert got == [wire.protocol]
    assert net.pool.count() == 1


def test_failed_handshake_fails_the_connection() -> None:
    """With what was wrong."""
    net = Net()
    net.forges.open = False
    failed: list[Failure] = []
    net.pool.connect(KEY, TLS).addErrback(failed.append)
    wire = net.forges.let_in(shake=False)
    wire._lost(Failure(ssl.SSLCertVerificationError()))
    assert failure_text(failed[0].value) == "its TLS certificate is not accepted"  # type: ignore[arg-type]
    assert net.pool.count() == 0


def test_time_limit_of_connecting_includes_the_handshake() -> None:
    """And what is given up is not left behind."""
    for shaken in (False, True):
        net = Net(timeout=30)
        net.forges.open = False
        failed: list[Failure] = []
        net.pool.connect(KEY, TLS).addErrback(failed.append)
        if shaken:
            net.forges.let_in(shake=False)
        net.reactor.advance(31)
        net.settle()
        assert failure_text(failed[0].value) == "it does not answer in time"  # type: ignore[arg-type]
        assert [wire.ended for wire in net.forges.wires] == (["reset"] if shaken else [])
        assert net.reactor.getDelayedCalls() == []


def test_cancelling_in_the_handshake_closes_the_connection() -> None:
    """The deferred fails once, however the connection then ends."""
    net = Net()
    net.forges.open = False
    failed: list[Failure] = []
    connecting = net.pool.connect(KEY, TLS).addErrback(failed.append)
    wire = net.forges.let_in(shake=False)
    connecting.cancel()
    net.settle()
    assert wire.ended == "reset"
    assert [failure.type for failure in failed] == [CancelledError]
