"""For any bytes of a push: what real git does with them is part of what credgate decided on.

The judge is ``git receive-pack`` with a hook that writes down every command that is about to be carried out, and then
refuses, so that nothing moves between two trials. It is given the body as the sandbox sent it, and what credgate would
send on in its place.
"""

from __future__ import annotations

import subprocess
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from credgate.config.schema import PushPolicy
from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_rules import rules_for
from credgate.git.push_stream import PushStream
from credgate.sessions.model import Grant, PushRule
from tests.fakes.repositories import ENVIRON, git

if TYPE_CHECKING:
    from pathlib import Path

ZERO, ONE, TWO = b"0" * 40, b"@" * 40, b"$" * 40
"""No object, and what stands for the two commits of the repository until they are known."""
EMPTY = b"PACK\0\0\0\2\0\0\0\0" + sha1(b"PACK\0\0\0\2\0\0\0\0").digest()
CAPS = b"\0 report-status side-band-64k"
GOOD = ZERO + b" " + TWO + b" refs/heads/agent/x"
EVIL = ZERO + b" " + TWO + b" refs/heads/evil"
MAIN = ONE + b" " + TWO + b" refs/heads/main"
CERT = [b"push-cert\0\n", b"certificate version 0.1\n", b"\n", EVIL + b"\n", b"push-cert-end\n"]
PIECES = [
    encode(GOOD + CAPS), encode(GOOD), encode(EVIL), encode(EVIL + CAPS), encode(MAIN), encode(MAIN + CAPS + b"\n"),
    encode(ONE + b" " + ZERO + b" refs/heads/main"), encode(EVIL + b"\n"), encode(GOOD + CAPS + b" push-options"),
    encode(GOOD + CAPS + b" atomic"), encode(GOOD + b"\n" + EVIL + CAPS), encode(GOOD + b"\0" + EVIL),
    encode(b"shallow " + ONE), encode(b"ci.skip"), encode(EVIL.replace(b" refs", b"  refs")),
    encode(ZERO + b" " + TWO + b" HEAD"), encode(ZERO + b" " + TWO + b" refs/heads/agent/\xff"),
    b"".join(map(encode, CERT)), FLUSH, FLUSH, FLUSH, b"0001", b"0002", b"0003", b"0004", EMPTY, EMPTY, b"PACK", b"\n",
]  # fmt: skip
RULES = rules_for(
    Grant(
        "octo/hello",
        "github.com",
        push=(
            PushRule("refs/heads/agent/*", frozenset({"create", "update", "force", "delete"})),
            PushRule("refs/heads/main", frozenset({"force"})),
        ),
        push_options=("*",),
        partial=True,
    ),
    PushPolicy(),
    "s-0123456789abcdef",
    "",
)
Moves = set[tuple[bytes, ...]]


@frozen
class Judge:
    """A bare repository with two commits, and the result of a push to it."""

    place: Path
    one: bytes
    two: bytes

    def moves(self, body: bytes) -> Moves:
        """Return the (old, new, ref) that would be carried out."""
        seen = self.place / "seen"
        seen.unlink(missing_ok=True)
        command = ["git", "receive-pack", "--stateless-rpc", str(self.place)]
        subprocess.run(command, input=body, env=ENVIRON, capture_output=True, check=False)
        return {tuple(line.split(b" ", 2)) for line in seen.read_bytes().splitlines()} if seen.exists() else set()


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Make it; ``main`` is at the first commit."""
    place = tmp_path_factory.mktemp("judge") / "bare.git"
    git("init", "-q", "--bare", place)
    git("-C", place, "config", "receive.advertisePushOptions", "true")
    tree = git("-C", place, "mktree")
    who = ("-c", "user.name=x", "-c", "user.email=x@example")
    one = git("-C", place, *who, "commit-tree", tree.decode(), "-m", "one")
    two = git("-C", place, *who, "commit-tree", tree.decode(), "-p", one.decode(), "-m", "two")
    git("-C", place, "update-ref", "refs/heads/main", one.decode())
    hook = place / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\ncat >{place}/seen\nexit 1\n")
    hook.chmod(0o755)
    return Judge(place, one, two)


def sent(body: bytes, size: int) -> tuple[PushStream, bytes | None]:
    """Feed ``body`` in pieces of ``size``; return the stream and what is forwarded, ``None`` for nothing."""
    passage, on = PushStream(None, RULES), b""
    try:
        for at in range(0, len(body), size):
            for part in passage.receive(body[at : at + size]):
                on += part
        passage.end()
    except RequestError:
        return passage, None
    return passage, None if passage.refused else passage.head + on


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Combine pieces of pushes, and change some bytes."""
    start = draw(st.sampled_from([b"", encode(GOOD + CAPS), encode(GOOD + CAPS) + FLUSH]))
    body = start + b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=7))) + draw(st.sampled_from([EMPTY, b""]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        cut = draw(st.integers(0, 4))
        put = draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"\0", b"\n", b" ", b"0000", b"f", b"\r", b"/"])))
        body = body[:at] + put + body[at + cut :]
    return body


@settings(max_examples=400)
@given(bodies(), st.sampled_from([1, 7, 100_000]))
@example(encode(GOOD + CAPS) + b"".join(map(encode, CERT)) + FLUSH + EMPTY, 100_000)
@example(encode(GOOD + CAPS) + FLUSH + EMPTY + encode(EVIL) + FLUSH + EMPTY, 100_000)
@example(encode(GOOD) + encode(EVIL + CAPS) + FLUSH + EMPTY, 100_000)
@example(encode(GOOD + CAPS) + b"0001" + encode(EVIL) + FLUSH + EMPTY, 100_000)
@example(encode(GOOD + CAPS) + encode(EVIL) + FLUSH + EMPTY, 1)
@example(encode(GOOD + CAPS + b" push-options") + FLUSH + encode(EVIL) + FLUSH + EMPTY, 7)
def test_git_moves_only_refs_that_were_judged(judge: Judge, body: bytes, size: int) -> None:
    """With the body as it came, if any of it passes, and with the list that credgate encodes."""
    body = body.replace(ONE, judge.one).replace(TWO, judge.two)
    passage, on = sent(body, size)
    if on is None:
        return
    assert passage.verdict is not None
    decided = {(one.command.old, one.command.new, one.command.ref) for one in passage.verdict.refs}
    allowed = {(one.old, one.new, one.ref) for one in passage.verdict.forwarded}
    assert judge.moves(body) <= decided
    assert judge.moves(on) <= allowed
    assert not any(ref == b"refs/heads/evil" for _, _, ref in allowed)


@pytest.mark.parametrize("size", [1, 100_000])
def test_git_moves_good_and_evil_refs(judge: Judge, size: int) -> None:
    """Positive control: good pushes are carried out both ways; evil ones would be, and are not forwarded."""
    body = encode(GOOD + CAPS) + encode(EVIL) + encode(MAIN) + FLUSH + EMPTY
    body = body.replace(ONE, judge.one).replace(TWO, judge.two)
    _, on = sent(body, size)
    assert on is not None
    assert {move[2] for move in judge.moves(body)} == {b"refs/heads/agent/x", b"refs/heads/evil", b"refs/heads/main"}
    assert {move[2] for move in judge.moves(on)} == {b"refs/heads/agent/x", b"refs/heads/main"}
