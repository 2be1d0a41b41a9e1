"""What both readers do alike: collect a head whole, count or decode its body, notice what comes behind.

A head is collected up to its empty line within a bound and refused early for what no later byte can mend, so that fed
whole or byte by byte the same bytes end in the same way. The judging is the subclass's. A body of known length is
counted, never looked at; a chunked one goes through ``chunked``. Bytes behind the end are never read as a second
message (RFC 9112 section 9.3.2 lets a server do without pipelining): they are noted, for the connection cannot be kept.

After an error the reader raises the same error for ever: where the next message begins is unknown.
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
        """Whether bytes arrived behind the message's end: the connection must not be kept."""

    @abstractmethod
    def _judge(self, head: bytes) -> H | None:
        """Judge a whole head; None skips it (an interim response). Raises the side's error."""

    @abstractmethod
    def _refuse_faults(self, piece: bytes | bytearray, *, begins: bool = True) -> None:
        """Raise for bytes that no head may hold; a piece that does not ``begin`` one starts with a byte of context."""

    @abstractmethod
    def _too_large(self) -> ProtocolError:
        """Return the error for a head beyond ``max_head``."""

    def receive(self, data: bytes) -> list[H | bytes | End]:
        """Take bytes as they came; return what they complete.

        Raises RequestError or ResponseError, by whose message it is; every later call raises it again.
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
            self._refuse_early(known)
            return []
        if known:
            data = bytes(held)
            held.clear()
        return self._split(data, end + 4)

    def _refuse_early(self, known: int) -> None:
        """Refuse an unfinished head for what no byte can mend; the first ``known`` bytes were looked at before."""
        held = self._held
        self._refuse_faults(held[max(0, known - 1) : self._max_head], begins=known == 0)
        if len(held) >= self._max_head:
            raise self._too_large()

    def _split(self, data: bytes, end: int) -> list[H | bytes | End]:
        """Judge ``data[:end]``, and read on behind it."""
        if end > self._max_head:
            self._refuse_faults(data[: self._max_head])
            raise self._too_large()
        # The whole of a bytes object is itself: no copy for a message that is all head.
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
