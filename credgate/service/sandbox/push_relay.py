"""A push's body on its way to the forge: its command list is judged first, its pack is inspected as it passes.

The connection to the forge is opened once the command list is allowed. If a rule needs the pack, the pack is read in a
thread while it is relayed (``inspect.pack_reader``), and its trailer is withheld (``pack.trailer_hold``). At the end
``inspect.push_inspection`` decides: the trailer is sent, or the request is left unfinished, so that no ref moves, and
git is told why. A push is never sent twice. It has the methods of ``body_sender.BodySender``, which sends other bodies.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

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
    from credgate.pack.memory import PushMemory
    from credgate.pack.walk import PackWalk
    from credgate.service.inspect.repository_client import RepositoryClient
    from credgate.service.sandbox.ports import Client
    from credgate.service.upstream.pool import ForgeConnection, ResponseHandler
    from credgate.service.upstream.request import UpstreamRequest


class PushOwner(Protocol):
    """What a push's body does with the exchange that it belongs to."""

    def connect(self) -> None:
        """Connect to the forge."""

    def run_in_turns(self, steps: Iterator[None]) -> None:
        """Run ``steps`` in turns of the reactor."""

    def malformed(self, error: RequestError) -> None:
        """Refuse a body that breaks git's protocol."""

    def refuse_push(self, verdict: PushVerdict) -> None:
        """Refuse the push, ref by ref."""

    def broke(self, failure: Failure) -> None:
        """Cut everything over an internal error."""


class Phase(Enum):
    """The phases of a push."""

    following: tuple[Phase, ...]

    LISTING = auto()
    """Its command list is read and judged; the forge has received nothing."""
    STREAMING = auto()
    """The list is allowed; the pack is relayed as it comes, and read here if a rule needs it."""
    INSPECTING = auto()
    """The body is complete; the trailer waits for the inspection. A push without a pack waits as a whole."""
    RELEASED = auto()
    """The forge has all of it, or will as soon as there is a connection."""
    CLOSED = auto()
    """Refused, cut or answered: nothing more is sent."""


TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    # From LISTING to the end at once: a list without a pack.
    Phase.LISTING: (Phase.STREAMING, Phase.INSPECTING, Phase.RELEASED, Phase.CLOSED),
    Phase.STREAMING: (Phase.INSPECTING, Phase.RELEASED, Phase.CLOSED),
    Phase.INSPECTING: (Phase.RELEASED, Phase.CLOSED),
    Phase.RELEASED: (Phase.CLOSED,),
    Phase.CLOSED: (Phase.CLOSED,),
}
"""The phases that may follow each phase."""
for _phase, _following in TRANSITIONS.items():
    _phase.following = _following  # as in ``relay``


class Relaying(Enum):
    """Whether a part of the body is being relayed, so that none may overtake it."""

    NO = auto()
    NOW = auto()
    IN_TURNS = auto()


class PushRelay:
    """One push's body."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works with
        self,
        client: Client,
        request: UpstreamRequest,
        stream: PushStream,
        repository: RepositoryClient,
        lane: Callable[..., Deferred[Any]],
        owner: PushOwner,
        memory: PushMemory,
    ) -> None:
        self.stream = stream
        self.whole = self.full = False
        self._withheld = True
        """Whether the forge lacks the command list or the trailer."""
        self._phase, self._relaying = Phase.LISTING, Relaying.NO
        self._client, self._request, self._repository, self._lane = client, request, repository, lane
        self._owner, self._memory = owner, memory
        self._inflow: deque[Iterator[bytes]] = deque()
        self._waiting: list[bytes] = []
        self._held = 0
        self._forge: ForgeConnection | None = None
        self._walk: PackWalk | None = None
        self._trailer: TrailerHold | None = None
        self._reader: PackReading | None = None
        self._inspection: Deferred[None] | None = None

    def _enter(self, phase: Phase) -> None:
        assert phase in self._phase.following, (self._phase, phase)
        self._phase = phase

    @property
    def _closed(self) -> bool:
        return self._phase is Phase.CLOSED

    # As of a BodySender.

    @property
    def asked(self) -> bool:
        """Whether the push is complete for the forge: sent, or waiting for a connection."""
        return self._phase is Phase.RELEASED

    def hold(self) -> None:
        """Do nothing: ``_blocked`` bounds what comes while there is no connection."""

    def connected(self, handler: ResponseHandler, forge: ForgeConnection) -> None:
        """Send the request on ``forge``, which is to answer ``handler``: the head and what has waited."""
        self._forge, self.full = forge, False
        # With a rule that needs the pack, the trailer is sent after the inspection: until then no ref can move.
        self._withheld = self._trailer is not None and not self.asked
        forge.ask(handler, self._request.method, self._request.lines, Valve(self._forge_fills, self._forge_drains))
        waiting, self._waiting, self._held = self._waiting, [], 0
        forge.send(waiting)  # at least the command list, which was judged before
        if self.asked:
            forge.sent()
        elif not self.full:
            self._forge_drains()

    def repeat(self) -> bool:
        """Return False: a push is never sent twice."""
        return False

    def body(self, parts: list[bytes]) -> None:
        """Receive body bytes, all that one read brought."""
        self._inflow.extend(map(self.stream.receive, parts))
        self._pass_on()

    def end(self) -> None:
        """Receive the end of the body."""
        self.whole = True
        # From here on reading only notices that the client leaves.
        self._client.release()
        self._pass_on()

    def leave(self) -> None:
        """Stop: send, read and request nothing more."""
        # No last chunk is sent: the forge sees an unfinished request and moves no ref.
        self._enter(Phase.CLOSED)
        self._forge, self.full = None, False
        self._inflow.clear()
        self._waiting, self._held = [], 0
        if self._reader is not None:
            self._reader.abandon()
        # Connection, exchange and this refer to each other: without this, up to 32 MiB of the pack would stay until
        # the garbage collector finds the cycle.
        self._reader = self._walk = self._trailer = None
        self._repository.leave()
        finding, self._inspection = self._inspection, None
        if finding is not None:
            finding.cancel()

    @property
    def refused_push(self) -> RefusedPush | None:
        """The refs that a refusal repeats; None if the command list was not read."""
        return self.stream.refused_push

    @property
    def withheld(self) -> bool:
        """Whether the forge lacks the command list, the pack or its trailer, so that it cannot move a ref."""
        verdict = self.stream.verdict
        packless = verdict is not None and verdict.pack and not self.stream.signed
        return self._withheld or packless

    @property
    def unread(self) -> bool:
        """Whether the push waits for its pack to be read here, not for the sandbox or the forge."""
        return self._inspection is None and self._reader is not None and self._reader.behind

    # On the way.

    def _pass_on(self) -> None:
        """Relay what came: at once, or in turns of the reactor if it may cost more than its bytes."""
        if self._relaying is not Relaying.NO:  # a part is being relayed: nothing may overtake it
            return
        # A compressed body is read in turns from its first byte: a small piece may hold far more than its size.
        if not (self.stream.coded and self._inflow):
            self._relaying = Relaying.NOW
            try:
                more = self._step()
            finally:
                self._relaying = Relaying.NO
            if not more:
                return
        self._relaying = Relaying.IN_TURNS
        if not self.whole:
            self._client.hold()
        self._owner.run_in_turns(self._steps())

    def _steps(self) -> Iterator[None]:
        while self._step():
            yield
        self._relaying = Relaying.NO
        if not (self._closed or self._blocked()):
            self._client.release()

    def _step(self) -> bool:
        """Relay what one turn may; return whether there is more."""
        try:
            return self._pass_parts()
        except RequestError as error:
            self._inflow.clear()
            self._owner.malformed(error)
        except PackError as error:
            self._malformed(error)
        return False

    def _pass_parts(self) -> bool:
        more = False
        plain: list[bytes] = []
        while self._inflow and not (more or self._blocked() or self._closed):
            part = next(self._inflow[0], None)
            if part is None:
                self._inflow.popleft()
                continue
            more = self.stream.coded or self.stream.verdict is None
            if self.stream.verdict is not None and self._judged() and part:
                if self._reader is None and not self.stream.coded:
                    plain.append(part)  # one read is relayed in one piece
                else:
                    self._pack(part)
        if plain and not self._closed:
            self._send(plain)
        if self.whole and not self._inflow and self._phase in (Phase.LISTING, Phase.STREAMING):
            self._end()
        return more and not self._closed

    def _blocked(self) -> bool:
        """Whether enough is held here for now; then the sandbox is not read."""
        digesting = self._reader is not None and self._reader.full
        # One buffer may wait for the connection: the command list must be read before there is one.
        blocked = self.full or digesting or (self._forge is None and self._held > BUFFER_SIZE)
        if blocked and not self.whole:
            self._client.hold()
        return blocked

    def _judged(self) -> bool:
        """Act on the verdict on the command list, once; return whether the push continues."""
        verdict = self.stream.verdict
        assert verdict is not None  # the stream yields nothing before it
        if self.stream.refused:
            self._owner.refuse_push(verdict)
            return False
        # A list without a pack waits for the end of the body: the forge acts on the list at once, and what follows it
        # may still be malformed.
        if self._phase is Phase.LISTING and verdict.pack:
            if not verdict.settled:
                walk = self._walk = walk_for(verdict, self._memory)
                self._trailer = TrailerHold(walk.graph.object_format.size)
                self._reader = PackReading(walk, self._lane, self._advanced, self._inspect, self._unread)
                self._reader.drains = self._pass_on_again
            self._enter(Phase.STREAMING)
            self._start()
        return not self._closed

    def _start(self) -> None:
        """Connect to the forge and send the command list."""
        self._send([self.stream.head])
        self._owner.connect()

    def _pack(self, part: bytes) -> None:
        if self._reader is None or self._trailer is None:
            self._send([part])
            return
        # Sent by ``_advanced`` when the thread has read so far. Without its trailer a pack is worthless to the forge.
        self._trailer.receive(part)
        self._reader.feed(part)

    def _advanced(self) -> None:
        """Send the bytes up to the parsed offset; never the trailer."""
        assert self._walk is not None
        assert self._trailer is not None
        try:
            self._send(self._trailer.advance(self._walk.passed, done=self._walk.done))
        except PackError as error:
            self._malformed(error)

    def _end(self) -> None:
        self.stream.end()
        verdict = self.stream.verdict
        if self._reader is not None:
            self._enter(Phase.INSPECTING)
            self._reader.close()
        elif verdict is not None and not verdict.settled:  # only deletes: no pack, but refs to compare
            self._enter(Phase.INSPECTING)
            self._inspect()
        else:
            if self._phase is Phase.LISTING:
                self._start()
            self._finish()

    def _inspect(self) -> None:
        verdict, rules = self.stream.verdict, self.stream.rules
        assert verdict is not None
        assert rules is not None
        walk = self._walk or walk_for(verdict, self._memory)
        findings = PushInspection(verdict, rules, walk, self._repository, self._lane)
        self._inspection = ensureDeferred(findings.find()).addCallbacks(self._found, self._not_found)
        self._inspection.addErrback(self._owner.broke)

    def _found(self, found: Findings) -> None:
        self._inspection = None
        if self._closed:
            return
        steps = self._settle(found)
        for _ in steps:  # thousands of refs are judged in later turns
            self._owner.run_in_turns(steps)
            return

    def _settle(self, found: Findings) -> Iterator[None]:
        verdict, rules = self.stream.verdict, self.stream.rules
        assert verdict is not None
        assert rules is not None
        settled = yield from settling(verdict, found, rules)
        if self._closed:
            return
        self.stream.verdict = settled
        if self.stream.refused:
            self._owner.refuse_push(self.stream.verdict)
            return
        if self._reader is None:  # deletes: the forge was not asked yet
            self._start()
        if self._trailer is not None:
            self._send([self._trailer.release()])
        self._finish()

    def _not_found(self, failure: Failure) -> None:
        """Cut over an internal error, but not because ``leave`` cancelled the inspection."""
        if not self._closed:
            self._owner.broke(failure)

    def _unread(self, failure: Failure) -> None:
        if failure.check(PackError) is None:
            self._owner.broke(failure)
        else:
            self._malformed(failure.value)

    def _malformed(self, error: object) -> None:
        self._inflow.clear()
        self._owner.malformed(RequestError(f"push refused: {error}", reason=Reason.MALFORMED_PUSH))

    def _send(self, parts: list[bytes]) -> None:
        framed = frame(parts)
        if self._forge is None:
            self._waiting += framed
            self._held += sum(map(len, framed))
        elif framed:
            self._forge.send(framed)

    def _finish(self) -> None:
        # The last chunk completes the request for the forge: only now can a ref move.
        self._enter(Phase.RELEASED)
        self.full = False
        self._withheld = self._forge is None
        if self._forge is None:
            self._waiting.append(LAST_CHUNK)
        else:
            self._forge.send([LAST_CHUNK])
            self._forge.sent()

    def _forge_fills(self) -> None:
        if not self.asked:
            self.full = True
        if not self.whole:
            self._client.hold()

    def _forge_drains(self) -> None:
        self.full = False
        self._pass_on_again()

    def _pass_on_again(self) -> None:
        self._pass_on()
        if not (self._closed or self._relaying is Relaying.IN_TURNS or self._blocked()):
            self._client.release()
