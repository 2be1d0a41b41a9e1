"""What both halves of the relay share about moving bytes: buffer sizes, sending, the valve.

Back-pressure is Twisted's own: a transport that holds more than ``BUFFER_SIZE`` unsent bytes pauses its registered
producer. The producer registered is never the other transport itself but a ``Valve``, because Twisted calls
``stopProducing`` on a producer when its consumer is lost, and a transport would then flush and close politely, which
could make a cut upload look like a finished one.

Sending goes straight to the kernel while nothing is held back (``send``): most bytes then cost neither a turn of the
reactor nor a change of what it waits for. Reading takes larger pieces while the other side keeps up (``grow``), and
ordinary ones again as soon as it does not, so that a client that stalls holds no more than one that never moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from attrs import define
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER_SIZE = 64 * 1024
"""Bytes read at once, and held unsent before the other side is paused."""
CAREFUL_SIZE = 8 * 1024
"""Bytes read at once while they may cost far more than others of their number: chunks of a byte, gzip. A turn of the
reactor reads from every connection, so a neighbour waits for as many times this as an attacker has connections."""
GROWN_SIZE = 128 * 1024
"""Bytes read at once while the other side takes all of them; more would only leave the processor's cache."""
MAX_PIECES = 64
"""Pieces handed to the kernel in one call; POSIX promises 16, Linux takes 1024."""


class Transport(Interface):
    """What a relay half asks of its transport (TCP, or TLS over it); see Twisted's ITCPTransport and IConsumer."""

    bufferSize: int  # noqa: N815 - Twisted's name

    # What each does is Twisted's to document.
    def write(self, data: bytes) -> None: ...
    def writeSequence(self, data: list[bytes]) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, *, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def loseConnection(self) -> None: ...
    def loseWriteConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def setTcpNoDelay(self, enabled: bool) -> None: ...  # noqa: FBT001
    def getHandle(self) -> Any: ...  # noqa: ANN401 - a socket


@implementer(IPushProducer)
@define(eq=False)
class Valve:
    """Stands between a full transport and whoever feeds it."""

    close: Callable[[], None]
    open: Callable[[], None]

    def pauseProducing(self) -> None:
        """Close: the consumer is full."""
        self.close()

    def resumeProducing(self) -> None:
        """Open: the consumer takes more."""
        self.open()

    def stopProducing(self) -> None:
        """Do nothing: the consumer is gone, and its own ``connectionLost`` says so."""


def send(transport: Transport, parts: list[bytes]) -> None:
    """Write ``parts``: at once as far as the kernel takes them, the rest as the transport does.

    Only a TCP transport that holds nothing back can be passed by; on any other this is ``writeSequence``. An error is
    left for the transport to meet again and to report where it always does, in ``connectionLost``.
    """
    if not _idle(transport):
        transport.writeSequence(parts)
        return
    if len(parts) > MAX_PIECES:
        parts = [b"".join(parts)]
    try:
        taken = transport.getHandle().sendmsg(parts)
    except OSError:
        taken = 0
    if taken < sum(map(len, parts)):
        # Never all of it was taken: what is left is not empty, and a transport that fails learns of it by writing.
        transport.write(b"".join(parts)[taken:])


def _idle(transport: Transport) -> bool:
    """Whether the transport is TCP itself, open, and has nothing of ours to send before."""
    return (
        isinstance(transport, Connection)
        and bool(transport.connected)
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataLen  # noqa: SLF001 - Twisted tells nobody; tests/service/upstream/test_flow.py guards the name
        and not transport._writeDisconnected  # noqa: SLF001 - the same
        and not transport._writeDisconnecting  # noqa: SLF001 - the same
    )


def grow(transport: Transport, size: int) -> None:
    """Read larger pieces from ``transport`` if the last one, of ``size`` bytes, was as large as it could be."""
    if size >= transport.bufferSize:
        transport.bufferSize = GROWN_SIZE


def shrink(transport: Transport) -> None:
    """Read ordinary pieces at most: whoever they are for does not keep up."""
    transport.bufferSize = min(transport.bufferSize, BUFFER_SIZE)


def pace(transport: Transport, size: int, body: int) -> None:
    """Read larger pieces if the last one, of ``size`` bytes, was mostly body; small ones if it was mostly framing."""
    if 4 * body < 3 * size:
        transport.bufferSize = CAREFUL_SIZE
    else:
        grow(transport, size)
