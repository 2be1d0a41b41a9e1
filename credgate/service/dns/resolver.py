"""Asks upstream resolvers: one question, one socket, one answer.

Each try has a UDP socket of its own on a port the kernel picks at random, connected, so that the kernel drops what does
not come from the asked address and port; id, question and letter case are checked by ``dns.response``. Servers are
tried in order, first with one second each, then with two, all within ``DEADLINE``; TCP takes over for a truncated
answer and for a server that changes the letter case. Identical questions in flight are asked once. What is asked, and
whether it may be, was decided before: nothing here widens it. RFC 5452, RFC 7766.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - sockets look it up when first used: by then the user may not read the library
import os
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from credgate.dns import framing, response
from credgate.dns.answer import Trail
from credgate.dns.names import WireError
from credgate.dns.response import MAX_RESPONSE, CaseMismatchError, MismatchError, Response, SentQuestion
from credgate.errors import CredgateError
from credgate.service.descriptor import ReadDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.cache import Key
    from credgate.dns.names import Name
    from credgate.dns.upstreams import Endpoint

TIMEOUTS = (1.0, 2.0)
"""Seconds for a server in the first and in the second round."""
DEADLINE = 4.5
"""Seconds for all tries of one name together: a client's resolver gives up after five."""
MAX_FLIGHTS = 256
"""Different questions asked at one time."""
MAX_WAITING = 128
"""Clients that wait for one of them."""
MAX_FORGED = 16
"""Messages that are no answer before a UDP try is given up for TCP: someone is guessing."""


T = TypeVar("T")


class UpstreamError(CredgateError):
    """No upstream gave an answer that can be used."""


_TRY_NEXT = (
    WireError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DeferredTimeoutError,
    OSError,
)
"""What makes the next server be asked. Anything else is a mistake of ours and shows."""


def _fire(waiting: Deferred[T], result: T | Failure) -> None:
    if isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)


class UDPExchange(ReadDescriptor):
    """One question over one connected socket of its own. ``done`` fires with the ``Response``.

    No ``udp.Port``: that writes two log lines a socket, and a line a packet is a way to fill a disk.
    """

    def __init__(self, server: Endpoint, asked: SentQuestion, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        self._server, self._asked, self.reactor, self._forged = server, asked, reactor, 0
        self._socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self.done: Deferred[Response] = Deferred(lambda _: self._close())

    def send(self) -> UDPExchange:
        """Connect, which binds to a random port, and send."""
        self.reactor.addReader(self)
        try:
            self._socket.connect(self._server)
            self._socket.send(self._asked.message)
        except OSError as error:
            self._finish(Failure(error))
        return self

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Name this in log lines."""
        return "dns upstream"

    def doRead(self) -> None:
        """Take one message: the answer, or one that is not the answer and is ignored."""
        try:
            self._finish(response.read(self._socket.recv(MAX_RESPONSE), self._asked))
        except BlockingIOError:
            return
        except CaseMismatchError as error:
            self._finish(Failure(error))
        except MismatchError as error:
            self._forged += 1
            if self._forged >= MAX_FORGED:
                self._finish(Failure(error))
        except (WireError, OSError) as error:
            self._finish(Failure(error))

    def lost(self, reason: Failure) -> None:
        """See ReadDescriptor."""
        self._finish(reason)

    def _finish(self, result: Response | Failure) -> None:
        if not self.done.called:
            self._close()
            _fire(self.done, result)

    def _close(self) -> None:
        self.reactor.removeReader(self)
        self._socket.close()


class TCPExchange(Protocol):
    """One question over one connection. ``done`` fires with the ``Response``."""

    transport: Any

    def __init__(self, asked: SentQuestion) -> None:
        self._asked, self._frames = asked, framing.Frames(MAX_RESPONSE)
        self.done: Deferred[Response] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        """Send."""
        self.transport.write(framing.frame(self._asked.message))

    def dataReceived(self, data: bytes) -> None:
        """Take the first message: it is the answer, or this server has none."""
        try:
            for message in self._frames.receive(data):
                self._finish(response.read(message, self._asked))
        except WireError as error:
            self._finish(Failure(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take note that the server left."""
        self._finish(reason)

    def _finish(self, result: Response | Failure) -> None:
        if not self.done.called:
            self._abort()
            _fire(self.done, result)

    def _abort(self) -> None:
        self.transport.abortConnection()


def connect(server: Endpoint, exchange: TCPExchange, reactor: Any) -> Deferred[Any]:  # noqa: ANN401 - every interface of a reactor
    """Connect an exchange, without a log line for it (``connectProtocol`` writes two)."""
    factory = Factory.forProtocol(lambda: exchange)
    factory.noisy = False
    endpoint = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
    return endpoint(reactor, *server).connect(factory)


class UpstreamResolver:
    """The resolvers, asked in order. ``entropy`` is for tests."""

    def __init__(
        self,
        servers: Sequence[Endpoint],
        reactor: Any,  # noqa: ANN401 - every interface of a reactor
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.servers, self._reactor, self._entropy = tuple(servers), reactor, entropy
        self._stopped = False
        self._flights: dict[Key, list[Deferred[CheckedAnswer]]] = {}
        self._running: dict[Key, Deferred[None]] = {}

    def resolve(self, key: Key) -> Deferred[CheckedAnswer]:
        """Look a folded name and type up, following aliases. Fails with ``UpstreamError``."""
        waiting = self._flights.get(key)
        if len(waiting or ()) >= MAX_WAITING or (waiting is None and len(self._flights) >= MAX_FLIGHTS):
            return fail(UpstreamError("too many questions wait"))
        answer: Deferred[CheckedAnswer] = Deferred()
        if waiting is not None:
            waiting.append(answer)
            return answer
        self._flights[key] = [answer]
        self._running[key] = flight = ensureDeferred(self._trail(*key)).addBoth(self._land, key)
        if flight.called:
            del self._running[key]
        return answer

    def stop(self) -> None:
        """Give up everything in flight."""
        self._stopped = True
        for flight in list(self._running.values()):
            flight.cancel()

    def _land(self, result: CheckedAnswer | Failure, key: Key) -> None:
        self._running.pop(key, None)
        for waiting in self._flights.pop(key):
            _fire(waiting, result)

    async def _trail(self, name: Name, qtype: int) -> CheckedAnswer:
        trail = Trail(qtype, [name])
        deadline = self._reactor.seconds() + DEADLINE
        try:
            while True:
                answer = trail.follow(await self._ask(trail.chain[-1], qtype, deadline))
                if answer is not None:
                    return answer
        except (WireError, CancelledError) as error:
            raise UpstreamError(str(error)) from None

    def _tries(self, deadline: float) -> Iterator[tuple[Endpoint, float]]:
        for timeout in TIMEOUTS:
            for server in self.servers:
                left = deadline - self._reactor.seconds()
                if left > 0 and not self._stopped:
                    yield server, min(timeout, left)

    async def _ask(self, name: Name, qtype: int, deadline: float) -> Response:
        """Ask the servers in order until one answers."""
        for server, timeout in self._tries(deadline):
            asked = response.ask(name, qtype, self._entropy)
            try:
                found = await self._exchange(server, asked).addTimeout(timeout, self._reactor)
            except _TRY_NEXT:
                continue
            if found.rcode in Trail.ANSWERS:
                return found
        raise UpstreamError("no upstream resolver answered")

    def _exchange(self, server: Endpoint, asked: SentQuestion) -> Deferred[Response]:
        return ensureDeferred(self._udp_then_tcp(server, asked))

    async def _udp_then_tcp(self, server: Endpoint, asked: SentQuestion) -> Response:
        try:
            found = await UDPExchange(server, asked, self._reactor).send().done
        except MismatchError:
            return await self._tcp(server, asked)
        return await self._tcp(server, asked) if found.truncated else found

    async def _tcp(self, server: Endpoint, asked: SentQuestion) -> Response:
        exchange = TCPExchange(asked)
        await connect(server, exchange, self._reactor)
        found = await exchange.done
        if found.truncated:
            raise WireError("a truncated answer over TCP")
        return found
