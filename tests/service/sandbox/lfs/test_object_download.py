"""Downloads through a gateway without sockets: whole, resumed, corrupt, cut, slow."""

from __future__ import annotations

import json

import pytest
from twisted.internet import error

from credgate.values import Reason
from tests.fakes.lfshouse import CONTENT, OID, OWN, STORED, batch, call, get, offered, refused, say, sent, target
from tests.fakes.relay import House, ask, login, only
from tests.fakes.sessions import session

SIZE = len(CONTENT)


@pytest.mark.parametrize("length", [None, -1])
def test_object_is_passed_on_unchanged(length: int | None) -> None:
    """With the length that the batch said, however the storage frames it, and nothing of the storage's head."""
    house = House()
    client = get(house, target(house, "download", header={"Authorization": "storage's own"}))
    asked = house.forge.asked()
    assert asked.start.target == b"/oid?X-Amz-Signature=signature-of-the-storage"
    assert asked.field(b"host") == b"github-cloud.s3.amazonaws.com"
    assert asked.field(b"authorization") == b"storage's own"
    house.forge.wire.deliver(sent(CONTENT, "200 Whatever", b"X-Secret: secret", length=length))
    house.settle()
    said = only(client)
    assert (said.status, said.body, said.field(b"content-length")) == (200, CONTENT, b"%d" % SIZE)
    assert b"secret" not in client.received
    event = house.audit.events[-1]
    assert (event.operation, event.oid, event.size, event.bytes_down) == ("lfs-download", OID, SIZE, SIZE)
    house.nothing_left()


def test_credential_is_sent_to_the_forge_itself() -> None:
    """On a connection that git's requests share; a storage never does."""
    house = House()
    get(house, target(house, "download", href=OWN))
    assert house.forge.asked().field(b"authorization") == house.drivers["github.com"].login("forge-secret")
    assert len(house.forge.wires) == 1
    house = House()
    get(house, target(house, "download", href=STORED))
    assert house.forge.asked().field(b"authorization") is None
    assert len(house.forge.wires) == 2


def test_sessions_share_no_connection_to_a_storage() -> None:
    """What a storage answers is its own doing: a late answer to one sandbox must not reach another."""
    house = House()
    house.sessions.known["token-2", "secret-2"] = session(2, grants=house.session.grants)
    dialled = []
    for auth in (login(), login(), login("token-2", "secret-2")):
        asked = batch().replace(login(), auth)
        heard = json.loads(only(say(house, asked, offered("download")), b"POST").body)
        place = heard["objects"][0]["actions"]["download"]["href"].removeprefix("http://gate")
        client = house.say(ask(b"GET " + place.encode(), auth=auth))
        storage = next(one for one in house.forge.wires if one.protocol.asker is not None)
        storage.deliver(sent(CONTENT))
        house.settle()
        assert only(client).body == CONTENT
        dialled.append(storage)
    assert dialled[0] is dialled[1]
    assert dialled[1] is not dialled[2]


def test_range_is_passed_on_and_answered() -> None:
    """206 with our own Content-Range."""
    house = House()
    client = get(house, target(house, "download"), b"Range: bytes=5-%d" % (SIZE - 1))
    assert house.forge.asked().field(b"range") == b"bytes=5-%d" % (SIZE - 1)
    house.forge.wire.deliver(sent(CONTENT[5:], "206 Partial", b"Content-Range: bytes 5-%d/%d" % (SIZE - 1, SIZE)))
    house.settle()
    said = only(client)
    assert (said.status, said.body) == (206, CONTENT[5:])
    assert said.field(b"content-range") == b"bytes 5-%d/%d" % (SIZE - 1, SIZE)


def test_storage_without_ranges_sends_the_whole_object() -> None:
    """git-lfs begins anew then."""
    house = House()
    client = get(house, target(house, "download"), b"Range: bytes=5-")
    house.forge.wire.deliver(sent())
    house.settle()
    assert (only(client).status, only(client).body) == (200, CONTENT)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (sent(CONTENT[:-1]), "not the object, or not the part"),
        (sent(CONTENT + b"x"), "not the object, or not the part"),
        (sent(CONTENT, "206 Partial", b"Content-Range: bytes 1-2/3"), "not the object, or not the part"),
        (sent(CONTENT, "206 Partial"), "not the object, or not the part"),
        (sent(CONTENT, "203 Other", b"Content-Range: bytes 0-%d/%d" % (SIZE - 1, SIZE)), "not the object, or not the"),
        (sent(CONTENT, "203 Other"), "not the object, or not the part"),
        (sent(CONTENT, "200 OK", b"Content-Encoding: gzip"), "Content-Encoding that was not asked for"),
        (sent(b"", "302 Found", b"Location: https://evil.example/"), "redirect, which credgate does not follow"),
        (sent(b"", "403 Forbidden"), "answered 403"),
        (sent(b"X" + CONTENT[1:]), "its bytes do not match"),
        (sent(CONTENT + b"x", length=-1), "more bytes than the object has"),
        (sent(CONTENT[:-1], length=-1), "bytes of the object are missing"),
    ],
)
def test_answer_that_is_not_the_object_is_refused(answer: bytes, text: str) -> None:
    """With a text, because no byte was passed on yet."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(answer)
    house.settle()
    assert text in refused(client)[1]
    assert "amazonaws" not in refused(client)[1]
    house.nothing_left()


def test_corrupt_object_is_cut_before_its_end() -> None:
    """The last bytes are never sent, so the object never looks complete."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent(b"X" + CONTENT[1:-1], length=SIZE))
    house.settle()
    assert b"X" + CONTENT[1:-1] in client.received
    house.forge.wire.deliver(CONTENT[-1:])
    house.settle()
    assert client.ended == "reset"
    assert house.reasons[-1] == Reason.LFS_MISMATCH
    house.nothing_left()


def test_cut_answer_is_cut() -> None:
    """Never finished by us."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent(CONTENT[:50], length=SIZE))
    house.forge.wire.hang_up()
    house.settle()
    assert client.ended == "reset"
    assert house.reasons[-1] == Reason.FORGE_CUT


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """Nothing was lost by it."""
    house = House()
    place = target(house, "download")
    client = get(house, place)
    house.forge.wire.deliver(sent())
    house.settle()
    wires = len(house.forge.wires)
    client.deliver(ask(b"GET " + place.encode()))
    house.settle()
    assert len(house.forge.wires) == wires
    house.forge.wire.hang_up()
    house.settle()
    assert len(house.forge.wires) == wires + 1
    house.forge.wire.deliver(sent())
    house.settle()
    assert house.reasons == [Reason.ALLOWED] * 3


@pytest.mark.parametrize("begun", [False, True])
def test_new_connection_and_begun_answer_are_not_repeated(*, begun: bool) -> None:
    """Only a kept connection may have been closed before it was used."""
    house = House()
    place = target(house, "download")
    if begun:
        get(house, place)
        house.forge.wire.deliver(sent())
        house.settle()
    wires = len(house.forge.wires)
    client = get(house, place)
    if begun:
        house.forge.wire.deliver(sent()[:10])
    house.forge.wire.hang_up()
    house.settle()
    assert len(house.forge.wires) == wires + (not begun)
    assert "the answer of the storage of github.com cannot be used" in refused(client)[1]
    house.nothing_left()


def test_unreachable_storage_is_refused() -> None:
    """By what it is, not by its name."""
    house = House()
    place = target(house, "download")
    house.forge.open = False
    client = get(house, place)
    house.forge.refuse(error.ConnectionRefusedError())
    house.settle()
    assert refused(client)[1].startswith("credgate: the storage of github.com cannot be reached")


def test_client_that_does_not_read_pauses_the_storage_and_is_cut() -> None:
    """Nothing piles up here."""
    house = House(stall_timeout=10)
    client = get(house, target(house, "download"))
    client.stall()
    house.forge.wire.deliver(sent(CONTENT[:-5], length=SIZE))
    house.settle()
    if house.forge.wire.reading:  # as much as a transport holds was not there yet
        client.protocol._client_full()
    assert not house.forge.wire.reading
    client.protocol._client_drained()
    assert house.forge.wire.reading
    client.protocol._client_full()
    house.wait(12)
    assert client.ended == "reset"
    assert house.reasons[-1] == Reason.STALLED


def test_client_that_leaves_while_connecting_ends_the_attempt() -> None:
    """And no line in the log: it is no defect."""
    house = House()
    place = target(house, "download")
    house.forge.open = False
    get(house, place).hang_up()
    house.settle()
    assert house.forge.coming == []
    assert house.reasons[-1] == Reason.CLIENT_LEFT
    house.nothing_left()


def test_handle_is_valid_for_its_session_until_it_expires() -> None:
    """Then git-lfs asks for a new batch."""
    house = House()
    place = target(house, "download")
    house.reactor.advance(24 * 3600)
    assert refused(get(house, place))[0] == 404
    assert say(house, batch(), offered("download"))
    assert refused(house.say(call("/_x/" + "z" * 43, method="GET")))[0] == 404
