"""A relayed request's body on its way to the forge, from the sandbox's reads to the forge connection's writes.

Holds the sandbox while there is no connection or the forge does not take what came, and lets it be read as soon as the
request is whole: from then on reading only tells when the client leaves. A push's command list is read while it passes;
a gzipped push goes on decoded, and no faster than the forge takes it, for 64 KiB of it may become megabytes.

The end is sent only if the sandbox sent it and the push was one. Leaving sends nothing: what is unfinished stays so.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from credgate.errors import RequestError
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.service.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credgate.git.answer import PushInBody
    from credgate.service.channel import SandboxChannel
    from credgate.service.forge import Asker, ForgeConnection
    from credgate.service.question import Question


class Upload:
    """One body. ``fails`` is told, once, of a push that turns out to be none."""

    def __init__(
        self,
        channel: SandboxChannel,
        question: Question,
        push: PushInBody | None,
        fails: Callable[[RequestError], None],
    ) -> None:
        self._channel, self._question, self._push, self._fails = channel, question, push, fails
        self._recodes = push is not None and push.recodes
        self._inflow: deque[Iterator[bytes]] = deque()
        self._waiting: list[bytes] = []
        self._forge: ForgeConnection | None = None
        self._asked = False
        self.whole = False
        """The sandbox has sent all of it."""
        self.full = False
        """The forge does not take more for now."""

    def hold(self) -> None:
        """Wait for a connection."""
        if not self.whole:
            self._channel.hold()

    def go(self, asker: Asker, forge: ForgeConnection) -> None:
        """Have ``asker`` ask on ``forge``, which is sent what waited and what comes."""
        self._forge, self.full = forge, False
        forge.ask(asker, self._question.method, self._question.lines, Valve(self._fills, self._drains))
        waiting, self._waiting = self._waiting, []
        if waiting:
            forge.send(waiting)
        if self._asked:
            forge.sent()
        elif not self.full:
            self._drains()

    def again(self) -> bool:
        """Have all that was sent wait for another connection; False if it is not here any more."""
        said = self._question.said()
        self._waiting = said or []
        return said is not None

    def body(self, parts: list[bytes]) -> None:
        """Take what came."""
        if self._push is None:
            self._send(parts)
        else:
            self._inflow.extend(map(self._push.receive, parts))
            self._pass_on()

    def end(self) -> None:
        """Take the end."""
        self.whole = True
        self._channel.release()
        if self._push is None:
            self._end()
        else:
            self._pass_on()

    def leave(self) -> None:
        """Send nothing any more."""
        self._forge, self.full = None, False
        self._inflow.clear()

    def read_out(self) -> PushInBody | None:
        """Read what is held back of a push, for the refs in it; None if it is none, or cannot be read so far."""
        try:
            deque(chain.from_iterable(self._inflow), maxlen=0)
        except RequestError:
            self._unreadable()
        return self._push

    def _pass_on(self) -> None:
        try:
            if not self._recodes:
                parts = [part for read in self._inflow for part in read]
                self._inflow.clear()
                self._send(parts)
            while self._inflow and not (self.full or self._waiting):
                part = next(self._inflow[0], None)
                if part is None:
                    self._inflow.popleft()
                else:
                    self._send([part])
            if self.whole and not self._inflow:
                self._end()
        except RequestError as error:
            self._unreadable()
            self._fails(error)

    def _unreadable(self) -> None:
        self._inflow.clear()
        if self._push is not None and not self._push.commands.done:
            self._push = None

    def _send(self, parts: list[bytes]) -> None:
        if self._question.chunked:
            parts = frame(parts)
        self._question.says(parts)
        if self._forge is None:
            self._waiting += parts
        elif parts:
            self._forge.send(parts)

    def _end(self) -> None:
        if self._push is not None:
            self._push.end()
        self._asked, self.full = True, False
        end = [LAST_CHUNK] if self._question.chunked else []
        self._question.says(end)
        if self._forge is None:
            self._waiting += end
        else:
            if end:
                self._forge.send(end)
            self._forge.sent()

    def _fills(self) -> None:
        if not self._asked:
            self.full = True
        if not self.whole:
            self._channel.hold()

    def _drains(self) -> None:
        self.full = False
        if self._inflow:
            self._pass_on()
        if not self.full:
            self._channel.release()
