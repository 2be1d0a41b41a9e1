"""Rates at the gate: what comes too often waits, told in the words of whoever asked, and nothing that runs is cut."""

from __future__ import annotations

import pytest

from credgate.values import Reason
from tests.fakes.relay import (
    LISTED,
    PACK,
    REPORTED,
    RESULT,
    House,
    answer,
    ask,
    commands,
    discover,
    login,
    only,
    post,
)
from tests.fakes.sessions import session

WHOAMI = ask(b"GET /whoami")
PUSH = post(commands() + PACK, service=b"receive")


def served(house: House, data: bytes = b"", reply: bytes = LISTED, *, peer: str = "10.0.0.7") -> bytes:
    """Have a request served; its reason is the last."""
    client = house.say(data or discover(), peer=peer)
    house.forge.wire.deliver(reply)
    house.settle()
    assert house.reasons[-1] is Reason.ALLOWED
    return client.received


@pytest.mark.parametrize(
    ("request_bytes", "method", "status", "words"),
    [
        (discover(), b"GET", 429, b"credgate: this session has made its limit of 1 requests"),
        (WHOAMI, b"GET", 429, b"credgate: this session has made its limit of 1 requests"),
        (post(b"0000"), b"POST", 200, b"ERR credgate: this session has made its limit of 1 requests"),
        (PUSH, b"POST", 200, b"ng refs/heads/main credgate: this session has made its limit of 1 requests"),
    ],
)
def test_one_request_too_many_is_told_in_the_askers_words(
    request_bytes: bytes, method: bytes, status: int, words: bytes
) -> None:
    """With a status and when to come again where git looks at those; the forge hears nothing."""
    house = House(requests_per_minute=1)
    served(house)
    heard = len(house.forge.wires)
    said = only(house.say(request_bytes), method)
    assert said.status == status
    assert words in said.body
    if status == 429:
        assert said.field(b"retry-after") in (b"70", b"71")
    assert len(house.forge.wires) == heard
    assert house.reasons[-1] is Reason.TOO_MANY_REQUESTS
    house.nothing_left()


def test_after_the_wait_it_is_served() -> None:
    """And its deadline was right."""
    house = House(requests_per_minute=1)
    served(house)
    house.wait(71)
    served(house)


def test_sessions_have_their_requests_each() -> None:
    """The positive control: another session of the same address goes on."""
    house = House(requests_per_minute=1)
    house.sessions.known["other", "secret"] = session(2, grants=house.session.grants)
    served(house)
    house.say(discover())
    assert house.reasons[-1] is Reason.TOO_MANY_REQUESTS
    served(house, discover(auth=login("other", "secret")))


def test_an_address_has_its_requests_for_all_its_sessions() -> None:
    """The same session goes on from elsewhere."""
    house = House(requests_per_minute_per_address=1)
    house.sessions.known["other", "secret"] = session(2, grants=house.session.grants)
    served(house)
    said = only(house.say(discover(auth=login("other", "secret"))))
    assert (said.status, house.reasons[-1]) == (429, Reason.TOO_MANY_REQUESTS)
    assert b"this address has made its limit of 1 requests" in said.body
    served(house, peer="10.0.0.8")


def test_what_is_refused_anyway_keeps_its_own_reason() -> None:
    """It says more; and who has no right credential is not counted here at all."""
    house = House(requests_per_minute=1)
    for _ in range(3):
        house.say(discover(auth=b""))
        house.say(discover(auth=login("token", "wrong")))
    served(house)
    house.say(discover(repo=b"some/other"))
    assert house.reasons[-1] is Reason.OUTSIDE_SESSION
    assert only(house.say(ask(b"GET /health", auth=b""))).status == 200


def test_a_transfer_that_moves_too_much_is_not_cut_but_the_next_waits() -> None:
    """A pack that is half there is worth nothing to anybody."""
    house = House(bytes_per_minute=1000)
    client = house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"x" * 3000, length=6000))
    house.wait(3)
    said = only(house.say(discover()))
    assert (said.status, house.reasons) == (429, [Reason.TOO_MANY_BYTES])
    assert b"its limit of 1000 bytes" in said.body
    house.forge.wires[0].deliver(b"x" * 3000)
    house.settle()
    assert len(only(client, b"POST").body) == 6000
    assert house.reasons[-1] is Reason.ALLOWED


def test_bytes_count_as_they_move_not_when_they_end() -> None:
    """A transfer of an hour that ends now does not make anybody wait for what it moved long ago."""
    house = House(bytes_per_minute=1000)
    house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"x" * 3000, length=3001))
    house.wait(75)
    house.forge.wire.deliver(b"x")
    house.settle()
    assert house.reasons == [Reason.ALLOWED]
    served(house)


def test_uploads_count_too() -> None:
    """Both ways together."""
    house = House(bytes_per_minute=len(PACK))
    served(house, PUSH, REPORTED)
    house.say(discover())
    assert house.reasons[-1] is Reason.TOO_MANY_BYTES


def test_by_default_nothing_waits() -> None:
    """Limits are the operator's."""
    house = House()
    for _ in range(30):
        served(house, post(b"0000"), RESULT)


def test_an_ended_session_leaves_nothing_behind() -> None:
    """Not even for what was running when it ended, once a minute is over."""
    house = House(requests_per_minute=5, bytes_per_minute=5, requests_per_minute_per_address=5)
    house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"x" * 3000, length=6000))
    house.settle()
    house.sessions.revoke(house.session)
    house.wait(75)
    rates = house.services.rates
    assert [len(window) for window in (rates._requests, rates._by_address, rates._bytes)] == [0, 0, 0]
