"""A relayed request's body on its way to the forge, from the sandbox's reads to the forge connection's writes.

Holds the sandbox while there is no connection or the forge does not take what came, and lets it be read as soon as the
request is whole: from then on reading only tells when the client leaves. A fetch is looked at while it passes
(``git.passage``); pushes go by ``push``, which has the same face.

The end is sent only if the sandbox sent it. Leaving sends nothing: what is unfinished stays so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.errors import RequestError
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.service.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.git.passage import FetchPassage
    from credgate.service.channel import SandboxChannel
    from credgate.service.forge import Asker, ForgeConnection
    from credgate.service.question import Question
    from credgate.values import Decision


class Upload:
    """One body. ``fails`` is told of a fetch that is none, ``refuses`` of one that asks what is not allowed."""

    def __init__(
        self,
        channel: SandboxChannel,
        question: Question,
        fetch: FetchPassage | None,
        fails: Callable[[RequestError], None],
        refuses: Callable[[Decision], None],
    ) -> None:
        self._channel, self._question, self._fetch = channel, question, fetch
        self._fails, self._refuses = fails, refuses
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

    def go(self, asker: Asker, forge: ForgeConnection) -> None:
        """Have ``asker`` ask on ``forge``, which is sent what waited and what comes."""
        self._forge, self.full = forge, False
        forge.ask(asker, self._question.method, self._question.lines, Valve(self._fills, self._drains))
        waiting, self._waiting = self._waiting, []
        if waiting:
            forge.send(waiting)
        if self.asked:
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
        if self._look(parts):
            self._send(parts)

    def end(self) -> None:
        """Take the end."""
        self.whole = True
        self._channel.release()
        try:
            if self._fetch is not None:
                self._fetch.end()
        except RequestError as error:
            self._fails(error)
        else:
            self._end()

    def leave(self) -> None:
        """Send nothing any more."""
        self._forge, self.full = None, False

    def read_out(self) -> None:
        """Name no refs: a fetch moves none."""

    def _look(self, parts: list[bytes]) -> bool:
        """Whether these bytes of a fetch may go on; if not, it was told."""
        try:
            for part in parts:
                refused = None if self._fetch is None else self._fetch.receive(part)
                if refused is not None:
                    self._refuses(refused)
                    return False
        except RequestError as error:
            self._fails(error)
            return False
        return True

    def _send(self, parts: list[bytes]) -> None:
        if self._question.chunked:
            parts = frame(parts)
        self._question.says(parts)
        if self._forge is None:
            self._waiting += parts
        elif parts:
            self._forge.send(parts)

    def _end(self) -> None:
        self.asked, self.full = True, False
        end = [LAST_CHUNK] if self._question.chunked else []
        self._question.says(end)
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
        self._channel.release()
