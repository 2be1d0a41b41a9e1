"""Readers of our own survive events of a descriptor whose number they were given, within one batch of the reactor."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionLost
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from credgate.dns import upstream_response
from credgate.service.dns.resolver import UDPExchange
from credgate.service.private import ParentPipe
from tests.fakes import dnswire as w

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credgate.service.descriptor import ReadDescriptor

RESET = struct.pack("ii", 1, 0)


class Trigger(FileDescriptor):
    """A descriptor whose readable event runs ``then``, once."""

    def __init__(self, reactor: Any, then: Callable[[], None]) -> None:
        super().__init__(reactor)
        self.mine, self._peer = socket.socketpair()
        self._then = then
        self._peer.send(b"x")

    def fileno(self) -> int:
        """Return the number."""
        return self.mine.fileno()

    def doRead(self) -> None:
        """Run it."""
        self.mine.recv(1)
        self._then()

    def close(self) -> None:
        """Close both ends."""
        self.reactor.removeReader(self)
        self.mine.close()
        self._peer.close()


class Victim(FileDescriptor):
    """A connection that waits to write; ``cut``: its client has reset it."""

    def __init__(self, reactor: Any, *, cut: bool) -> None:
        super().__init__(reactor)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            self.mine, _ = listening.accept()
        if cut:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        self.client = client
        self.number = self.mine.fileno()

    def fileno(self) -> int:
        """Return the number."""
        return self.mine.fileno()

    def close(self) -> None:
        """Close this end: its number is free."""
        self.reactor.removeWriter(self)
        self.mine.close()


@pytest.fixture
def epoll() -> Iterator[EPollReactor]:
    """Make a reactor of the test's own, whose turns the test runs."""
    made = EPollReactor()
    yield made
    made.removeAll()
    for end in (made.waker.i, made.waker.o):
        os.close(end)
    made._poller.close()


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Show what was logged."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def reuse(epoll: EPollReactor, begin: Callable[[], ReadDescriptor], *, cut: bool) -> ReadDescriptor:
    """Close a descriptor and begin a reader with its number, while the batch still holds an event of the former."""
    made: list[ReadDescriptor] = []

    def swap() -> None:
        victim.close()
        made.append(begin())

    victim = Victim(epoll, cut=cut)
    trigger = Trigger(epoll, swap)
    fillers = [os.dup(0)]
    while fillers[-1] < victim.number:  # so that the victim's number is the lowest free one
        fillers.append(os.dup(0))
    # epoll reports in the order in which descriptors became ready: the trigger first.
    epoll.addReader(trigger)
    epoll.addWriter(victim)
    epoll.doIteration(1)
    trigger.close()
    victim.client.close()
    for filler in fillers:
        os.close(filler)
    assert made[0].fileno() == victim.number
    return made[0]


@pytest.mark.parametrize("cut", [False, True], ids=["writable", "hang-up"])
def test_a_dns_question_survives_events_of_a_closed_connection(
    epoll: EPollReactor, logged: list[dict[str, Any]], *, cut: bool
) -> None:
    """It is answered as if there had been no such event, and nothing is logged."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 0))
        resolver.settimeout(10)
        asked = upstream_response.ask((b"ok", b"example"), 1, os.urandom)
        exchange = reuse(epoll, lambda: UDPExchange(resolver.getsockname(), asked, epoll).send(), cut=cut)
        assert isinstance(exchange, UDPExchange)
        assert not exchange.done.called
        query, peer = resolver.recvfrom(512)
        resolver.sendto(w.response(query, (w.record(w.ASKED, 1, b"\1\2\3\4"),)), peer)
        epoll.doIteration(1)
    found: list[Any] = []
    exchange.done.addBoth(found.append)
    assert [one.rdata for one in found[0].answers] == [b"\1\2\3\4"]
    assert logged == []


def test_a_resolver_that_refuses_is_noticed(epoll: EPollReactor) -> None:
    """The positive control: a real error of the socket's own is found by reading, at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 0))
        place = resolver.getsockname()
    asked = upstream_response.ask((b"ok", b"example"), 1, os.urandom)
    exchange = UDPExchange(place, asked, epoll).send()
    epoll.doIteration(5)
    found: list[Any] = []
    exchange.done.addBoth(found.append)
    assert found[0].check(ConnectionRefusedError)
    assert exchange.fileno() == -1


def test_a_reactor_that_stops_ends_a_question(epoll: EPollReactor) -> None:
    """That is no event of a descriptor, and is not looked into."""
    asked = upstream_response.ask((b"ok", b"example"), 1, os.urandom)
    exchange = UDPExchange(("127.0.0.1", 9), asked, epoll)
    exchange.connectionLost(Failure(ConnectionLost()))
    found: list[Any] = []
    exchange.done.addBoth(found.append)
    assert found[0].check(ConnectionLost)
    assert epoll.getReaders() == [epoll.waker]


@pytest.mark.parametrize("cut", [False, True], ids=["writable", "hang-up"])
def test_a_gateway_of_one_command_does_not_end_by_events_of_a_closed_connection(
    epoll: EPollReactor, logged: list[dict[str, Any]], *, cut: bool
) -> None:
    """It ends by the end of its own pipe."""
    stopped: list[bool] = []
    epoll.stop = lambda: stopped.append(True)  # type: ignore[method-assign]  # it does not run
    ends: list[int] = []

    def begin() -> ParentPipe:
        ends.extend(os.pipe())
        leash = ParentPipe(epoll, ends[0])
        leash.startService()
        return leash

    reuse(epoll, begin, cut=cut)
    assert (stopped, logged) == ([], [])
    os.close(ends[1])
    epoll.doIteration(1)
    assert stopped == [True]
    os.close(ends[0])
