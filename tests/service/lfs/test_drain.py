"""The end of the gateway while objects are on their way: they may finish, what git-lfs asks next is refused in JSON."""

from __future__ import annotations

import json

import pytest

from credgate.service.sandbox.connection import PARTING
from credgate.values import Reason
from tests.fakes.lfshouse import CONTENT, batch, call, get, offered, put, say, sent, target
from tests.fakes.relay import House, answers_in, ask, discover, only
from tests.service.test_drain import STOPPING, End

STORED = sent(b"")


def test_an_upload_that_runs_may_finish_and_be_verified() -> None:
    """Its verifying is a new request and the end of the same upload: without it the forge may not count it."""
    house = House()
    heard = json.loads(only(say(house, batch("upload"), offered("upload", "verify")), b"POST").body)
    places = {
        name: action["href"].removeprefix("http://gate") for name, action in heard["objects"][0]["actions"].items()
    }
    whole = put(places["upload"])
    client = house.say(whole[:-50])
    end = End(house)
    client.deliver(whole[-50:])
    house.settle()
    house.forge.wire.deliver(STORED)
    house.settle()
    client.deliver(call(places["verify"].partition("/info/lfs")[2], {}))
    house.settle()
    house.forge.wire.deliver(STORED)
    house.settle()
    assert [one.status for one in answers_in(client.received, b"PUT", b"POST")] == [200, 200]
    assert not client.ended
    house.wait(PARTING + 1)
    assert client.ended == "closed"
    assert set(house.reasons) == {Reason.ALLOWED}
    assert end.over
    end.cut()


def test_a_download_that_runs_may_finish() -> None:
    """Whole."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent()[:-50])
    end = End(house)
    assert not end.over
    house.forge.wire.deliver(sent()[-50:])
    house.settle()
    assert only(client).body == CONTENT
    house.wait(PARTING + 1)
    assert client.ended == "closed"
    assert end.over
    end.cut()


NEXT = {
    "batch": (lambda _: batch(), b"POST", 429),
    "locks": (lambda _: call("/locks", method="GET"), b"GET", 503),
    "download": (lambda house: ask(b"GET " + target(house, "download").encode()), b"GET", 503),
    "upload": (lambda house: put(target(house, "upload")), b"PUT", 503),
}


@pytest.mark.parametrize("what", NEXT)
def test_what_git_lfs_asks_next_is_refused_in_json(what: str) -> None:
    """With when to come again; to git-lfs only a 429 is a reason to ask for a batch once more."""
    make, method, status = NEXT[what]
    house = House()
    request = make(house)
    client = say(house, batch(), offered("download"))
    asked = len(house.forge.wires)
    end = End(house)
    assert not client.ended
    client.deliver(request)
    house.settle()
    said = answers_in(client.received, b"POST", method)[1]
    assert (said.status, said.field(b"retry-after")) == (status, b"60")
    assert STOPPING.decode() in json.loads(said.body)["message"]
    assert house.reasons[-1] is Reason.SHUTDOWN
    assert len(house.forge.wires) == asked
    house.wait(PARTING + 1)
    assert client.ended == "closed"
    assert end.over
    end.cut()


def test_what_git_asks_on_such_a_connection_is_refused_in_its_words() -> None:
    """No client shares a connection so; whoever does begins nothing."""
    house = House()
    client = say(house, batch(), offered("download"))
    end = End(house)
    client.deliver(discover())
    house.settle()
    said = answers_in(client.received, b"POST", b"GET")[1]
    assert (said.status, said.field(b"retry-after")) == (503, b"60")
    assert STOPPING in said.body
    house.wait(PARTING + 1)
    assert end.over
    end.cut()


def test_at_the_end_an_upload_is_told_and_the_storage_sees_it_unfinished() -> None:
    """After the rest of its body, as long as that is short."""
    house = House()
    whole = put(target(house, "upload"))
    client = house.say(whole[:-50])
    end = End(house, timeout=5)
    house.wait(6)
    assert house.forge.wire.ended == "reset"
    assert not house.forge.asked().whole
    client.deliver(whole[-50:])
    house.settle()
    said = only(client, b"PUT")
    assert (said.status, said.field(b"retry-after")) == (503, b"60")
    assert house.reasons[-1] is Reason.SHUTDOWN
    house.wait(PARTING)
    assert end.over
    end.cut()


def test_at_the_end_a_download_that_has_begun_is_cut_visibly() -> None:
    """A part must not look like the object."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent()[:-50])
    house.settle()
    end = End(house, timeout=5)
    house.wait(6)
    assert client.ended == "reset"
    assert house.reasons[-1] is Reason.SHUTDOWN
    house.wait(PARTING)
    assert end.over
    end.cut()
