"""One small question and its whole answer: bounded, unchanged, asked twice only where that may be."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.forges.place import Place
from credgate.lfs.refusals import LfsError
from credgate.service.sandbox.lfs.round_trip import LfsAnswer, LfsQuestion, ask
from credgate.service.upstream.pool import Key
from credgate.values import Reason
from tests.fakes.relay import House

REQUEST = b"POST /octo/hello.git/info/lfs/objects/batch HTTP/1.1\r\nHost: github.com\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b"HTTP/1.1 202 Whatever\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\n{ok}"


class Asked:
    """A question in a house, and what came of it."""

    def __init__(self, **more: Any) -> None:
        self.house = House()
        place = Place.of(self.house.drivers["github.com"])
        key = Key("github.com", "cred-1")
        self.question = evolve(LfsQuestion(key, place, "github.com", b"POST", REQUEST, 100, repeatable=True), **more)
        self.results: list[Any] = []
        self.ask()

    def ask(self) -> None:
        """Ask it, once more."""
        self.asking = ensureDeferred(ask(self.house.pool, self.question)).addBoth(self.results.append)
        self.house.settle()

    def tell(self, data: bytes, *, hang_up: bool = False) -> None:
        """Let whoever is asked speak, and leave."""
        self.house.forge.wire.deliver(data)
        if hang_up:
            self.house.forge.wire.hang_up()
        self.house.settle()

    @property
    def error(self) -> LfsError:
        """What went wrong."""
        failure = self.results[-1]
        assert isinstance(failure.value, LfsError)
        return failure.value


def test_an_answer_is_whole_and_whatever_it_says() -> None:
    """Its status is the asker's to judge; the connection is the next one's."""
    one = Asked()
    one.tell(WHOLE)
    assert one.results == [LfsAnswer(202, bytearray(b"{ok}"), 7)]
    assert one.house.forge.asked().body == b"{}"
    one.ask()
    assert len(one.house.forge.wires) == 1
    one.tell(WHOLE)
    one.house.nothing_left()


def test_neither_question_nor_answer_is_shown() -> None:
    """The one holds the forge's credential, the other a storage's signature."""
    one = Asked()
    one.tell(WHOLE)
    assert "octo" not in repr(one.question)
    assert "ok" not in repr(one.results[0])


@pytest.mark.parametrize(("repeatable", "wires"), [(True, 2), (False, 2)])
def test_a_kept_connection_that_was_closed_is_replaced(*, repeatable: bool, wires: int) -> None:
    """What may not be asked twice gets a new connection at once, so that nobody wonders whether it was heard."""
    one = Asked(repeatable=repeatable)
    one.tell(WHOLE)
    one.ask()
    if repeatable:
        one.tell(b"", hang_up=True)
    assert len(one.house.forge.wires) == wires
    one.tell(WHOLE)
    assert [result.status for result in one.results] == [202, 202]
    one.house.nothing_left() if repeatable else None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (WHOLE[:-1], "cannot be used"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
            "Content-Encoding that was not asked",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "is too long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n", "is too long"),
    ],
)
def test_what_cannot_be_used_is_refused_in_our_words(said: bytes, text: str) -> None:
    """Named for who was asked; nothing of it is repeated, and nothing of the connection is kept."""
    one = Asked()
    one.tell(said, hang_up=True)
    assert text in str(one.error)
    assert str(one.error).startswith("the answer of github.com")
    assert (one.error.status, len(one.results)) == (502, 1)
    one.house.nothing_left()


def test_an_answer_of_just_the_limit_is_taken() -> None:
    """The limit is of bytes that are held, not of bytes that are too many."""
    one = Asked()
    one.tell(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert one.results == [LfsAnswer(200, bytearray(b"x" * 100), 0)]


def test_a_kept_connection_that_began_to_answer_is_the_answer() -> None:
    """Asking again would be asking twice."""
    one = Asked()
    one.tell(WHOLE)
    one.ask()
    one.tell(b"HTTP/1.1 200", hang_up=True)
    assert "cannot be used" in str(one.error)
    assert len(one.house.forge.wires) == 1


def test_who_cannot_be_reached_is_named() -> None:
    """Why, as far as it is ours to say."""
    one = Asked()
    one.house.forge.open = False
    one.tell(WHOLE)
    one.question = evolve(one.question, repeatable=False)
    one.ask()
    one.house.forge.refuse(Refused())
    one.house.settle()
    assert (one.error.reason, one.error.status) == (Reason.FORGE_UNREACHABLE, 502)


@pytest.mark.parametrize("where", ["dialled", "shaking", "answering"])
def test_leaving_leaves_the_forge_wherever_it_is(where: str) -> None:
    """The sandbox went away: no connection waits for an answer that nobody wants."""
    one = Asked()
    if where != "answering":
        one.tell(WHOLE)
        one.question, one.house.forge.open = evolve(one.question, repeatable=False), False
        one.ask()
        (coming,) = one.house.forge.coming
    if where == "shaking":
        one.house.forge.let_in(shake=False)
    one.asking.cancel()
    one.house.settle()
    # An endpoint has an error of its own for it; nobody hears either.
    assert one.results[-1].check(CancelledError, LfsError)
    assert coming.cancelled if where == "dialled" else one.house.forge.wire.ended == "reset"
    if where != "answering":
        one.house.forge.wires[0].hang_up()
        one.house.settle()
    one.house.nothing_left()
