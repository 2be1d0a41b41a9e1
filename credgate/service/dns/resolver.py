"""Sends queries to upstream resolvers, and checks that this DNS server itself answers.

Each try has its own UDP socket on a random port that the kernel chooses; ``dns.upstream_response`` checks id, question
and letter case. Servers are tried in order, first for one second each, then for two, all within ``DEADLINE``. TCP is
used after a truncated response, and for a server that changes the letter case. Identical queries that run at the same
time are sent once. ``dns.responder`` has decided before whether a query is allowed. RFC 5452, RFC 7766.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - sockets import it at first use, when the process may no longer be able to read the library
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

from credgate.dns import framing, upstream_response
from credgate.dns.answer import AliasChain
from credgate.dns.domain_names import WireError
from credgate.dns.upstream_response import MAX_RESPONSE, CaseMismatchError, MismatchError, Response, SentQuestion
from credgate.errors import CredgateError
from credgate.service.descriptor import ReadDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.cache import Key
    from credgate.dns.domain_names import Name
    from credgate.dns.upstreams import Endpoint

TIMEOUTS = (1.0, 2.0)
"""Seconds for each server in the first and in the second round."""
DEADLINE = 4.5
"""Seconds for all tries of one query. The resolver of a client gives up after five."""
MAX_FLIGHTS = 256
"""Different queries at the same time."""
MAX_WAITING = 128
"""Clients that may wait for one query."""
MAX_FORGED = 16
"""After this many messages that are not the response, TCP is used: the responses are probably forged."""
PROBE_TIMEOUT = 0.5
"""Seconds for one try of the readiness check."""
PROBE_TRIES = 3


T = TypeVar("T")


class UpstreamError(CredgateError):
    """No upstream gave a usable answer."""


_TRY_NEXT = (
    WireError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DeferredTimeoutError,
    OSError,
)
"""Failures after which the next server is tried. Any other exception is a defect and is logged."""


def _fire(waiting: Deferred[T], result: T | Failure) -> None:
    if isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)


class UDPExchange(ReadDescriptor):
    """One query over its own connected socket. ``done`` fires with the ``Response``."""

    # Not a Twisted ``udp.Port``, which writes two log lines for each socket: a sandbox could fill the disk with them.

    def __init__(self, server: Endpoint, asked: SentQuestion, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        self._server, self._asked, self.reactor, self._forged = server, asked, reactor, 0
        self._socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self.done: Deferred[Response] = Deferred(lambda _: self._close())

    def send(self) -> UDPExchange:
        """Connect, which binds a port, and send the query."""
        self.reactor.addReader(self)
        # A connected socket: the kernel drops datagrams from other addresses and ports (RFC 5452, section 9.1).
        # The kernel chooses a random port for each query (section 9.2).
        try:
            self._socket.connect(self._server)
            self._socket.send(self._asked.message)
        except OSError as error:
            self._finish(Failure(error))
        return self

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "dns upstream"

    def doRead(self) -> None:
        try:
            self._finish(upstream_response.read(self._socket.recv(MAX_RESPONSE), self._asked))
        except BlockingIOError:
            return
        except CaseMismatchError as error:  # ends the try; ``_udp_then_tcp`` then uses TCP
            self._finish(Failure(error))
        except MismatchError as error:
            # Not the response: wait for the real one, unless so many come that it cannot be expected any more.
            self._forged += 1
            if self._forged >= MAX_FORGED:
                self._finish(Failure(error))
        except (WireError, OSError) as error:
            self._finish(Failure(error))

    def lost(self, reason: Failure) -> None:
        self._finish(reason)

    def _finish(self, result: Response | Failure) -> None:
        if not self.done.called:
            self._close()
            _fire(self.done, result)

    def _close(self) -> None:
        self.reactor.removeReader(self)
        self._socket.close()


class TCPExchange(Protocol):
    """One query over one connection. ``done`` fires with the ``Response``."""

    transport: Any

    def __init__(self, asked: SentQuestion) -> None:
        self._asked, self._frames = asked, framing.Frames(MAX_RESPONSE)
        self.done: Deferred[Response] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        self.transport.write(framing.frame(self._asked.message))

    def dataReceived(self, data: bytes) -> None:
        try:
            for message in self._frames.receive(data):
                self._finish(upstream_response.read(message, self._asked))
        except WireError as error:
            self._finish(Failure(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._finish(reason)

    def _finish(self, result: Response | Failure) -> None:
        if not self.done.called:
            self._abort()
            _fire(self.done, result)

    def _abort(self) -> None:
        self.transport.abortConnection()


def connect(server: Endpoint, exchange: TCPExchange, reactor: Any) -> Deferred[Any]:  # noqa: ANN401 - every interface of a reactor
    """Connect an exchange. Unlike ``connectProtocol``, this writes no log lines."""
    factory = Factory.forProtocol(lambda: exchange)
    factory.noisy = False
    endpoint = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
    return endpoint(reactor, *server).connect(factory)


class UpstreamResolver:
    """Sends queries to ``servers`` in order. ``entropy`` is for tests."""

    def __init__(
        self,
        servers: Sequence[Endpoint],
        reactor: Any,  # noqa: ANN401 - every interface of a reactor
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.servers, self._reactor, self._entropy = tuple(servers), reactor, entropy
        self._stopped = False
        self._waiting: dict[Key, list[Deferred[CheckedAnswer]]] = {}
        self._running: dict[Key, Deferred[None]] = {}

    def resolve(self, key: Key) -> Deferred[CheckedAnswer]:
        """Resolve a folded name and type, following aliases. Fails with ``UpstreamError``."""
        waiting = self._waiting.get(key)
        if len(waiting or ()) >= MAX_WAITING or (waiting is None and len(self._waiting) >= MAX_FLIGHTS):
            return fail(UpstreamError("too many queries are waiting"))
        answer: Deferred[CheckedAnswer] = Deferred()
        if waiting is not None:  # the same query is running: it is sent once
            waiting.append(answer)
            return answer
        self._waiting[key] = [answer]
        self._running[key] = running = ensureDeferred(self._resolve(*key)).addBoth(self._finished, key)
        if running.called:
            del self._running[key]
        return answer

    def stop(self) -> None:
        """Cancel all running queries."""
        self._stopped = True
        for running in list(self._running.values()):
            running.cancel()

    def _finished(self, result: CheckedAnswer | Failure, key: Key) -> None:
        self._running.pop(key, None)
        for waiting in self._waiting.pop(key):
            _fire(waiting, result)

    async def _resolve(self, name: Name, qtype: int) -> CheckedAnswer:
        aliases = AliasChain(qtype, [name])
        deadline = self._reactor.seconds() + DEADLINE
        try:
            while True:
                answer = aliases.follow(await self._ask(aliases.chain[-1], qtype, deadline))
                if answer is not None:
                    return answer
        except (WireError, CancelledError) as error:
            raise UpstreamError(str(error)) from None

    async def _ask(self, name: Name, qtype: int, deadline: float) -> Response:
        """Try the servers in order until one answers."""
        # Each try has a new id, port and letter case, so that a late or forged response to an earlier try is useless.
        for server, timeout in ((server, timeout) for timeout in TIMEOUTS for server in self.servers):
            left = deadline - self._reactor.seconds()
            if left <= 0 or self._stopped:
                break
            asked = upstream_response.ask(name, qtype, self._entropy)
            trying = ensureDeferred(self._udp_then_tcp(server, asked))
            try:
                found = await trying.addTimeout(min(timeout, left), self._reactor)
            except _TRY_NEXT:
                continue
            if found.rcode in AliasChain.ANSWERS:
                return found
        raise UpstreamError("no upstream resolver answered")

    async def _udp_then_tcp(self, server: Endpoint, asked: SentQuestion) -> Response:
        try:
            found = await UDPExchange(server, asked, self._reactor).send().done
        except MismatchError:  # forged responses, or a server that changes the letter case: neither matters over TCP
            return await self._tcp(server, asked)
        return await self._tcp(server, asked) if found.truncated else found

    async def _tcp(self, server: Endpoint, asked: SentQuestion) -> Response:
        exchange = TCPExchange(asked)
        await connect(server, exchange, self._reactor)
        found = await exchange.done
        if found.truncated:
            raise WireError("truncated response over TCP")
        return found


async def _probe_udp(server: Endpoint, asked: SentQuestion, reactor: Any) -> Response:  # noqa: ANN401 - every interface of a reactor
    return await UDPExchange(server, asked, reactor).send().done.addTimeout(PROBE_TIMEOUT, reactor)


async def _probe_tcp(server: Endpoint, asked: SentQuestion, reactor: Any) -> Response:  # noqa: ANN401 - every interface of a reactor
    exchange = TCPExchange(asked)
    await connect(server, exchange, reactor).addTimeout(PROBE_TIMEOUT, reactor)
    return await exchange.done.addTimeout(PROBE_TIMEOUT, reactor)


async def probe(server: Endpoint, asked: SentQuestion, reactor: Any) -> bool:  # noqa: ANN401 - every interface of a reactor
    """Return whether ``server`` replies to ``asked`` over UDP and over TCP.

    Any response code counts as a reply: a gateway with ``clients = "sessions"`` refuses its own address.
    """
    for protocol in (_probe_udp, _probe_tcp):
        for _ in range(PROBE_TRIES):  # a datagram may be lost
            try:
                await protocol(server, asked, reactor)
            except _TRY_NEXT:
                continue
            break
        else:
            return False
    return True
