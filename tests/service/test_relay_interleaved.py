"""The relay under any order of events: what either side believes at the end is true, and nothing is left.

One request of a random kind, cut into random pieces, meets an answer of a random kind, cut too; between the pieces
either side stalls, takes a little, hangs up or breaks, time passes, the session is revoked. Read by h11, at the end:

* the forge received a prefix of what was asked, and a whole request only if the client's was;
* the client received a prefix of what was answered, and a whole answer only if the forge's was, or one of our own;
* no exchange is registered, no connection open without an owner, and each request head has one audit line.
"""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.git.pktline import FLUSH, encode
from tests.fakes.relay import ADVERTISED, House, answer, answers_in, commands, discover, post, requests_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.wire import Wire

BIG = b"0123456789abcdef" * 16 * 1024
"""256 KiB: more than any buffer on the way."""
BODIES = [b"", b"0000want", BIG]
ADVERTISEMENTS = [ADVERTISED, ADVERTISED[:-4] + encode(b"x" * 65000) * 4 + FLUSH]
PUSHES = [commands(b"refs/heads/a", b"refs/heads/b") + pack for pack in (b"PACK", b"PACK" + b"x", b"PACK" + BIG)]


@frozen
class Talk:
    """What a client sends, and the body that the forge should see."""

    method: bytes
    sent: bytes
    body: bytes


@frozen
class Answer:
    """What a forge sends, and the body that the client should see (``None``: not this one, but a refusal of ours)."""

    sent: bytes
    body: bytes | None


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    """Draw a request."""
    kind = draw(st.sampled_from(["discover", "fetch", "push", "gzip"]))
    chunked = draw(st.booleans())
    if kind == "discover":
        return Talk(b"GET", discover(), b"")
    if kind == "fetch":
        body = draw(st.sampled_from(BODIES))
        return Talk(b"POST", post(body, chunked=chunked), body)
    body = draw(st.sampled_from(PUSHES))
    if kind == "push":
        return Talk(b"POST", post(body, service=b"receive", chunked=chunked), body)
    squeezed = gzip.compress(body, 0)
    return Talk(b"POST", post(squeezed, b"Content-Encoding: gzip", service=b"receive", chunked=chunked), body)


@st.composite
def replies(draw: st.DrawFn, talk: Talk) -> Answer:
    """Draw an answer to ``talk``."""
    kind = b"receive-pack-" if b"git-receive-pack" in talk.sent.split(b"\r\n")[0] else b"upload-pack-"
    kind += b"advertisement" if talk.method == b"GET" else b"result"
    bodies = ADVERTISEMENTS if talk.method == b"GET" else BODIES
    body, chunked = draw(st.sampled_from(bodies)), draw(st.booleans())
    shape = draw(st.sampled_from(["good", "good", "good", "refusal", "garbage", "excess"]))
    if shape == "good":
        return Answer(answer(body, kind=kind, chunked=chunked), body)
    if shape == "excess":
        return Answer(answer(body, kind=kind, chunked=chunked) + b"HTTP/1.1 200", body)
    if shape == "refusal":
        return Answer(answer(b"leak", status=b"403 No"), None)
    return Answer(b"HTTP/1.1 200 OK\r\n\r\nleak", None)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut ``data`` into a few pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    ends = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


OPS = [
    "client sends", "client sends", "client sends", "forge sends", "forge sends", "forge sends", "turn", "turn", "turn",
    "client stalls", "client takes", "client resumes", "forge stalls", "forge takes", "forge resumes", "second",
    "client leaves", "client breaks", "forge leaves", "forge breaks", "revoked", "let in", "refused",
]  # fmt: skip
STEPS = st.lists(st.sampled_from(OPS), max_size=30)


class Play:
    """One example."""

    def __init__(self, talk: Talk, pieces: list[bytes], reply: Answer, parts: list[bytes], *, kept: bool) -> None:
        self.talk, self.reply = talk, reply
        self.pieces, self.parts = pieces, parts
        self.house = House()
        self.client = self.house.client()
        if kept:
            self._keep()
        self.heads = 0
        self.sent = b""

    def _keep(self) -> None:
        """Leave an idle connection to the forge behind."""
        self.client.deliver(discover())
        self.house.settle()
        self.house.forge.wire.deliver(answer(ADVERTISED, kind=b"upload-pack-advertisement"))
        self.house.settle()
        self.house.forge.wire.received = self.client.received = b""
        self.house.audit.events.clear()

    def do(self, op: str) -> None:
        """Do one thing."""
        forge = self.house.forge.wires[-1] if self.house.forge.wires else None
        who, _, what = op.partition(" ")
        if op == "client sends" and self.pieces and self.client.connected:
            piece = self.pieces.pop(0)
            self.sent += piece
            self.client.deliver(piece)
        elif op == "forge sends" and forge is not None and forge.received and self.parts and forge.connected:
            forge.deliver(self.parts.pop(0))
        elif op == "turn":
            self.house.reactor.advance(0)
        elif op == "second":
            self.house.wait(1)
        elif op == "revoked":
            self.house.sessions.revoke(self.house.session)
        elif op in ("let in", "refused") and self.house.forge.coming:
            _ = self.house.forge.let_in() if op == "let in" else self.house.forge.refuse(Refused())
        elif who == "client" or (who == "forge" and forge is not None and op != "forge sends"):
            self._hand(self.client if who == "client" else forge, what)

    def _hand(self, wire: Wire, what: str) -> None:
        hand: dict[str, Callable[[], None]] = {
            "stalls": wire.stall,
            "takes": lambda: wire.take(1000),
            "resumes": wire.resume,
            "leaves": wire.hang_up,
            "breaks": wire.reset,
        }
        if what in hand and wire.connected:
            hand[what]()

    def end(self) -> None:
        """Let both sides take what is there, the client leave, and everything settle."""
        house = self.house
        for wire in [self.client, *house.forge.wires]:
            wire.resume()
        house.settle()
        self.judge()
        if self.client.connected:
            self.client.reset()
        house.settle()
        self.judge()
        house.nothing_left()
        assert len(house.audit.events) == self.heads_seen()

    def heads_seen(self) -> int:
        """Count the request heads that the gateway has read."""
        read = len(self.sent) - len(self.client._inbox)
        return int(read >= self.talk.sent.index(b"\r\n\r\n") + 4)

    def judge(self) -> None:
        """Check what either side holds now."""
        for wire in self.house.forge.wires:
            for one in requests_in(wire.received):
                assert self.talk.body.startswith(one.body)
                assert not one.whole or (self.sent == self.talk.sent and one.body == self.talk.body)
        answers = answers_in(self.client.received, self.talk.method)
        assert len(answers) <= 1
        for one in answers:
            assert b"leak" not in one.body
            if b"credgate: " in one.body:  # our own words, which are true whenever they are whole
                continue
            assert self.reply.body is not None
            assert self.reply.body.startswith(one.body)
            assert not one.whole or one.body == self.reply.body
        for one in answers:
            if one.whole and b"credgate: " not in one.body:
                rest = b"".join(self.parts)
                assert len(rest) <= len(b"HTTP/1.1 200")


@given(data=st.data(), steps=STEPS, kept=st.booleans(), is_open=st.booleans())
def test_any_order_of_events_leaves_neither_side_with_a_false_answer(
    data: st.DataObject, steps: list[str], *, kept: bool, is_open: bool
) -> None:
    """The invariants of this module's head."""
    talk = data.draw(talks())
    reply = data.draw(replies(talk))
    play = Play(talk, data.draw(cuts(talk.sent)), reply, data.draw(cuts(reply.sent)), kept=kept)
    play.house.forge.open = is_open
    for step in steps:
        play.do(step)
        play.judge()
    play.end()


@given(data=st.data())
def test_any_segmentation_of_a_valid_exchange_succeeds(data: st.DataObject) -> None:
    """The positive control: without trouble every talk ends whole on both sides."""
    talk = data.draw(talks())
    reply = data.draw(replies(talk).filter(lambda one: one.body is not None))
    play = Play(talk, data.draw(cuts(talk.sent)), reply, data.draw(cuts(reply.sent)), kept=data.draw(st.booleans()))
    for _ in range(8):
        play.do("client sends")
        play.house.settle()
    for _ in range(8):
        play.do("forge sends")
        play.house.settle()
    (asked,) = [one for wire in play.house.forge.wires for one in requests_in(wire.received)]
    assert (asked.body, asked.whole) == (talk.body, True)
    (said,) = answers_in(play.client.received, talk.method)
    assert (said.body, said.whole) == (reply.body, True)
    assert play.house.reasons == ["allowed"]
    play.end()
