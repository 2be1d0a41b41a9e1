"""The base of both readers: collects a head, counts or decodes its body, notices data after its end.

A head is collected up to its empty line within a bound, and refused early for faults that no later byte can correct, so
that the result does not depend on how the bytes are cut. Subclasses judge the head. A body of known length is counted,
not read; a chunked one is decoded by ``chunked``. Data after the end is never read as a second message (RFC 9112
section 9.3.2 does not require pipelining). It is noted, since the connection must be closed then.

After an error the reader raises the same error on every call: where the next message begins is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from credgate.errors import ProtocolError
from credgate.http import grammar
from credgate.http.chunked import ChunkedDecoder
from credgate.http.grammar import END, End, RequestHead, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Callable

H = TypeVar("H", bound=RequestHead | ResponseHead)


class MessageReader(ABC, Generic[H]):
    """Turns a connection's bytes into the events of one message: its head, body ``bytes``, ``END``.

    ``max_head`` is the size of a head in bytes, its empty line included; ``extensions`` whether chunks may have them.
    """

    __slots__ = ("_decoder", "_extensions", "_held", "_left", "_max_head", "_read", "excess")

    def __init__(self, max_head: int, *, extensions: bool) -> None:
        self._max_head = max_head
        self._extensions = extensions
        self._held = bytearray()
        self._left = 0
        self._decoder: ChunkedDecoder  # of the body, once that is known to be chunked
        self._read: Callable[[bytes], list[H | bytes | End]] = self._read_head
        self.excess = False
        """Whether data came after the end of the message: the connection must not be reused."""

    @abstractmethod
    def _judge(self, head: bytes) -> H | None:
        """Judge a whole head; None skips it (an interim response). Raises the side's error."""

    @abstractmethod
    def _refuse_faults(self, piece: bytes | bytearray, *, begins: bool = True) -> None:
        """Raise for invalid bytes in a head; a piece that does not ``begin`` one starts with a byte of context."""

    @abstractmethod
    def _too_large(self) -> ProtocolError:
        """Return the error for a head beyond ``max_head``."""

    def receive(self, data: bytes) -> list[H | bytes | End]:
        """Take bytes as they came; return the events that they complete.

        Raises RequestError or ResponseError, depending on the side; every later call raises it again.
        """
        if not data:
            return []
        try:
            return self._read(data)
        except ProtocolError as error:
            self._fail(error)
            raise

    @property
    def whole(self) -> bool:
        """Whether ``END`` was returned."""
        return self._read == self._drop

    @property
    def buffered(self) -> int:
        """Bytes that are kept of an incomplete head."""
        return len(self._held)

    def _fail(self, error: ProtocolError) -> None:
        def again(_data: bytes) -> list[H | bytes | End]:
            raise error.with_traceback(None)

        self._read = again
        self._held.clear()

    # The head.

    def _read_head(self, data: bytes) -> list[H | bytes | End]:
        held = self._held
        known = len(held)
        if known:
            held += data
            end = held.find(grammar.HEAD_END, max(0, known - 3))
        else:
            end = data.find(grammar.HEAD_END)
        if end < 0:
            if not known:
                held += data
            # No later byte can correct a fault in these; all but the last known one were checked before.
            self._refuse_faults(held[max(0, known - 1) : self._max_head], begins=known == 0)
            if len(held) >= self._max_head:
                raise self._too_large()
            return []
        if known:
            data = bytes(held)
            held.clear()
        end += 4
        if end > self._max_head:
            self._refuse_faults(data[: self._max_head])
            raise self._too_large()
        # A slice of all of a bytes object is the object itself: no copy for a message without a body.
        head = self._judge(data[:end])
        rest = data[end:]
        events = [] if head is None else self._begin_body(head)
        if rest:
            events += self._read(rest)
        return events

    # The body.

    def _begin_body(self, head: H) -> list[H | bytes | End]:
        if head.chunked:
            self._decoder = ChunkedDecoder(extensions=self._extensions)
            self._read = self._read_chunked
        elif head.length:
            self._left = head.length
            self._read = self._read_sized
        else:
            self._read = self._drop
            return [head, END]
        return [head]

    def _read_sized(self, data: bytes) -> list[H | bytes | End]:
        size = len(data)
        if size < self._left:
            self._left -= size
            return [data]
        self.excess = size > self._left
        self._read = self._drop
        return [data[: self._left], END]

    def _read_chunked(self, data: bytes) -> list[H | bytes | End]:
        parts, rest = self._decoder.receive(data)
        if rest is None:
            return [*parts]
        self.excess = bool(rest)
        self._read = self._drop
        return [*parts, END]

    def _drop(self, _data: bytes) -> list[H | bytes | End]:
        self.excess = True
        return []
