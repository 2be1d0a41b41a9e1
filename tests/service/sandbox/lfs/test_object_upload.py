"""Uploads through a gateway without sockets: whole, chunked, corrupt, early answers, slow storages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from credgate.service.sandbox.lfs.object_upload import PATIENCE, SMALL
from credgate.values import Reason
from tests.fakes.lfshouse import CONTENT, OID, OWN, answered, batch, put, refused, said, say, sent, target
from tests.fakes.lfshouse import STORED as STORED_AT
from tests.fakes.relay import House, chunks, only, requests_in

if TYPE_CHECKING:
    from tests.fakes.wire import Wire

SIZE = len(CONTENT)
STORED = sent(b"", "201 Created")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("wants", [False, True])
def test_object_is_sent_with_a_length_or_in_chunks(*, chunked: bool, wants: bool) -> None:
    """With a length or in chunks, whatever the client does; with the action's own fields only."""
    house = House()
    header = {"X-Amz-Date": "2026"} | ({"Transfer-Encoding": "chunked"} if wants else {})
    client = house.say(put(target(house, "upload", header=header), chunked=chunked))
    asked = house.forge.asked()
    assert (asked.start.method, asked.body, asked.whole) == (b"PUT", CONTENT, True)
    assert (asked.field(b"transfer-encoding") == b"chunked") is wants
    assert (asked.field(b"x-amz-date"), asked.field(b"authorization")) == (b"2026", None)
    house.forge.wire.deliver(STORED)
    house.settle()
    assert (only(client, b"PUT").status, only(client, b"PUT").body) == (200, b"")
    event = house.audit.events[-1]
    assert (event.operation, event.oid, event.bytes_up, event.reason) == ("lfs-upload", OID, SIZE, Reason.ALLOWED)
    house.nothing_left()


def test_credential_is_sent_to_the_forge_itself() -> None:
    """Where it said that it expects one."""
    house = House()
    house.say(put(target(house, "upload", href=OWN)))
    assert house.forge.asked().field(b"authorization") == house.drivers["github.com"].login("forge-secret")


def test_bytes_before_the_connection_are_kept() -> None:
    """And the rest is not read until then."""
    house = House()
    place = target(house, "upload")
    house.forge.open = False
    whole = put(place)
    client = house.say(whole[:-10])
    assert not client.reading
    house.forge.let_in()
    house.settle()
    assert client.reading
    client.deliver(whole[-10:])
    house.settle()
    assert house.forge.asked().body == CONTENT
    house.forge.open = False
    client = house.say(whole)
    house.forge.let_in()
    house.settle()
    assert house.forge.asked().whole


@pytest.mark.parametrize("chunked", [False, True])
def test_corrupt_object_is_never_complete_at_the_storage(*, chunked: bool) -> None:
    """Its last bytes are held back and the storage's request is left unfinished."""
    house = House()
    client = house.say(put(target(house, "upload"), CONTENT[:-1] + b"!", chunked=chunked))
    status, text = refused(client, b"PUT")
    assert (status, "do not match the object's digest" in text) == (422, True)
    assert all(not one.whole for wire in house.forge.wires[1:] for one in requests_in(wire.received))
    assert house.reasons[-1] == Reason.LFS_MISMATCH
    house.nothing_left()


def test_chunks_are_counted() -> None:
    """One byte more, or less, is another object."""
    house = House()
    place = target(house, "upload")
    assert "more bytes than the object has" in refused(house.say(put(place, CONTENT + b"x", chunked=True)), b"PUT")[1]
    assert "are missing" in refused(house.say(put(place, CONTENT[:-1], chunked=True)), b"PUT")[1]


def test_other_length_is_refused_before_the_storage_is_asked() -> None:
    """The batch said the size."""
    house = House()
    place = target(house, "upload")
    wires = len(house.forge.wires)
    assert "its batch said" in refused(house.say(put(place, CONTENT + b"x")), b"PUT")[1]
    assert len(house.forge.wires) == wires


def test_refusal_of_a_large_object_is_sent_at_once() -> None:
    """git-lfs reads it while it sends; a gigabyte is not read away for it."""
    house = House()
    request = put("/git/octo/hello.git/info/lfs/_x/" + "h" * 43, b"x" * (2 * PATIENCE))
    client = house.say(request[:1000])
    assert refused(client, b"PUT")[0] == 404
    assert only(client, b"PUT").field(b"connection") == b"close"
    small = house.say(put("/git/octo/hello.git/info/lfs/_x/" + "h" * 43, b"x" * 100)[:-50])
    assert small.received == b""
    small.deliver(b"x" * 50)
    house.settle()
    assert refused(small, b"PUT")[0] == 404


@pytest.mark.parametrize(("status", "shown"), [("403 Forbidden", 403), ("507 Full", 507), ("307 Temporary", 502)])
def test_refusal_of_the_storage_is_passed_on(status: str, shown: int) -> None:
    """Also one that comes before the object is there."""
    house = House()
    whole = put(target(house, "upload"))
    client = house.say(whole[:-10])
    house.forge.wire.deliver(sent(b"why", status))
    client.deliver(whole[-10:])
    house.settle()
    assert refused(client, b"PUT")[0] == shown
    house.nothing_left()


def test_early_success_of_the_storage_is_accepted() -> None:
    """What is still sent is counted and hashed all the same."""
    house = House()
    whole = put(target(house, "upload"))
    client = house.say(whole[:-10])
    house.forge.wire.deliver(STORED)
    house.settle()
    assert client.received == b""
    client.deliver(whole[-10:])
    house.settle()
    assert only(client, b"PUT").status == 200
    client = house.say(put(target(house, "upload"), CONTENT[:-1] + b"!")[:-10])
    house.forge.wire.deliver(STORED)
    client.deliver(whole[-10:-1] + b"!")
    house.settle()
    assert refused(client, b"PUT")[0] == 422


def test_storage_that_does_not_read_pauses_the_client() -> None:
    """And gets as long as a forge."""
    house = House(stall_timeout=10, forge_timeout=30)
    whole = put(target(house, "upload"))
    client = house.say(whole[:-10])
    house.forge.wire.stall()
    upload = client.protocol._exchange
    upload._fills()
    assert not client.reading
    house.wait(12)
    assert client.ended == ""
    upload._drains()
    assert client.reading
    house.wait(12)
    assert client.ended == "reset"
    assert house.reasons[-1] == Reason.STALLED


def test_silent_storage_is_refused_after_forge_timeout() -> None:
    """With a text."""
    house = House(forge_timeout=30)
    client = house.say(put(target(house, "upload")))
    upload = client.protocol._exchange
    upload._fills()  # of the last piece: nobody is held for it
    house.wait(32)
    assert refused(client, b"PUT")[0] == 504


def test_closed_connection_is_refused() -> None:
    """An upload is not sent twice: what went by is not here any more."""
    house = House()
    client = house.say(put(target(house, "upload")))
    wires = len(house.forge.wires)
    house.forge.wire.hang_up()
    house.settle()
    assert refused(client, b"PUT")[0] == 502
    assert len(house.forge.wires) == wires


def test_client_that_leaves_leaves_an_unfinished_request() -> None:
    """Also in the middle of a chunk."""
    house = House()
    place = target(house, "upload", header={"Transfer-Encoding": "chunked"})
    client = house.say(put(place, chunked=True)[:-20])
    client.hang_up()
    house.settle()
    assert chunks(b"").strip() not in house.forge.wire.received[-5:]
    assert house.forge.wire.ended == "reset"
    house.nothing_left()


def test_a_body_that_breaks_its_framing_cuts_the_storage() -> None:
    """The protocol error is answered, and the object is not stored."""
    house = House()
    whole = put(target(house, "upload"), chunked=True)
    client = house.say(whole[:-7])
    client.deliver(b"zz\r\n")
    house.settle()
    assert only(client, b"PUT").status == 400
    assert house.forge.wire.ended == "reset"


LARGE = b"x" * (SMALL + 1)


def stored_before(house: House, **more: object) -> Wire:
    """Have a kept connection to the storage, by one upload that went well."""
    house.say(put(target(house, "upload", **more)))
    house.forge.wire.deliver(STORED)
    house.settle()
    return house.forge.wire


@pytest.mark.parametrize("wants", [False, True])
def test_small_object_uses_a_kept_connection(*, wants: bool) -> None:
    """Two hundred of them would else be two hundred handshakes."""
    house = House()
    header = {"Transfer-Encoding": "chunked"} if wants else {}
    storage = stored_before(house, header=header)
    place = target(house, "upload", header=header)
    opened = len(house.forge.wires)
    client = house.say(put(place))
    storage.deliver(STORED)
    house.settle()
    assert only(client, b"PUT").status == 200
    assert [one.body for one in requests_in(storage.received)] == [CONTENT, CONTENT]
    assert len(house.forge.wires) == opened
    house.nothing_left()


@pytest.mark.parametrize("there", [0, SIZE // 2, SIZE])
def test_a_kept_connection_that_was_closed_is_replaced(there: int) -> None:
    """Whatever has gone to it by then: it is sent again, whole."""
    house = House()
    storage = stored_before(house)
    whole = put(target(house, "upload"))
    cut = len(whole) - SIZE + there
    client = house.say(whole[:cut])
    storage.hang_up()
    house.settle()
    client.deliver(whole[cut:])
    house.settle()
    assert house.forge.wire is not storage
    assert (house.forge.asked().body, house.forge.asked().whole) == (CONTENT, True)
    house.forge.wire.deliver(STORED)
    house.settle()
    assert only(client, b"PUT").status == 200
    house.nothing_left()


def test_new_connection_that_is_closed_is_not_replaced() -> None:
    """Nor is one that has begun to answer: that storage has said something."""
    house = House()
    client = house.say(put(target(house, "upload")))
    house.forge.wire.hang_up()
    house.settle()
    assert refused(client, b"PUT")[0] == 502
    storage = stored_before(house)
    client = house.say(put(target(house, "upload")))
    opened = len(house.forge.wires)
    storage.deliver(STORED[:20])
    storage.hang_up()
    house.settle()
    assert refused(client, b"PUT")[0] == 502
    assert len(house.forge.wires) == opened


def test_large_object_uses_a_new_connection() -> None:
    """What streamed by is not held, so it could not be sent again."""
    house = House()
    storage = stored_before(house)
    oid = hashlib.sha256(LARGE).hexdigest()
    one = {"oid": oid, "size": len(LARGE)}
    offer = answered({"objects": [one | {"actions": {"upload": {"href": STORED_AT}}}]})
    asked = say(house, batch("upload", objects=[one]), offer)
    href = said(asked, b"POST")["objects"][0]["actions"]["upload"]["href"]
    house.say(put(href.removeprefix("http://gate"), LARGE))
    assert house.forge.wire is not storage
    assert house.forge.asked().body == LARGE
