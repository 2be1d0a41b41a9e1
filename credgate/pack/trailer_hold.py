"""The last bytes of a push are held back until the verdict: a forge cannot act on a pack without its checksum.

Takes the bytes of the pack as they come and gives them out only as far as the walk has read them for good, which is
never into the checksum. When the walk has found the end, the checksum is held; a verdict for the push gives it out, a
verdict against it (or none) gives nothing, and whoever carries the bytes ends the request to the forge without its
last chunk. A byte behind the checksum refuses the push: ``receive-pack`` would act before it saw it, others might not.
Follows git-over-http section 3.4. Holds no more than what the walk was not asked to read yet; never reads a byte.
"""

from __future__ import annotations

from collections import deque

from credgate.pack.objects import PackError


class TrailerHold:
    """Splits the passing bytes of one pack. Positions count from the pack's first byte."""

    def __init__(self, trailer: int) -> None:
        """``trailer``: bytes of the checksum, 20 or 32."""
        self._trailer = trailer
        self._pieces: deque[bytes] = deque()
        self._start = self._received = 0
        self._end: int | None = None

    @property
    def held(self) -> int:
        """Bytes received and not given out: what back-pressure is about."""
        return self._received - self._start

    @property
    def whole(self) -> bool:
        """The pack's end is known and all of it is here."""
        return self._end == self._received

    def receive(self, data: bytes) -> None:
        """Take the next bytes. Raises :class:`PackError` for a byte behind the checksum."""
        self._received += len(data)
        if data:
            self._pieces.append(data)
        self._check()

    def advance(self, passed: int, *, done: bool) -> list[bytes]:
        """Give out what lies before ``passed``, as the walk tells it; ``done``: there the checksum begins.

        Raises :class:`PackError` for a byte behind the checksum.
        """
        if done:
            self._end = passed + self._trailer
            self._check()
        given = []
        while self._pieces and self._start < passed:
            piece = self._pieces.popleft()
            room = passed - self._start
            if len(piece) > room:
                self._pieces.appendleft(piece[room:])
                piece = piece[:room]
            given.append(piece)
            self._start += len(piece)
        return given

    def release(self) -> bytes:
        """Give out the checksum: the push is allowed. Raises :class:`PackError` when the pack is not whole."""
        if not self.whole or self.held != self._trailer:
            raise PackError("the pack is cut")
        trailer = b"".join(self._pieces)
        self._pieces.clear()
        self._start = self._received
        return trailer

    def _check(self) -> None:
        if self._end is not None and self._received > self._end:
            raise PackError("bytes behind the end of the pack")
