"""The walk is fed in any way, never fails but with the declared error, and stays small over a long history."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack.objects import SHA1, PackError
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import BLOB, COMMIT, OFS, REF, TAG, TREE, feed, walked

TREE_BODY = packs.tree({b"a": (0o100644, b"\xaa" * 20)})
BODY = packs.commit(packs.oid(TREE, TREE_BODY))
ID = packs.oid(COMMIT, BODY)
ENTRIES = [
    packs.entry(COMMIT, BODY),
    packs.entry(TREE, TREE_BODY),
    packs.entry(BLOB, b"blob"),
    packs.entry(TAG, packs.tag(ID)),
    packs.entry(REF, packs.delta(BODY, BODY + b"more"), ID),
]
ENTRIES.append(packs.entry(OFS, packs.delta(BODY, BODY + b"other"), packs.distance(sum(map(len, ENTRIES)))))
PACK = packs.pack(ENTRIES)


@pytest.mark.parametrize("piece", [1, 13, 1 << 20])
@pytest.mark.parametrize("work", [1, 1 << 30])
def test_a_pack_is_walked_however_it_comes(piece: int, work: int) -> None:
    """Whole or byte by byte, in tiny steps or one."""
    walk = feed(PackWalk(SHA1, trees=True), PACK, piece, work)
    walk.end()
    assert (walk.done, walk.passed, walk.objects, walk.waiting) == (True, len(PACK) - 20, 6, 0)
    assert walk.graph.commits == 3
    tree = walk.graph.tree(ID)
    assert tree is not None
    assert walk.tree(tree) == {b"a": (0o100644, b"\xaa" * 20)}


def test_what_is_no_tree_is_not_taken_for_one() -> None:
    """A commit may name any object as its tree; and a tree may be malformed, which shows when it is looked at."""
    walk = walked(packs.pack([*ENTRIES, packs.entry(TREE, b"no tree")]))
    for name in (ID, packs.oid(TREE, b"no tree")):
        with pytest.raises(PackError, match="a tree that git would not make"):
            walk.tree(name)


def test_a_cut_pack_is_told() -> None:
    """By its end, not by a verdict."""
    with pytest.raises(PackError, match="cut"):
        walked(PACK[:-1])


@given(st.data())
def test_any_bytes_raise_the_declared_error_or_none(data: st.DataObject) -> None:
    """Broken entries under a right checksum, cut anywhere: whole and byte by byte come to the same end."""
    chosen = bytearray(b"".join(data.draw(st.lists(st.sampled_from(ENTRIES) | st.binary(max_size=20), max_size=5))))
    for _ in range(data.draw(st.integers(0, 3)) if chosen else 0):
        chosen[data.draw(st.integers(0, len(chosen) - 1))] = data.draw(st.integers(0, 255))
    whole = packs.pack([bytes(chosen)], count=data.draw(st.integers(0, 6)))
    whole = whole[: data.draw(st.integers(0, len(whole)))]
    ends = set()
    for piece in (1, 1 << 20):
        walk = PackWalk(SHA1, trees=True)
        try:
            feed(walk, whole, piece)
        except PackError:
            ends.add(None)
        else:
            ends.add((walk.done, walk.passed, walk.graph.commits, walk.waiting))
        assert walk.passed <= max(0, len(whole))
    assert len(ends) == 1


LONG = 200_000
CHILD = """
import resource, sys
from credgate.pack.ancestry import judge
from credgate.pack.objects import SHA1
from credgate.pack.walk import PackWalk
first, last = map(bytes.fromhex, sys.argv[1:])
walk = PackWalk(SHA1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
while data := sys.stdin.buffer.read1(65536):
    walk.receive(data)
    while walk.step():
        pass
walk.end()
verdict = judge(walk.graph, first, last)
used = resource.getrusage(resource.RUSAGE_SELF)
print(walk.graph.commits, walk.graph.complete, verdict.outcome.name, used.ru_maxrss - before, used.ru_utime)
"""


def test_two_hundred_thousand_commits_stay_small() -> None:
    """As many as a large project has, in one push: judged, in a process that grows by less than 80 MiB."""
    chance, parents, names = Random(3), (), []
    made = []
    for number in range(LONG):
        body = packs.commit(b"\xaa" * 20, parents, b"commit number %d %x" % (number, chance.getrandbits(64)))
        names.append(packs.oid(COMMIT, body))
        parents = (names[-1],)
        made.append(packs.entry(COMMIT, body, level=1))
    command = [sys.executable, "-c", CHILD, names[0].hex(), names[-1].hex()]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, input=packs.pack(made), capture_output=True, check=True)
    commits, complete, outcome, growth, seconds = done.stdout.decode().split()
    assert (commits, complete, outcome) == (str(LONG), "True", "FAST_FORWARD")
    assert int(growth) < 80 * 1024
    assert float(seconds) < 60
