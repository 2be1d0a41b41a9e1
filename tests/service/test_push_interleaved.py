"""A push under any order of events: its end waits for its verdict.

The forge has the pack's checksum, a list of deletes or the end of the request only if the verdict allowed the push and
the client sent all of it; what either side holds is the beginning of the truth; nothing is left.
"""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.sessions.model import PushRule
from tests.fakes import packs
from tests.fakes.pushes import (
    BROKEN,
    MIDDLE,
    MIDDLE_BODY,
    OK,
    OLD,
    ON_MIDDLE,
    ON_NOTHING,
    ON_OLD,
    REF,
    TRAILER,
    TREE,
    ZERO,
    arrived,
    capable,
    granted,
    history,
    listed,
    named,
    push,
    pushed,
    sent,
    threaded,
)
from tests.fakes.relay import House, answer, answers_in, only, requests_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.wire import Wire

# Any order of events.


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut ``data`` into a few pieces, some near its end."""
    near = st.integers(max(0, len(data) - 60), len(data))
    places = sorted(draw(st.lists(st.integers(0, len(data)) | near, max_size=5)))
    return [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)])]


BODIES = {
    "forward": (push(ON_OLD), True),
    "large": (push(ON_OLD, noise=300), True),
    "asked": (push(ON_MIDDLE), True),
    "asked large": (push(ON_MIDDLE, noise=300), True),
    "forced": (push(ON_NOTHING), False),
    "forced large": (push(ON_NOTHING, noise=300), False),
    "excess": (push(ON_OLD) + b"x", False),
    "broken": (push(ON_OLD)[:-1] + b"\xff", False),
    "delete": (listed(ZERO, OLD), True),
}
OPS = [
    "client sends", "client sends", "client sends", "thread", "thread", "thread", "forge answers", "forge answers",
    "turn", "turn", "turn", "forge stalls", "forge resumes", "client stalls", "client resumes", "second", "let in",
    "forge lies", "forge reports early", "forge breaks", "client leaves", "client breaks", "revoked", "refused",
]  # fmt: skip


class Play:
    """One example: a push, and hands on everything around it."""

    def __init__(self, kind: str, *, is_open: bool, coding: bool) -> None:
        self.kind = kind
        self.body, self.good = BODIES[kind]
        may = frozenset({"create", "update", "delete"})
        self.house = granted(House(), push=(PushRule("refs/heads/*", may),), require_old_oid=kind == "delete")
        self.house.forge.open = is_open
        self.threads = threaded(self.house)
        self.client = self.house.client()
        whole = sent(gzip.compress(self.body, 0), b"Content-Encoding: gzip") if coding else sent(self.body)
        self.whole, self.pieces = whole, [whole]
        self.sent = 0
        self.lied = False
        self.told = False
        self.judged: dict[int, int] = {}
        self.reported: list[bytes] = []
        self.answers: dict[int, int] = {}

    def do(self, op: str) -> None:
        """Do one thing."""
        house, forge = self.house, self.house.forge
        wire = next((one for one in forge.wires[::-1] if one.connected and one.protocol.asker is not None), None)
        todo: dict[str, Callable[[], object]] = {
            "turn": lambda: house.reactor.advance(0),
            "second": lambda: house.wait(1),
            "thread": self.threads.run,
            "revoked": lambda: house.sessions.revoke(house.session),
        }
        if op == "client sends" and self.pieces and self.client.connected:
            piece = self.pieces.pop(0)
            self.sent += len(piece)
            self.client.deliver(piece)
        elif op in ("let in", "refused") and forge.coming:
            _ = forge.let_in() if op == "let in" else forge.refuse(Refused())
        elif op.startswith("client ") and self.client.connected:
            self._hand(self.client, op)
        elif op.startswith("forge ") and wire is not None:
            self._forge(wire, op)
        elif op in todo:
            todo[op]()
        self.judge()

    def _hand(self, wire: Wire, op: str) -> None:
        hand = {"stalls": wire.stall, "resumes": wire.resume, "leaves": wire.hang_up, "breaks": wire.reset}
        hand.get(op.split(" ")[1], lambda: None)()

    def _forge(self, wire: Wire, op: str) -> None:
        asked = requests_in(wire.received)
        if op in ("forge stalls", "forge resumes", "forge breaks"):
            self._hand(wire, op)
        elif asked and wire in pushed(self.house):
            if wire not in self.reported and (asked[-1].whole or op == "forge reports early"):
                self.reported.append(wire)  # type: ignore[arg-type]
                wire.deliver(answer(OK if asked[-1].whole else BROKEN, kind=b"receive-pack-result"))
        elif asked and asked[-1].whole and self.answers.get(id(wire)) != len(asked) and op != "forge reports early":
            self.answers[id(wire)] = len(asked)  # one answer a question: a connection may carry several
            lies = op == "forge lies"
            self.lied |= lies
            wire.deliver(self._answer(asked[-1].start, asked[-1].body, lies=lies))

    def _answer(self, start: Any, body: bytes, *, lies: bool) -> bytes:
        if start.method == b"GET":
            return answer(status=b"404 No") if lies else capable()
        if b"ls-refs" in body:
            self.told = True
            return named(main=MIDDLE) if lies else named(main=OLD)
        return history(packs.commit(TREE, text=b"aside")) if lies else history(MIDDLE_BODY)

    def judge(self) -> None:
        """Check the one thing that counts, and that both sides hold beginnings of the truth."""
        for wire in pushed(self.house):
            if self.judged.get(id(wire)) == len(wire.received):
                continue
            self.judged[id(wire)] = len(wire.received)
            (one,) = requests_in(wire.received)
            assert self.body.startswith(one.body)
            checksum = self.kind != "delete" and len(one.body) > len(self.body) - TRAILER - (self.kind == "excess")
            deletes = self.kind == "delete" and bool(one.body)
            if checksum or deletes or one.whole:
                assert self.good
                assert self.told or not deletes
                assert not self.lied
                assert self.sent == len(self.whole)
        for one in answers_in(self.client.received, b"POST"):
            assert not one.whole or b"credgate: " in one.body or one.body in (OK, BROKEN)
            if one.whole and one.body == OK:
                assert requests_in(pushed(self.house)[0].received)[0].whole

    def go_on(self) -> None:
        """Let everybody do what is theirs to do."""
        for wire in [self.client, *self.house.forge.wires]:
            wire.resume()
        for _ in range(100):
            for op in ("client sends", "thread", "let in", "forge answers", "turn"):
                self.do(op)

    def end(self) -> None:
        """Let everything go on as far as it does; then the client leaves, and nothing is left."""
        house = self.house
        for wire in [self.client, *house.forge.wires]:
            wire.resume()
        for _ in range(10):
            self.threads.run_all()
            house.settle()
            self.judge()
        if self.client.connected:
            self.client.reset()
        for _ in range(3):
            house.settle()
            self.threads.run_all()
        self.judge()
        house.nothing_left()
        head = self.whole.index(b"\r\n\r\n") + 4
        assert len(house.audit.events) == int(self.sent - len(self.client._inbox) >= head)


@given(data=st.data(), kind=st.sampled_from(sorted(BODIES)), is_open=st.booleans(), coding=st.booleans())
def test_end_of_a_push_waits_for_its_verdict_in_any_order_of_events(
    data: st.DataObject, kind: str, *, is_open: bool, coding: bool
) -> None:
    """The invariant of this module's head."""
    play = Play(kind, is_open=is_open, coding=coding)
    play.pieces = data.draw(cuts(play.whole))
    for op in data.draw(st.lists(st.sampled_from(OPS), max_size=40)):
        play.do(op)
    if data.draw(st.booleans()):
        play.go_on()
    play.end()


@given(data=st.data(), kind=st.sampled_from(sorted(BODIES)), coding=st.booleans())
def test_every_push_gets_its_verdict_without_failures(data: st.DataObject, kind: str, *, coding: bool) -> None:
    """The positive control: a good one arrives whole and is reported on, a bad one is refused ref by ref."""
    play = Play(kind, is_open=data.draw(st.booleans()), coding=coding)
    play.pieces = data.draw(cuts(play.whole))
    turns = ["client sends", "thread", "turn", "let in", "forge answers"]
    orders = [data.draw(st.permutations(turns)) for _ in range(3)]
    for order in [*orders, *[turns] * 300]:
        if play.client.received:
            break
        for op in order:
            play.do(op)
    play.house.settle()
    said = only(play.client, b"POST")
    assert said.whole
    if play.good:
        assert said.body == OK
        assert play.house.reasons == ["allowed"]
        assert (arrived(play.house).body, arrived(play.house).whole) == (play.body, True)
    else:
        assert b"ng " + REF + b" credgate: " in said.body
    play.end()
