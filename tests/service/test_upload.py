"""A body on its way to the forge: held while it cannot go on, read while it passes, ended only if it was whole."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.task import Clock

from credgate.errors import RequestError
from credgate.git.answer import PushInBody
from credgate.service.forge import ForgePool, Key
from credgate.service.upload import Upload
from credgate.values import Reason
from tests.fakes.relay import KIB64, PACK, Forges, chunks, command, commands

if TYPE_CHECKING:
    from credgate.service.forge import ForgeConnection
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

    def says(self, parts: list[bytes]) -> None:
        """Keep them."""
        if self.parts is not None:
            self.parts += parts

    def said(self) -> list[bytes] | None:
        """Give them up."""
        parts, self.parts = self.parts, None
        return parts


class Way:
    """An upload and the forge that it goes to, by and by."""

    def __init__(self, push: PushInBody | None = None, *, chunked: bool = False, kept: bool = True) -> None:
        self.reactor = Clock()
        self.forges = Forges(self.reactor)
        self.pool = ForgePool(self.reactor, 30, lambda _: self.forges)
        self.channel, self.failed = Channel(), []
        question: Any = Question(chunked=chunked, kept=kept)
        self.upload = Upload(self.channel, question, push, self.failed.append)  # type: ignore[arg-type]

    def go(self) -> Wire:
        """Give it a connection."""
        got: list[ForgeConnection] = []

        class Plain:
            tls = True

        self.pool.connect(Key("lab", ""), Plain()).addCallback(got.append)  # type: ignore[arg-type]
        self.upload.go(None, got[0])  # type: ignore[arg-type]
        self.settle()
        return self.forges.wire

    def settle(self) -> None:
        """Let everything that is due happen."""
        for _ in range(10):
            self.reactor.advance(0)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_what_waits_goes_first_and_the_end_last(before: int, *, chunked: bool) -> None:
    """Whenever the connection comes: before, between or after the parts."""
    way = Way(chunked=chunked)
    steps = [lambda: way.upload.body([b"one"]), lambda: way.upload.body([b"two", b"three"]), way.upload.end]
    for step in steps[:before]:
        step()
    wire = way.go()
    for step in steps[before:]:
        step()
    way.settle()
    body = chunks(b"one", b"twothree") if chunked else b"onetwothree"
    assert wire.received == b"HEAD|" + body
    assert wire.producer is None
    assert way.upload.whole


def test_the_sandbox_is_held_while_there_is_nowhere_to_go() -> None:
    """Unless it has sent everything: then it is read, to see it leave."""
    way = Way()
    way.upload.hold()
    assert not way.channel.reading
    way.go()
    assert way.channel.reading
    whole = Way()
    whole.upload.end()
    whole.upload.hold()
    assert whole.channel.reading


def test_a_forge_that_is_full_holds_the_sandbox_until_it_drains() -> None:
    """Or until the body is whole."""
    way = Way()
    wire = way.go()
    wire.stall()
    way.upload.body([b"x" * (2 * KIB64)])
    assert (way.upload.full, way.channel.reading) == (True, False)
    wire.resume()
    assert (way.upload.full, way.channel.reading) == (False, True)
    wire.stall()
    way.upload.body([b"x" * (2 * KIB64)])
    way.upload.end()
    assert (way.upload.full, way.channel.reading) == (False, True)


def test_a_connection_that_is_full_at_once_lets_nobody_loose() -> None:
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
    way.upload.go(None, made[0])  # type: ignore[arg-type]
    assert (way.upload.full, way.channel.reading) == (True, False)


class _TLS:
    tls = True


def test_leaving_sends_nothing_more() -> None:
    """Not what comes, and no end."""
    way = Way(chunked=True)
    wire = way.go()
    way.upload.body([b"one"])
    way.upload.leave()
    way.upload.body([b"two"])
    way.upload.end()
    way.settle()
    assert wire.received == b"HEAD|" + chunks(b"one", last=False)


@pytest.mark.parametrize("kept", [False, True])
def test_all_of_it_can_be_said_again_if_it_is_still_here(*, kept: bool) -> None:
    """On the next connection, with what comes behind it."""
    way = Way(chunked=True, kept=kept)
    way.go()
    way.upload.body([b"one"])
    way.upload.leave()
    assert way.upload.again() is kept
    if kept:
        wire = way.go()
        way.upload.body([b"two"])
        way.upload.end()
        way.settle()
        assert wire.received == b"HEAD|" + chunks(b"one", b"two")


def test_nothing_said_can_be_said_again() -> None:
    """A discovery has no body."""
    way = Way()
    assert way.upload.again()
    assert way.go().received == b"HEAD|"


# Pushes.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_push_is_read_while_it_passes(coding: bytes | None) -> None:
    """What goes on is what was read."""
    push = PushInBody(coding)
    way = Way(push, chunked=True)
    wire = way.go()
    body = commands() + PACK
    way.upload.body([gzip.compress(body) if coding else body])
    assert push.commands.refs == [b"refs/heads/main"]
    way.upload.end()
    way.settle()
    assert wire.received == b"HEAD|" + chunks(body)
    assert way.failed == []
    assert way.upload.read_out() is push


@pytest.mark.parametrize("parts", [[b"zzzz"], [command()], [command(), b"zzzz"]])
def test_a_push_that_is_none_is_told_and_never_ended(parts: list[bytes]) -> None:
    """Whatever of it was sent stays unfinished; and no ref can be named."""
    way = Way(PushInBody(None), chunked=True)
    wire = way.go()
    for part in parts:
        way.upload.body([part])
    if not way.failed:
        way.upload.end()
    way.settle()
    (error,) = way.failed
    assert isinstance(error, RequestError)
    assert error.reason is Reason.MALFORMED_PUSH
    assert not wire.received.endswith(b"0\r\n\r\n")
    assert way.upload.read_out() is None


def test_a_sound_list_with_an_impossible_ref_can_still_be_named() -> None:
    """Git is told ref by ref."""
    push = PushInBody(None)
    way = Way(push)
    way.upload.body([commands(b"refs/heads/a", b"refs/heads/a")])
    assert len(way.failed) == 1
    assert way.upload.read_out() is push


def test_a_gzipped_push_goes_on_piece_by_piece() -> None:
    """One waits for a connection, the next for the forge; the end waits for all of them."""
    body = commands() + b"".join(bytes([at % 251]) * 4000 for at in range(100))
    way = Way(PushInBody(b"gzip"), chunked=True)
    way.upload.body([gzip.compress(body)])
    way.upload.end()
    assert sum(map(len, way.upload._waiting)) <= KIB64 + 20
    wire = way.go()
    way.settle()
    assert wire.received.endswith(b"\r\n0\r\n\r\n")
    assert wire.producer is None
    wire.received = b""
    stalled = Way(PushInBody(b"gzip"), chunked=True)
    stalled.go().stall()
    stalled.upload.body([gzip.compress(body)])
    stalled.upload.end()
    assert stalled.upload.full
    assert len(stalled.forges.wire.unsent) <= 2 * KIB64 + 20
    stalled.forges.wire.resume()
    stalled.settle()
    assert stalled.forges.wire.received.endswith(b"\r\n0\r\n\r\n")


def test_what_is_held_back_is_read_for_its_refs() -> None:
    """When the forge fails, each ref is told; unless what is held back is no push."""
    refs = [b"refs/heads/branch-%04d" % number for number in range(1000)]
    stored = gzip.compress(commands(*refs), 0)
    push = PushInBody(b"gzip")
    way = Way(push, chunked=True)
    way.upload.body([stored])
    assert not push.commands.done
    assert way.upload.read_out() is push
    assert push.commands.refs == refs
    broken = Way(PushInBody(b"gzip"), chunked=True)
    broken.upload.body([stored.replace(b"branch-0999", b"branch 0999")])
    assert broken.upload.read_out() is None
