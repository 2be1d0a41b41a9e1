"""One end of a TCP connection in memory, as Twisted's own transport behaves: the tests' hand is the network.

Only what a relay half uses, but that faithfully (``twisted.internet.abstract.FileDescriptor``): a producer is paused
when more than ``bufferSize`` bytes are unsent and resumed when all are sent; closing politely sends everything first
and is held up by a producer that is paused; an abort drops what is unsent; ``connectionLost`` comes a turn of the
reactor later, once; nothing is read while paused, not even that the peer has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.task import Clock


class Wire:
    """The transport of ``protocol``, and the peer's hand on it."""

    def __init__(self, reactor: Clock, protocol: Any) -> None:
        self._reactor, self.protocol = reactor, protocol
        self.bufferSize = 64 * 1024
        self.received = b""
        """What the peer has taken."""
        self.unsent = b""
        self.stalled = False
        """The peer takes nothing but by ``take``."""
        self.reading = self.connected = True
        self.disconnecting = self.aborted = self.half_closed = self.nodelay = False
        self.producer: Any = None
        self._producer_paused = self._half_closing = self._hung_up = False
        self._inbox = b""
        protocol.makeConnection(self)

    # The peer's hand.

    def deliver(self, data: bytes) -> None:
        """Send ``data``; it is read now, or when reading goes on."""
        self._inbox += data
        self._read()

    def take(self, size: int | None = None) -> None:
        """Take what is unsent, or so many bytes of it."""
        size = len(self.unsent) if size is None else size
        self.received, self.unsent = self.received + self.unsent[:size], self.unsent[size:]
        self._sent()

    def stall(self) -> None:
        """Take nothing from now on."""
        self.stalled = True

    def resume(self) -> None:
        """Take everything again."""
        self.stalled = False
        self.take()

    def hang_up(self) -> None:
        """Close; noticed when it is read, or written to."""
        self._hung_up = True
        self._read()

    def reset(self) -> None:
        """Break the connection, noticed at once."""
        self._lost(Failure(ConnectionLost()))

    @property
    def ended(self) -> str:
        """How it ended for the peer: ``""``, ``closed`` (all was sent) or ``reset``."""
        if self.connected:
            return ""
        return "reset" if self.aborted else "closed"

    # Twisted's side.

    def write(self, data: bytes) -> None:
        """Send, or hold; never after half of it is closed."""
        if not self.connected or self.aborted or self.half_closed:
            return
        self.unsent += data
        if self.producer is not None and len(self.unsent) > self.bufferSize:
            self._producer_paused = True
            self.producer.pauseProducing()
        if not self.stalled and self.unsent:
            self._reactor.callLater(0, self._flush)

    def writeSequence(self, parts: list[bytes]) -> None:
        """Send all of them."""
        self.write(b"".join(parts))

    def pauseProducing(self) -> None:
        """Read no more."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read on, a turn later."""
        if self.connected and not self.disconnecting and not self.reading:
            self.reading = True
            self._reactor.callLater(0, self._read)

    def registerProducer(self, producer: Any, *, streaming: bool) -> None:
        """Have it paused while too much is unsent."""
        assert streaming
        if self.producer is not None:
            raise RuntimeError("a second producer")
        if self.connected:
            self.producer = producer
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        """Let it go; a closing that waited goes on."""
        self.producer = None
        if self.disconnecting or self._half_closing:
            self._reactor.callLater(0, self._sent)

    def loseConnection(self) -> None:
        """Close when all is sent."""
        if self.connected and not self.disconnecting:
            self.disconnecting, self.reading = True, False
            self._reactor.callLater(0, self._sent)

    def loseWriteConnection(self) -> None:
        """Close half when all is sent."""
        self._half_closing = True
        self._reactor.callLater(0, self._sent)

    def abortConnection(self) -> None:
        """Reset."""
        if self.connected and not self.aborted:
            self.aborted, self.reading, self.unsent = True, False, b""
            self._reactor.callLater(0, self._lost, Failure(ConnectionAborted()))

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's form
        """Note it."""
        self.nodelay = enabled

    # Inside.

    def _flush(self) -> None:
        if not self.stalled:
            self.take()

    def _sent(self) -> None:
        if self.unsent or self.aborted or not self.connected:
            return
        if self.producer is not None and self._producer_paused:
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._lost(Failure(ConnectionDone()))
        elif self._half_closing:
            self.half_closed = True

    def _read(self) -> None:
        while self._inbox and self._readable:
            data, self._inbox = self._inbox[: self.bufferSize], self._inbox[self.bufferSize :]
            self.protocol.dataReceived(data)
        if self._hung_up and self._readable:
            self._lost(Failure(ConnectionDone()))

    @property
    def _readable(self) -> bool:
        return self.reading and self.connected and not self.aborted

    def _lost(self, reason: Failure) -> None:
        if self.connected:
            self.connected = self.reading = False
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(reason)
