"""The relay when all goes well, when the client leaves, the session ends, repositories move, time runs out.

The other transcripts: test_relay_pressure (flow), test_relay_forge (its trouble), test_relay_upload (early and broken).
"""

from __future__ import annotations

import gc
import gzip
import weakref
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from credgate.git.pktline import FLUSH, encode
from credgate.service.sandbox.relay import RelayExchange
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason
from tests.fakes.relay import (
    ADVERTISED,
    FORGE_SECRET,
    LISTED,
    ONE,
    PACK,
    REPORTED,
    RESULT,
    House,
    answer,
    answers_in,
    ask,
    busy_house,
    chunks,
    commands,
    discover,
    only,
    post,
    requests_in,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

GITHUB_MOVED = b"Location: https://github.com/octo/renamed.git/info/refs?service=git-upload-pack"
ALL_VERBS = frozenset({"create", "update", "force", "delete"})


# What goes well.


def test_a_discovery_crosses_with_the_forges_credential_and_no_other() -> None:
    """The request is made from nothing: our Host, our login, and not a byte of the session's."""
    house = House()
    client = house.say(discover(b"upload", b"octo/hello", b"Git-Protocol: version=2", b"Cookie: x=1"))
    asked = house.forge.asked()
    assert asked.whole
    assert asked.start.target == b"/octo/hello.git/info/refs?service=git-upload-pack"
    assert asked.field(b"host") == b"github.com"
    assert asked.field(b"git-protocol") == b"version=2"
    assert asked.field(b"cookie") is None
    assert b"secret:token" not in house.forge.wire.received
    house.forge.wire.deliver(answer(ADVERTISED, b"Set-Cookie: leak=1", kind=b"upload-pack-advertisement"))
    house.settle()
    said = only(client)
    assert (said.status, said.body, said.whole) == (200, ADVERTISED, True)
    assert b"leak" not in client.received
    assert FORGE_SECRET.encode() not in client.received
    (line,) = house.audit.events
    assert (line.allow, line.reason, line.status, line.upstream_status) == (True, Reason.ALLOWED, 200, 200)
    assert (line.bytes_up, line.bytes_down, line.operation) == (0, len(ADVERTISED), "git-upload-pack-advertisement")
    house.nothing_left()


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(discover(), LISTED), (post(b"0000want"), RESULT), (post(b"0000want", chunked=True), RESULT)],
)
def test_what_is_done_is_forgotten_at_once(asked: bytes, answered: bytes) -> None:
    """A head holds the session's credential, a question the forge's: they do not wait for a garbage collector."""
    house = House()
    gc.disable()
    try:
        client = house.say(asked)
        exchange = weakref.ref(client.protocol._exchange)
        assert isinstance(exchange(), RelayExchange)
        house.forge.wire.deliver(answered)
        house.settle()
        assert exchange() is None
    finally:
        gc.enable()
    assert house.reasons == [Reason.ALLOWED]
    house.nothing_left()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("framed", [False, True])
def test_a_body_and_an_answer_cross_in_either_framing(*, chunked: bool, framed: bool) -> None:
    """Length stays length, chunked stays chunked, both ways."""
    house = House()
    client = house.say(post(b"0000want", chunked=chunked))
    asked = house.forge.asked()
    assert (asked.body, asked.whole, asked.field(b"transfer-encoding") is not None) == (b"0000want", True, chunked)
    house.forge.wire.deliver(answer(b"packed", chunked=framed))
    house.settle()
    said = only(client, b"POST")
    assert (said.body, said.whole, said.field(b"transfer-encoding") is not None) == (b"packed", True, framed)
    assert (house.audit.events[0].bytes_up, house.audit.events[0].bytes_down) == (8, 6)
    house.nothing_left()


def test_every_piece_of_an_answer_is_relayed_as_it_comes() -> None:
    """Keep-alives of a thinking forge must not wait for more; nor must its head."""
    house = House()
    client = house.say(post(b"0000"))
    whole = answer(b"0005\x02" * 2, chunked=True)
    head = whole.index(b"\r\n\r\n") + 4
    house.forge.wire.deliver(whole[:head])
    house.settle()
    assert client.received.endswith(b"\r\n\r\n")
    house.forge.wire.deliver(chunks(b"0005\x02", last=False))
    house.settle()
    assert client.received.endswith(b"5\r\n0005\x02\r\n")


def test_a_kept_connection_serves_the_next_read_but_no_push() -> None:
    """A push is never repeated, so it is never sent where a repeat may be needed."""
    house, client = busy_house()
    client.deliver(post(b"0000"))
    house.settle()
    assert len(house.forge.wires) == 1
    assert [one.start.method for one in requests_in(house.forge.wire.received)] == [b"GET", b"POST"]
    house.forge.wire.deliver(RESULT)
    house.settle()
    client.deliver(post(commands() + PACK, service=b"receive"))
    house.settle()
    assert len(house.forge.wires) == 2
    assert house.forge.asked().body == commands() + PACK
    house.forge.wire.deliver(REPORTED)
    house.settle()
    assert [one.status for one in answers_in(client.received, b"POST", b"POST")] == [200, 200]
    house.nothing_left()


def test_another_credential_never_gets_the_kept_connection() -> None:
    """A rotated credential is another one."""
    house, client = busy_house()
    house.credentials.held["github.com"] = type(house.credentials.held["github.com"])("cred-2", "other")
    client.deliver(discover())
    house.settle()
    assert len(house.forge.wires) == 2
    house.forge.wire.deliver(LISTED)
    house.settle()
    house.nothing_left()


def test_a_gzipped_push_goes_on_decoded_and_chunked() -> None:
    """What was judged must be what is sent."""
    house = House()
    body = commands() + PACK
    house.say(post(gzip.compress(body), b"Content-Encoding: gzip", service=b"receive"))
    asked = house.forge.asked()
    assert (asked.body, asked.whole, asked.field(b"content-encoding")) == (body, True, None)
    assert asked.field(b"transfer-encoding") == b"chunked"
    house.forge.wire.deliver(REPORTED)
    house.settle()
    house.nothing_left()


def test_a_gzipped_fetch_goes_on_as_it_came() -> None:
    """Nothing in it is judged, so nothing is changed."""
    house = House()
    squeezed = gzip.compress(b"0000" * 100)
    house.say(post(squeezed, b"Content-Encoding: gzip"))
    asked = house.forge.asked()
    assert (asked.body, asked.field(b"content-encoding")) == (squeezed, b"gzip")


def test_a_gzipped_answer_stays_gzipped() -> None:
    """The forge squeezes answers when it is asked to."""
    house = House()
    client = house.say(post(b"0000", b"Accept-Encoding: gzip"))
    assert house.forge.asked().field(b"accept-encoding") == b"gzip"
    house.forge.wire.deliver(answer(gzip.compress(b"packed"), b"Content-Encoding: gzip"))
    house.settle()
    assert only(client, b"POST").field(b"content-encoding") == b"gzip"
    assert gzip.decompress(only(client, b"POST").body) == b"packed"


def test_an_answer_that_is_read_here_must_not_be_gzipped() -> None:
    """The forge is not asked for it; one that does it all the same cannot be read."""
    house = House()
    client = house.say(discover(b"upload", b"octo/hello", b"Accept-Encoding: gzip"))
    assert house.forge.asked().field(b"accept-encoding") == b"identity"
    squeezed = gzip.compress(ADVERTISED)
    house.forge.wire.deliver(answer(squeezed, b"Content-Encoding: gzip", kind=b"upload-pack-advertisement"))
    house.settle()
    assert only(client).status == 502
    assert house.reasons == [Reason.FORGE_MALFORMED]
    house.nothing_left()


def test_the_head_of_an_answer_that_is_read_here_waits_for_its_first_line() -> None:
    """So that what turns out to be no advertisement can still be refused."""
    house = House()
    client = house.say(discover())
    head = LISTED.index(b"\r\n\r\n") + 4
    house.forge.wire.deliver(LISTED[:head])
    house.settle()
    assert client.received == b""
    house.forge.wire.deliver(b"x" * len(ADVERTISED))
    house.settle()
    assert (only(client).status, only(client).whole) == (502, True)
    assert house.reasons == [Reason.FORGE_MALFORMED]
    house.nothing_left()


@pytest.mark.parametrize("end", [5, 40, 70, len(ADVERTISED) - 1])
def test_an_advertisement_that_ends_too_soon_never_looks_whole(end: int) -> None:
    """Although its framing does: git would take the list of refs for shorter than it is."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(answer(ADVERTISED[:end], kind=b"upload-pack-advertisement"))
    house.settle()
    assert only(client).status == 502 or (client.ended == "reset" and not only(client).whole)
    assert house.reasons == [Reason.FORGE_CUT]
    house.nothing_left()


def test_expect_is_answered_once_everything_allows() -> None:
    """And not before: a refused upload is never invited (see test_channel)."""
    house = House()
    head, body = post(b"0000", b"Expect: 100-continue").split(b"\r\n\r\n")
    client = house.say(head + b"\r\n\r\n")
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.deliver(body)
    house.settle()
    assert house.forge.asked().field(b"expect") is None
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").body == b"packed"
    house.nothing_left()


# Reading on, to see the client leave.


@pytest.mark.parametrize("request_bytes", [discover(), post(b"0000"), post(b"0000", chunked=True)])
@pytest.mark.parametrize("point", ["connecting", "thinking", "answering"])
def test_a_client_that_leaves_takes_its_forge_connection_along(request_bytes: bytes, point: str) -> None:
    """At once, not when the forge has thought for ten minutes."""
    house = House()
    house.forge.open = point != "connecting"
    client = house.say(request_bytes)
    coming = house.forge.coming[:]
    if point == "answering":
        got = request_bytes.startswith(b"GET")
        kind, half = (b"upload-pack-advertisement", ADVERTISED[:50]) if got else (b"upload-pack-result", b"half")
        house.forge.wire.deliver(answer(half, kind=kind, length=len(half) + 4))
        house.settle()
    client.hang_up()
    house.settle()
    assert client.ended
    assert [wire.ended for wire in house.forge.wires] == (["reset"] if house.forge.open else [])
    assert [one.cancelled for one in coming] == ([] if house.forge.open else [True])
    assert house.reasons == [Reason.CLIENT_LEFT]
    house.nothing_left()


def test_a_client_that_leaves_in_mid_upload_leaves_it_unfinished() -> None:
    """No last chunk is made up: no ref may move."""
    house = House()
    client = house.say(post(commands() + PACK, service=b"receive", chunked=True)[:-5])
    client.hang_up()
    house.settle()
    assert not house.forge.asked().whole
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.CLIENT_LEFT]
    house.nothing_left()


def test_giving_up_on_a_connection_in_the_making_answers_nobody() -> None:
    """An endpoint fails a cancelled attempt with an error of its own: that is no unreachable forge."""
    house = House()
    house.forge.open = False
    client = house.say(post(b"x" * 10)[:-5])
    client.reset()
    house.settle()
    assert house.reasons == [Reason.CLIENT_LEFT]
    house.nothing_left()


# Sessions that end.


@pytest.mark.parametrize("point", ["connecting", "uploading", "thinking", "answering", "draining", "refusing"])
def test_a_revocation_cuts_at_every_point(point: str) -> None:
    """Within the call: nothing more is sent to either side, and neither can take what it has for whole."""
    house = House()
    house.forge.open = point != "connecting"
    whole = post(commands() + PACK, service=b"receive", chunked=True)
    client = house.say(whole if point in ("thinking", "answering") else whole[:-5])
    if point == "refusing":
        house.forge.wire.deliver(answer(status=b"500 No"))
    elif point in ("answering", "draining"):
        kind = b"receive-pack-result"
        house.forge.wire.deliver(answer(b"half", kind=kind, length=4 if point == "draining" else 8))
    house.settle()
    house.sessions.revoke(house.session)
    assert house.transfers.running == 0
    house.settle()
    assert client.ended == "reset"
    assert all(wire.ended for wire in house.forge.wires)
    assert house.reasons == [Reason.FORGE_ERROR if point == "refusing" else Reason.SESSION_ENDED]
    assert [one.whole for one in answers_in(client.received, b"POST")] == {
        "answering": [False],
        "draining": [True],
    }.get(point, [])
    house.nothing_left()


def test_another_sessions_transfer_is_not_cut() -> None:
    """The positive control."""
    house = House()
    client = house.say(post(b"0000"))
    house.sessions.revoke(evolve(house.session, id="s-other"))
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert only(client, b"POST").whole


# Renamed repositories.


def test_a_rename_inside_the_session_is_followed_and_remembered() -> None:
    """By the gateway itself: git would go on asking at the old name."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(answer(b"", GITHUB_MOVED, status=b"301 Moved"))
    house.settle()
    assert len(house.forge.wires) == 2
    assert house.forge.asked().start.target == b"/octo/renamed.git/info/refs?service=git-upload-pack"
    house.forge.wire.deliver(LISTED)
    house.settle()
    assert only(client).body == ADVERTISED
    client.deliver(post(b"0000"))
    house.settle()
    assert house.forge.asked().start.target == b"/octo/renamed.git/git-upload-pack"
    house.forge.wire.deliver(RESULT)
    house.settle()
    assert house.reasons == [Reason.ALLOWED, Reason.ALLOWED]
    house.nothing_left()


def test_a_redirected_discovery_has_the_rules_of_the_new_name() -> None:
    """The old name's grant allows push options and thin packs; what is advertised is what the new one's allows."""
    rules = (PushRule("refs/heads/agent/*", frozenset({"update"})),)
    wide = Grant("octo/hello", "github.com", push=(PushRule("refs/**", ALL_VERBS),), push_options=("*",))
    advertised = encode(b"# service=git-receive-pack\n") + FLUSH
    advertised += encode(ONE + b" refs/heads/main\x00report-status push-options ofs-delta\n") + FLUSH
    for new, thin in (
        (Grant("octo/renamed", "github.com", push=rules), False),
        (evolve(wide, repo="octo/renamed", normal="octo/renamed"), True),
    ):
        house = House()
        house.sessions.known["token", "secret"] = evolve(house.session, grants=(wide, new))
        client = house.say(discover(b"receive"))
        house.forge.wire.deliver(answer(b"", GITHUB_MOVED.replace(b"upload", b"receive"), status=b"301 Moved"))
        house.settle()
        assert house.forge.asked().start.target == b"/octo/renamed.git/info/refs?service=git-receive-pack"
        house.forge.wire.deliver(answer(advertised, kind=b"receive-pack-advertisement"))
        house.settle()
        body = only(client).body
        assert (b"push-options" in body, b"no-thin" in body) == (thin, not thin)
        told = house.audit.events[-1]
        assert (told.reason, told.repo, told.moved_from) == (Reason.ALLOWED, "octo/renamed", "octo/hello")


def test_a_discovery_that_is_redirected_to_where_nothing_may_be_pushed_is_refused() -> None:
    """Before git packs anything, and without asking the new name; a fetch by the old name works."""
    house = House()
    grants = (Grant("octo/hello", "github.com"), Grant("octo/renamed", "github.com", push=()))
    house.sessions.known["token", "secret"] = evolve(house.session, grants=grants)
    client = house.say(discover(b"receive"))
    house.forge.wire.deliver(answer(b"", GITHUB_MOVED.replace(b"upload", b"receive"), status=b"301 Moved"))
    house.settle()
    assert only(client).status == 403
    assert b"this session may push nothing to this repository" in only(client).body
    assert len(house.forge.wires) == 1
    told = house.audit.events[-1]
    assert (told.reason, told.repo, told.moved_from) == (Reason.PUSH_REF, "octo/renamed", "octo/hello")
    house.say(post(b"0000"))
    assert house.forge.asked().start.target == b"/octo/renamed.git/git-upload-pack"


def test_a_second_redirect_is_not_followed() -> None:
    """No ring of redirects keeps us busy."""
    house = House()
    client = house.say(discover())
    for _ in range(2):
        house.forge.wire.deliver(answer(b"", GITHUB_MOVED, status=b"301 Moved"))
        house.settle()
    assert only(client).status == 502
    assert len(house.forge.wires) == 2
    assert house.reasons == [Reason.FORGE_MOVED]
    house.nothing_left()


def test_a_rename_out_of_the_session_is_refused_by_its_new_name() -> None:
    """Whoever may use the one was not given the other."""
    house = House()
    client = house.say(discover())
    house.forge.wire.deliver(answer(b"", GITHUB_MOVED.replace(b"octo", b"elsewhere"), status=b"301 Moved"))
    house.settle()
    assert only(client).status == 403
    assert b"its new name is outside this session" in only(client).body
    assert len(house.forge.wires) == 1
    assert house.reasons == [Reason.FORGE_MOVED]
    house.nothing_left()


def test_a_redirect_from_one_spelling_to_the_other_is_followed() -> None:
    """Some servers know ``x.git`` only and redirect to it; not in a circle, and the POST goes there, too."""
    house = House()
    client = house.say(ask(b"GET /forge/lab/team/x/info/refs?service=git-upload-pack"))
    assert house.forge.asked().start.target == b"/srv/team/x/info/refs?service=git-upload-pack"
    there = b"Location: /srv/team/x.git/info/refs?service=git-upload-pack"
    house.forge.wire.deliver(answer(b"", there, status=b"301 Moved"))
    house.settle()
    assert house.forge.asked().start.target == b"/srv/team/x.git/info/refs?service=git-upload-pack"
    house.forge.wire.deliver(LISTED)
    house.settle()
    fetch = ask(
        b"POST /forge/lab/team/x/git-upload-pack",
        b"Content-Type: application/x-git-upload-pack-request",
        b"Content-Length: 4",
        body=b"0000",
    )
    client.deliver(fetch)
    house.settle()
    assert house.forge.asked().start.target == b"/srv/team/x.git/git-upload-pack"


# Defects of our own.


def test_a_defect_in_a_callback_ends_both_sides(clean_reactor: list[Failure]) -> None:
    """Nothing is left half open, and the line is written."""
    house = House()
    house.forge.open = False
    client = house.say(discover())
    client.protocol._exchange._request.lines = None
    house.forge.let_in()
    house.settle()
    assert client.ended == "reset"
    assert house.forge.wire.ended == "reset"
    assert house.reasons == [Reason.INTERNAL]
    assert clean_reactor
    clean_reactor.clear()
    house.nothing_left()
