"""A push's body on its way to the forge: judged before a byte of it goes, walked while it goes if a rule asks for that.

The connection to the forge is opened once the command list is allowed. If a rule must know more, the pack is read in a
thread as it passes (``digest``, ``pack.walk``), its checksum is held back (``pack.trailer_hold``), and at its end it is
found out what must be known (``findings``): only then are the last bytes sent, or the request is left unfinished, so
that no ref moves, and git is told why. It has the face of ``upload.Upload``, which carries everything else.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import ensureDeferred

from credgate.errors import RequestError
from credgate.git.push_verdict import PushVerdict, settling
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.pack.objects import PackError
from credgate.pack.trailer_hold import TrailerHold
from credgate.service.inspect.pack_reader import PackReading
from credgate.service.inspect.push_inspection import PushInspection, walk_for
from credgate.service.upstream.flow import BUFFER_SIZE, Valve
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from credgate.git.push_stream import PushStream, RefusedPush
    from credgate.git.push_verdict import Findings
    from credgate.pack.walk import PackWalk
    from credgate.service.inspect.repository_client import RepositoryClient
    from credgate.service.sandbox.connection import SandboxConnection
    from credgate.service.upstream.pool import ForgeConnection, ResponseHandler
    from credgate.service.upstream.request import UpstreamRequest


class PushRelay:
    """One push's body. ``begins`` opens the forge; ``fails`` is told of what is no push, ``refuses`` of a verdict."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        channel: SandboxConnection,
        question: UpstreamRequest,
        passage: PushStream,
        inquiry: RepositoryClient,
        in_thread: Callable[..., Deferred[Any]],
        *,
        in_turns: Callable[[Iterator[None]], None],
        begins: Callable[[], None],
        fails: Callable[[RequestError], None],
        refuses: Callable[[PushVerdict], None],
        broke: Callable[[Failure], None],
    ) -> None:
        self.passage = passage
        self.whole = self.full = False
        self._channel, self._question, self._inquiry, self._in_thread = channel, question, inquiry, in_thread
        self._in_turns = in_turns
        self._begins, self._fails, self._refuses, self._broke = begins, fails, refuses, broke
        self._inflow: deque[Iterator[bytes]] = deque()
        self._waiting: list[bytes] = []
        self._held = 0
        self._forge: ForgeConnection | None = None
        self._begun = self.asked = self._ended = self._left = self._passing = self._went = self._turning = False
        self._inspects = False
        self._walk: PackWalk | None = None
        self._holdback: TrailerHold | None = None
        self._digest: PackReading | None = None
        self._finding: Deferred[None] | None = None

    # The face of an upload.

    def hold(self) -> None:
        """Wait for a connection: what comes meanwhile is bounded by ``_pass_on``."""

    def go(self, asker: ResponseHandler, forge: ForgeConnection) -> None:
        """Have ``asker`` ask on ``forge``, which is sent what waited and what comes."""
        self._forge, self.full, self._went = forge, False, True
        forge.ask(asker, self._question.method, self._question.lines, Valve(self._fills, self._drains))
        waiting, self._waiting, self._held = self._waiting, [], 0
        forge.send(waiting)  # the list, at least: nobody connects before it was judged
        if self.asked:
            forge.sent()
        elif not self.full:
            self._drains()

    def again(self) -> bool:
        """Say no: a push is never sent twice."""
        return False

    def body(self, parts: list[bytes]) -> None:
        """Take what came."""
        self._inflow.extend(map(self.passage.receive, parts))
        self._pass_on()

    def end(self) -> None:
        """Take the end."""
        self.whole = True
        self._channel.release()
        self._pass_on()

    def leave(self) -> None:
        """Send nothing any more, read nothing any more, ask nothing any more."""
        self._left, self._forge, self.full = True, None, False
        self._inflow.clear()
        self._waiting, self._held = [], 0
        if self._digest is not None:
            self._digest.abandon()
        # Connection, exchange and upload refer to each other: what was read of the pack, up to 32 MiB, goes now and
        # not when the collector of cycles runs.
        self._digest = self._walk = self._holdback = None
        self._inquiry.leave()
        finding, self._finding = self._finding, None
        if finding is not None:
            finding.cancel()

    def read_out(self) -> RefusedPush | None:
        """Name its refs; None if its list was not read."""
        return self.passage.refused_push

    @property
    def withheld(self) -> bool:
        """Whether the forge cannot act on it: it lacks the list, the pack, or the pack's checksum."""
        verdict = self.passage.verdict
        packless = verdict is not None and verdict.pack and not self.passage.signed
        return not self._went or packless or (self._inspects and not self.asked)

    @property
    def unread(self) -> bool:
        """Whether what came is held up here, by the reading of it and nobody else."""
        return self._finding is None and self._digest is not None and self._digest.behind

    # On the way.

    def _pass_on(self) -> None:
        """Pass on what came: at once, or if it may cost more than its bytes, in turns of the reactor."""
        if self._passing or self._turning:  # a part is on its way: what comes of it must not overtake it
            return
        if (self.passage.coded and self._inflow) or self._step():
            self._turning = True
            if not self.whole:
                self._channel.hold()
            self._in_turns(self._steps())

    def _steps(self) -> Iterator[None]:
        while self._step():
            yield
        self._turning = False
        if not (self._left or self._blocked()):
            self._channel.release()

    def _step(self) -> bool:
        """Pass on what one turn may; whether there is more."""
        self._passing = True
        try:
            return self._pass_parts()
        except RequestError as error:
            self._inflow.clear()
            self._fails(error)
        except PackError as error:
            self._malformed(error)
        finally:
            self._passing = False
        return False

    def _pass_parts(self) -> bool:
        more = False
        plain: list[bytes] = []
        while self._inflow and not (more or self._blocked() or self._left):
            part = next(self._inflow[0], None)
            if part is None:
                self._inflow.popleft()
                continue
            more = self.passage.coded or self.passage.verdict is None
            if self.passage.verdict is not None and self._judged() and part:
                if self._digest is None and not self.passage.coded:
                    plain.append(part)  # what one read held goes on in one piece
                else:
                    self._pack(part)
        if plain and not self._left:
            self._send(plain)
        if self.whole and not (self._inflow or self._ended or self._left):
            self._end()
        return more and not self._left

    def _blocked(self) -> bool:
        """Whether what is held here is enough for now; the sandbox is held, too, then."""
        digesting = self._digest is not None and self._digest.full
        blocked = self.full or digesting or (self._forge is None and self._held > BUFFER_SIZE)
        if blocked and not self.whole:
            self._channel.hold()
        return blocked

    def _judged(self) -> bool:
        """Act on the verdict, once; whether the push goes on."""
        verdict = self.passage.verdict
        assert verdict is not None  # nothing comes out of the passage before
        if self.passage.refused:
            self._refuses(verdict)
            return False
        # A list without a pack waits for the end of the body: the forge acts on it at once, and data may follow it.
        if not self._begun and verdict.pack:
            if not verdict.settled:
                self._inspect(verdict)
            self._begin()
        return not self._left

    def _begin(self) -> None:
        """Ask the forge."""
        self._begun = True
        self._send([self.passage.head])
        self._begins()

    def _inspect(self, verdict: PushVerdict) -> None:
        walk = self._walk = walk_for(verdict)
        self._inspects = True
        self._holdback = TrailerHold(walk.graph.object_format.size)
        self._digest = PackReading(walk, self._in_thread, self._advanced, self._find, self._unread)
        self._digest.drains = self._pass_on_again

    def _pack(self, part: bytes) -> None:
        if self._digest is None or self._holdback is None:
            self._send([part])
            return
        self._holdback.receive(part)
        self._digest.feed(part)

    def _advanced(self) -> None:
        """Send on what the walk has read for good."""
        assert self._walk is not None
        assert self._holdback is not None
        try:
            self._send(self._holdback.advance(self._walk.passed, done=self._walk.done))
        except PackError as error:
            self._malformed(error)

    def _end(self) -> None:
        self._ended = True
        self.passage.end()
        verdict = self.passage.verdict
        if self._digest is not None:
            self._digest.close()
        elif verdict is not None and not verdict.settled:  # deletes only: nothing to walk, but refs to compare
            self._find()
        else:
            if not self._begun:
                self._begin()
            self._finish()

    def _find(self) -> None:
        verdict, rules = self.passage.verdict, self.passage.rules
        assert verdict is not None
        assert rules is not None
        walk = self._walk or walk_for(verdict)
        findings = PushInspection(verdict, rules, walk, self._inquiry, self._in_thread)
        self._finding = ensureDeferred(findings.find()).addCallbacks(self._found, self._not_found)
        self._finding.addErrback(self._broke)

    def _found(self, found: Findings) -> None:
        self._finding = None
        if self._left:
            return
        steps = self._settle(found)
        for _ in steps:  # a list may have thousands of refs: the rest in later turns
            self._in_turns(steps)
            return

    def _settle(self, found: Findings) -> Iterator[None]:
        verdict, rules = self.passage.verdict, self.passage.rules
        assert verdict is not None
        assert rules is not None
        settled = yield from settling(verdict, found, rules)
        if self._left:
            return
        self.passage.verdict = settled
        if self.passage.refused:
            self._refuses(self.passage.verdict)
            return
        if not self._begun:
            self._begin()
        if self._holdback is not None:
            self._send([self._holdback.release()])
        self._finish()

    def _not_found(self, failure: Failure) -> None:
        """Cut it, unless it was us who cancelled the looking."""
        if not self._left:
            self._broke(failure)

    def _unread(self, failure: Failure) -> None:
        if failure.check(PackError) is None:
            self._broke(failure)
        else:
            self._malformed(failure.value)

    def _malformed(self, error: object) -> None:
        self._inflow.clear()
        self._fails(RequestError(f"push refused: {error}", reason=Reason.MALFORMED_PUSH))

    def _send(self, parts: list[bytes]) -> None:
        framed = frame(parts)
        if self._forge is None:
            self._waiting += framed
            self._held += sum(map(len, framed))
        elif framed:
            self._forge.send(framed)

    def _finish(self) -> None:
        self.asked, self.full = True, False
        if self._forge is None:
            self._waiting.append(LAST_CHUNK)
        else:
            self._forge.send([LAST_CHUNK])
            self._forge.sent()

    def _fills(self) -> None:
        if not self.asked:
            self.full = True
        if not self.whole:
            self._channel.hold()

    def _drains(self) -> None:
        self.full = False
        self._pass_on_again()

    def _pass_on_again(self) -> None:
        self._pass_on()
        if not (self._left or self._turning or self._blocked()):
            self._channel.release()
