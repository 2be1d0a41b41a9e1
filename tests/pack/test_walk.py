"""The walk over a pack: any piece size, hostile bytes, and the memory for a long history."""

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
from tests.fakes.packs import BLOB, COMMIT, OFS, REF, TAG, TREE, feed, tree_of, walked

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
def test_result_does_not_depend_on_piece_or_step_size(piece: int, work: int) -> None:
    """Whole or byte by byte, in tiny steps or one."""
    walk = feed(PackWalk(SHA1, trees=True), PACK, piece, work)
    walk.end()
    assert (walk.done, walk.passed, walk.objects, walk.waiting) == (True, len(PACK) - 20, 6, 0)
    assert walk.graph.commits == 3
    tree = walk.graph.tree(ID)
    assert tree is not None
    assert tree_of(walk, tree) == {b"a": (0o100644, b"\xaa" * 20)}


def test_object_that_is_not_a_tree_is_refused_when_read() -> None:
    """A commit may name any object as its tree, and the tree may be malformed."""
    walk = walked(packs.pack([*ENTRIES, packs.entry(TREE, b"no tree")]))
    for name in (ID, packs.oid(TREE, b"no tree")):
        with pytest.raises(PackError, match="malformed tree"):
            tree_of(walk, name)


def test_truncated_pack_is_refused_at_its_end() -> None:
    """The walk before that is valid."""
    with pytest.raises(PackError, match="truncated pack"):
        walked(PACK[:-1])


@given(st.data())
def test_arbitrary_bytes_raise_only_pack_error(data: st.DataObject) -> None:
    """Malformed entries under a correct checksum, truncated anywhere: the same result whole and byte by byte."""
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
judging = judge(walk.graph, first, last)
try:
    while True:
        next(judging)
except StopIteration as ended:
    verdict = ended.value
used = resource.getrusage(resource.RUSAGE_SELF)
print(walk.graph.commits, walk.graph.complete, verdict.outcome.name, used.ru_maxrss - before, used.ru_utime)
"""


def test_memory_for_two_hundred_thousand_commits() -> None:
    """As many as a large project has, in one push: the process grows by less than 80 MiB."""
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
