"""Small pushes that cost much: none stops another session, none holds memory, each is refused with the limit named.

Packs are made by hand, and a neighbour with a session of its own asks all the while. What it waited is printed. Limits
on time are generous: they tell a stall of seconds from a busy machine.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from tests.fakes import packs
from tests.fakes.pushing import ZERO, Desk, commands
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.e2e.conftest import Door, Enter
    from tests.fakes.gateway import Gateway, Lease
    from tests.fakes.pushing import Told
    from tests.fakes.repositories import Repositories

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
FILE, DIRECTORY = 0o100644, 0o40000
MAIN = "refs/heads/main"
PROTECTED = ["Makefile", "**/CODEOWNERS", ".github/workflows/**"]
STALL = 5.0
"""Seconds that nobody may be kept waiting; the attacks took 17 and more."""


@pytest.fixture
def desk(repos: Repositories, enter: Enter, door: Door) -> Desk:
    """Sit down where trees are read."""
    return sit(enter, door, repos)


def sit(enter: Enter, door: Door, repos: Repositories, **grant: object) -> Desk:
    """Sit down in a session of its own."""
    path = repos.seeded()
    visit = enter([{"repo": path, "protected_paths": PROTECTED, **grant}], login="bearer")
    return Desk(visit.box, visit.lease, door.gateway, repos, path)


def brings(desk: Desk, root: bytes, *entries: bytes) -> bytes:
    """Make a push of ``main`` to a commit of this root tree; ``entries`` come with it."""
    old = desk.local("rev-parse", "main")
    made = packs.commit(packs.oid(packs.TREE, root), [bytes.fromhex(old)])
    new = packs.oid(packs.COMMIT, made).hex()
    return commands((old, new, MAIN)) + packs.pack(
        [packs.entry(packs.COMMIT, made), packs.entry(packs.TREE, root), *entries]
    )


@define
class Waits:
    """What a neighbour waited for the gateway's own page, which needs the reactor alone."""

    port: int
    lease: Lease
    longest: float = 0.0
    _over: threading.Event = field(factory=threading.Event)

    def run(self) -> None:
        """Ask until told to stop."""
        head = {"Authorization": f"Bearer {self.lease.line}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._over.wait(0.002):
            began = time.monotonic()
            connection.request("GET", "/whoami", headers=head)
            connection.getresponse().read()
            self.longest = max(self.longest, time.monotonic() - began)
        connection.close()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()


@contextmanager
def waiting(desk: Desk, what: str) -> Iterator[Waits]:
    """Have a neighbour ask meanwhile."""
    waits = Waits(desk.gateway.port, desk.gateway.grant(["other/*"]))
    thread = threading.Thread(target=waits.run)
    thread.start()
    began = time.monotonic()
    try:
        yield waits
    finally:
        waits.stop()
        thread.join()
        print(f"{what}: {time.monotonic() - began:.2f} s, a neighbour waited {waits.longest * 1e3:.0f} ms")  # noqa: T201 - asked for


def refusal(told: Told, ref: str = MAIN) -> str:
    """Return what a ref was refused with."""
    assert told.refs[ref].startswith("credgate: "), told
    return told.refs[ref]


MARKS = "\u0301\u0316".encode()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        pytest.param([MARKS * 60_000], "a file name has more than 255 bytes", id="combining marks"),
        pytest.param([b"x" * 256], "a file name has more than 255 bytes", id="name"),
        pytest.param([b"d"] * 65, "a path has more than 64 names", id="depth"),
        pytest.param([b"x" * 250] * 17, "a path has more than 4,096 bytes", id="path"),
    ],
)
def test_a_path_that_is_too_long_is_refused_before_it_is_folded(desk: Desk, path: list[bytes], limit: str) -> None:
    """And at the limits it is read as any other."""
    blob = b"x"
    entries, entry = [packs.entry(packs.BLOB, blob)], (FILE, packs.oid(packs.BLOB, blob))
    for name in reversed(path[1:]):
        body = packs.tree({name: entry})
        entries.append(packs.entry(packs.TREE, body))
        entry = (DIRECTORY, packs.oid(packs.TREE, body))
    body = brings(desk, packs.tree({path[0]: entry}), *entries)
    before = desk.refs()
    with waiting(desk, f"{limit} ({len(body)} bytes pushed)") as waits:
        said = refusal(desk.post(body))
    assert f"could not tell whether this changes a protected path ({limit})" in said
    assert desk.audited(MAIN)[MAIN]["reason"] == "push-unknown"
    assert desk.refs() == before
    assert waits.longest < STALL


def test_a_path_at_the_limits_is_judged(desk: Desk) -> None:
    """63 directories; one name of 255 bytes, of combining marks; a path of 4,000 bytes."""
    deep, marks, long = "d/" * 63 + "f", "x" + MARKS.decode() * 63 + "xx", "/".join(["x" * 249] * 16)
    assert len(marks.encode()) == 255
    main = desk.local("ls-tree", "-r", "--name-only", "main").splitlines()
    keep = {path: desk.local("show", f"main:{path}").encode() for path in main}
    new = desk.commit("main", files={**keep, deep: b"1", marks: b"2", long: b"3"})
    desk.push("origin", f"{new}:{MAIN}").fine()
    assert desk.refs()[MAIN] == new
    bad = desk.commit(new, files={**keep, "d/" * 63 + "CODEOWNERS": b"1"})
    assert "is protected (**/CODEOWNERS)" in desk.push("origin", f"{bad}:{MAIN}").refused()


def test_names_are_not_read_where_no_path_is_protected(repos: Repositories, enter: Enter, door: Door) -> None:
    """Then trees are not looked at, and a name is the forge's matter."""
    desk = sit(enter, door, repos, protected_paths=[])
    blob = packs.oid(packs.BLOB, b"x")
    body = brings(desk, packs.tree({b"x" * 300: (FILE, blob)}), packs.entry(packs.BLOB, b"x"))
    assert desk.post(body).refs == {MAIN: "ok"}


# Memory.


def opening(blocks: int) -> list[bytes]:
    """Make trees of 4 MiB that compress to nothing, and on each a delta that makes one byte of it."""
    entries = []
    for number in range(blocks):
        body = b"%08d" % number * (MIB // 2)
        change = packs.number(len(body)) + b"\x01\x90\x01"
        entries += [packs.entry(packs.TREE, body), packs.entry(packs.REF, change, packs.oid(packs.TREE, body))]
    return entries


def resident(pid: int) -> int:
    """Return a process's resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_opened_blocks_are_bounded_and_let_go(desk: Desk) -> None:
    """Half a mebibyte that once took 512 MiB, three times over, and kept them."""
    assert desk.gateway.process is not None
    pid = desk.gateway.process.pid
    body = brings(desk, packs.tree({b"file": (FILE, bytes(20))}), *opening(128))
    before, largest = resident(pid), 0
    for _ in range(3):
        pushing = threading.Thread(target=desk.post, args=(body,))
        pushing.start()
        while pushing.is_alive():
            largest = max(largest, resident(pid))
            pushing.join(0.02)
    after = resident(pid)
    print(f"{len(body)} bytes three times: {before // MIB} MiB, {largest // MIB} at most, {after // MIB} after")  # noqa: T201 - asked for
    assert largest - before < 96 * MIB
    wait_until(lambda: resident(pid) - before < 64 * MIB, "the memory is let go")


# Time.


def copying(count: int, size: int = 4 * MIB) -> list[bytes]:
    """Make one tree and ``count`` deltas that each make ``size`` bytes of it, all different."""
    base = b"x" * 65536
    entries = [packs.entry(packs.TREE, base)]
    for number in range(count):
        text = b"%08d" % number
        change = packs.number(len(base)) + packs.number(size) + b"\x80" * (size // 65536 - 1)
        change += b"\xb0\xf8\xff" + bytes([len(text)]) + text
        entries.append(packs.entry(packs.REF, change, packs.oid(packs.TREE, base)))
    return entries


def stitching(count: int) -> list[bytes]:
    """Make deltas of 120,000 one-byte copies each."""
    base, steps = b"x" * 65536, 120_000
    entries = [packs.entry(packs.TREE, base)]
    for number in range(count):
        text = b"%08d" % number
        change = packs.number(len(base)) + packs.number(steps + len(text)) + b"\x90\x01" * steps
        entries.append(packs.entry(packs.REF, change + bytes([8]) + text, packs.oid(packs.TREE, base)))
    return entries


def running(gateway: Gateway) -> int:
    """Return how many transfers there are."""
    return len(gateway.control("GET", "/v1/transfers").json["transfers"])


def timed(desk: Desk, spec: str) -> float:
    """Push an ordinary commit; the seconds that it took."""
    began = time.monotonic()
    desk.push("origin", spec).fine()
    return time.monotonic() - began


@pytest.mark.parametrize("entries", [copying(300), stitching(300)], ids=["four-mebibytes", "one-byte-copies"])
def test_a_neighbour_s_push_passes_two_hostile_ones(
    entries: Sequence[bytes], repos: Repositories, enter: Enter, door: Door
) -> None:
    """Sessions take turns, and what one push may cost is bounded; what is over is refused and says so."""
    neighbour, *hostile = [sit(enter, door, repos) for _ in range(3)]
    main = neighbour.local("ls-tree", "-r", "--name-only", "main").splitlines()
    keep = {path: neighbour.local("show", f"main:{path}").encode() for path in main}
    commits = [neighbour.commit("main", files={**keep, "new": b"%d" % number}) for number in range(4)]
    quiet = min(timed(neighbour, f"{one}:refs/heads/quiet{number}") for number, one in enumerate(commits[:2]))
    # The root is not among what was read within the budget: it comes last.
    root = packs.tree({b"file": (FILE, bytes(20))})
    told: list[str] = []
    bodies = []
    for desk in hostile:
        old = desk.local("rev-parse", "main")
        made = packs.commit(packs.oid(packs.TREE, root), [bytes.fromhex(old)])
        whole = packs.pack([packs.entry(packs.COMMIT, made), *entries, packs.entry(packs.TREE, root)])
        bodies.append(commands((old, packs.oid(packs.COMMIT, made).hex(), MAIN)) + whole)
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda desk=desk, body=body: told.append(refusal(desk.post(body))))
        for desk, body in zip(hostile, bodies, strict=True)
    ]
    with waiting(neighbour, f"two pushes of {len(bodies[0])} bytes"):
        for thread in threads:
            thread.start()
        wait_until(lambda: running(neighbour.gateway) == 2, "both are on their way")
        loud = timed(neighbour, f"{commits[2]}:refs/heads/loud")
        for thread in threads:
            thread.join()
    took = time.monotonic() - began
    print(f"a neighbour's push: {quiet:.2f} s quiet, {loud:.2f} s beside those, which took {took:.1f} s")  # noqa: T201 - asked for
    assert loud < quiet + STALL
    assert ["more to inflate than can be judged in one push" in one for one in told] == [True, True], told


def test_a_thousand_tags_in_a_chain_do_not_stop_the_reactor(desk: Desk) -> None:
    """Each of a thousand refs names a tag of ten thousand that point to one another."""
    old = desk.local("rev-parse", "main")
    entries, target, kind, tags = [], bytes.fromhex(old), b"commit", []
    for number in range(10_000):
        body = packs.tag(target, kind, b"v%d" % number)
        entries.append(packs.entry(packs.TAG, body, level=1))
        target, kind = packs.oid(packs.TAG, body), b"tag"
        tags.append(target.hex())
    moves = [(ZERO, tag, f"refs/tags/v{number}") for number, tag in enumerate(tags[-1000:])]
    body = commands(*moves) + packs.pack(entries)
    with waiting(desk, f"a thousand tags in a chain of ten thousand ({len(body)} bytes pushed)") as waits:
        told = desk.post(body)
    assert set(told.refs.values()) == {"ok"}
    assert waits.longest < STALL


@pytest.mark.parametrize("count", [20_000, 200_000])
def test_a_long_list_of_the_forge_s_refs_does_not_stop_the_reactor(
    repos: Repositories, enter: Enter, door: Door, count: int
) -> None:
    """In the forge's advertisement, which passes, and in its answer to a question, which is read."""
    desk = sit(enter, door, repos, protected_paths=[], require_old_oid=True)
    old = desk.local("rev-parse", "main")
    new = desk.commit("main")
    # More names than may be read begin with this one: the push cannot be judged. With a mebibyte's worth it can.
    for refs, says in ((12_000, "ok"), (count, "the forge's answer is too long")):
        lines = [f"{old} refs/heads/main\n", *(f"{old} refs/heads/x{number:06}\n" for number in range(refs))]
        (repos.folder(desk.path) / "packed-refs").write_text(
            "# pack-refs with: peeled fully-peeled sorted\n" + "".join(lines)
        )
        with waiting(desk, f"{refs} refs advertised") as waits:
            desk.box.git("-c", "protocol.version=0", "ls-remote", "origin", cwd=desk.name).fine()
        assert waits.longest < STALL
        with waiting(desk, f"{refs} refs in an answer") as waits:
            told = desk.post(commands((ZERO, new, "refs/heads/x")) + desk.pack(new, "^main"))
        assert says in told.refs["refs/heads/x"]
        assert waits.longest < STALL
