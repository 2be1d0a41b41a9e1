"""What both halves of the relay share about moving bytes: buffer size, the transport they expect, the valve.

Back-pressure is Twisted's own: a transport that holds more than ``BUFFER_SIZE`` unsent bytes pauses its registered
producer. The producer registered is never the other transport itself but a ``Valve``, because Twisted calls
``stopProducing`` on a producer when its consumer is lost, and a transport would then flush and close politely, which
could make a cut upload look like a finished one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Protocol as Interface

from attrs import define
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER_SIZE = 64 * 1024
"""Bytes read at once, and held unsent before the other side is paused."""


class Transport(Interface):
    """What a relay half asks of its transport (TCP, or TLS over it); see Twisted's ITCPTransport and IConsumer."""

    bufferSize: int  # noqa: N815 - Twisted's name

    # What each does is Twisted's to document.
    def write(self, data: bytes) -> None: ...  # noqa: D102
    def writeSequence(self, data: list[bytes]) -> None: ...  # noqa: D102
    def pauseProducing(self) -> None: ...  # noqa: D102
    def resumeProducing(self) -> None: ...  # noqa: D102
    def registerProducer(self, producer: object, *, streaming: bool) -> None: ...  # noqa: D102
    def unregisterProducer(self) -> None: ...  # noqa: D102
    def loseConnection(self) -> None: ...  # noqa: D102
    def loseWriteConnection(self) -> None: ...  # noqa: D102
    def abortConnection(self) -> None: ...  # noqa: D102
    def setTcpNoDelay(self, enabled: bool) -> None: ...  # noqa: D102, FBT001


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
