"""A push on its way: what a rule must know holds its last bytes back; what is refused never arrives whole.

The others: test_push_ends (pressure, and every other end), test_push_interleaved (any order of events).
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from credgate.git.pktline import FLUSH, encode
from credgate.sessions.model import PushRule
from credgate.values import Reason
from tests.fakes import packs
from tests.fakes.pushes import (
    MIDDLE,
    MIDDLE_BODY,
    OK,
    OLD,
    OLD_BODY,
    ON_NOTHING,
    ON_OLD,
    REF,
    TRAILER,
    TREE,
    ZERO,
    arrived,
    asked_on,
    asking,
    capable,
    granted,
    history,
    listed,
    named,
    packed,
    push,
    pushed,
    refused,
    report,
    sent,
    tell,
    threaded,
    unfinished,
)
from tests.fakes.relay import House, answer, only, requests_in

if TYPE_CHECKING:
    from tests.fakes.wire import Wire

# What goes well.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_fast_forward_arrives_whole(coding: bytes | None) -> None:
    """Byte for byte as it was judged; the audit line has the ref and the forge's word."""
    body = push(ON_OLD, noise=300)
    house = House()
    if coding is None:
        client = house.say(sent(body))
    else:
        client = house.say(sent(gzip.compress(body), b"Content-Encoding: gzip"))
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    report(house)
    assert only(client, b"POST").body == OK
    (line,) = house.audit.events
    (ref,) = line.refs
    assert (line.reason, ref.ref, ref.verb, ref.reason, ref.forge) == (
        Reason.ALLOWED,
        REF.decode(),
        "update",
        "allowed",
        "ok",
    )
    assert (ref.old, ref.new) == (OLD.hex(), packs.oid(packs.COMMIT, ON_OLD).hex())
    house.nothing_left()


@pytest.mark.parametrize("piece", [1, 13])
def test_a_push_in_small_pieces_is_the_same(piece: int) -> None:
    """The end of its list, its pack or its checksum may come at any byte."""
    whole, body = sent(push(ON_OLD)), push(ON_OLD)
    house = House()
    client = house.client()
    for at in range(0, len(whole), piece):
        client.deliver(whole[at : at + piece])
        for wire in pushed(house):
            assert not requests_in(wire.received)[0].body.endswith(body[-TRAILER:]) or at + piece >= len(whole)
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


def test_the_checksum_waits_for_the_walk() -> None:
    """All before it goes on as it is read; it and the end of the request come with the verdict."""
    house, body = House(), push(ON_OLD)
    threads = threaded(house)
    house.say(sent(body))
    assert arrived(house).body == listed(packs.oid(packs.COMMIT, ON_OLD))
    assert threads.run()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body[:-TRAILER], False)
    threads.run()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body[:-TRAILER], False)
    threads.run_all()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    report(house)
    house.nothing_left()


def test_the_end_of_the_body_is_waited_for() -> None:
    """The checksum was read and is right, but bytes may come behind it."""
    house, body = House(), push(ON_OLD)
    whole = sent(body)
    client = house.say(whole[:-5])
    assert (arrived(house).body, arrived(house).whole) == (body[:-TRAILER], False)
    client.deliver(whole[-5:])
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_push_that_needs_no_looking_into_is_not_held(coding: bytes | None) -> None:
    """A branch that is made goes on while it comes; a probe, which no pack follows, when it has ended."""
    for body in (listed(packs.oid(packs.COMMIT, ON_OLD), ZERO) + packed(ON_OLD), FLUSH):
        house = House()
        threads = threaded(house)
        whole = sent(body) if coding is None else sent(gzip.compress(body), b"Content-Encoding: gzip")
        client = house.say(whole[:-5])
        if body == FLUSH:
            assert pushed(house) == []
        else:
            assert (arrived(house).body, arrived(house).whole) == (body, False)
        client.deliver(whole[-5:])
        house.settle()
        assert arrived(house).whole
        assert threads.waiting == []


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_what_is_no_pack_stays_here_where_nothing_is_inspected(piece: int) -> None:
    """The forge gets the list, no byte behind it and no end; a push of the same shape arrives whole."""
    head = listed(packs.oid(packs.COMMIT, ON_OLD), ZERO)
    for tail, good in ((encode(b"repo.private=false") + FLUSH + packed(ON_OLD), False), (packed(ON_OLD), True)):
        house, whole = House(), sent(head + tail)
        threads = threaded(house)
        client = house.say(whole[: whole.index(tail)])
        assert (arrived(house).body, arrived(house).whole) == (head, False)
        for at in range(whole.index(tail), len(whole), piece):
            client.deliver(whole[at : at + piece])
        house.settle()
        assert threads.waiting == []
        assert (arrived(house).body, arrived(house).whole) == ((head + tail, True) if good else (head, False))
        if good:
            continue
        assert b"the pack does not begin with PACK" in only(client, b"POST").body
        (line,) = house.audit.events
        assert (line.reason, [ref.reason for ref in line.refs]) == (
            Reason.MALFORMED_PUSH,
            [Reason.PUSH_NOT_ATTEMPTED],
        )


def test_sha256_is_walked_too() -> None:
    """Its checksum is longer, and so is what is held back."""
    parent = b"\x11" * 32
    commit = packs.commit(b"\xaa" * 32, [parent])
    new = packs.oid(packs.COMMIT, commit, 32)
    head = listed(new, parent, caps=b"report-status side-band-64k object-format=sha256")
    body = head + packs.pack([packs.entry(packs.COMMIT, commit)], size=32)
    house = House()
    whole = sent(body)
    client = house.say(whole[:-5])
    assert arrived(house).body == body[:-32]
    client.deliver(whole[-5:])
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


# What the forge is asked meanwhile.


def test_a_fast_forward_that_the_forge_knows_arrives() -> None:
    """The pack leaves to a commit there whose parent is the old one."""
    house, client, body = asking()
    tell(house, capable())
    fetch = asked_on(house.forge.wire)
    assert fetch is not None
    assert b"want " + MIDDLE.hex().encode() in fetch.body
    assert b"have " + OLD.hex().encode() in fetch.body
    tell(house, history(MIDDLE_BODY))
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    report(house)
    assert only(client, b"POST").body == OK
    house.nothing_left()


def test_a_push_that_the_forge_shows_to_be_forced_is_refused() -> None:
    """The commit that it leaves to has another history."""
    aside = packs.commit(TREE, text=b"aside")
    commit = packs.commit(TREE, [packs.oid(packs.COMMIT, aside)])
    house, body = House(), push(commit)
    client = house.say(sent(body))
    tell(house, capable(), history(aside))
    refused(client, b"not a fast-forward")
    assert house.reasons == [Reason.PUSH_FORCE]
    assert [(one.verb, one.reason, one.forge) for one in house.audit.events[0].refs] == [("force", "push-force", "")]
    unfinished(house, body)
    house.nothing_left()


@pytest.mark.parametrize("trouble", [answer(status=b"500 No"), answer(b"zzzz"), b"zzzz\r\n\r\n"])
def test_what_the_forge_does_not_tell_counts_against_the_push(trouble: bytes) -> None:
    """The text says what could not be told, and why."""
    house, client, body = asking()
    tell(house, capable(), trouble)
    refused(client, b"could not tell whether this is a fast-forward (the forge")
    assert house.reasons == [Reason.PUSH_UNKNOWN]
    unfinished(house, body)
    house.nothing_left()


# What is refused.


def test_a_forced_push_is_refused_before_its_checksum() -> None:
    """Its history is all in the pack; the forge is left with what it cannot act on."""
    house, body = House(), push(ON_NOTHING)
    client = house.say(sent(body))
    refused(client, b"not a fast-forward")
    assert house.reasons == [Reason.PUSH_FORCE]
    unfinished(house, body)
    house.nothing_left()


def test_where_force_is_granted_it_passes() -> None:
    """The positive control: nothing is looked into then."""
    may = (PushRule("refs/heads/*", frozenset({"create", "force"})),)
    house, body = granted(House(), push=may), push(ON_NOTHING)
    house.say(sent(body))
    assert (arrived(house).body, arrived(house).whole) == (body, True)


@pytest.mark.parametrize("rest", ["later", "at once"])
def test_a_list_that_is_refused_is_never_sent(rest: str) -> None:
    """The forge is not even connected to; the body is heard out first."""
    house = House()
    whole = sent(listed(packs.oid(packs.COMMIT, ON_OLD), ref=b"refs/notes/x") + packed(ON_OLD))
    cut = len(whole) - 100 if rest == "later" else len(whole)
    client = house.say(whole[:cut])
    if rest == "later":
        assert client.received == b""
        client.deliver(whole[cut:])
        house.settle()
    assert b"ng refs/notes/x credgate: no rule of this session matches this ref" in only(client, b"POST").body
    assert b"this session may push" in only(client, b"POST").body
    assert (house.forge.wires, house.forge.coming, house.reasons) == ([], [], [Reason.PUSH_REF])
    house.nothing_left()


@pytest.mark.parametrize("commit", [ON_OLD, None])
def test_a_pack_that_grows_too_large_is_refused_in_its_middle(commit: bytes | None) -> None:
    """Whether it is walked or not."""
    body = push(ON_OLD, noise=400) if commit else listed(OLD, ZERO) + packed(OLD_BODY, noise=400)
    house = granted(House(), max_push_bytes=100_000)
    client = house.say(sent(body))
    refused(client, b"the push is larger than the 100000 bytes allowed at a time")
    assert house.reasons == [Reason.PUSH_TOO_LARGE]
    unfinished(house, body)
    house.nothing_left()


BYTES = listed(packs.oid(packs.COMMIT, ON_OLD))


@pytest.mark.parametrize(
    ("pack", "text"),
    [
        (packed(ON_OLD) + b"x", b"trailing data after the pack"),
        (packed(ON_OLD)[:-1], b"push refused"),
        (packed(ON_OLD)[:40], b"push refused"),
        (packed(ON_OLD)[:-1] + b"\xff", b"push refused"),
        (b"JUNK" * 100, b"push refused"),
        (b"", b"push refused"),
    ],
)
@pytest.mark.parametrize("piece", [7, 100_000])
def test_a_pack_that_is_none_is_refused(pack: bytes, text: bytes, piece: int) -> None:
    """Cut, too long, malformed, or not there; each ref is told."""
    house, whole = House(), sent(BYTES + pack)
    client = house.client()
    for at in range(0, len(whole), piece):
        client.deliver(whole[at : at + piece])
        house.settle()
    refused(client, text)
    assert house.reasons == [Reason.MALFORMED_PUSH]
    assert [one.reason for one in house.audit.events[0].refs] == [Reason.PUSH_NOT_ATTEMPTED]
    for wire in pushed(house):
        assert not requests_in(wire.received)[0].whole
        assert len(requests_in(wire.received)[0].body) <= len(BYTES + packed(ON_OLD)) - TRAILER
    house.nothing_left()


def test_bytes_behind_the_pack_are_refused_whenever_they_come() -> None:
    """After the walk has found its end, too."""
    house, body = House(), push(ON_OLD)
    whole = sent(body)[:-5]
    client = house.say(whole)
    client.deliver(b"1\r\nx\r\n0\r\n\r\n")
    house.settle()
    refused(client, b"trailing data after the pack")
    unfinished(house, body)
    house.nothing_left()


def test_bytes_behind_the_pack_that_the_walk_finds_are_refused() -> None:
    """They came while the thread was busy with what was before."""
    house, body = House(), push(ON_OLD)
    threads = threaded(house)
    client = house.say(sent(body)[:-5])
    client.deliver(b"1\r\nx\r\n0\r\n\r\n")
    assert len(threads.waiting) == 1
    threads.run_all()
    house.settle()
    refused(client, b"trailing data after the pack")
    assert house.reasons == [Reason.MALFORMED_PUSH]
    unfinished(house, body)
    house.nothing_left()


def test_a_gzipped_push_that_breaks_behind_its_pack_is_refused() -> None:
    """It was not whole: the checksum stays here."""
    house, body = House(), push(ON_OLD)
    client = house.say(sent(gzip.compress(body)[:-4], b"Content-Encoding: gzip"))
    refused(client, b"the gzip body was cut")
    unfinished(house, body)
    house.nothing_left()


# Deletes.


def deletes(**limits: Any) -> tuple[House, Wire, bytes]:
    """Push a delete to a grant that allows it."""
    may = (PushRule("refs/heads/*", frozenset({"delete"})),)
    house = granted(House(), push=may, **limits)
    body = listed(ZERO, OLD)
    return house, house.say(sent(body)), body


def test_a_delete_that_must_be_looked_into_is_not_sent_before() -> None:
    """A forge acts on it at the flush of its list: there is no pack to wait for."""
    house, client, body = deletes(require_old_oid=True)
    assert pushed(house) == []
    tell(house, capable())
    assert pushed(house) == []
    tell(house, named(main=OLD))
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    report(house)
    assert only(client, b"POST").body == OK
    house.nothing_left()


@pytest.mark.parametrize("there", [{"main": MIDDLE}, {}])
def test_a_delete_of_what_has_moved_is_never_sent(there: dict[str, bytes]) -> None:
    """Or of what is not there any more."""
    house, client, _ = deletes(require_old_oid=True)
    tell(house, capable(), named(**there))
    refused(client, b"the forge has this ref at another commit than the push expects")
    assert pushed(house) == []
    assert house.reasons == [Reason.PUSH_OLD_OID]
    house.nothing_left()


def test_a_delete_that_needs_nothing_goes_at_once() -> None:
    """The positive control."""
    house, _, body = deletes()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


def test_a_push_with_a_pack_waits_for_the_refs_before_its_checksum() -> None:
    """Not before its list: it cannot be acted on without the pack."""
    house, body = granted(House(), require_old_oid=True), listed(OLD, ZERO) + packed(OLD_BODY)
    house.say(sent(body))
    assert (arrived(house).body, arrived(house).whole) == (body[:-TRAILER], False)
    tell(house, capable(), named())
    assert (arrived(house).body, arrived(house).whole) == (body, True)


# In part.


def partial(second: bytes) -> tuple[House, Wire, bytes]:
    """Push one ref that is allowed if it is a fast-forward, and one that is not."""
    new = packs.oid(packs.COMMIT, second).hex().encode()
    one = b"%s %s refs/notes/x\x00 report-status side-band-64k" % (OLD.hex().encode(), new)
    two = b"%s %s %s" % (OLD.hex().encode(), new, REF)
    house = granted(House(), partial=True)
    return (
        house,
        house.say(sent(encode(one) + encode(two) + FLUSH + packed(second))),
        listed(packs.oid(packs.COMMIT, second)) + packed(second),
    )


def test_a_part_goes_on_and_the_rest_is_put_into_the_report() -> None:
    """The forge is never told of it."""
    house, client, body = partial(ON_OLD)
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    report(house)
    said = only(client, b"POST").body
    assert b"ok refs/heads/main\n" in said
    assert b"ng refs/notes/x credgate: no rule" in said
    assert [(one.ref, one.forge) for one in house.audit.events[0].refs] == [("refs/notes/x", ""), (REF.decode(), "ok")]
    house.nothing_left()


def test_a_part_that_is_refused_late_refuses_all() -> None:
    """The list had gone on; its end never does."""
    house, client, body = partial(ON_NOTHING)
    refused(client, b"not a fast-forward")
    assert b"ng refs/notes/x credgate: " in only(client, b"POST").body
    unfinished(house, body)
    house.nothing_left()


# Long lists.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_long_list_is_judged_in_turns(coding: bytes | None) -> None:
    """The sandbox is held meanwhile, and the forge gets the list whole."""
    count = 1500
    refs = [b"refs/heads/agent/%d" % number for number in range(count)]
    new = packs.oid(packs.COMMIT, ON_OLD).hex().encode()
    lines = [b"%s %s %s" % (b"0" * 40, new, ref) for ref in refs]
    body = encode(lines[0] + b"\0 report-status side-band-64k") + b"".join(map(encode, lines[1:])) + FLUSH
    body += packed(ON_OLD)
    house = House()
    whole = sent(body) if coding is None else sent(gzip.compress(body), b"Content-Encoding: gzip")
    client = house.client()
    client.bufferSize = len(whole)
    client.deliver(whole[:-5])
    assert not client.reading
    house.settle()
    assert client.reading
    client.deliver(whole[-5:])
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_list_is_read_to_the_limit_and_refused(coding: bytes | None) -> None:
    """The rest is read away; the forge is not asked. As many as allowed go on."""
    new = packs.oid(packs.COMMIT, ON_OLD).hex().encode()
    lines = [b"%s %s refs/heads/agent/%d" % (b"0" * 40, new, number) for number in range(8)]
    for most, good in ((7, False), (8, True)):
        house = House()
        granted(house, max_refs=most)
        body = encode(lines[0] + b"\0 report-status") + b"".join(map(encode, lines[1:])) + FLUSH + packed(ON_OLD)
        whole = sent(body) if coding is None else sent(gzip.compress(body), b"Content-Encoding: gzip")
        client = house.say(whole)
        assert bool(pushed(house)) is good
        if good:
            continue
        said = only(client, b"POST").body
        assert said.count(b"credgate: more than the 7 refs that are allowed in one push") == most
        assert b"refs/heads/agent/7" not in said
        assert house.audit.events[0].reason is Reason.PUSH_TOO_MANY_REFS
