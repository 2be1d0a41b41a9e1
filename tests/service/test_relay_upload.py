"""The relay in mid-upload: early answers, refusals, pushes that turn out to be none, bytes that break."""

from __future__ import annotations

import gzip

import pytest
from twisted.internet import error

from credgate.git.pktline import DELIMITER, FLUSH, encode
from credgate.values import Reason
from tests.fakes.relay import (
    KIB64,
    LISTED,
    PACK,
    REPORTED,
    RESULT,
    House,
    answer,
    chunks,
    command,
    commands,
    discover,
    only,
    post,
    requests_in,
)

BIG = b"PACK" + bytes(4 * KIB64)

# Early answers.


@pytest.mark.parametrize("size", [10, 4 * KIB64])
def test_an_early_answer_is_relayed_while_the_upload_runs(size: int) -> None:
    """Also one larger than a read; what is then still sent is read away, and the connection goes on."""
    house = House()
    whole = post(commands() + PACK * 300, service=b"receive", chunked=True)
    half = len(whole) // 2
    client = house.say(whole[:half])
    house.forge.wire.deliver(answer(b"r" * size, kind=b"receive-pack-result", chunked=True))
    house.settle()
    said = only(client, b"POST")
    assert (said.body, said.whole, said.field(b"connection")) == (b"r" * size, True, None)
    assert house.forge.wire.ended == "reset"
    assert house.audit.events == []
    client.deliver(whole[half:])
    house.settle()
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()
    assert client.ended == ""
    client.deliver(discover())
    house.settle()
    assert house.forge.asked().start.method == b"GET"


def test_an_end_of_the_gateway_leaves_an_early_answer_standing() -> None:
    """It is on its way; a word of ours behind it would be no answer to anything."""
    house = House()
    whole = post(commands() + PACK * 300, service=b"receive", chunked=True)
    client = house.say(whole[:-100])
    house.forge.wire.deliver(REPORTED)
    house.settle()
    house.transfers.refuse_pending()
    house.settle()
    assert (client.ended, house.audit.events) == ("", [])
    client.deliver(whole[-100:])
    house.settle()
    assert only(client, b"POST").body == b"reported"
    assert house.reasons == [Reason.ALLOWED]


def test_what_is_read_away_has_a_bound() -> None:
    """Nobody is owed four GiB of listening."""
    house = House(max_drain=1000)
    client = house.say(post(b"x" * 5000)[:-5000])
    house.forge.wire.deliver(RESULT)
    house.settle()
    client.deliver(b"x" * 1000)
    house.settle()
    assert client.ended == ""
    client.deliver(b"x")
    house.settle()
    assert client.ended == "reset"
    assert house.reasons == [Reason.STALLED]
    house.nothing_left()


def test_a_forge_that_answers_early_and_takes_nothing_does_not_hang_the_client() -> None:
    """The upload was held for the forge; when the answer is whole it is read away instead."""
    house = House()
    client = house.say(post(b"x" * (8 * KIB64))[: -8 * KIB64])
    house.forge.wire.stall()
    for _ in range(8):
        client.deliver(b"x" * KIB64)
    house.settle()
    assert not client.reading
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").body == b"packed"
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()


def test_a_refusal_in_mid_upload_reads_the_rest_first() -> None:
    """Git takes an early refusal of a push for success."""
    house = House()
    whole = post(commands() + PACK, service=b"receive", chunked=True)
    client = house.say(whole[:-20])
    house.forge.wire.deliver(answer(status=b"403 No"))
    house.settle()
    assert client.received == b""
    client.deliver(whole[-20:])
    house.settle()
    assert b"ng refs/heads/main credgate: github.com answered 403" in only(client, b"POST").body
    assert house.reasons == [Reason.FORGE_REFUSED]
    house.nothing_left()


# A push that turns out to be none.


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (encode(b"command=bundle-uri") + FLUSH, Reason.FETCH_COMMAND),
        (encode(b"command=fetch") + DELIMITER + encode(b"packfile-uris https") + FLUSH, Reason.FETCH_ARGUMENT),
        (encode(b"command=ls-refs") + FLUSH, None),
    ],
)
def test_a_fetch_that_asks_for_more_is_told_so_and_the_forge_hears_nothing(body: bytes, reason: Reason | None) -> None:
    """In git's own words; what is served is asked whole."""
    house = House()
    client = house.say(post(body, b"Git-Protocol: version=2"))
    if reason is None:
        assert house.forge.asked().body == body
        return
    assert (house.reasons, house.forge.wire.received) == ([reason], b"")
    assert only(client, b"POST").body[4:].startswith(b"ERR credgate: ")
    house.nothing_left()


def test_a_push_that_breaks_half_way_never_reaches_its_end() -> None:
    """Nothing of it was sent; the client hears why."""
    house = House()
    whole = post(command() + b"zzzz" + PACK, service=b"receive", chunked=True)
    broken = whole.index(b"zzzz")
    client = house.say(whole[:broken])
    client.deliver(whole[broken:])
    house.settle()
    assert house.forge.wires == []
    said = only(client, b"POST")
    assert said.status == 400
    assert b"push refused" in said.body
    assert house.reasons == [Reason.MALFORMED_PUSH]
    house.nothing_left()


def test_an_impossible_ref_is_told_ref_by_ref() -> None:
    """The list is sound, so git can be told in its own words."""
    house = House()
    client = house.say(post(commands(b"refs/heads/a", b"refs/heads/a") + PACK, service=b"receive"))
    said = only(client, b"POST")
    assert said.status == 200
    assert b"ng refs/heads/a credgate: push refused" in said.body
    assert house.reasons == [Reason.MALFORMED_PUSH]
    house.nothing_left()


def test_a_push_without_the_end_of_its_list_is_refused() -> None:
    """It may be the tail of someone's pack."""
    house = House()
    whole = post(command(), service=b"receive", chunked=True)
    client = house.say(whole[:-5])
    client.deliver(whole[-5:])
    house.settle()
    assert only(client, b"POST").status == 400
    assert house.forge.wires == []
    assert house.reasons == [Reason.MALFORMED_PUSH]
    house.nothing_left()


@pytest.mark.parametrize("cut", [b"zzzz", None])
def test_a_push_that_breaks_after_its_answer_began_resets_the_client(cut: bytes | None) -> None:
    """There is no second answer to put into the first one's middle."""
    house = House()
    squeezed = gzip.compress(commands() + PACK)[:-8]
    whole = post(squeezed, b"Content-Encoding: gzip", service=b"receive", chunked=True)
    client = house.say(whole[:-5])
    house.forge.wire.deliver(answer(b"reported", kind=b"receive-pack-result", length=100))
    house.settle()
    client.deliver(whole[-5:] if cut is None else chunks(cut * 2))
    house.settle()
    assert client.ended == "reset"
    assert client.received.count(b"HTTP/1.1") == 1
    assert not only(client, b"POST").whole
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    house.nothing_left()


def test_a_gzipped_push_that_is_no_gzip_is_refused() -> None:
    """What cannot be read cannot be judged."""
    house = House()
    client = house.say(post(b"not gzip", b"Content-Encoding: gzip", service=b"receive"))
    assert only(client, b"POST").status == 400
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    house.nothing_left()


def test_a_gzipped_push_to_a_forge_that_fails_still_names_its_refs() -> None:
    """The list is read before the forge is asked, however much of the rest waits here."""
    refs = [b"refs/heads/branch-%04d" % number for number in range(1000)]
    house = House()
    house.forge.open = False
    client = house.client()
    client.bufferSize = 8 * KIB64
    client.deliver(post(gzip.compress(commands(*refs) + BIG, 0), b"Content-Encoding: gzip", service=b"receive"))
    house.settle()
    assert client.protocol._exchange._upload._inflow
    house.forge.refuse(error.ConnectionRefusedError())
    house.settle()
    said = only(client, b"POST")
    assert (said.status, b"ng refs/heads/branch-0999" in said.body) == (200, True)
    (line,) = house.audit.events
    assert (len(line.refs), line.refs_more) == (50, 950)
    house.nothing_left()


def test_a_gzipped_push_whose_list_is_none_never_asks_the_forge() -> None:
    """Cut or broken, far into it."""
    refs = [b"refs/heads/branch-%04d" % number for number in range(1000)]
    stored = gzip.compress(commands(*refs), 0)
    for sent in (stored[:-40], stored.replace(b"branch-0999", b"branch 0999")):
        house = House()
        client = house.say(post(sent, b"Content-Encoding: gzip", service=b"receive"))
        assert only(client, b"POST").status == 400
        assert house.forge.wires == []
        house.nothing_left()


@pytest.mark.parametrize("broken", [b"5;x\r\n", b"zz\r\n", b"4\r\nabcdX"])
def test_a_malformed_chunk_in_mid_upload_ends_both_sides(broken: bytes) -> None:
    """400 before the answer began; the forge keeps an unfinished request, and the session no exchange."""
    house = House()
    client = house.say(post(commands() + PACK, service=b"receive", chunked=True)[:-5])
    client.deliver(broken)
    house.settle()
    assert only(client, b"POST").status == 400
    assert not house.forge.asked().whole
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    assert house.audit.events[0].status == 400
    house.wait(3)
    assert client.ended == "reset"
    house.nothing_left()


def test_a_malformed_chunk_after_the_answer_began_resets_the_client() -> None:
    """A 400 there would be read as part of the pack."""
    house = House()
    client = house.say(post(b"0000", chunked=True)[:-5])
    house.forge.wire.deliver(answer(b"half", length=8))
    house.settle()
    client.deliver(b"zz\r\n")
    house.settle()
    assert client.ended == "reset"
    assert client.received.count(b"HTTP/1.1") == 1
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    assert house.audit.events[0].status == 200
    house.nothing_left()


def test_pipelined_bytes_are_never_a_second_request() -> None:
    """The first is answered, the connection ends, and what followed is nobody's."""
    house = House()
    client = house.say(discover() + discover(b"receive"))
    assert not client.reading
    assert len(requests_in(house.forge.wire.received)) == 1
    house.forge.wire.deliver(LISTED)
    house.settle()
    assert only(client).whole
    assert client.half_closed
    client.hang_up()
    house.settle()
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()
