"""The relay when the forge is the trouble: unreachable, refusing, broken, cut, or closed when it is asked again."""

from __future__ import annotations

import pytest
from twisted.internet import error

from credgate.errors import AddressError
from credgate.service.upstream.request import REPLAY_BYTES
from credgate.values import Reason
from tests.fakes.relay import (
    ADVERTISED,
    LISTED,
    PACK,
    RESULT,
    House,
    answer,
    busy_house,
    commands,
    discover,
    only,
    post,
)

PUSH = post(commands() + PACK, service=b"receive")

# The forge's trouble.


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (error.ConnectionRefusedError(), "it refuses connections"),
        (error.DNSLookupError(), "its name cannot be resolved"),
        (error.TimeoutError(), "it does not answer in time"),
        (error.ConnectError(), "the connection failed"),
    ],
)
def test_an_unreachable_forge_is_named_with_the_reason(why: Exception, text: str) -> None:
    """In git's words, on each kind of request."""
    for request_bytes, method in ((discover(), b"GET"), (post(b"0000"), b"POST")):
        house = House()
        house.forge.open = False
        client = house.say(request_bytes)
        house.forge.refuse(why)
        house.settle()
        said = only(client, method)
        assert text.encode() in said.body
        assert b"credgate: github.com cannot be reached" in said.body
        assert said.status == (502 if method == b"GET" else 200)
        assert house.reasons == [Reason.FORGE_UNREACHABLE]
        house.nothing_left()


def test_a_forge_at_a_special_address_is_refused_by_that_reason() -> None:
    """Git says what is wrong and who can mend it, for a fetch and for every ref of a push."""
    for request_bytes, method in ((discover(), b"GET"), (post(b"0000"), b"POST"), (PUSH, b"POST")):
        house = House()
        house.forge.open = False
        client = house.say(request_bytes)
        house.forge.refuse(AddressError(frozenset({"loopback"})))
        house.settle()
        said = only(client, method)
        assert b"credgate: github.com is not dialled: its name resolves only to non-public addresses" in said.body
        assert b"declare it internal" in said.body
        assert (b"ng refs/heads/main" in said.body) == (request_bytes is PUSH)
        assert house.reasons == [Reason.FORGE_ADDRESS]
        house.nothing_left()


def test_an_unreachable_forge_hears_the_push_out_and_names_its_refs() -> None:
    """A push is answered with a report that says ``ng``, after its body."""
    house = House()
    house.forge.open = False
    whole = post(commands(b"refs/heads/a", b"refs/heads/b") + PACK, service=b"receive", chunked=True)
    client = house.say(whole[:-20])
    house.forge.refuse(error.ConnectionRefusedError())
    house.settle()
    assert client.received == b""
    assert client.reading
    client.deliver(whole[-20:])
    house.settle()
    said = only(client, b"POST")
    assert said.status == 200
    assert b"ng refs/heads/a credgate: github.com cannot be reached" in said.body
    assert b"ng refs/heads/b" in said.body
    assert house.reasons == [Reason.FORGE_UNREACHABLE]
    house.nothing_left()


def test_a_connection_that_takes_too_long_is_given_up() -> None:
    """The deadline is ours, and what an endpoint makes of a cancel is read as that."""
    house = House(connect_timeout=30)
    house.forge.open = False
    client = house.say(discover())
    house.wait(31)
    assert b"it does not answer in time" in only(client).body
    assert house.reasons == [Reason.FORGE_UNREACHABLE]
    house.nothing_left()


@pytest.mark.parametrize("request_bytes", [discover(), post(b"0000"), post(commands() + PACK, service=b"receive")])
@pytest.mark.parametrize(
    ("status", "reason", "shown"),
    [
        (b"401 No", Reason.FORGE_REFUSED_CREDENTIAL, 502),
        (b"403 No", Reason.FORGE_REFUSED, 403),
        (b"404 No", Reason.FORGE_REFUSED, 404),
        (b"429 No", Reason.FORGE_REFUSED, 429),
        (b"418 No", Reason.FORGE_REFUSED, 502),
        (b"500 No", Reason.FORGE_ERROR, 502),
        (b"503 No", Reason.FORGE_ERROR, 503),
        (b"302 No", Reason.FORGE_MOVED, 502),
    ],
)
def test_what_a_forge_refuses_is_said_in_our_words(
    request_bytes: bytes, status: bytes, reason: Reason, shown: int
) -> None:
    """No challenge, cookie, redirect or phrase of the forge's comes through; git shows the reason on each kind."""
    house = House()
    client = house.say(request_bytes)
    fields = b"WWW-Authenticate: Basic realm=leak", b"Set-Cookie: leak=1", b"Location: https://leak.example/"
    house.forge.wire.deliver(answer(b"leak", *fields, b"Retry-After: 7", status=status + b" leak"))
    house.settle()
    method = request_bytes[: request_bytes.index(b" ")]
    said = only(client, method)
    assert said.whole
    assert b"leak" not in client.received
    assert b"credgate: github.com" in said.body
    assert said.status == (shown if method == b"GET" else 200)
    assert (said.field(b"retry-after") == b"7") is (method == b"GET" and reason is not Reason.FORGE_MOVED)
    assert house.reasons == [reason]
    assert [refused for _, refused in house.credentials.asked] == (["cred-1"] if status.startswith(b"401") else [])
    house.nothing_left()


def test_a_401_without_a_credential_says_that_none_is_configured() -> None:
    """A public forge that wants a login for this one."""
    house = House()
    del house.credentials.held["github.com"]
    client = house.say(discover())
    assert house.forge.asked().field(b"authorization") is None
    house.forge.wire.deliver(answer(status=b"401 No"))
    house.settle()
    assert only(client).status == 403
    assert house.reasons == [Reason.NO_FORGE_CREDENTIAL]
    house.nothing_left()


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        answer(b"x", b"Content-Encoding: br"),
        answer(b"x", b"Content-Length: 2"),
    ],
)
def test_garbage_is_502_and_its_connection_is_not_used_again(garbage: bytes) -> None:
    """Nothing ambiguous becomes an answer of ours."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(garbage.replace(b"-result", b"-advertisement"))
    house.forge.wire.hang_up()
    house.settle()
    said = only(client)
    assert (said.status, said.whole) == (502, True)
    assert house.reasons == [Reason.FORGE_MALFORMED]
    assert house.forge.wire.ended
    house.nothing_left()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_an_answer_that_is_cut_never_looks_whole(how: str, *, chunked: bool) -> None:
    """The connection to the client is reset: no pack may look complete."""
    house = House()
    client = house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"packed and more", chunked=chunked)[:-8])
    house.settle()
    getattr(house.forge.wire, how)()
    house.settle()
    assert client.ended == "reset"
    assert not only(client, b"POST").whole
    assert house.reasons == [Reason.FORGE_CUT]
    house.nothing_left()


def test_an_answer_that_breaks_its_chunks_never_looks_whole() -> None:
    """The same for what is malformed in its middle."""
    house = House()
    client = house.say(post(b"0000"))
    house.forge.wire.deliver(answer(b"packed", chunked=True)[:-7])
    house.settle()
    house.forge.wire.deliver(b"xx\r\nzz")
    house.settle()
    assert client.ended == "reset"
    assert not only(client, b"POST").whole
    assert house.reasons == [Reason.FORGE_MALFORMED]
    house.nothing_left()


def test_bytes_behind_an_answer_end_its_connection_only() -> None:
    """The answer was whole; what follows must not open the next one."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(LISTED + b"HTTP/1.1 200 OK\r\n")
    house.settle()
    assert only(client).whole
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()


def test_a_forge_that_closes_without_a_word_is_502() -> None:
    """On a fresh connection nothing is tried again."""
    house = House()
    client = house.say(discover())
    house.forge.wire.hang_up()
    house.settle()
    assert only(client).status == 502
    assert len(house.forge.wires) == 1
    assert house.reasons == [Reason.FORGE_CUT]
    house.nothing_left()


# A kept connection that turns out to be closed.


@pytest.mark.parametrize("request_bytes", [discover(), post(b"0000want"), post(b"0000want", chunked=True)])
def test_what_can_be_repeated_is_repeated_once(request_bytes: bytes) -> None:
    """The whole of it, on a fresh connection; what then fails is told."""
    for fails in (False, True):
        house, client = busy_house()
        first = house.forge.wire
        client.deliver(request_bytes)
        house.settle()
        first.hang_up()
        house.settle()
        assert len(house.forge.wires) == 2
        again = house.forge.asked()
        assert again.whole
        assert again.body == (b"" if request_bytes.startswith(b"GET") else b"0000want")
        if fails:
            house.forge.wire.hang_up()
        else:
            house.forge.wire.deliver(LISTED if request_bytes.startswith(b"GET") else RESULT)
        house.settle()
        assert len(house.forge.wires) == 2
        assert house.reasons == [Reason.FORGE_CUT if fails else Reason.ALLOWED]
        house.nothing_left()


def test_a_repeat_in_mid_upload_goes_on_with_the_rest() -> None:
    """What was sent is sent again, what comes is sent behind it."""
    house, client = busy_house()
    whole = post(b"0000want" * 10)
    client.deliver(whole[:-40])
    house.settle()
    house.forge.wire.hang_up()
    house.settle()
    client.deliver(whole[-40:])
    house.settle()
    assert house.forge.asked().body == b"0000want" * 10
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()


def test_more_than_is_kept_is_not_repeated() -> None:
    """Memory is bounded; git is told and may try again itself."""
    house, client = busy_house()
    client.deliver(post(b"x" * (REPLAY_BYTES + 1)))
    house.settle()
    house.forge.wire.hang_up()
    house.settle()
    assert len(house.forge.wires) == 1
    assert house.reasons == [Reason.FORGE_CUT]
    house.nothing_left()


def test_what_was_begun_to_be_answered_is_not_repeated() -> None:
    """A forge that has spoken has acted."""
    house, client = busy_house()
    client.deliver(discover())
    house.settle()
    house.forge.wire.deliver(b"HTTP/1.1 2")
    house.forge.wire.hang_up()
    house.settle()
    assert len(house.forge.wires) == 1
    assert only(client).status == 502
    house.nothing_left()


@pytest.mark.parametrize("length", [None, 1000])
def test_a_list_of_refs_that_is_none_ends_its_connection(length: int | None) -> None:
    """Whether or not more of it is to come: nobody reads on, and nothing of the forge's stays open."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(answer(ADVERTISED[:-4] + b"zzzz", kind=b"upload-pack-advertisement", length=length))
    house.settle()
    assert (only(client).status, house.reasons) == (502, [Reason.FORGE_MALFORMED])
    assert house.forge.wire.ended == "reset"
    house.nothing_left()
    good = House()
    good.say(discover())
    good.forge.wire.deliver(LISTED)
    good.settle()
    assert (good.reasons, good.forge.wire.ended) == ([Reason.ALLOWED], "")
