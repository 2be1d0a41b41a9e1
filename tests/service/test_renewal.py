"""A credential that the forge refuses is replaced once; what can be asked twice is asked again, a push is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from credgate.errors import CredentialError
from credgate.service.credentials.sources import Credential
from credgate.service.upstream.request import REPLAY_BYTES
from credgate.values import Reason
from tests.fakes.relay import (
    ADVERTISED,
    FORGE_SECRET,
    LISTED,
    PACK,
    RESULT,
    ZERO,
    House,
    answer,
    busy_house,
    chunks,
    commands,
    discover,
    only,
    post,
    requests_in,
)

if TYPE_CHECKING:
    from tests.fakes.wire import Wire

NEWER = Credential("cred-2", "newer-secret", "cmd")
REFUSED = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
RECEIVING = answer(
    ADVERTISED.replace(b"001e# service=git-upload", b"001f# service=git-receive"), kind=b"receive-pack-advertisement"
)
PUSH = post(commands() + PACK, service=b"receive")


def renewing_house(**limits: Any) -> House:
    """Have another credential to be had."""
    house = House(**limits)
    house.credentials.renewed = NEWER
    return house


def refuse(house: House) -> None:
    """Have the forge refuse the credential that it was shown last."""
    house.forge.wire.deliver(REFUSED)
    house.settle()


def shown(wire: Wire) -> list[bytes | None]:
    """Return the logins that a forge was shown on one connection."""
    return [one.field(b"authorization") for one in requests_in(wire.received)]


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (discover(), LISTED),
        (discover(b"receive"), RECEIVING),
        (post(b"0032want"), RESULT),
        (post(b"0032want", chunked=True), RESULT),
    ],
)
def test_what_moves_nothing_is_asked_again(request_bytes: bytes, reply: bytes) -> None:
    """The whole of it, with the new login on another connection; the sandbox notices nothing."""
    house = renewing_house()
    client = house.say(request_bytes)
    refuse(house)
    assert [refused for _, refused in house.credentials.asked] == ["cred-1"]
    first, second = house.forge.wires
    assert first.ended
    assert requests_in(second.received)[0].body == requests_in(first.received)[0].body
    assert shown(first) != shown(second)
    second.deliver(reply)
    house.settle()
    assert only(client, request_bytes[: request_bytes.index(b" ")]).status == 200
    (line,) = house.audit.events
    assert (line.reason, line.credential, line.credential_kind) == (Reason.ALLOWED, "cred-2", "cmd")
    house.nothing_left()


def test_the_replaced_one_is_not_shown_again() -> None:
    """By nobody, from then on."""
    house = renewing_house()
    client = house.say(discover())
    refuse(house)
    house.forge.wire.deliver(LISTED)
    house.settle()
    client.deliver(post(b"0000"))
    house.settle()
    assert len(house.forge.wires) == 2
    assert len(set(shown(house.forge.wire))) == 1
    house.forge.wire.deliver(RESULT)
    house.settle()
    house.nothing_left()


def test_a_second_refusal_is_the_answer() -> None:
    """It never loops: a forge that says no twice is believed."""
    house = renewing_house()
    client = house.say(discover())
    refuse(house)
    refuse(house)
    said = only(client)
    assert (said.status, len(house.forge.wires), len(house.credentials.asked)) == (502, 2, 1)
    assert b"credgate: github.com answered 401" in said.body
    assert house.reasons == [Reason.FORGE_REFUSED_CREDENTIAL]
    house.nothing_left()


def test_without_another_the_refusal_is_told_as_it_was() -> None:
    """The forge's own words help more than that there is no other."""
    house = House()
    client = house.say(discover())
    refuse(house)
    said = only(client)
    assert (said.status, len(house.forge.wires)) == (502, 1)
    assert b"credgate: github.com answered 401" in said.body
    assert house.reasons == [Reason.FORGE_REFUSED_CREDENTIAL]
    house.nothing_left()


def test_a_push_is_not_sent_twice() -> None:
    """The forge may have moved a ref and then said no; git is told, in its own form, that it may push again."""
    house = renewing_house()
    client = house.say(PUSH)
    refuse(house)
    assert len(house.forge.wires) == 1
    said = only(client, b"POST")
    assert said.status == 200
    assert b"ng refs/heads/main" in said.body
    assert b"It was renewed meanwhile: push again" in said.body
    assert house.reasons == [Reason.CREDENTIAL_RENEWED]
    house.nothing_left()
    client.deliver(PUSH)
    house.settle()
    assert len(house.forge.wires) == 2
    assert shown(house.forge.wires[0]) != shown(house.forge.wires[1])
    assert house.forge.asked().body == commands() + PACK


def test_a_push_that_is_refused_in_its_middle_is_read_to_its_end() -> None:
    """Git takes an early answer for success; and what it sends meanwhile is not kept."""
    house = renewing_house()
    house.credentials.late = False
    cut = len(PUSH) - 500
    client = house.say(PUSH[:cut])
    house.credentials.late, asked = True, house.credentials.asked
    refuse(house)
    assert (len(asked), client.received, client.reading) == (1, b"", False)
    client.deliver(PUSH[cut:])
    house.settle()
    assert client.received == b""
    house.credentials.come(NEWER)
    house.settle()
    said = only(client, b"POST")
    assert b"ng refs/heads/main" in said.body
    assert b"It was renewed meanwhile: push again" in said.body
    assert (len(house.forge.wires), house.reasons) == (1, [Reason.CREDENTIAL_RENEWED])
    house.nothing_left()


def test_a_fetch_that_is_too_large_to_be_kept_is_not_asked_again() -> None:
    """It is told so, and the next one has the new credential."""
    house = renewing_house()
    body = b"0032want" + b"x" * REPLAY_BYTES
    client = house.say(post(body))
    refuse(house)
    assert len(house.forge.wires) == 1
    assert b"It was renewed meanwhile: fetch again" in only(client, b"POST").body
    assert house.reasons == [Reason.CREDENTIAL_RENEWED]
    house.nothing_left()


@pytest.mark.parametrize("which", ["client", "session"])
def test_who_leaves_while_it_is_renewed_is_let_go(which: str) -> None:
    """Nothing is asked for them."""
    house = renewing_house()
    client = house.say(discover())
    house.credentials.late = True
    refuse(house)
    if which == "client":
        client.reset()
    else:
        house.sessions.revoke(house.session)
    house.settle()
    assert house.credentials.waiting == []
    house.credentials.come(NEWER)
    house.settle()
    assert len(house.forge.wires) == 1
    assert house.reasons == [Reason.CLIENT_LEFT if which == "client" else Reason.SESSION_ENDED]
    house.nothing_left()


def test_a_renewal_that_takes_too_long_is_the_refusal_it_was() -> None:
    """As without another."""
    house = renewing_house(connect_timeout=30.0)
    client = house.say(discover())
    house.credentials.late = True
    refuse(house)
    house.wait(31)
    assert b"credgate: github.com answered 401" in only(client).body
    assert house.credentials.waiting == []
    house.nothing_left()


def test_a_renewal_that_fails_later_is_the_refusal_it_was() -> None:
    """For a fetch whose body still came."""
    house = renewing_house()
    whole = post(b"0032want" * 4, chunked=True)
    client = house.say(whole[:-10])
    house.credentials.late = True
    refuse(house)
    client.deliver(whole[-10:])
    house.credentials.fail(CredentialError("no"))
    house.settle()
    assert b"credgate: github.com answered 401" in only(client, b"POST").body
    house.nothing_left()


def test_a_fetch_that_is_refused_in_its_middle_is_asked_again_whole() -> None:
    """What came before the refusal and what comes after it, in order, once."""
    house = renewing_house()
    whole = post(b"0032want" * 4, chunked=True)
    head = whole.index(b"\r\n\r\n") + 4
    client = house.say(whole[:head] + chunks(b"0032want", last=False))
    house.credentials.late = True
    refuse(house)
    client.deliver(chunks(b"0032have"))
    house.settle()
    house.credentials.come(NEWER)
    house.settle()
    assert house.forge.asked().body == b"0032want0032have"
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").body == b"packed"
    house.nothing_left()


def test_a_closed_connection_and_a_refused_credential_are_two_things() -> None:
    """Each is tried again once: a kept connection is often found closed just when a token has ended."""
    house, client = busy_house()
    house.credentials.renewed = NEWER
    client.deliver(post(b"0032want"))
    house.settle()
    house.forge.wire.reset()
    house.settle()
    assert len(house.forge.wires) == 2
    refuse(house)
    assert len(house.forge.wires) == 3
    assert house.forge.asked().body == b"0032want"
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").status == 200
    house.nothing_left()


def test_what_has_no_effect_is_still_not_asked_for_ever() -> None:
    """Closed, refused, closed: the third time is told."""
    house, client = busy_house()
    house.credentials.renewed = NEWER
    client.deliver(discover())
    house.settle()
    house.forge.wire.reset()
    house.settle()
    refuse(house)
    house.forge.wire.reset()
    house.settle()
    assert len(house.forge.wires) == 3
    assert house.reasons[-1] == Reason.FORGE_CUT
    house.nothing_left()


def test_a_renamed_repository_gets_the_credential_of_its_new_name() -> None:
    """The old name's owner may have another one, which must not go there."""
    house = House()
    house.say(discover())
    moved = b"Location: https://github.com/octo/renamed.git/info/refs?service=git-upload-pack"
    house.credentials.late = True
    house.forge.wire.deliver(answer(b"", moved, status=b"301 Moved"))
    house.settle()
    ((wanted, refused),) = house.credentials.asked
    assert (wanted.repo.path, refused) == ("octo/renamed", "")
    house.credentials.come(NEWER)
    house.settle()
    assert shown(house.forge.wires[0]) != shown(house.forge.wires[1])


def test_a_deletion_is_a_push() -> None:
    """Also without a pack."""
    house = renewing_house()
    client = house.say(post(commands().replace(b"1" * 40, ZERO), service=b"receive"))
    if house.forge.wires:
        refuse(house)
    assert len(house.forge.wires) <= 1
    assert FORGE_SECRET.encode() not in client.received
