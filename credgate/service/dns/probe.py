"""Asks the gateway's own DNS server a question over its own sockets: what ``GET /v1/ready`` wants to know.

Both doors have to answer; what they say does not matter (a gateway that serves sessions only refuses its own address),
that it is a reply to this question does. A datagram may be lost, so it is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost

from credgate.dns.names import WireError
from credgate.service.dns.resolver import TCPExchange, UDPExchange, connect

if TYPE_CHECKING:
    from credgate.dns.response import Response, SentQuestion
    from credgate.dns.upstreams import Endpoint

TIMEOUT = 0.5
"""Seconds for one try."""
TRIES = 3
_NO_ANSWER = (DeferredTimeoutError, ConnectError, ConnectionDone, ConnectionLost, WireError, OSError)


async def _udp(server: Endpoint, asked: SentQuestion, reactor: Any) -> Response:  # noqa: ANN401 - every interface of a reactor
    return await UDPExchange(server, asked, reactor).send().done.addTimeout(TIMEOUT, reactor)


async def _tcp(server: Endpoint, asked: SentQuestion, reactor: Any) -> Response:  # noqa: ANN401 - every interface of a reactor
    exchange = TCPExchange(asked)
    await connect(server, exchange, reactor).addTimeout(TIMEOUT, reactor)
    return await exchange.done.addTimeout(TIMEOUT, reactor)


async def answers(server: Endpoint, asked: SentQuestion, reactor: Any) -> bool:  # noqa: ANN401 - every interface of a reactor
    """Whether ``server`` replies to ``asked`` over UDP and over TCP."""
    for door in (_udp, _tcp):
        for _ in range(TRIES):
            try:
                await door(server, asked, reactor)
            except _NO_ANSWER:
                continue
            break
        else:
            return False
    return True
