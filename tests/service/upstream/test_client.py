"""Requests of credgate's own: what is accepted as an answer, one repetition, one renewal, and the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred  # noqa: A004 - Twisted's own
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.errors import ResponseError
from credgate.forges.place import Place
from credgate.service.credentials.sources import ANONYMOUS, Credential
from credgate.service.upstream.client import (
    BufferedCall,
    UnreachableError,
    UpstreamAnswer,
    UpstreamCall,
    UpstreamClient,
    UpstreamQuery,
)
from credgate.service.upstream.pool import Key
from tests.fakes.relay import House, answer

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = b"POST /octo/hello.git/info/lfs/objects/batch HTTP/1.1\r\nHost: github.com\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b"HTTP/1.1 202 Whatever\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\n{ok}"
DENIED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
KIND = b"application/x-git-upload-pack-result"
OLD, NEW = Credential("cred-old", "o"), Credential("cred-new", "n")


class Asked:
    """A query, its call, and the results."""

    def __init__(self, call: UpstreamCall | None = None, *, repeatable: bool = True) -> None:
        self.house = House()
        self.driver = self.house.drivers["github.com"]
        self.call = BufferedCall(100) if call is None else call
        self.query = UpstreamQuery(
            Key("github.com", "cred-1"), Place.of(self.driver), b"POST", REQUEST, repeatable=repeatable
        )
        self.seconds: Callable[[], float] | None = None
        self.results: list[Any] = []

    def send(self) -> Asked:
        """Send the query, once more if it was sent before."""
        client = UpstreamClient(self.house.pool)
        sending = ensureDeferred(client.send(self.query, self.call, self.seconds))
        self.sending = sending.addBoth(self.results.append)
        self.house.settle()
        return self

    def renewing(self, first: Credential, renewed: Credential | None) -> list[str]:
        """Send it with a credential; the list has what was fetched."""
        asked: list[str] = []

        async def credential_for(refused: str) -> Credential | None:
            asked.append(refused)
            return renewed if refused else first

        def query_for(credential: Credential) -> UpstreamQuery:
            return evolve(self.query, key=Key("github.com", credential.id))

        client = UpstreamClient(self.house.pool)
        sending = client.send_renewing(query_for, credential_for, self.driver, self.call)
        ensureDeferred(sending).addBoth(self.results.append)
        self.house.settle()
        return asked

    def deliver(self, data: bytes, *, hang_up: bool = False) -> None:
        """Answer on the last connection."""
        self.house.forge.wire.deliver(data)
        if hang_up:
            self.house.forge.wire.hang_up()
        self.house.settle()

    @property
    def error(self) -> Exception:
        """The last failure."""
        error: Exception = self.results[-1].value
        return error


def streamed() -> tuple[Asked, list[bytes]]:
    """Send a query whose answer must be history; the list gets its body."""
    taken: list[bytes] = []
    one = Asked(UpstreamCall(KIND))
    one.call.take = taken.append
    return one.send(), taken


# What is accepted.


def test_any_whole_answer_is_returned_and_its_connection_is_kept() -> None:
    """The caller judges its status."""
    one = Asked().send()
    one.deliver(WHOLE)
    assert one.results == [None]
    assert isinstance(one.call, BufferedCall)
    assert one.call.answer() == UpstreamAnswer(202, bytearray(b"{ok}"), 7)
    assert one.house.forge.asked().body == b"{}"
    one.send()
    one.deliver(WHOLE)
    assert (one.results, one.call.answer().body) == ([None, None], b"{ok}")
    assert len(one.house.forge.wires) == 1
    one.house.nothing_left()


def test_streamed_answer_is_passed_on_as_it_arrives() -> None:
    """Push inspection reads it meanwhile."""
    one, taken = streamed()
    whole = answer(b"packed", chunked=True)
    one.deliver(whole[:-10])
    assert (one.results, one.call.status) == ([], 200)
    one.deliver(whole[-10:])
    assert (b"".join(taken), one.results) == (b"packed", [None])
    one.house.nothing_left()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (answer(b"x", status=b"404 Not Found"), "answered 404 when it was asked for history"),
        (answer(b"x", kind=b"upload-pack-advertisement"), "answered 200 when it was asked for history"),
        (answer(b"x", b"Content-Encoding: gzip"), "Content-Encoding that was not asked for"),
    ],
)
def test_other_answers_are_not_read_as_history(said: bytes, text: str) -> None:
    """An error page must not be parsed as a pack."""
    one, taken = streamed()
    one.deliver(said)
    assert isinstance(one.error, ResponseError)
    assert text in str(one.error)
    assert (taken, one.house.forge.wire.ended) == ([], "reset")
    one.house.nothing_left()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"", "closed the connection before its response was complete"),
        (WHOLE[:-1], "closed the connection before its response was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "that was not asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "is too long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n", "is too long"),
    ],
)
def test_unusable_answer_fails_and_its_connection_is_closed(said: bytes, text: str) -> None:
    """Once: what the connection does later has no effect."""
    one = Asked().send()
    one.deliver(said, hang_up=True)
    assert isinstance(one.error, ResponseError)
    assert (text in str(one.error), len(one.results)) == (True, 1)
    one.house.nothing_left()


def test_answer_of_exactly_the_limit_is_accepted() -> None:
    """The limit is inclusive."""
    one = Asked().send()
    one.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert one.results == [None]


def test_requests_and_answers_are_not_in_a_repr() -> None:
    """They hold the forge's credential and a storage's signature."""
    assert "octo" not in repr(Asked().query)
    assert "ok" not in repr(UpstreamAnswer(200, bytearray(b"{ok}"), 0))


# Flow control and cancelling.


def test_cancelled_call_takes_no_more_of_the_answer() -> None:
    """Also when it is cancelled by ``take``, in the middle of a piece."""
    one, taken = streamed()

    def enough(part: bytes) -> None:
        taken.append(part)
        one.call.cancel()

    one.call.take = enough
    one.deliver(answer(b"abcdef" * 100, chunked=True)[:-5])
    one.call.answer_body([b"more"], last=False)
    one.call.answer_end()
    one.call.answer_failed(ResponseError("late"))
    one.call.cancel()
    one.house.settle()
    assert (len(taken), one.results, one.house.forge.wire.ended) == (1, [], "reset")
    one.house.nothing_left()


def test_slow_reader_pauses_the_connection() -> None:
    """After the answer the connection may serve another request, so it is not paused any more."""
    one, _ = streamed()
    one.call.hold()
    assert not one.house.forge.wire.reading
    one.call.release()
    one.house.settle()
    assert one.house.forge.wire.reading
    one.deliver(answer(b"packed"))
    one.call.hold()
    one.call.release()
    assert one.house.forge.wire.reading


@pytest.mark.parametrize("where", ["dialled", "shaking", "answering"])
def test_cancelling_closes_the_connection_in_every_state(where: str) -> None:
    """The result is ``CancelledError``, whatever error the endpoint has for it."""
    one = Asked(repeatable=False)
    one.house.forge.open = where == "answering"
    one.send()
    coming = list(one.house.forge.coming)
    if where == "shaking":
        one.house.forge.let_in(shake=False)
    one.sending.cancel()
    one.house.settle()
    assert isinstance(one.error, CancelledError)
    assert coming[0].cancelled if where == "dialled" else one.house.forge.wire.ended == "reset"
    one.house.nothing_left()


def test_time_limit_closes_the_connection() -> None:
    """Each try has its own."""
    one = Asked()
    one.seconds = lambda: 10.0
    one.send()
    one.house.wait(11)
    assert isinstance(one.error, TimeoutError)
    assert one.house.forge.wire.ended == "reset"
    one.house.nothing_left()


def test_failed_connection_has_its_reason() -> None:
    """For the table of failures."""
    one = Asked()
    one.house.forge.open = False
    one.send()
    one.house.forge.refuse(Refused())
    one.house.settle()
    assert isinstance(one.error, UnreachableError)
    assert isinstance(one.error.why, Refused)


# Repetition and renewal.


@pytest.mark.parametrize("repeatable", [True, False])
def test_closed_kept_connection_is_replaced_once(*, repeatable: bool) -> None:
    """A request that must not be repeated uses a new connection from the start."""
    one = Asked(repeatable=repeatable).send()
    one.deliver(WHOLE)
    one.send()
    if repeatable:
        assert len(one.house.forge.wires) == 1
        one.deliver(b"", hang_up=True)
    assert len(one.house.forge.wires) == 2
    one.deliver(WHOLE)
    assert one.results == [None, None]


def test_kept_connection_that_began_to_answer_is_not_replaced() -> None:
    """The forge has the request: a second one could have a second effect."""
    one = Asked().send()
    one.deliver(WHOLE)
    one.send()
    one.deliver(b"HTTP/1.1 200", hang_up=True)
    assert isinstance(one.error, ResponseError)
    assert len(one.house.forge.wires) == 1


@pytest.mark.parametrize("call", [None, KIND])
def test_refused_credential_is_renewed_once(call: bytes | None) -> None:
    """Whether the answer is taken with any status or only if it is history."""
    one = Asked(None if call is None else UpstreamCall(call))
    asked = one.renewing(OLD, NEW)
    one.deliver(DENIED)
    assert (asked, one.results) == (["", "cred-old"], [])
    assert one.house.forge.wire.protocol.key.credential == "cred-new"
    one.deliver(DENIED)
    assert asked == ["", "cred-old"]
    assert (one.call.status, len(one.results)) == (401, 1)
    assert (one.results == [None]) is (call is None)
    one.house.nothing_left()


@pytest.mark.parametrize(
    ("first", "renewed", "repeatable", "asked"),
    [(ANONYMOUS, NEW, True, [""]), (OLD, NEW, False, [""]), (OLD, None, True, ["", "cred-old"])],
)
def test_refusal_stands_without_another_credential(
    first: Credential, renewed: Credential | None, *, repeatable: bool, asked: list[str]
) -> None:
    """Also for an anonymous request, and for one that must not be repeated."""
    one = Asked(repeatable=repeatable)
    fetched = one.renewing(first, renewed)
    one.deliver(DENIED)
    assert (fetched, one.results, one.call.status) == (asked, [None], 401)
    assert len(one.house.forge.wires) == 1
    one.house.nothing_left()
