"""A push and a fetch as they pass: what was judged is what goes on, whatever the pieces, and nothing before it."""

from __future__ import annotations

import gzip
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import PushPolicy
from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_list import PushReader
from credgate.git.push_rules import PushRules, rules_for
from credgate.git.push_stream import FetchStream, PushStream
from credgate.git.push_verdict import NOT_ATTEMPTED
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason
from tests.fakes.relay import ONE, ZERO, command, commands

LONG = b"1" * 64
A, B, NOTES = b"refs/heads/a", b"refs/heads/b", b"refs/notes/x"
PACK = b"PACK" + bytes(range(256)) * 4


def rules(policy: PushPolicy | None = None, **more: Any) -> PushRules:
    """Make a grant's rules."""
    return rules_for(Grant("octo/*", "github.com", **more), policy or PushPolicy(), "s-1", "x")


def read(body: bytes, coding: bytes | None = None, **more: Any) -> tuple[PushStream, bytes]:
    """Read a push whole; return it and the bytes of its pack that may go on."""
    one = PushStream(coding, rules(**more))
    return one, b"".join(one.receive(body))


def listed(*lines: bytes, caps: bytes = b" report-status side-band-64k") -> bytes:
    """Make a list of commands from ``old new ref`` lines."""
    first, *rest = lines
    return b"".join([encode(first + b"\x00" + caps), *map(encode, rest), FLUSH])


# What goes on.


@given(st.lists(st.integers(0, 2000), max_size=5), st.sampled_from([None, b"gzip", b"x-gzip"]))
def test_what_goes_on_is_what_was_judged(places: list[int], coding: bytes | None) -> None:
    """The list written anew and the pack as it came, decoded, however the body is cut."""
    body = commands(A, B) + PACK
    sent = body if coding is None else gzip.compress(body)
    push = PushStream(coding, rules())
    ends = [0, *sorted(places), len(sent)]
    passed = b"".join(piece for a, b in itertools.pairwise(ends) for piece in push.receive(sent[a:b]))
    push.end()
    assert push.listed
    assert push.verdict is not None
    assert not push.refused
    assert push.head + passed == body
    assert push.commands.refs == [A, B]


def test_a_list_ends_with_nothing_behind_it_and_the_verdict_is_there() -> None:
    """The forge can be asked while the first byte of the pack is still to come."""
    push = PushStream(None, rules())
    assert list(push.receive(commands()[:-1])) == []
    assert push.verdict is None
    assert not push.refused
    assert list(push.receive(b"0")) == [b""]
    assert push.verdict is not None


def test_a_gzipped_piece_is_made_when_it_is_asked_for() -> None:
    """A caller that stops asking holds no more than it asked for."""
    body = commands() + b"PACK" + b"".join(bytes([at % 251]) * 400 + str(at).encode() for at in range(1000))
    push = PushStream(b"gzip", rules())
    pieces = push.receive(gzip.compress(body))
    first = next(pieces)
    assert len(first) <= 64 * 1024
    assert push.head + first + b"".join(pieces) == body


def test_capabilities_that_receive_pack_does_not_know_stay_here() -> None:
    """Their meaning there is not known here; shallow lines and known ones go on."""
    line = b"%s %s %s" % (ZERO, ONE, A)
    push, passed = read(
        encode(b"shallow " + ONE) + listed(line, caps=b" report-status evil atomic session-id=x") + PACK
    )
    assert push.head == encode(b"shallow " + ONE) + encode(line + b"\x00 report-status atomic") + FLUSH
    assert passed == PACK


def test_sha256_goes_the_same_way() -> None:
    """With ids of 64 digits and the format that says so."""
    line = b"%s %s %s" % (b"0" * 64, LONG, A)
    push, passed = read(listed(line, caps=b" report-status object-format=sha256") + PACK)
    assert push.head == encode(line + b"\x00 report-status object-format=sha256") + FLUSH
    assert passed == PACK


# What does not.


def test_a_refused_push_gives_out_no_byte_of_its_pack() -> None:
    """But tells of its verdict."""
    push = PushStream(None, rules())
    assert list(push.receive(commands(NOTES, A) + PACK)) == [b""]
    assert push.refused
    assert push.verdict is not None
    assert [one.decision.reason for one in push.verdict.refs] == [Reason.PUSH_REF, NOT_ATTEMPTED.reason]


def test_a_partial_push_goes_on_without_what_was_refused() -> None:
    """Its list has the others, with the capabilities that the first one carried; the pack is for them."""
    push, passed = read(commands(NOTES, A) + PACK, partial=True)
    assert push.head == encode(b"%s %s %s\x00 report-status side-band-64k" % (ZERO, ONE, A)) + FLUSH
    assert passed == PACK


def test_an_atomic_push_is_never_partial() -> None:
    """Git does not notice a mix there."""
    lines = [b"%s %s %s" % (ZERO, ONE, ref) for ref in (NOTES, A)]
    push, passed = read(listed(*lines, caps=b" report-status atomic") + PACK, partial=True)
    assert (push.refused, passed) == (True, b"")


def test_a_pack_that_belongs_to_nothing_stays_here() -> None:
    """What goes on of a partial push deletes only, and then a forge reads no pack."""
    deletes = b"%s %s %s" % (ONE, ZERO, A)
    create = b"%s %s %s" % (ZERO, ONE, NOTES)
    may = (PushRule("refs/heads/*", frozenset({"delete"})),)
    push, passed = read(listed(create, deletes) + PACK, partial=True, push=may)
    assert push.head == encode(deletes + b"\x00 report-status side-band-64k") + FLUSH
    assert passed == b""


def test_without_rules_nothing_goes_on() -> None:
    """The list is only read, for the refs in it."""
    push = PushStream(None)
    assert list(push.receive(commands(A) + PACK)) == []
    push.end()
    assert (push.verdict, push.refused, push.commands.refs) == (None, False, [A])


# Size.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_pack_may_be_as_large_as_is_allowed_and_no_larger(coding: bytes | None) -> None:
    """Counted decoded; the byte too many refuses every ref, and none of its piece goes on."""
    for size in (len(PACK), len(PACK) + 1):
        body = commands(A, B) + PACK + b"x" * (size - len(PACK))
        sent = body if coding is None else gzip.compress(body)
        push, passed = read(sent, coding, max_push_bytes=len(PACK))
        assert push.refused is (size > len(PACK))
        assert passed == (b"" if push.refused else PACK)
        assert push.verdict is not None
        reasons = {one.decision.reason for one in push.verdict.refs}
        assert reasons == {Reason.PUSH_TOO_LARGE if push.refused else Reason.ALLOWED}


def test_a_pack_grows_too_large_piece_by_piece() -> None:
    """What passed before has passed; its end never does."""
    push = PushStream(None, rules(policy=PushPolicy(max_push_bytes=5)))
    assert list(push.receive(commands())) == [b""]
    assert list(push.receive(b"PACK5")) == [b"PACK5"]
    assert list(push.receive(b"6")) == [b""]
    assert push.refused


# Options.


def options(*texts: bytes) -> bytes:
    """Make a list of push options."""
    return b"".join(map(encode, texts)) + FLUSH


OPTED = listed(b"%s %s %s" % (ZERO, ONE, A), caps=b" report-status push-options")


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_options_that_are_granted_go_on(piece: int) -> None:
    """The verdict waits for them; they are written anew between list and pack."""
    body = OPTED + options(b"ci.skip") + PACK
    push = PushStream(None, rules(push_options=("ci.*",)))
    assert list(push.receive(OPTED)) == []
    assert (push.listed, push.verdict) == (False, None)
    rest = body[len(OPTED) :]
    passed = b"".join(part for at in range(0, len(rest), piece) for part in push.receive(rest[at : at + piece]))
    push.end()
    assert push.head == OPTED + options(b"ci.skip")
    assert passed == PACK


def test_options_that_are_not_granted_refuse_every_ref() -> None:
    """Not in the grant, or not in the policy."""
    for more in ({}, {"push_options": ("ci.*",), "policy": PushPolicy(push_options=())}):
        push, passed = read(OPTED + options(b"ci.skip") + PACK, **more)
        assert (push.refused, passed) == (True, b"")
        assert push.verdict is not None
        assert push.verdict.decision.reason is Reason.PUSH_OPTION


# Probes.


def test_a_probe_goes_on_as_it_came() -> None:
    """It moves nothing: it is git's test of its credential."""
    push, passed = read(FLUSH)
    push.end()
    assert (push.head, passed, push.refused) == (FLUSH, b"", False)


def test_bytes_behind_a_probe_are_refused() -> None:
    """They would be read as something else by whoever reads on."""
    push = PushStream(None, rules())
    with pytest.raises(RequestError, match="data after a probe") as raised:
        list(push.receive(FLUSH + b"x"))
    assert raised.value.reason is Reason.MALFORMED_PUSH


# Where the pack begins.

SMUGGLED = encode(b"repo.private=false") + FLUSH


@pytest.mark.parametrize("coding", [None, b"gzip"])
@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize("tail", [SMUGGLED + PACK, FLUSH + PACK, b"PAC" + PACK, b"pack", b"PACX", b"\0PACK"])
def test_what_follows_the_list_is_a_pack_or_refused(tail: bytes, piece: int, coding: bytes | None) -> None:
    """Nothing else goes on, in any cut: a forge may read a list of options there. A pack of the same length does."""
    for after, good in ((tail, False), (PACK, True)):
        sent = commands(A) + after if coding is None else gzip.compress(commands(A) + after)
        push, passed, text = PushStream(coding, rules()), b"", ""
        try:
            for at in range(0, len(sent), piece):
                passed += b"".join(push.receive(sent[at : at + piece]))
            push.end()
        except RequestError as error:
            text, reason = str(error), error.reason
            assert reason is Reason.MALFORMED_PUSH
        assert (text, passed) == (("", PACK) if good else ("push refused: the pack does not begin with PACK", b""))
        assert push.signed is good


@pytest.mark.parametrize("came", [b"", b"P", b"PAC"])
def test_a_body_that_ends_before_the_pack_is_refused(came: bytes) -> None:
    """Every push sends a pack, but one that only deletes."""
    push, passed = read(commands(A) + came)
    assert passed == b""
    with pytest.raises(RequestError, match="the body ended before the pack"):
        push.end()


@pytest.mark.parametrize("tail", [b"P", PACK, SMUGGLED + PACK, FLUSH])
def test_a_list_that_only_deletes_ends_the_body(tail: bytes) -> None:
    """No pack is due, so any byte refuses it; without one it is sound."""
    may = (PushRule("refs/heads/*", frozenset({"delete"})),)
    body = listed(b"%s %s %s" % (ONE, ZERO, A))
    push, passed = read(body, push=may)
    push.end()
    assert (push.head, passed) == (body, b"")
    push = PushStream(None, rules(push=may))
    with pytest.raises(RequestError, match="data after a list that only deletes"):
        list(push.receive(body + tail))


# What is no push.


@pytest.mark.parametrize(
    ("coding", "sent", "reason"),
    [
        (None, command(), Reason.MALFORMED_PUSH),
        (None, b"", Reason.MALFORMED_PUSH),
        (None, OPTED, Reason.MALFORMED_PUSH),
        (None, OPTED + encode(b"ci.skip"), Reason.MALFORMED_PUSH),
        (b"gzip", gzip.compress(commands(), mtime=0)[:-9], Reason.MALFORMED_REQUEST),
        (b"gzip", gzip.compress(command(), mtime=0), Reason.MALFORMED_PUSH),
    ],
)
def test_a_push_that_is_cut_is_noticed_at_its_end(coding: bytes | None, sent: bytes, reason: Reason) -> None:
    """In its list, in its options, or in its coding."""
    push = PushStream(coding, rules())
    list(push.receive(sent))
    with pytest.raises(RequestError) as raised:
        push.end()
    assert raised.value.reason is reason


def test_a_sound_list_with_an_impossible_ref_is_listed() -> None:
    """So git can be told ref by ref."""
    push = PushStream(None, rules())
    with pytest.raises(RequestError):
        list(push.receive(commands(A, A)))
    assert (push.listed, push.verdict, push.refused) == (True, None, False)


@pytest.mark.parametrize("passage", [PushStream, lambda coding: FetchStream(coding, v2=True)])
def test_another_coding_is_refused(passage: Any) -> None:
    """Admission has done so before; this is the second lock."""
    with pytest.raises(RequestError) as raised:
        passage(b"br")
    assert raised.value.reason is Reason.UNSUPPORTED_CODING


# Whatever comes.


CAPS = st.sampled_from([b" report-status", b"", b" atomic push-options", b" side-band-64k object-format=sha256"])
REFS = st.sampled_from([A, B, NOTES, b"refs/tags/v1", b"HEAD", b"refs/heads/a.lock"])
LINES = st.builds(b"%s %s %s".__mod__, st.tuples(st.sampled_from([ZERO, ONE]), st.sampled_from([ZERO, ONE]), REFS))
BODIES = st.builds(
    lambda lines, caps, tail: listed(*lines, caps=caps) + tail,
    st.lists(LINES, min_size=1, max_size=4),
    CAPS,
    st.sampled_from([b"", FLUSH, encode(b"ci.skip") + FLUSH, PACK, b"zzzz"]),
)


@given(BODIES | st.binary(max_size=300), st.booleans(), st.integers(1, 50))
def test_what_goes_on_reads_as_what_was_decided(body: bytes, partial: bool, piece: int) -> None:  # noqa: FBT001 - hypothesis
    """Read again by the same strict reader, the head has exactly the commands of the verdict, all of them allowed."""
    push = PushStream(None, rules(partial=partial, push_options=("ci.*",)))
    passed = b""
    try:
        for at in range(0, len(body), piece):
            passed += b"".join(push.receive(body[at : at + piece]))
        push.end()
    except RequestError:
        pass
    if push.verdict is None or push.refused:
        assert passed == b""
        return
    again = PushReader()
    at = again.receive(push.head)
    assert [(one.old, one.new, one.ref) for one in again.commands] == [
        (one.old, one.new, one.ref) for one in push.verdict.forwarded
    ]
    assert again.options is push.commands.options
    assert (at < len(push.head)) is again.options
    assert body.endswith(passed)


# Fetches.


V2 = encode(b"command=ls-refs") + FLUSH


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_fetch_is_only_looked_at(coding: bytes | None) -> None:
    """A command that is served has no refusal, another has; decoded first."""
    for name, reason in ((b"ls-refs", None), (b"bundle-uri", Reason.FETCH_COMMAND)):
        body = encode(b"command=" + name) + FLUSH
        sent = body if coding is None else gzip.compress(body)
        passage = FetchStream(coding, v2=True)
        told = (one for byte in sent for one in passage.receive(bytes([byte])))
        refused = next((one for one in told if one is not None), None)
        assert (refused and refused.reason) == reason
        if reason is None:
            passage.end()


@pytest.mark.parametrize(("coding", "sent"), [(None, V2[:-1]), (b"gzip", gzip.compress(V2, mtime=0)[:-1])])
def test_a_fetch_that_is_cut_is_noticed_at_its_end(coding: bytes | None, sent: bytes) -> None:
    """In its packets, or in its coding."""
    passage = FetchStream(coding, v2=True)
    assert not any(passage.receive(sent))
    with pytest.raises(RequestError):
        passage.end()
