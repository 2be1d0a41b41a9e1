"""A relayed request's body on its way to the forge, from the sandbox's reads to the forge connection's writes.

Holds the sandbox while there is no connection or the forge does not take what came, and lets it be read as soon as the
request is whole: from then on reading only tells when the client leaves. A fetch is looked at while it passes
(``git.push_stream``); pushes go by ``push``, which has the same face.

The end is sent only if the sandbox sent it. Leaving sends nothing: what is unfinished stays so.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from credgate.errors import RequestError
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.service.upstream.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credgate.git.push_stream import FetchStream
    from credgate.service.sandbox.connection import SandboxConnection
    from credgate.service.upstream.pool import ForgeConnection, ResponseHandler
    from credgate.service.upstream.request import UpstreamRequest
    from credgate.values import Decision


class BodySender:
    """One body. ``fails`` is called for a malformed fetch, ``refuses`` for one that asks what is not allowed.

    A compressed fetch is looked at in turns of the reactor (``in_turns``), and the sandbox is held meanwhile.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        channel: SandboxConnection,
        question: UpstreamRequest,
        fetch: FetchStream | None,
        fails: Callable[[RequestError], None],
        refuses: Callable[[Decision], None],
        *,
        in_turns: Callable[[Iterator[None]], None],
    ) -> None:
        self._channel, self._question, self._fetch = channel, question, fetch
        self._in_turns, self._fails, self._refuses = in_turns, fails, refuses
        self._inflow: deque[tuple[bytes, Iterator[Decision | None]]] = deque()
        self._reading = self._left = False
        self._waiting: list[bytes] = []
        self._forge: ForgeConnection | None = None
        self.asked = False
        """The forge was sent all of it, or will be as soon as there is a connection."""
        self.whole = False
        """The sandbox has sent all of it."""
        self.full = False
        """The forge does not take more for now."""

    def hold(self) -> None:
        """Wait for a connection."""
        if not self.whole:
            self._channel.hold()

    def go(self, asker: ResponseHandler, forge: ForgeConnection) -> None:
        """Have ``asker`` ask on ``forge``, which is sent what waited and what comes."""
        self._forge, self.full, self._left = forge, False, False
        forge.ask(asker, self._question.method, self._question.lines, Valve(self._fills, self._drains))
        waiting, self._waiting = self._waiting, []
        if waiting:
            forge.send(waiting)
        if self.asked:
            forge.sent()
        elif not self.full:
            self._drains()
        if self._inflow and not self._reading:
            self._read_in_turns()

    def again(self) -> bool:
        """Have all that was sent wait for another connection; False if it is not here any more."""
        said = self._question.replay_body()
        self._waiting = said or []
        return said is not None

    def body(self, parts: list[bytes]) -> None:
        """Take what came."""
        if self._fetch is not None and self._fetch.coded:
            self._inflow.extend((part, self._fetch.receive(part)) for part in parts)
            if not (self._reading or self._left):
                self._read_in_turns()
        elif self._look(parts):
            self._send(parts)

    def end(self) -> None:
        """Take the end."""
        self.whole = True
        self._channel.release()
        if not (self._reading or self._inflow):
            self._end_read()

    def _end_read(self) -> None:
        """Take the end, after all before it was looked at."""
        try:
            if self._fetch is not None:
                self._fetch.end()
        except RequestError as error:
            self._fails(error)
        else:
            self._end()

    def leave(self) -> None:
        """Send nothing any more."""
        self._forge, self.full, self._left = None, False, True

    def read_out(self) -> None:
        """Name no refs: a fetch moves none."""

    def _look(self, parts: list[bytes]) -> bool:
        """Whether these bytes of a fetch may go on; if not, it was told."""
        return self._fetch is None or all(self._looked(self._fetch.receive(part)) is not None for part in parts)

    def _looked(self, pieces: Iterator[Decision | None], most: int = 0) -> bool | None:
        """Look at ``most`` pieces, or at all: whether more may follow. None if they may not go on; then it was told."""
        try:
            for count, refused in enumerate(pieces, 1):
                if refused is not None:
                    self._refuses(refused)
                    return None
                if count == most:
                    return True
        except RequestError as error:
            self._fails(error)
            return None
        return False

    def _read_in_turns(self) -> None:
        self._reading = True
        if not self.whole:
            self._channel.hold()
        self._in_turns(self._read())

    def _read(self) -> Iterator[None]:
        """Look at what came, a piece at a time; what was left for another connection goes on with it."""
        while self._inflow and not self._left:
            part, pieces = self._inflow[0]
            more = self._looked(pieces, 1)
            if more is None:
                self._inflow.clear()
                self._left = True
                break
            if not more:
                self._inflow.popleft()
                self._send([part])
            yield
        self._reading = False
        if self._left:
            return
        if self.whole:
            self._end_read()
        elif self._forge is not None and not self.full:
            self._channel.release()

    def _send(self, parts: list[bytes]) -> None:
        if self._question.chunked:
            parts = frame(parts)
        self._question.record_sent(parts)
        if self._forge is None:
            self._waiting += parts
        elif parts:
            self._forge.send(parts)

    def _end(self) -> None:
        self.asked, self.full = True, False
        end = [LAST_CHUNK] if self._question.chunked else []
        self._question.record_sent(end)
        if self._forge is None:
            self._waiting += end
        else:
            if end:
                self._forge.send(end)
            self._forge.sent()

    def _fills(self) -> None:
        if not self.asked:
            self.full = True
        if not self.whole:
            self._channel.hold()

    def _drains(self) -> None:
        self.full = False
        if not self._reading:
            self._channel.release()
