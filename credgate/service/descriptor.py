"""A base for our own readers that survives events which belonged to another descriptor.

The reactor handles events in batches, by descriptor number. If handling one event closes a descriptor and handling the
next opens a socket, the kernel gives the socket the same number, and the batch's remaining events for the closed one
reach the new reader: a writable event, though it asked for none, or a hang-up, though nobody hung up. A client that
resets its connections can cause this on purpose. So ``doRead`` of a subclass must accept that there is nothing to read,
and must find the end or the error of its descriptor itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@implementer(IReadWriteDescriptor)
class ReadDescriptor(ABC):
    """A descriptor that is only read. ``reactor`` is the one it was added to."""

    reactor: Any

    @abstractmethod
    def fileno(self) -> int:
        """Return the descriptor's number."""

    @abstractmethod
    def logPrefix(self) -> str:
        """Return the name for log lines."""

    @abstractmethod
    def doRead(self) -> None:
        """Read what there is, perhaps nothing; handle the end and errors of the descriptor."""

    @abstractmethod
    def lost(self, reason: Failure) -> None:
        """Stop reading: the reactor stops, or this reader raised."""

    def doWrite(self) -> None:  # noqa: B027 - no subclass writes
        """Ignore it: the event belonged to a descriptor that had this number before."""

    def connectionLost(self, reason: Failure) -> None:
        """Read before trusting a hang-up: the descriptor itself shows whether it is closed.

        The reactor reports the hang-up of a reader as ``ConnectionDone``; its own end comes as ``ConnectionLost``.
        """
        if reason.check(ConnectionDone) is None:
            self.lost(reason)
            return
        self.reactor.addReader(self)  # the reactor has removed it
        self.doRead()
