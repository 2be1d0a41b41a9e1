"""The relay under pressure: neither side is outrun by the other, and nobody stands still for ever."""

from __future__ import annotations

import gzip
import random

import pytest

from credgate.git.refusal import err
from credgate.values import Reason
from tests.fakes.relay import (
    KIB64,
    REPORTED,
    RESULT,
    House,
    answer,
    answers_in,
    chunks,
    commands,
    only,
    post,
    requests_in,
)

# Back-pressure.


@pytest.mark.parametrize("chunked", [False, True])
def test_a_forge_that_takes_nothing_stops_the_client(*, chunked: bool) -> None:
    """At most a read more than the buffer is held; and the upload goes on when the forge does."""
    house = House()
    whole = post(b"x" * (8 * KIB64), chunked=chunked)
    client = house.say(whole[: -8 * KIB64])
    forge = house.forge.wire
    forge.stall()
    for at in range(len(whole) - 8 * KIB64, len(whole), KIB64):
        client.deliver(whole[at : at + KIB64])
        house.settle()
    assert not client.reading
    assert len(forge.unsent) <= 3 * KIB64
    forge.resume()
    house.settle()
    assert house.forge.asked().whole
    assert client.reading
    forge.deliver(RESULT)
    house.settle()
    house.nothing_left()


def test_a_client_that_takes_nothing_stops_the_forge() -> None:
    """The same the other way; and the answer goes on when the client does."""
    house = House()
    client = house.say(post(b"0000"))
    client.stall()
    house.forge.wire.deliver(answer(b"x" * (8 * KIB64)))
    house.settle()
    assert not house.forge.wire.reading
    assert len(client.unsent) <= 3 * KIB64
    client.resume()
    house.settle()
    assert only(client, b"POST").body == b"x" * (8 * KIB64)
    house.nothing_left()


def test_a_gzipped_push_is_inflated_no_faster_than_it_is_taken() -> None:
    """64 KiB can become megabytes: they must not pile up here."""
    house = House()
    noise = random.Random(1)
    body = commands() + b"PACK" + b"".join(noise.randbytes(64) + bytes(4032) for _ in range(1024))
    house.forge.open = False
    client = house.say(post(gzip.compress(body), b"Content-Encoding: gzip", service=b"receive"))
    exchange = client.protocol._exchange
    assert sum(map(len, exchange._upload._waiting)) <= 2 * KIB64
    forge = house.forge.let_in()
    forge.stall()
    house.settle()
    assert len(forge.unsent) <= 3 * KIB64
    forge.resume()
    house.settle()
    assert house.forge.asked().body == body
    assert house.forge.asked().whole
    forge.deliver(REPORTED)
    house.settle()
    assert only(client, b"POST").body == b"reported"
    house.nothing_left()


def test_what_is_read_before_the_connection_stands_waits() -> None:
    """One read at most; then the client does."""
    house = House()
    house.forge.open = False
    whole = post(b"x" * (4 * KIB64))
    client = house.say(whole[: -3 * KIB64])
    client.deliver(whole[-3 * KIB64 :])
    house.settle()
    assert not client.reading
    assert sum(map(len, client.protocol._exchange._upload._waiting)) <= KIB64
    forge = house.forge.let_in()
    house.settle()
    assert client.reading
    assert requests_in(forge.received)[0].body == b"x" * (4 * KIB64)
    forge.deliver(RESULT)
    house.settle()
    house.nothing_left()


def test_a_full_forge_stays_respected_when_the_connection_comes_up() -> None:
    """What waited may already be too much for it: the client is not let loose on it."""
    house = House()
    house.forge.open = False
    whole = post(b"x" * (8 * KIB64))
    client = house.client()
    client.bufferSize = 2 * KIB64
    client.deliver(whole[: 2 * KIB64])
    coming = house.forge.coming.pop(0)
    forge = coming.accept(shake=False)
    house.forge.wires.append(forge)
    forge.stall()
    forge.protocol.handshakeCompleted()
    house.settle()
    assert not client.reading
    forge.resume()
    house.settle()
    assert client.reading


# Time.


def test_a_client_that_stalls_its_upload_is_cut() -> None:
    """The forge sees an unfinished request."""
    house = House(stall_timeout=120)
    client = house.say(post(b"x" * 10)[:-5])
    house.wait(119)
    assert client.ended == ""
    house.wait(3)
    assert client.ended == "reset"
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.STALLED]
    house.nothing_left()


def test_a_client_that_does_not_read_is_cut() -> None:
    """However little it holds here, it holds a connection to the forge."""
    house = House(stall_timeout=120)
    client = house.say(post(b"0000"))
    client.stall()
    house.forge.wire.deliver(answer(b"x" * (8 * KIB64)))
    house.settle()
    house.wait(118)
    assert client.ended == ""
    house.wait(4)
    assert client.ended == "reset"
    assert house.reasons == [Reason.STALLED]
    house.nothing_left()


def test_bytes_that_move_put_the_deadline_off_and_touch_the_session() -> None:
    """A slow transfer is none that stands still."""
    house = House(stall_timeout=10)
    client = house.say(post(b"x" * 10)[:-10])
    house.sessions.touched.clear()
    for _ in range(9):
        house.wait(8)
        client.deliver(b"x")
    house.wait(8)
    assert client.ended == ""
    assert house.sessions.touched
    client.deliver(b"x")
    house.settle()
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert house.reasons == [Reason.ALLOWED]


def test_a_forge_may_think_for_minutes_but_not_for_ever() -> None:
    """Longer than any client may stall; then git is told."""
    house = House(stall_timeout=120, forge_timeout=660)
    client = house.say(post(b"0000"))
    house.wait(659)
    assert client.received == b""
    house.wait(3)
    assert b"github.com did not answer in time" in only(client, b"POST").body
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.FORGE_TIMEOUT]
    house.nothing_left()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_forge_that_falls_silent_in_mid_answer_is_cut(*, chunked: bool) -> None:
    """What is here of it must not look whole, though the client has read all of it: git takes the end for an end."""
    house = House(stall_timeout=120, forge_timeout=660)
    client = house.say(post(b"0000"))
    whole = answer(b"half of a pack", chunked=chunked)
    house.forge.wire.deliver(whole[: -len(chunks(b"")) - 2] if chunked else whole[:-2])
    house.settle()
    assert b"half of a pa" in client.received
    house.wait(659)
    assert (client.ended, house.forge.wire.ended) == ("", "")
    house.wait(3)
    assert (client.ended, house.forge.wire.ended) == ("reset", "reset")
    (said,) = answers_in(client.received, b"POST")
    assert (said.status, said.whole) == (200, False)
    assert house.reasons == [Reason.FORGE_TIMEOUT]
    house.nothing_left()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_forge_that_is_slow_in_mid_answer_is_not_cut(*, chunked: bool) -> None:
    """One byte just in time is enough, however long all of it takes: large clones have slow minutes."""
    house = House(stall_timeout=120, forge_timeout=660)
    client = house.say(post(b"0000"))
    pack = b"a slow pack"
    house.forge.wire.deliver(answer(chunked=True)[: -len(chunks())] if chunked else answer(length=len(pack)))
    for at in range(len(pack)):
        house.wait(658)
        assert (client.ended, house.forge.wire.ended) == ("", "")
        house.forge.wire.deliver(chunks(pack[at : at + 1], last=False) if chunked else pack[at : at + 1])
        house.settle()
    house.forge.wire.deliver(chunks() if chunked else b"")
    house.settle()
    assert only(client, b"POST").body == pack
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()


def test_a_client_that_begins_to_read_again_gives_its_forge_the_whole_time() -> None:
    """Which of the two stands still is told by who holds bytes back, not by who was slow before."""
    house = House(stall_timeout=120, forge_timeout=660)
    client = house.say(post(b"0000"))
    client.stall()
    house.forge.wire.deliver(answer(b"x" * (4 * KIB64), length=5 * KIB64))
    house.settle()
    house.wait(110)
    client.resume()
    house.settle()
    house.wait(600)
    assert client.ended == ""
    house.forge.wire.deliver(b"x" * KIB64)
    house.settle()
    assert only(client, b"POST").whole
    house.nothing_left()


def test_a_forge_that_takes_no_more_is_given_up_and_the_client_told() -> None:
    """It is the forge that stalls then, not the client."""
    house = House(stall_timeout=120)
    client = house.say(post(b"x" * (8 * KIB64))[: -8 * KIB64])
    house.forge.wire.stall()
    client.deliver(b"x" * (4 * KIB64))
    house.settle()
    house.wait(123)
    assert house.forge.wire.ended == "reset"
    assert client.reading
    client.deliver(b"x" * (4 * KIB64))
    house.settle()
    assert only(client, b"POST").body == err("github.com did not answer in time; try again later")
    assert house.reasons == [Reason.FORGE_TIMEOUT]
    house.nothing_left()


def test_a_client_that_stalls_after_an_early_answer_is_the_one_that_stalled() -> None:
    """Although the forge had been full before."""
    house = House(stall_timeout=120)
    client = house.say(post(b"x" * (9 * KIB64))[: -9 * KIB64])
    house.forge.wire.stall()
    client.deliver(b"x" * (8 * KIB64))
    house.settle()
    house.forge.wire.deliver(RESULT)
    house.settle()
    house.wait(123)
    assert client.ended == "reset"
    assert house.reasons == [Reason.STALLED]
    house.nothing_left()
