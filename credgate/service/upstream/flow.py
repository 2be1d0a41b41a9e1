"""Flow control for relayed bytes: buffer sizes, sending, back-pressure.

WHY THIS FILE EXISTS, and why it reads three private fields of Twisted's TCP transport: ``transport.write`` copies its
bytes, waits for the next turn of the reactor and registers the socket for writing. For a relay, that is most of the
cost of a byte (docs/benchmarks.md). ``send`` gives the bytes to the kernel at once while the transport holds nothing
back. That is correct only if the transport is open and its own buffers are empty, and Twisted has no public name for
that. tests/service/upstream/test_flow.py fails if an upgrade of Twisted renames one of the fields.

Back-pressure is Twisted's: a transport that holds more than ``BUFFER_SIZE`` unsent bytes pauses its registered
producer. That producer is a ``Valve``, never the other transport: Twisted calls ``stopProducing`` on a producer whose
consumer is lost, upon which a transport flushes and closes in order, so a cut upload could look like a complete one.

Reads become larger while the other side keeps up (``grow``) and smaller again as soon as it does not (``shrink``), so
that a client that stalls holds no more memory than one that never read anything.
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
"""Bytes read at once while they are costly to parse: chunks of one byte, gzip. One turn of the reactor reads from every
connection, so a client waits for this many bytes from each connection that an attacker has."""
GROWN_SIZE = 128 * 1024
"""Bytes read at once while the other side keeps up; more does not fit into the processor's cache."""
MAX_PIECES = 64
"""Pieces passed to the kernel in one call; POSIX guarantees 16, Linux accepts 1024."""


class Transport(Interface):
    """The methods of a transport (TCP, or TLS over it) that are used here: Twisted's ITCPTransport and IConsumer."""

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
    """The producer registered at a transport; ``close`` and ``open`` pause and resume the sender."""

    close: Callable[[], None]
    open: Callable[[], None]

    def pauseProducing(self) -> None:
        self.close()

    def resumeProducing(self) -> None:
        self.open()

    def stopProducing(self) -> None:
        """Do nothing: the ``connectionLost`` of the consumer reports its end."""


def send(transport: Transport, parts: list[bytes]) -> None:
    """Write ``parts``: immediately as far as the kernel accepts them, the rest by the transport.

    For a transport that is not TCP, or holds bytes back, this is ``writeSequence``.
    """
    if not _idle(transport):
        transport.writeSequence(parts)
        return
    # sendmsg fails with EMSGSIZE for more pieces than IOV_MAX.
    if len(parts) > MAX_PIECES:
        parts = [b"".join(parts)]
    try:
        taken = transport.getHandle().sendmsg(parts)
    except OSError:
        taken = 0  # the transport meets the same error below, and reports it in ``connectionLost``
    if taken < sum(map(len, parts)):
        # The transport keeps the rest, and pauses the producer if it is too much.
        transport.write(b"".join(parts)[taken:])


def _idle(transport: Transport) -> bool:
    """Whether the transport is TCP, open, and has no unsent bytes."""
    return (
        isinstance(transport, Connection)
        and bool(transport.connected)
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataLen  # noqa: SLF001 - no public name; see the module's docstring
        and not transport._writeDisconnected  # noqa: SLF001 - the same
        and not transport._writeDisconnecting  # noqa: SLF001 - the same
    )


def grow(transport: Transport, size: int) -> None:
    """Read larger pieces from ``transport`` if the last one, of ``size`` bytes, filled the buffer."""
    if size >= transport.bufferSize:
        transport.bufferSize = GROWN_SIZE


def shrink(transport: Transport) -> None:
    """Read pieces of the ordinary size: the receiver does not keep up."""
    transport.bufferSize = min(transport.bufferSize, BUFFER_SIZE)


def pace(transport: Transport, size: int, body: int) -> None:
    """Read larger pieces if the last one, of ``size`` bytes, was mostly body; small ones if it was mostly framing."""
    # Less than three quarters body: chunks so small that parsing them costs more than moving the bytes.
    if 4 * body < 3 * size:
        transport.bufferSize = CAREFUL_SIZE
    else:
        grow(transport, size)
