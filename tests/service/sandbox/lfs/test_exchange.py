"""The end of an LFS request: once, whichever way it comes first, and in words wherever words are still possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from credgate.lfs.refusals import LfsError
from credgate.values import Decision, Reason
from tests.fakes.lfshouse import CONTENT, batch, get, offered, put, refused, say, sent, target
from tests.fakes.relay import House

if TYPE_CHECKING:
    from twisted.python.failure import Failure

STOPPING = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text="the gateway stops")


def test_the_first_end_is_the_end() -> None:
    """What comes of the work later is nobody's: no second answer, no second line, no second abort."""
    house = House()
    client = house.say(batch())
    errand = client.protocol._exchange
    errand.refuse(LfsError("first", reason=Reason.FORGE_TIMEOUT, status=504))
    errand.refuse(LfsError("second", reason=Reason.LFS_STORAGE, status=502))
    house.settle()
    assert refused(client, b"POST") == (504, "credgate: first")
    assert house.reasons == [Reason.FORGE_TIMEOUT]
    house.nothing_left()


def test_a_defect_of_ours_is_no_refusal(clean_reactor: list[Failure]) -> None:
    """Whatever it is: the operator gets the traceback, the sandbox a connection that is cut and no words of it."""
    house = House()
    client = house.say(batch())

    async def broken() -> None:
        raise ZeroDivisionError

    client.protocol._exchange.do(broken())
    house.settle()
    assert (client.ended, client.received) == ("reset", b"")
    assert house.reasons == [Reason.INTERNAL]
    assert clean_reactor.pop().check(ZeroDivisionError)


def test_before_an_answer_the_end_of_the_gateway_is_told() -> None:
    """Then git-lfs comes back by itself."""
    house = House()
    client = house.say(batch())
    client.protocol._exchange.refuse_pending(STOPPING)
    house.settle()
    assert refused(client, b"POST") == (429, "credgate: the gateway stops")
    assert house.reasons == [Reason.SHUTDOWN]


def test_in_mid_object_the_end_of_the_gateway_is_a_cut() -> None:
    """Words behind bytes of an object would be bytes of the object."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent(CONTENT)[:-10])
    house.settle()
    before = client.received
    client.protocol._exchange.refuse_pending(STOPPING)
    house.settle()
    assert (client.ended, client.received) == ("reset", before)
    assert house.reasons[-1] == Reason.SHUTDOWN
    house.nothing_left()


@pytest.mark.parametrize("who", ["client", "storage"])
def test_who_must_move_is_who_is_waited_for(who: str) -> None:
    """The sandbox for as long as a client may stall, the storage for as long as a forge may think."""
    house = House(stall_timeout=10, forge_timeout=30)
    whole = put(target(house, "upload"))
    client = house.say(whole[:-5] if who == "client" else whole)
    house.wait(12)
    assert client.ended == ("reset" if who == "client" else "")
    if who == "storage":
        house.wait(20)
        assert refused(client, b"PUT")[0] == 504
    assert house.reasons[-1] == (Reason.STALLED if who == "client" else Reason.FORGE_TIMEOUT)
    house.nothing_left()


def test_bytes_that_move_put_the_deadline_off_and_touch_the_session() -> None:
    """Either way; an object of hours is one session's use of it."""
    house = House(stall_timeout=10, forge_timeout=30)
    client = get(house, target(house, "download"))
    whole = sent(CONTENT)
    head = len(whole) - len(CONTENT)
    house.sessions.touched.clear()
    house.forge.wire.deliver(whole[: head + 1])
    for at in range(head + 1, head + 9):
        house.wait(28)
        house.forge.wire.deliver(whole[at : at + 1])
        house.settle()
    assert (client.ended, bool(house.sessions.touched)) == ("", True)
    house.forge.wire.deliver(whole[head + 9 :])
    house.settle()
    assert house.reasons[-1] == Reason.ALLOWED


def test_a_protocol_error_behind_an_answer_is_not_told() -> None:
    """It would be read as the object's bytes; in front of one it is told with its status."""
    house = House()
    client = get(house, target(house, "download"))
    errand: Any = client.protocol._exchange
    assert not errand.answering
    house.forge.wire.deliver(sent(CONTENT)[:-10])
    house.settle()
    assert errand.answering
    assert errand.dropped(Decision(allow=False, reason=Reason.MALFORMED_REQUEST), 400) is False
    assert house.audit.events[-1].status == 200
    other = say(house, batch(), offered("download")[:20])
    assert other.protocol._exchange.dropped(Decision(allow=False, reason=Reason.MALFORMED_REQUEST), 400) is True
    assert house.audit.events[-1].status == 400
