"""What downloads and uploads have in common: credentials, connections, refusals."""

from __future__ import annotations

import pytest
from attrs import evolve
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.errors import AddressError
from credgate.git.authorize import Moved
from credgate.sessions.model import Grant
from credgate.values import Reason, RepoPath
from tests.fakes.lfshouse import CONTENT, OID, OWN, get, put, refused, sent, target
from tests.fakes.relay import FORGE_SECRET, House

WAYS = pytest.mark.parametrize("name", ["download", "upload"])


def begin(house: House, name: str, place: str) -> object:
    """Ask for an object, or send one."""
    return get(house, place) if name == "download" else house.say(put(place))


@WAYS
def test_credential_is_never_sent_to_another_host(name: str) -> None:
    """Nor is its connection one of the forge's: its key is the place and the session."""
    house = House()
    place = target(house, name, header={"Authorization": "storage's own"})
    begin(house, name, place)
    assert house.forge.asked().field(b"authorization") == b"storage's own"
    assert FORGE_SECRET.encode() not in house.forge.wire.received
    key = house.forge.wire.protocol.key
    assert (key.forge, key.credential) == (
        "github.com lfs https://github-cloud.s3.amazonaws.com",
        house.session.id,
    )


@WAYS
def test_handle_from_before_a_rename_has_the_limits_of_the_new_name(name: str) -> None:
    """Its batch was judged by the old name's grant; now the object is too large, unless the new name allows it."""
    hello, new = RepoPath("github.com", "octo/hello"), RepoPath("github.com", "octo/new")
    for most in (len(CONTENT) - 1, len(CONTENT)):
        house = House()
        limited = Grant("octo/new", "github.com", max_lfs_object_bytes=most)
        house.session = evolve(house.session, grants=(Grant("octo/hello", "github.com"), limited))
        house.sessions.known["token", "secret"] = house.session
        place = target(house, name)
        house.judge.record_rename(house.session.id, hello, Moved(new, dot_git=True))
        asked = len(house.forge.wires)
        client = begin(house, name, place)
        if most == len(CONTENT):
            assert len(house.forge.wires) == asked + 1
            continue
        status, text = refused(client, b"GET" if name == "download" else b"PUT")
        assert (status, f"LFS objects over {most} bytes" in text) == (422, True)
        assert len(house.forge.wires) == asked
        told = house.audit.events[-1]
        assert (told.reason, told.repo, told.moved_from) == (Reason.LFS_OBJECT_TOO_LARGE, "octo/new", "octo/hello")


@WAYS
def test_forge_itself_is_asked_with_gits_credential_and_connections(name: str) -> None:
    """With its credential, on its connections; the audit line names which."""
    house = House()
    client = begin(house, name, target(house, name, href=OWN))
    assert house.forge.asked().field(b"authorization") == house.drivers["github.com"].login(FORGE_SECRET)
    assert house.forge.wire.protocol.key.credential == "cred-1"
    house.forge.wire.deliver(sent(CONTENT if name == "download" else b"", "200 OK"))
    house.settle()
    event = house.audit.events[-1]
    assert (event.reason, event.credential, event.oid, event.size) == (Reason.ALLOWED, "cred-1", OID, len(CONTENT))
    assert client is not None


@WAYS
@pytest.mark.parametrize(
    ("why", "reason", "text"),
    [
        (Refused(), Reason.FORGE_UNREACHABLE, "the storage of github.com cannot be reached"),
        (AddressError(frozenset({"private"})), Reason.FORGE_ADDRESS, "the storage of github.com"),
    ],
)
def test_refusal_of_an_unreachable_storage_does_not_name_it(
    name: str, why: Exception, reason: Reason, text: str
) -> None:
    """The sandbox learns neither the host of the storage nor addresses of the gateway's network."""
    house = House()
    place = target(house, name)
    house.forge.open = False
    client = begin(house, name, place)
    house.forge.refuse(why)
    house.settle()
    status, said = refused(client, b"GET" if name == "download" else b"PUT")  # type: ignore[arg-type]
    assert (status, text in said, "amazonaws" in said) == (502, True, False)
    assert house.reasons[-1] == reason
    house.nothing_left()


@WAYS
def test_client_that_leaves_while_connecting_ends_the_attempt(name: str) -> None:
    """An endpoint has an error of its own for being cancelled: it is no storage that could not be reached."""
    house = House()
    place = target(house, name)
    house.forge.open = False
    client = begin(house, name, place)
    (coming,) = house.forge.coming
    client.hang_up() if name == "download" else client.reset()  # type: ignore[attr-defined]
    house.settle()
    assert coming.cancelled
    assert house.reasons[-1] == Reason.CLIENT_LEFT
    house.nothing_left()


@WAYS
def test_a_coded_answer_is_refused(name: str) -> None:
    """Bytes that were coded on the way are not the bytes that the batch named."""
    house = House()
    client = begin(house, name, target(house, name))
    house.forge.wire.deliver(sent(CONTENT, "200 OK", b"Content-Encoding: gzip"))
    house.settle()
    status, said = refused(client, b"GET" if name == "download" else b"PUT")  # type: ignore[arg-type]
    assert (status, "Content-Encoding that was not asked for" in said) == (502, True)
    house.nothing_left()
