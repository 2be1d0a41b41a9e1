"""The end of the gateway: what runs may finish, what waits is told, what stays is cut, and nothing new begins."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from credgate.service.drain import Drain
from credgate.service.sandbox.connection import PARTING
from credgate.values import Reason
from tests.fakes.relay import (
    LISTED,
    PACK,
    REPORTED,
    RESULT,
    House,
    answer,
    answers_in,
    ask,
    busy_house,
    commands,
    discover,
    only,
    post,
)

if TYPE_CHECKING:
    from tests.fakes.wire import Wire

HEALTH = ask(b"GET /health", auth=b"")
PUSH = post(commands() + PACK, service=b"receive", chunked=True)
STOPPING = b"credgate is stopping"


class End:
    """A house whose end has come; ``over`` is whether it was waited for."""

    def __init__(self, house: House, timeout: float = 30) -> None:
        self.house = house
        reactor: Any = house.reactor
        reactor.callFromThread = lambda call: call()
        self.drain = Drain(house.transfers, reactor, timeout)
        self.done: list[None] = []
        self.drain.stopService().addCallback(self.done.append)
        house.settle()

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any more."""
        return bool(self.done)

    def cut(self) -> None:
        """Cut the rest, as the next part of the gateway does."""
        self.house.service.stopService()
        self.house.settle()
        self.house.nothing_left()


def pushing(house: House, *, whole: bool = True) -> Wire:
    """Have a push under way, that the forge has not answered."""
    client = house.say(PUSH if whole else PUSH[:-20])
    house.settle()
    return client


def test_drain_without_connections_ends_at_once() -> None:
    """A gateway without connections stops at once."""
    end = End(House())
    assert end.over
    end.cut()


def test_idle_connections_are_closed_at_once() -> None:
    """Those that never asked, those that asked before, and a head that is not whole: none of them is a request."""
    house = House()
    silent, begun, kept = house.client(), house.say(discover()[:20]), house.say(HEALTH)
    assert not kept.ended
    end = End(house)
    assert [wire.ended for wire in (silent, begun, kept)] == ["closed"] * 3
    assert end.over
    end.cut()


def test_a_push_that_runs_may_finish() -> None:
    """It lands, its client is told, and the connection is closed although it would have been kept."""
    house = House()
    client = pushing(house, whole=False)
    end = End(house)
    client.deliver(PUSH[-20:])
    house.settle()
    assert not end.over
    house.forge.wire.deliver(REPORTED)
    house.settle()
    assert only(client, b"POST").body == b"reported"
    assert client.ended == "closed"
    assert house.reasons == [Reason.ALLOWED]
    assert end.over
    end.cut()


def test_a_fetch_that_runs_may_finish() -> None:
    """And the next request of its connection is not served."""
    house, client = busy_house()
    client.deliver(post(b"0000"))
    house.settle()
    end = End(house)
    house.forge.wire.deliver(RESULT)
    house.settle()
    client.deliver(discover())
    house.settle()
    (fetched,) = answers_in(client.received, b"POST")
    assert fetched.body == b"packed"
    assert client.ended == "closed"
    assert end.over
    end.cut()


def test_at_the_end_a_fetch_that_waits_is_told_in_gits_words() -> None:
    """At discovery with a status and when to come again, at a fetch with an ERR packet."""
    house = House()
    clients = [house.say(discover()), house.say(post(b"0000"))]
    end = End(house, timeout=30)
    house.wait(29)
    assert [client.received for client in clients] == [b"", b""]
    house.wait(2)
    said = [only(clients[0]), only(clients[1], b"POST")]
    assert [one.status for one in said] == [503, 200]
    assert said[0].field(b"retry-after") == b"60"
    assert all(STOPPING in one.body for one in said)
    assert house.reasons == [Reason.SHUTDOWN] * 2
    assert end.over
    end.cut()


def test_at_the_end_a_push_that_the_forge_does_not_have_is_told_by_ref() -> None:
    """Its body is read out first, as git wants it; the forge sees it unfinished."""
    house = House()
    client = pushing(house, whole=False)
    end = End(house, timeout=5)
    house.wait(6)
    assert client.received == b""
    client.deliver(PUSH[-20:])
    house.settle()
    assert b"ng refs/heads/main credgate: " + STOPPING in only(client, b"POST").body
    assert (house.forge.wire.ended, house.forge.asked().whole) == ("reset", False)
    assert house.reasons == [Reason.SHUTDOWN]
    assert end.over
    end.cut()


def test_at_the_end_a_push_that_the_forge_has_is_cut_without_a_word() -> None:
    """Whether its refs move is not known: neither yes nor no would be true."""
    house = House()
    client = pushing(house)
    assert house.forge.asked().whole
    end = End(house, timeout=5)
    house.wait(6)
    assert (client.received, client.ended) == (b"", "reset")
    assert house.reasons == [Reason.SHUTDOWN]
    assert end.over
    end.cut()


def test_at_the_end_an_answer_that_has_begun_is_cut_visibly() -> None:
    """A pack that ends early must not look whole."""
    house = House()
    client = house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"half of it", length=1000))
    house.settle()
    end = End(house, timeout=5)
    house.wait(6)
    assert client.ended == "reset"
    assert b"half of it" in client.received
    assert house.reasons == [Reason.SHUTDOWN]
    assert end.over
    end.cut()


def test_an_answer_that_is_all_there_is_left_to_be_read() -> None:
    """An early one, whose request is still being sent: it says what happened, better than we could."""
    house = House()
    client = pushing(house, whole=False)
    house.forge.wire.deliver(REPORTED)
    house.settle()
    end = End(house, timeout=0)
    client.deliver(PUSH[-20:])
    house.settle()
    assert only(client, b"POST").body == b"reported"
    assert end.over
    end.cut()


def test_at_the_end_git_lfs_is_told_in_its_own_form() -> None:
    """As JSON, with when to come again: after a 429 it asks anew by itself, a 503 would be the end of it."""
    house = House()
    body = b'{"operation":"download","transfers":["basic"],"objects":[{"oid":"%b","size":1}]}' % (b"a" * 64)
    client = house.say(
        ask(
            b"POST /git/octo/hello.git/info/lfs/objects/batch",
            b"Accept: application/vnd.git-lfs+json",
            b"Content-Type: application/vnd.git-lfs+json",
            b"Content-Length: %d" % len(body),
            body=body,
        )
    )
    house.settle()
    assert house.forge.asked().whole
    end = End(house, timeout=5)
    house.wait(6)
    said = only(client, b"POST")
    assert (said.status, said.field(b"retry-after")) == (429, b"60")
    assert STOPPING.decode() in json.loads(said.body)["message"]
    assert house.reasons == [Reason.SHUTDOWN]
    house.wait(PARTING)
    assert end.over
    end.cut()


def test_no_time_at_all_still_has_a_word() -> None:
    """``drain_timeout = "0s"``: told at once, and cut after the parting."""
    house = House()
    waits, sends = house.say(discover()), pushing(house, whole=False)
    end = End(house, timeout=0)
    assert STOPPING in only(waits).body
    assert not end.over  # the other has not sent its push to the end
    house.wait(PARTING)
    assert end.over
    end.cut()
    assert (sends.received, sends.ended) == (b"", "reset")


def test_whoever_refuses_to_go_is_cut_by_what_stops_next() -> None:
    """A client that never reads its refusal, or never finishes its body, holds nothing up for longer."""
    house = House()
    client = pushing(house, whole=False)
    end = End(house, timeout=5)
    house.wait(5 + PARTING + 1)
    assert end.over
    assert not client.ended
    end.cut()
    assert client.ended == "reset"
    assert house.reasons == [Reason.SHUTDOWN]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_at_once(number: signal.Signals) -> None:
    """An operator who asks twice does not want to wait; and the signals are as they were afterwards."""
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    house = House()
    client = pushing(house, whole=False)
    end = End(house, timeout=3600)
    house.wait(5)
    assert not end.over
    os.kill(os.getpid(), number)
    assert end.over
    end.cut()
    assert (client.received, client.ended) == (b"", "reset")
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_second_signal_in_the_parting_counts_too() -> None:
    """It is the last thing that is waited for."""
    house = House()
    pushing(house, whole=False)
    end = End(house, timeout=0)
    assert not end.over
    end.drain.hurry()
    assert end.over
    end.cut()


def test_a_transfer_that_stalls_meanwhile_is_cut_as_ever() -> None:
    """Deadlines go on; the drain ends with the last connection, not with its own time."""
    house = House(stall_timeout=10)
    client = pushing(house, whole=False)
    end = End(house, timeout=3600)
    house.wait(11)
    assert client.ended == "reset"
    assert end.over
    end.cut()


def test_a_discovery_under_way_is_answered() -> None:
    """The positive control of all that is cut: an answer in time is an answer."""
    house = House()
    client = house.say(discover())
    end = End(house, timeout=30)
    house.wait(20)
    house.forge.wire.deliver(LISTED)
    house.settle()
    assert only(client).status == 200
    assert house.reasons == [Reason.ALLOWED]
    assert end.over
    end.cut()
