"""The command list as it is encoded for the forge."""

from __future__ import annotations

import subprocess
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.push_list import FLAGS, MAX_CAPABILITY, Command, PushReader, encode_commands

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, ZERO = b"a1" * 20, b"b2" * 20, b"0" * 40


def command(name: bytes, old: bytes = ZERO, new: bytes = A) -> Command:
    """Move a branch."""
    return Command(old, new, b"refs/heads/" + name)


def read(wire: bytes) -> PushReader:
    """Read an encoded list; all of it must be the list."""
    reader = PushReader()
    assert reader.receive(wire) == len(wire)
    reader.end()
    return reader


def test_encoded_list_has_gits_form() -> None:
    """Shallow lines first, capabilities on the first command."""
    wire = encode_commands([command(b"x"), command(b"y", A, B)], [b"report-status", b"agent=git/2"], [B])
    assert wire == (
        b"0034shallow "
        + B
        + b"007d" + ZERO + b" " + A + b" refs/heads/x\x00 report-status agent=git/2"
        + b"0062" + A + b" " + B + b" refs/heads/y"
        + b"0000"
    )  # fmt: skip


def test_capabilities_move_to_the_first_forwarded_command() -> None:
    """The command that carried them may have been refused."""
    came = [command(b"refused"), command(b"x"), command(b"y")]
    reader = read(encode_commands(came[1:], [b"report-status", b"side-band-64k"]))
    assert reader.refs == [b"refs/heads/x", b"refs/heads/y"]
    assert reader.capabilities == (b"report-status", b"side-band-64k")


def test_unknown_and_long_capabilities_are_not_forwarded() -> None:
    """A long one may leave no room for a long ref."""
    odd = [b"push-cert=x", b"frobnicate", b"agent=" + b"x" * MAX_CAPABILITY]
    assert read(encode_commands([command(b"x")], [*odd, b"quiet"])).capabilities == (b"quiet",)
    assert read(encode_commands([command(b"x")], odd)).capabilities == ()


def test_empty_list_cannot_be_encoded() -> None:
    """The caller must forward at least one command."""
    with pytest.raises(ValueError, match="not enough values"):
        encode_commands([], [])


oids = st.sampled_from([A, B])
names = st.from_regex(rb"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True)
commands = st.lists(st.builds(command, names, oids | st.just(ZERO), oids), min_size=1, unique_by=lambda one: one.ref)


@given(
    commands,
    st.lists(st.sampled_from(sorted(FLAGS)), unique=True),
    st.lists(oids, max_size=2),
)
def test_encoded_list_reads_as_what_was_judged(
    pushed: list[Command], capabilities: list[bytes], shallows: list[bytes]
) -> None:
    """By credgate's own reader, which is stricter than any forge's."""
    reader = read(encode_commands(pushed, capabilities, shallows))
    assert [(one.old, one.new, one.ref) for one in reader.commands] == [(one.old, one.new, one.ref) for one in pushed]
    assert reader.capabilities == tuple(capabilities)
    assert reader.shallows == shallows


EMPTY_PACK = b"PACK\x00\x00\x00\x02\x00\x00\x00\x00"
EMPTY_PACK += sha1(EMPTY_PACK).digest()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[bytes]]:
    """Return the commands that git's own ``receive-pack`` reads: its hook records each and refuses all.

    Creations and moves are to a commit that is there; where the moved refs were does not matter before the hook.
    """
    place = tmp_path_factory.mktemp("seen")

    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, input=b"").stdout.strip()

    git("init", "-q", "--bare", ".")
    tree = git("hash-object", "-w", "-t", "tree", "--stdin").decode()
    made = git("-c", "user.name=x", "-c", "user.email=x@example", "commit-tree", "-m", "x", tree)
    hook = place / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncat >{place}/seen\nexit 1\n")
    hook.chmod(0o755)

    def lines(wire: bytes) -> list[bytes]:
        (place / "seen").write_bytes(b"")
        body = wire.replace(A, made) + EMPTY_PACK
        subprocess.run(
            ["git", "receive-pack", "--stateless-rpc", str(place)], input=body, capture_output=True, check=False
        )
        return (place / "seen").read_bytes().replace(made, A).splitlines()

    return lines


moves = st.sampled_from([(ZERO, A), (B, A)])
existing = st.builds(lambda name, move: command(name, *move), names, moves)


@given(
    st.lists(existing, min_size=1, max_size=5, unique_by=lambda one: one.ref),
    st.lists(st.sampled_from([b"report-status", b"atomic", b"quiet", b"agent=x/1", b"frobnicate"]), unique=True),
)
def test_git_sees_exactly_the_judged_commands(
    seen: Callable[[bytes], list[bytes]], pushed: list[Command], capabilities: list[bytes]
) -> None:
    """The last reader before a ref moves: the same commands in the same order."""
    written = encode_commands(pushed, capabilities)
    assert seen(written) == [b"%s %s %s" % (one.old, one.new, one.ref) for one in pushed]
