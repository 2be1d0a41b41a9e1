"""The push reader against git and dulwich: both read every accepted push in the same way.

The judge is ``git receive-pack`` itself on a real repository whose hook writes down each command and then refuses, so
that nothing moves between two trials. The clients are real ones too: their bytes are taken down on the way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha1
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from dulwich.client import SubprocessGitClient
from dulwich.objects import ObjectID
from dulwich.protocol import Protocol, extract_capabilities
from dulwich.refs import Ref
from dulwich.repo import Repo
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.git.pktline import encode
from credgate.git.push_list import PushReader

if TYPE_CHECKING:
    from pathlib import Path

ZERO = b"0" * 40
EMPTY_PACK = b"PACK\x00\x00\x00\x02\x00\x00\x00\x00"
EMPTY_PACK += sha1(EMPTY_PACK).digest()
Triple = tuple[bytes, bytes, bytes]


def environment(home: Path) -> dict[str, str]:
    """Isolate git from the user's configuration."""
    people = {f"GIT_{role}_{part}": "x@example" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **people}


def git(place: Path, *words: str, env: dict[str, str]) -> str:
    """Run git, which must succeed."""
    done = subprocess.run(["git", *words], cwd=place, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@frozen
class Judge:
    """A bare repository and the result of a push to it."""

    place: Path
    env: dict[str, str]
    first: bytes
    second: bytes

    def decide(self, body: bytes) -> tuple[list[bytes] | None, list[Triple]]:
        """Return the refs of git's report (``None``: no report) and the commands that its hook saw."""
        seen = self.place / "seen"
        seen.unlink(missing_ok=True)
        command = ["git", "receive-pack", "--stateless-rpc", str(self.place)]
        done = subprocess.run(command, input=body, env=self.env, capture_output=True, check=False)
        hooked = [tuple(line.split(b" ", 2)) for line in seen.read_bytes().splitlines()] if seen.exists() else []
        return reported(done.stdout), hooked  # type: ignore[return-value]


def reported(output: bytes) -> list[bytes] | None:
    """Read a bare report with dulwich's packet reader."""
    lines = list(Protocol(BytesIO(output).read, lambda _: None).read_pkt_seq()) if output else []
    if not lines or not lines[0].startswith(b"unpack "):
        return None
    return [line.split(b" ")[1].rstrip(b"\n") for line in lines[1:]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Make the repository with two commits on main and a hook that records and refuses."""
    home = tmp_path_factory.mktemp("judge")
    env = environment(home)
    git(home, "init", "-q", "-b", "main", "work", env=env)
    work, bare = home / "work", home / "bare.git"
    for text in ("first", "second"):
        git(work, "commit", "-q", "--allow-empty", "-m", text, env=env)
    git(home, "clone", "-q", "--bare", "work", "bare.git", env=env)
    git(bare, "config", "receive.advertisePushOptions", "true", env=env)
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncat >{bare}/seen\nexit 1\n")
    hook.chmod(0o755)
    first, second = git(work, "rev-parse", "main~", "main", env=env).split()
    return Judge(bare, env, first.encode(), second.encode())


def ours(body: bytes) -> PushReader | None:
    """Read the list with credgate's reader; ``None``: refused."""
    reader = PushReader()
    try:
        reader.receive(body)
        reader.end()
    except RequestError:
        return None
    return reader


def listed(*lines: bytes, end: bytes = b"0000") -> bytes:
    """Encode ``lines`` with an empty pack after them."""
    return b"".join(map(encode, lines)) + end + EMPTY_PACK


@pytest.mark.parametrize(
    "form",
    [
        b"{A} {B} refs/heads/main\0 report-status",
        b"{A} {B} refs/heads/main\0report-status\n",
        b"{0} {B} refs/heads/new/x\0 report-status agent=x",
        b"{B} {0} refs/heads/main\0 report-status",
        b"{B} {A} refs/heads/\xc3\xa9\0 report-status object-format=sha1",
        b"{0} {A} refs/for/main\0 report-status",
        b"{0} {A} refs/heads/PACK\0 report-status-v2 quiet atomic",
    ],
)
def test_git_agrees_on_valid_pushes(judge: Judge, form: bytes) -> None:
    """The positive controls: both accept and see one command."""
    line = form.replace(b"{A}", judge.first).replace(b"{B}", judge.second).replace(b"{0}", ZERO)
    reader = ours(listed(line))
    assert reader is not None
    refs, hooked = judge.decide(listed(line))
    assert refs == reader.refs
    assert hooked == [(one.old, one.new, one.ref) for one in reader.commands]


@pytest.mark.parametrize(
    "name",
    ["caps later", "upper case", "0001", "0002", "double", "HEAD", "junk after shallow", "space in ref"],
)
def test_leniencies_of_git_are_refused(judge: Judge, name: str) -> None:
    """Each is accepted by the installed git, and is the reason of one of the rules."""
    move = b"%s %s refs/heads/x" % (ZERO, judge.first)
    more = b"%s %s refs/heads/y" % (ZERO, judge.first)
    caps = b"\x00 report-status"
    cases = {
        "caps later": (listed(move, more + caps), [b"refs/heads/x", b"refs/heads/y"]),
        "upper case": (listed(b"%s %s refs/heads/x" % (ZERO, judge.first.upper()) + caps), [b"refs/heads/x"]),
        "0001": (listed(move + caps, end=b"0001"), [b"refs/heads/x"]),
        "0002": (listed(move + caps, end=b"0002"), [b"refs/heads/x"]),
        "double": (listed(move + caps, more, move), [b"refs/heads/x", b"refs/heads/y", b"refs/heads/x"]),
        "HEAD": (listed(b"%s %s HEAD" % (ZERO, judge.first) + caps), [b"HEAD"]),
        "junk after shallow": (listed(b"shallow %s junk" % judge.first, move + caps), [b"refs/heads/x"]),
        "space in ref": (listed(b"%s %s refs/heads/a b" % (ZERO, judge.first) + caps), [b"refs/heads/a"]),
    }
    body, expected = cases[name]
    assert ours(body) is None
    refs, _ = judge.decide(body)
    assert refs == expected


def test_push_certificate_hides_a_command(tmp_path: Path, judge: Judge) -> None:
    """Git creates both refs, the plain one and the one in the unsigned certificate."""
    bare = shutil.copytree(judge.place, tmp_path / "bare.git")
    (bare / "hooks" / "pre-receive").unlink()
    move, evil = (b"%s %s refs/heads/%s" % (ZERO, judge.first, name) for name in (b"x", b"evil"))
    certificate = [b"push-cert\x00\n", b"certificate version 0.1\n", b"\n", evil + b"\n", b"push-cert-end\n"]
    body = listed(move + b"\x00 report-status", *certificate)
    assert ours(body) is None
    assert Judge(bare, judge.env, judge.first, judge.second).decide(body) == ([b"refs/heads/x", b"refs/heads/evil"], [])
    assert git(bare, "rev-parse", "refs/heads/evil", env=judge.env).encode() == judge.first


OIDS = ["A", "B", "0", "A", "B", "0", "a+", "short", "64"]
REFS = [
    b"refs/heads/main", b"refs/heads/x", b"refs/tags/v1", b"HEAD", b"refs/x", b"refs/heads/a..b", b"refs/heads/a b",
    b"refs/heads/\xff", b"refs/heads/x.lock", b"refs/heads/\x01", b"", b"refs/heads/x\n", b"refs/heads/push-cert",
]  # fmt: skip
TAILS = [
    b"", b"\n", b"\x00", b"\x00 report-status", b"\x00report-status\n", b"\x00 report-status\x00 atomic",
    b"\x00 report-status push-options", b"\x00\treport-status", b"\x00 report-status object-format=sha256",
    b" \x00 report-status", b"\n\x00 report-status",
]  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> list[tuple[str, str, bytes, bytes]]:
    """Draw a list that is mostly valid."""
    plain = st.sampled_from(OIDS[:6])
    name = st.integers(0, 99).map(lambda number: b"refs/heads/agent/%d" % number)
    moves = st.sampled_from(OIDS[:2])
    good = st.tuples(plain, moves, name, st.sampled_from(TAILS[:2]))
    odd = st.tuples(st.sampled_from(OIDS), st.sampled_from(OIDS), st.sampled_from(REFS), st.sampled_from(TAILS))
    shallow = st.just(("shallow", "A", b"", b""))
    first = st.tuples(plain, moves, name, st.just(TAILS[3]))
    if draw(st.booleans()):  # what both readers take, or nearly
        return [draw(first), *draw(st.lists(good | shallow, max_size=4))]
    return [draw(first | odd), *draw(st.lists(good | shallow | odd, max_size=4))]


@given(lines(), st.sampled_from([b"0000"] * 6 + [b"0001", b"0002", b"0003"]), st.data())
def test_git_moves_only_what_was_read(
    judge: Judge, parts: list[tuple[str, str, bytes, bytes]], end: bytes, data: st.DataObject
) -> None:
    """For every accepted list git sees the same commands in the same order, or refuses too."""
    oids = {
        "A": judge.first,
        "B": judge.second,
        "0": ZERO,
        "a+": judge.first.upper(),
        "short": ZERO[1:],
        "64": b"a1" * 32,
    }
    wires = [
        b"shallow " + judge.first if old == "shallow" else b"%s %s %s%s" % (oids[old], oids[new], ref, tail)
        for old, new, ref, tail in parts
    ]
    body = bytearray(listed(*wires, end=end))
    if data.draw(st.integers(0, 3)) == 0:
        body[data.draw(st.integers(0, len(body) - len(EMPTY_PACK) - 1))] = data.draw(st.integers(0, 255))
    reader = ours(bytes(body))
    if reader is None:
        return
    refs, hooked = judge.decide(bytes(body))
    assert set(hooked) <= {(one.old, one.new, one.ref) for one in reader.commands}
    if refs is not None:
        assert refs == reader.refs


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a1" * 20, b"b2" * 20, ZERO]),
            st.sampled_from([b"c3" * 20, b"d4" * 20]),
            st.from_regex(rb"refs/(heads|tags)/[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one[2],
    ),
    st.lists(st.sampled_from([b"report-status", b"atomic", b"side-band-64k", b"agent=x/1", b"quiet"]), unique=True),
)
def test_dulwich_agrees_on_commands_and_capabilities(commands: list[Triple], capabilities: list[bytes]) -> None:
    """An independent server."""
    first, *rest = [b" ".join(command) for command in commands]
    body = listed(first + b"\x00 " + b" ".join(capabilities), *rest)
    reader = ours(body)
    assert reader is not None
    packets = list(Protocol(BytesIO(body).read, lambda _: None).read_pkt_seq())
    head, words = extract_capabilities(packets[0])
    theirs = [tuple(line.split(b" ")) for line in (head, *packets[1:])]
    assert [(one.old, one.new, one.ref) for one in reader.commands] == theirs
    assert [word for word in words if word] == list(reader.capabilities)


def recorder(home: Path, name: str) -> tuple[Path, Path]:
    """Make a replacement of ``git receive-pack`` that records the client's bytes."""
    script, taken = home / name, home / f"{name}.taken"
    script.write_text(f'#!/bin/sh\ncase "$1" in receive-pack) shift;; esac\ntee {taken} | git receive-pack "$@"\n')
    script.chmod(0o755)
    return script, taken


PUSHES = {
    "create": (["main:refs/heads/agent/x"], 1, False),
    "several": (["main:refs/heads/a", "main~:refs/heads/b", "main:refs/tags/t"], 3, False),
    "update": (["--force", "main~:refs/heads/main"], 1, False),
    "delete": ([":refs/heads/side"], 1, False),
    "delete and create": (["--atomic", ":refs/heads/side", "main:refs/heads/new"], 2, False),
    "option": (["-o", "ci.skip", "main:refs/heads/new"], 1, True),
}


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("name", PUSHES)
def test_pushes_of_real_git_are_read(tmp_path: Path, name: str, algorithm: str) -> None:
    """Every kind of push, both hashes."""
    env = environment(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main", f"--object-format={algorithm}", "work", env=env)
    git(tmp_path, "init", "-q", "--bare", f"--object-format={algorithm}", "bare.git", env=env)
    git(tmp_path / "bare.git", "config", "receive.advertisePushOptions", "true", env=env)
    git(tmp_path / "bare.git", "config", "receive.denyCurrentBranch", "ignore", env=env)
    for text in ("first", "second"):
        git(tmp_path / "work", "commit", "-q", "--allow-empty", "-m", text, env=env)
    git(tmp_path / "work", "push", "-q", "../bare.git", "main", "main:refs/heads/side", env=env)
    words, count, options = PUSHES[name]
    script, taken = recorder(tmp_path, "recorder")
    git(tmp_path / "work", "push", "-q", f"--receive-pack={script}", "../bare.git", *words, env=env)
    wire = taken.read_bytes()
    reader = PushReader()
    end = reader.receive(wire)
    assert (len(reader.commands), reader.options) == (count, options)
    assert (reader.done, reader.report, reader.sideband) == (True, True, True)
    rest = wire[end:].removeprefix(encode(b"ci.skip") + b"0000")
    assert rest.startswith(b"PACK") if reader.pack else rest == b""


def test_push_of_real_git_from_a_shallow_clone_is_read(tmp_path: Path, judge: Judge) -> None:
    """The shallow line comes before the commands."""
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{judge.place}", "work", env=judge.env)
    git(tmp_path / "work", "commit", "-q", "--allow-empty", "-m", "third", env=judge.env)
    script, taken = recorder(tmp_path, "recorder")
    command = ["git", "push", "-q", f"--receive-pack={script}", str(judge.place), "HEAD:refs/heads/deep"]
    done = subprocess.run(command, cwd=tmp_path / "work", env=judge.env, capture_output=True, check=False)
    assert b"pre-receive hook declined" in done.stderr
    reader = PushReader()
    reader.receive(taken.read_bytes())
    assert (reader.shallows, reader.refs) == ([judge.second], [b"refs/heads/deep"])
    assert (reader.done, reader.report) == (True, True)


def test_push_of_dulwich_is_read(tmp_path: Path, judge: Judge) -> None:
    """A client in another language."""
    script, taken = recorder(tmp_path, "recorder")
    client = SubprocessGitClient()
    client.git_command = [str(script)]
    with Repo(str(judge.place.parent / "work")) as repo:
        client.send_pack(
            str(judge.place).encode(),
            lambda _: {Ref(b"refs/heads/dul"): ObjectID(judge.second)},
            repo.generate_pack_data,
        )
    reader = PushReader()
    reader.receive(taken.read_bytes())
    assert [(one.old, one.new, one.ref) for one in reader.commands] == [(ZERO, judge.second, b"refs/heads/dul")]
    assert (reader.done, reader.report) == (True, True)
