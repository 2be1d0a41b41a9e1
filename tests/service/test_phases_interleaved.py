"""Every event in every phase of a relayed request, and every second event after it.

The phases are those of :class:`credgate.service.sandbox.relay.Phase` and of the push relay; the table of events is all
that can reach an exchange: from the sandbox, from the forge, from the inspection, from the sweep and from the control
side. After any two of them the forge holds a prefix of the request and the client a prefix of the answer, neither looks
complete unless it is, nothing is left open, and each request has exactly one audit line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.errors import CredentialError
from credgate.service.credentials.sources import Credential
from tests.fakes.pushes import (
    MIDDLE,
    MIDDLE_BODY,
    OK,
    OLD,
    ON_MIDDLE,
    ON_NOTHING,
    ON_OLD,
    TRAILER,
    asked_on,
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
from tests.fakes.relay import FORGE_SECRET, House, answer, answers_in, discover, post, requests_in

if TYPE_CHECKING:
    from collections.abc import Callable

FETCH = post(b"0000want", chunked=True)
ANSWER = answer(b"0008NAK\nPACK", chunked=True)
HEAD = ANSWER.index(b"\r\n\r\n") + 4
REPORT = answer(OK, kind=b"receive-pack-result", chunked=True)


class Play:
    """One request in a phase: what is left to send of it and of the forge's answer."""

    def __init__(
        self, request: bytes = FETCH, reply: bytes = ANSWER, *, is_open: bool = True, late: bool = False
    ) -> None:
        self.house = granted(House())
        self.house.credentials.late, self.house.forge.open = late, is_open
        self.threads = threaded(self.house)
        self.client = self.house.client()
        self.request, self.reply = request, reply
        self.rest, self.unsaid = request, reply
        self.malformed = False

    def settle(self) -> None:
        """Let what is due happen."""
        for _ in range(12):
            self.house.reactor.advance(0)

    def send(self, size: int) -> Play:
        """Have the client send so many bytes of its request; negative: all but so many."""
        size = size if size >= 0 else len(self.rest) + size
        if self.client.connected and self.rest:
            data, self.rest = self.rest[:size], self.rest[size:]
            self.client.deliver(data)
        self.settle()
        return self

    def say(self, size: int) -> Play:
        """Have the forge send so many bytes of its answer, if it was asked."""
        wire = next((one for one in self.house.forge.wires[::-1] if one.connected and one.protocol.asker), None)
        asked = requests_in(wire.received) if wire is not None else []
        if wire is not None and asked:
            question = asked_on(wire) if self.reply is REPORT else None
            if question is not None:
                if question.whole:
                    wire.deliver(self._knows(question.start.method, question.body))
            else:
                data, self.unsaid = self.unsaid[:size], self.unsaid[size:]
                wire.deliver(data)
        self.settle()
        return self

    @staticmethod
    def _knows(method: bytes, body: bytes) -> bytes:
        if method == b"GET":
            return capable()
        return named(main=OLD) if b"ls-refs" in body else history(MIDDLE_BODY)

    def break_protocol(self) -> None:
        """Have the client send what is neither body nor framing, unless its request is complete."""
        if self.client.connected and self.rest:
            self.malformed, self.rest = True, b""
            self.client.deliver(b"\0zz" * 4096)

    def reset_forge(self) -> None:
        """Break every connection to forges."""
        for wire in self.house.forge.wires:
            if wire.connected:
                wire.reset()

    def connecting(self, *, fails: bool) -> None:
        """Answer what waits for a credential or a connection."""
        house = self.house
        if house.credentials.waiting:
            if fails:
                house.credentials.fail(CredentialError("none"))
            else:
                house.credentials.come(Credential("cred-1", FORGE_SECRET))
        elif house.forge.coming:
            _ = house.forge.refuse(Refused()) if fails else house.forge.let_in()

    def overdue(self) -> None:
        """Let more time pass than any exchange may wait."""
        self.house.reactor.advance(self.house.limits.forge_timeout + 1)
        self.house.service.sweep()

    def verdict(self) -> None:
        """Run the inspection as far as it goes without the forge."""
        for _ in range(8):
            self.threads.run_all()
            self.settle()

    def judge(self) -> None:
        """Check that both sides hold prefixes, and that only what is complete looks complete."""
        (whole,) = requests_in(self.request)
        for wire in self.house.forge.wires:
            for one in requests_in(wire.received):
                if self.reply is REPORT and b"receive-pack" not in one.start.target:
                    continue
                assert self.malformed or whole.body.startswith(one.body)
                assert not one.whole or (one.body == whole.body and not self.rest and not self.malformed)
        for one in answers_in(self.client.received, whole.start.method):
            assert not one.whole or b"credgate" in one.body or not self.unsaid

    def end(self) -> None:
        """Let the client leave; check that nothing is left and that no second line was written."""
        self.judge()
        if self.client.connected:
            self.client.reset()
        for _ in range(3):
            self.settle()
            self.threads.run_all()
        self.judge()
        self.house.nothing_left()
        assert len(self.house.audit.events) <= 1, self.house.reasons


def pushing(commit: bytes) -> Play:
    """Have a push of ``commit`` that no byte was sent of."""
    return Play(sent(push(commit)), REPORT)


def _rejected() -> Play:
    play = Play(FETCH, answer(b"leak", status=b"403 No")).send(-12)
    return play.say(10_000)


def _refused_push() -> Play:
    play = Play(sent(listed(OLD, MIDDLE, b"refs/tags/x" * 2) + b"PACK" * 100), REPORT)
    play.house = granted(play.house, push=())
    return play.send(-8)


def _inspecting() -> Play:
    play = pushing(ON_MIDDLE).send(100_000)
    play.verdict()
    return play


def _released() -> Play:
    play = pushing(ON_OLD).send(100_000)
    for _ in range(6):
        play.verdict()
        play.say(0)
    return play


PHASES: dict[str, Callable[[], Play]] = {
    "waiting for the head": lambda: Play(discover()).send(-4),
    "waiting for a credential": lambda: Play(late=True).send(-12),
    "waiting for a connection": lambda: Play(is_open=False).send(-12),
    "waiting with the whole request": lambda: Play(is_open=False).send(100_000),
    "sending": lambda: Play().send(-12),
    "waiting for the answer": lambda: Play().send(100_000),
    "answer head": lambda: Play().send(100_000).say(HEAD),
    "answering": lambda: Play().send(100_000).say(HEAD + 8),
    "answering an unfinished request": lambda: Play().send(-12).say(HEAD + 8),
    "draining": lambda: Play().send(-12).say(100_000),
    "refused by the forge": _rejected,
    "push: listing": lambda: pushing(ON_OLD).send(-len(push(ON_OLD)) + 20),
    "push: streaming": lambda: pushing(ON_OLD).send(-TRAILER - 20),
    "push: inspecting": _inspecting,
    "push: history refused": lambda: pushing(ON_NOTHING).send(100_000),
    "push: released": _released,
    "push: refused": _refused_push,
}

EVENTS: dict[str, Callable[[Play], object]] = {
    "body": lambda play: play.send(6),
    "body end": lambda play: play.send(100_000),
    "malformed body": Play.break_protocol,
    "client lost": lambda play: play.client.connected and play.client.reset(),
    "client closes": lambda play: play.client.connected and play.client.hang_up(),
    "cut": lambda play: play.house.sessions.revoke(play.house.session),
    "overdue": Play.overdue,
    "connected": lambda play: play.connecting(fails=False),
    "not connected": lambda play: play.connecting(fails=True),
    "answer head": lambda play: play.say(HEAD),
    "answer body": lambda play: play.say(HEAD + 8),
    "answer end": lambda play: play.say(100_000),
    "answer failed": Play.reset_forge,
    "verdict": Play.verdict,
    "drain": lambda play: play.house.transfers.drain(lambda: None),
    "refuse pending": lambda play: play.house.transfers.refuse_pending(),
}


def test_phases_are_reached() -> None:
    """The table below says nothing of a phase that its opening does not reach."""
    assert PHASES["sending"]().house.forge.asked().whole is False
    assert PHASES["waiting for the answer"]().house.forge.asked().whole is True
    assert PHASES["answering"]().client.received != b""
    assert PHASES["draining"]().house.audit.events == []
    inspecting, released = _inspecting(), _released()
    assert [requests_in(wire.received)[-1].whole for wire in pushed(inspecting.house)] == [False]
    assert [requests_in(wire.received)[-1].whole for wire in pushed(released.house)] == [True]
    assert requests_in(_rejected().house.forge.wire.received)[0].whole is False
    assert pushed(_refused_push().house) == []


@pytest.mark.parametrize("first", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_any_two_events_in_any_phase_leave_neither_side_with_a_false_answer(phase: str, first: str) -> None:
    """The invariants of this module's head."""
    for second in EVENTS:
        play = PHASES[phase]()
        for event in (first, second):
            EVENTS[event](play)
            play.settle()
            play.judge()
        play.end()
        # Only a client that left before its head was whole asked nothing.
        assert play.house.audit.events or phase == "waiting for the head"
