"""Bodies of pushes and fetches as they pass: what was judged is forwarded, in any cut, and only after the verdict."""

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
    """Read a whole push; return it and the bytes of its pack that may be forwarded."""
    one = PushStream(coding, rules(**more))
    return one, b"".join(one.receive(body))


def listed(*lines: bytes, caps: bytes = b" report-status side-band-64k") -> bytes:
    """Make a list of commands from ``old new ref`` lines."""
    first, *rest = lines
    return b"".join([encode(first + b"\x00" + caps), *map(encode, rest), FLUSH])


# Forwarded.


@given(st.lists(st.integers(0, 2000), max_size=5), st.sampled_from([None, b"gzip", b"x-gzip"]))
def test_forwarded_bytes_are_what_was_judged(places: list[int], coding: bytes | None) -> None:
    """The encoded list and the decoded pack, in any cut."""
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


def test_verdict_is_set_at_the_end_of_the_list() -> None:
    """The forge can be asked before the first byte of the pack."""
    push = PushStream(None, rules())
    assert list(push.receive(commands()[:-1])) == []
    assert push.verdict is None
    assert not push.refused
    assert list(push.receive(b"0")) == [b""]
    assert push.verdict is not None


def test_gzip_piece_is_decoded_when_it_is_asked_for() -> None:
    """A caller that pauses holds no more."""
    body = commands() + b"PACK" + b"".join(bytes([at % 251]) * 400 + str(at).encode() for at in range(1000))
    push = PushStream(b"gzip", rules())
    pieces = push.receive(gzip.compress(body))
    first = next(pieces)
    assert len(first) <= 64 * 1024
    assert push.head + first + b"".join(pieces) == body


def test_unknown_capabilities_are_not_forwarded() -> None:
    """Shallow lines and known ones are."""
    line = b"%s %s %s" % (ZERO, ONE, A)
    push, passed = read(
        encode(b"shallow " + ONE) + listed(line, caps=b" report-status evil atomic session-id=x") + PACK
    )
    assert push.head == encode(b"shallow " + ONE) + encode(line + b"\x00 report-status atomic") + FLUSH
    assert passed == PACK


def test_sha256_push_is_forwarded() -> None:
    """With ids of 64 digits and the object format."""
    line = b"%s %s %s" % (b"0" * 64, LONG, A)
    push, passed = read(listed(line, caps=b" report-status object-format=sha256") + PACK)
    assert push.head == encode(line + b"\x00 report-status object-format=sha256") + FLUSH
    assert passed == PACK


# Refused.


def test_refused_push_forwards_no_byte_of_its_pack() -> None:
    """But has its verdict."""
    push = PushStream(None, rules())
    assert list(push.receive(commands(NOTES, A) + PACK)) == [b""]
    assert push.refused
    assert push.verdict is not None
    assert [one.decision.reason for one in push.verdict.refs] == [Reason.PUSH_REF, NOT_ATTEMPTED.reason]


def test_partial_push_is_forwarded_without_refused_refs() -> None:
    """The list has the others, with the capabilities of the first command."""
    push, passed = read(commands(NOTES, A) + PACK, partial=True)
    assert push.head == encode(b"%s %s %s\x00 report-status side-band-64k" % (ZERO, ONE, A)) + FLUSH
    assert passed == PACK


def test_atomic_push_is_never_partial() -> None:
    """Git does not notice mixed results there."""
    lines = [b"%s %s %s" % (ZERO, ONE, ref) for ref in (NOTES, A)]
    push, passed = read(listed(*lines, caps=b" report-status atomic") + PACK, partial=True)
    assert (push.refused, passed) == (True, b"")


def test_pack_is_dropped_if_only_deletions_are_forwarded() -> None:
    """A forge reads no pack then."""
    deletes = b"%s %s %s" % (ONE, ZERO, A)
    create = b"%s %s %s" % (ZERO, ONE, NOTES)
    may = (PushRule("refs/heads/*", frozenset({"delete"})),)
    push, passed = read(listed(create, deletes) + PACK, partial=True, push=may)
    assert push.head == encode(deletes + b"\x00 report-status side-band-64k") + FLUSH
    assert passed == b""


def test_push_without_rules_is_not_forwarded() -> None:
    """Only its refs are read."""
    push = PushStream(None)
    assert list(push.receive(commands(A) + PACK)) == []
    push.end()
    assert (push.verdict, push.refused, push.commands.refs) == (None, False, [A])


# Size.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_pack_over_the_limit_refuses_every_ref(coding: bytes | None) -> None:
    """Counted decoded; nothing of the excess piece is forwarded."""
    for size in (len(PACK), len(PACK) + 1):
        body = commands(A, B) + PACK + b"x" * (size - len(PACK))
        sent = body if coding is None else gzip.compress(body)
        push, passed = read(sent, coding, max_push_bytes=len(PACK))
        assert push.refused is (size > len(PACK))
        assert passed == (b"" if push.refused else PACK)
        assert push.verdict is not None
        reasons = {one.decision.reason for one in push.verdict.refs}
        assert reasons == {Reason.PUSH_TOO_LARGE if push.refused else Reason.ALLOWED}


def test_pack_that_grows_over_the_limit_is_cut() -> None:
    """Its end is never forwarded."""
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
def test_granted_options_are_forwarded(piece: int) -> None:
    """The verdict waits for them; they are encoded between list and pack."""
    body = OPTED + options(b"ci.skip") + PACK
    push = PushStream(None, rules(push_options=("ci.*",)))
    assert list(push.receive(OPTED)) == []
    assert (push.listed, push.verdict) == (False, None)
    rest = body[len(OPTED) :]
    passed = b"".join(part for at in range(0, len(rest), piece) for part in push.receive(rest[at : at + piece]))
    push.end()
    assert push.head == OPTED + options(b"ci.skip")
    assert passed == PACK


def test_option_that_is_not_granted_refuses_every_ref() -> None:
    """Not in the grant, or not in the policy."""
    for more in ({}, {"push_options": ("ci.*",), "policy": PushPolicy(push_options=())}):
        push, passed = read(OPTED + options(b"ci.skip") + PACK, **more)
        assert (push.refused, passed) == (True, b"")
        assert push.verdict is not None
        assert push.verdict.decision.reason is Reason.PUSH_OPTION


# Probes.


def test_probe_is_forwarded() -> None:
    """It moves no ref."""
    push, passed = read(FLUSH)
    push.end()
    assert (push.head, passed, push.refused) == (FLUSH, b"", False)


def test_data_after_a_probe_is_refused() -> None:
    """Another reader would take it for something else."""
    push = PushStream(None, rules())
    with pytest.raises(RequestError, match="data after a probe") as raised:
        list(push.receive(FLUSH + b"x"))
    assert raised.value.reason is Reason.MALFORMED_PUSH


# The start of the pack.

SMUGGLED = encode(b"repo.private=false") + FLUSH


@pytest.mark.parametrize("coding", [None, b"gzip"])
@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize("tail", [SMUGGLED + PACK, FLUSH + PACK, b"PAC" + PACK, b"pack", b"PACX", b"\0PACK"])
def test_data_after_the_list_must_be_a_pack(tail: bytes, piece: int, coding: bytes | None) -> None:
    """In any cut: a forge may read a list of options there."""
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
def test_body_without_its_pack_is_refused(came: bytes) -> None:
    """Unless it only deletes."""
    push, passed = read(commands(A) + came)
    assert passed == b""
    with pytest.raises(RequestError, match="the body ended before the pack"):
        push.end()


@pytest.mark.parametrize("tail", [b"P", PACK, SMUGGLED + PACK, FLUSH])
def test_data_after_deletions_is_refused(tail: bytes) -> None:
    """No pack follows them."""
    may = (PushRule("refs/heads/*", frozenset({"delete"})),)
    body = listed(b"%s %s %s" % (ONE, ZERO, A))
    push, passed = read(body, push=may)
    push.end()
    assert (push.head, passed) == (body, b"")
    push = PushStream(None, rules(push=may))
    with pytest.raises(RequestError, match="data after a list that only deletes"):
        list(push.receive(body + tail))


# Malformed pushes.


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
def test_cut_push_is_refused_at_its_end(coding: bytes | None, sent: bytes, reason: Reason) -> None:
    """In its list, its options or its coding."""
    push = PushStream(coding, rules())
    list(push.receive(sent))
    with pytest.raises(RequestError) as raised:
        push.end()
    assert raised.value.reason is reason


def test_list_with_an_impossible_ref_is_listed() -> None:
    """So that the refusal can be reported ref by ref."""
    push = PushStream(None, rules())
    with pytest.raises(RequestError):
        list(push.receive(commands(A, A)))
    assert (push.listed, push.verdict, push.refused) == (True, None, False)


@pytest.mark.parametrize("passage", [PushStream, lambda coding: FetchStream(coding, v2=True)])
def test_other_coding_is_refused(passage: Any) -> None:
    """Checked again after authorization."""
    with pytest.raises(RequestError) as raised:
        passage(b"br")
    assert raised.value.reason is Reason.UNSUPPORTED_CODING


# Random pushes.


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
def test_forwarded_list_has_exactly_the_allowed_commands(body: bytes, partial: bool, piece: int) -> None:  # noqa: FBT001 - hypothesis
    """Read again by the same strict reader."""
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
def test_fetch_is_checked_and_not_changed(coding: bytes | None) -> None:
    """A served command is not refused, another is; after decoding."""
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
def test_cut_fetch_is_refused_at_its_end(coding: bytes | None, sent: bytes) -> None:
    """In its packets or its coding."""
    passage = FetchStream(coding, v2=True)
    assert not any(passage.receive(sent))
    with pytest.raises(RequestError):
        passage.end()
