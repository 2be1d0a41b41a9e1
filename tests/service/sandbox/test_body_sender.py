"""A body on its way to the forge: held while it cannot go on, read while it passes, ended only if it was whole."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.task import Clock

from credgate.errors import RequestError
from credgate.git.pktline import DELIMITER, FLUSH, encode
from credgate.git.push_stream import FetchStream
from credgate.service.sandbox.body_sender import BodySender
from credgate.service.turns import Turns
from credgate.service.upstream.pool import ForgePool, Key
from credgate.values import Reason
from tests.fakes.relay import KIB64, Forges, chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.service.upstream.pool import ForgeConnection
    from credgate.values import Decision
    from tests.fakes.wire import Wire


class Channel:
    """The sandbox's side: whether it is read."""

    reading = True

    def hold(self) -> None:
        """Read no more."""
        self.reading = False

    def release(self) -> None:
        """Read on."""
        self.reading = True


class Question:
    """What is asked; keeps what was said, as long as it may be asked for."""

    method, lines = b"POST", b"HEAD|"

    def __init__(self, *, chunked: bool, kept: bool = True) -> None:
        self.chunked = chunked
        self.parts: list[bytes] | None = [] if kept else None

    def record_sent(self, parts: list[bytes]) -> None:
        """Keep them."""
        if self.parts is not None:
            self.parts += parts

    def replay_body(self) -> list[bytes] | None:
        """Give them up."""
        parts, self.parts = self.parts, None
        return parts


class Way:
    """An upload and the forge that it goes to, by and by."""

    def __init__(self, fetch: FetchStream | None = None, *, chunked: bool = False, kept: bool = True) -> None:
        self.reactor = Clock()
        self.forges = Forges(self.reactor)
        self.pool = ForgePool(self.reactor, 30, lambda _: self.forges)
        self.channel = Channel()
        self.failed: list[RequestError] = []
        self.refused: list[Decision] = []
        self.malformed, self.refuse_fetch = self.failed.append, self.refused.append
        question: Any = Question(chunked=chunked, kept=kept)
        self._turns = Turns(self.reactor)
        channel: Any = self.channel
        self.upload = BodySender(channel, question, fetch, self)

    def run_in_turns(self, steps: Iterator[None]) -> None:
        """Run them, and fail if they do."""
        self._turns.run(steps, pytest.fail)

    def connect(self) -> Wire:
        """Give it a connection."""
        got: list[ForgeConnection] = []

        class Plain:
            tls = True

        self.pool.connect(Key("lab", ""), Plain()).addCallback(got.append)  # type: ignore[arg-type]
        self.upload.connected(None, got[0])  # type: ignore[arg-type]
        self.settle()
        return self.forges.wire

    def settle(self) -> None:
        """Let everything that is due happen."""
        for _ in range(10):
            self.reactor.advance(0)

    def finish(self) -> None:
        """Let all steps be taken that are due, one after the other."""
        for _ in range(200):
            self.reactor.advance(0)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_waiting_bytes_are_sent_first_and_the_end_last(before: int, *, chunked: bool) -> None:
    """Whenever the connection comes: before, between or after the parts."""
    way = Way(chunked=chunked)
    steps = [lambda: way.upload.body([b"one"]), lambda: way.upload.body([b"two", b"three"]), way.upload.end]
    for step in steps[:before]:
        step()
    wire = way.connect()
    for step in steps[before:]:
        step()
    way.settle()
    body = chunks(b"one", b"twothree") if chunked else b"onetwothree"
    assert wire.received == b"HEAD|" + body
    assert wire.producer is None
    assert way.upload.whole


def test_sandbox_is_not_read_while_there_is_no_connection() -> None:
    """Unless it has sent everything: then it is read, to see it leave."""
    way = Way()
    way.upload.hold()
    assert not way.channel.reading
    way.connect()
    assert way.channel.reading
    whole = Way()
    whole.upload.end()
    whole.upload.hold()
    assert whole.channel.reading


def test_a_forge_that_is_full_holds_the_sandbox_until_it_drains() -> None:
    """Or until the body is whole."""
    way = Way()
    wire = way.connect()
    wire.stall()
    way.upload.body([b"x" * (2 * KIB64)])
    assert (way.upload.full, way.channel.reading) == (True, False)
    wire.resume()
    assert (way.upload.full, way.channel.reading) == (False, True)
    wire.stall()
    way.upload.body([b"x" * (2 * KIB64)])
    way.upload.end()
    assert (way.upload.full, way.channel.reading) == (False, True)


def test_connection_that_is_full_at_once_keeps_the_sandbox_held() -> None:
    """What waited may be more than it takes."""
    way = Way()
    way.upload.hold()
    way.upload.body([b"x" * (2 * KIB64)])
    way.forges.open = False
    made: list[Any] = []
    way.pool.connect(Key("lab", ""), _TLS).addCallback(made.append)  # type: ignore[arg-type]
    wire = way.forges.let_in(shake=False)
    wire.stall()
    wire.protocol.handshakeCompleted()
    way.upload.connected(None, made[0])  # type: ignore[arg-type]
    assert (way.upload.full, way.channel.reading) == (True, False)


class _TLS:
    tls = True


def test_leaving_sends_nothing_more() -> None:
    """Not what comes, and no end."""
    way = Way(chunked=True)
    wire = way.connect()
    way.upload.body([b"one"])
    way.upload.leave()
    way.upload.body([b"two"])
    way.upload.end()
    way.settle()
    assert wire.received == b"HEAD|" + chunks(b"one", last=False)


@pytest.mark.parametrize("kept", [False, True])
def test_body_is_repeated_if_it_was_kept(*, kept: bool) -> None:
    """On the next connection, with what comes behind it."""
    way = Way(chunked=True, kept=kept)
    way.connect()
    way.upload.body([b"one"])
    way.upload.leave()
    assert way.upload.repeat() is kept
    if kept:
        wire = way.connect()
        way.upload.body([b"two"])
        way.upload.end()
        way.settle()
        assert wire.received == b"HEAD|" + chunks(b"one", b"two")


def test_empty_body_can_be_repeated() -> None:
    """A discovery has no body."""
    way = Way()
    assert way.upload.repeat()
    assert way.connect().received == b"HEAD|"


# Fetches.


def fetch(name: bytes) -> bytes:
    """Make the lines of a v2 request."""
    return encode(b"command=" + name) + FLUSH


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_fetch_is_checked_while_it_is_relayed(coding: bytes | None) -> None:
    """What is served goes on as it came."""
    way = Way(FetchStream(coding, v2=True))
    wire = way.connect()
    body = fetch(b"ls-refs") if coding is None else gzip.compress(fetch(b"ls-refs"))
    for byte in body:
        way.upload.body([bytes([byte])])
    way.upload.end()
    way.settle()
    assert wire.received == b"HEAD|" + body
    assert (way.failed, way.refused) == ([], [])


def test_a_command_that_is_not_served_is_refused_before_it_is_sent() -> None:
    """Nor is what came with it."""
    way = Way(FetchStream(None, v2=True))
    wire = way.connect()
    way.upload.body([fetch(b"bundle-uri")[:10]])
    way.upload.body([fetch(b"bundle-uri")[10:], b"more"])
    way.settle()
    assert [one.reason for one in way.refused] == [Reason.FETCH_COMMAND]
    assert wire.received == b"HEAD|" + fetch(b"bundle-uri")[:10]


@pytest.mark.parametrize("body", [b"zzzz", encode(b"command=ls-refs")])
def test_malformed_fetch_is_refused_and_never_ended(body: bytes) -> None:
    """Broken in its middle, or cut."""
    way = Way(FetchStream(None, v2=True), chunked=True)
    wire = way.connect()
    way.upload.body([body])
    if not way.failed:
        way.upload.end()
    way.settle()
    (error,) = way.failed
    assert isinstance(error, RequestError)
    assert not wire.received.endswith(b"0\r\n\r\n")
    assert way.upload.refused_push is None


def test_repeated_fetch_is_checked_as_the_first() -> None:
    """A kept connection may be lost in the middle of a request: the rest of it is judged all the same."""
    way = Way(FetchStream(None, v2=True))
    way.connect()
    way.upload.body([fetch(b"bundle-uri")[:10]])
    way.upload.leave()
    assert way.upload.repeat()
    way.connect()
    way.upload.body([fetch(b"bundle-uri")[10:]])
    assert [one.reason for one in way.refused] == [Reason.FETCH_COMMAND]


# Turns.

OIDS = b"".join(encode(b"want " + (b"%040x" % number)) for number in range(20_000))
MANY = encode(b"command=fetch") + DELIMITER + OIDS + FLUSH
SQUEEZED = gzip.compress(MANY)


def test_a_gzipped_fetch_is_read_a_piece_a_turn() -> None:
    """A megabyte of lists is 16 pieces; the sandbox is held meanwhile, and nothing overtakes what came first."""
    way = Way(FetchStream(b"gzip", v2=True))
    wire = way.connect()
    way.upload.body([SQUEEZED[:-10]])
    assert (way.channel.reading, wire.received) == (False, b"HEAD|")
    way.finish()
    assert (way.channel.reading, wire.received) == (True, b"HEAD|" + SQUEEZED[:-10])
    way.upload.body([SQUEEZED[-10:-5]])
    way.upload.body([SQUEEZED[-5:]])
    way.upload.end()
    assert way.channel.reading, "the request is whole"
    assert wire.received == b"HEAD|" + SQUEEZED[:-10]
    way.finish()
    assert wire.received == b"HEAD|" + SQUEEZED
    assert way.upload.asked
    assert (way.failed, way.refused) == ([], [])


def test_a_connection_that_comes_while_a_fetch_is_read_does_not_release_the_sandbox() -> None:
    """It is read on when what came was looked at."""
    way = Way(FetchStream(b"gzip", v2=True))
    way.upload.body([SQUEEZED[:-10]])
    way.upload.hold()
    way.connect()
    way.finish()
    assert way.channel.reading
    assert way.forges.wire.received == b"HEAD|" + SQUEEZED[:-10]


def test_fetch_is_not_checked_after_leave() -> None:
    """Not by a client that went, and not to tell it anything; another connection goes on where the first was left."""
    way = Way(FetchStream(b"gzip", v2=True))
    way.connect()
    way.upload.body([SQUEEZED])
    way.upload.end()
    way.upload.leave()
    way.finish()
    assert way.upload._inflow
    assert not way.upload.asked
    assert way.upload.repeat()
    wire = way.connect()
    way.finish()
    assert wire.received == b"HEAD|" + SQUEEZED


@pytest.mark.parametrize(
    ("lines", "reason"),
    [([b"packfile-uris https"], Reason.FETCH_ARGUMENT), ([b"x"] * 65, Reason.MALFORMED_REQUEST)],
)
def test_fetch_refused_in_a_later_turn_is_not_sent(lines: list[bytes], reason: Reason) -> None:
    """Once, and nothing of the part that held it; the same without those lines goes on."""
    body = MANY[:-4] + b"".join(map(encode, lines)) + FLUSH
    for sent, good in ((gzip.compress(body), False), (SQUEEZED, True)):
        way = Way(FetchStream(b"gzip", v2=True), chunked=True)
        wire = way.connect()
        way.upload.body([sent, b""])
        way.upload.end()
        way.finish()
        assert [one.reason for one in (*way.failed, *way.refused)] == ([] if good else [reason])
        assert wire.received.endswith(b"0\r\n\r\n") is good
