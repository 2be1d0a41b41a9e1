"""One question of our own to a forge: what is taken for its answer, and that nothing comes of one that was left."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from credgate.errors import ResponseError
from credgate.forges.place import Place
from credgate.service.upstream.client import UpstreamCall
from credgate.service.upstream.pool import Key
from tests.fakes.relay import House, answer

REQUEST = b"GET /octo/hello.git/info/refs HTTP/1.1\r\nHost: github.com\r\n\r\n"
KIND = b"application/x-git-upload-pack-result"


class Asked:
    """A question on a connection, and what came of it."""

    def __init__(self) -> None:
        self.house, self.asking = House(), UpstreamCall(KIND)
        self.taken: list[bytes] = []
        self.over: list[Any] = []
        self.asking.take, self.asking.ended = self.taken.append, self.asking.finish
        self.begin()

    def begin(self) -> None:
        """Ask, on a connection of its own."""
        place = Place.of(self.house.drivers["github.com"])
        connecting = ensureDeferred(self.house.pool.connect(Key("github.com", "cred-1"), place))
        connecting.addCallback(lambda connection: self.asking.begin(connection, b"GET", REQUEST))
        connecting.addBoth(self.over.append)
        self.house.settle()

    def tell(self, data: bytes) -> None:
        """Let the forge speak."""
        self.house.forge.wire.deliver(data)
        self.house.settle()

    @property
    def text(self) -> str:
        """Why there is no answer."""
        (failure,) = self.over
        assert isinstance(failure, Failure)
        assert failure.check(ResponseError)
        return str(failure.value)


def test_an_answer_is_passed_on_as_it_comes_and_the_connection_is_kept() -> None:
    """A walk reads it while it arrives; the next question goes the same way."""
    one = Asked()
    whole = answer(b"packed", chunked=True)
    one.tell(whole[:-10])
    assert (one.over, one.asking.status) == ([], 200)
    one.tell(whole[-10:])
    assert (b"".join(one.taken), one.over) == (b"packed", [None])
    one.house.nothing_left()
    assert one.house.forge.wire.ended == ""
    one.over.clear()
    one.begin()
    one.tell(answer(b"again"))
    assert (b"".join(one.taken), one.over) == (b"packedagain", [None])


@pytest.mark.parametrize(
    "said",
    [
        answer(b"x", status=b"404 Not Found"),
        answer(b"x", kind=b"upload-pack-advertisement"),
        answer(b"x", b"Content-Encoding: gzip"),
    ],
)
def test_what_is_not_the_answer_is_not_read(said: bytes) -> None:
    """Not a byte of it: an error page in the place of history would be judged as history."""
    one = Asked()
    one.tell(said)
    assert "when it was asked for history" in one.text
    assert (one.taken, one.house.forge.wire.ended) == ([], "reset")
    one.house.nothing_left()


@pytest.mark.parametrize("said", [b"", answer(b"half", length=8)])
def test_an_answer_that_breaks_off_is_none(said: bytes) -> None:
    """However much of it was taken: whoever asked is told, and judges nothing by half."""
    one = Asked()
    one.tell(said)
    one.house.forge.wire.hang_up()
    one.house.settle()
    assert one.text
    one.house.nothing_left()


def test_who_has_enough_hears_no_more() -> None:
    """A limit that was passed in the middle of what came at once; leaving twice is leaving once."""
    one = Asked()

    def enough(part: bytes) -> None:
        one.taken.append(part)
        one.asking.leave()

    one.asking.take = enough
    one.tell(answer(b"abcdef" * 100, chunked=True)[:-5])
    one.asking.answer_body([b"more"], last=False)
    one.asking.answer_end()
    one.asking.answer_failed(ResponseError("late"))
    one.asking.leave()
    one.house.settle()
    assert (len(one.taken), one.over, one.house.forge.wire.ended) == (1, [], "reset")
    one.house.nothing_left()


def test_the_forge_waits_for_who_reads() -> None:
    """A thread that is behind holds the forge; after the answer there is nobody to hold."""
    one = Asked()
    one.asking.hold()
    assert not one.house.forge.wire.reading
    one.asking.release()
    one.house.settle()
    assert one.house.forge.wire.reading
    one.tell(answer(b"packed"))
    one.asking.hold()
    one.asking.release()
    assert one.house.forge.wire.reading


def test_a_question_that_was_never_asked_can_be_left() -> None:
    """The connection may fail to be made first."""
    asking = UpstreamCall(KIND)
    asking.hold()
    asking.release()
    asking.leave()
    assert isinstance(asking._done, Deferred)
