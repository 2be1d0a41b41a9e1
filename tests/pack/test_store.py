"""Commits, tags and trees are found in a pack whatever they are deltas of, and what is lost is told."""

from __future__ import annotations

import gc
import random
import weakref

import pytest
from attrs import evolve

from credgate.pack.objects import SHA1, Commit, PackError
from credgate.pack.store import StoreLimits
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import BLOB, COMMIT, OFS, REF, TAG, TREE, oid, walked

T = b"\xaa" * 20
ONE = packs.commit(T, text=b"one")
TWO = packs.commit(T, [oid(COMMIT, ONE)], b"two")
THREE = packs.commit(T, [oid(COMMIT, TWO)], b"three")
IDS = [oid(COMMIT, body) for body in (ONE, TWO, THREE)]
LIMITS = StoreLimits()


def ofs(entries: list[bytes], base: int, body: bytes) -> bytes:
    """Return a delta on the entry of that number, to stand behind ``entries``."""
    return packs.entry(OFS, body, packs.distance(sum(map(len, entries[base:]))))


def chain() -> list[bytes]:
    """Return three commits: one whole, the next a delta on it, the last a delta on that."""
    entries = [packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 0, packs.delta(ONE, TWO)))
    entries.append(ofs(entries, 1, packs.delta(TWO, THREE)))
    return entries


def known(walk: PackWalk) -> list[bool]:
    """Whether each of the three commits was found."""
    return [walk.graph.has(name) for name in IDS]


def test_deltas_by_offset_are_commits_if_their_base_is_one() -> None:
    """Seven commits in a hundred come so from git."""
    walk = walked(packs.pack(chain()))
    assert known(walk) == [True] * 3
    assert walk.graph.tree(IDS[2]) == T
    assert (walk.graph.complete, walk.waiting) == (True, 0)


def test_deltas_by_id_are_resolved_whether_the_base_came_before_or_comes_behind() -> None:
    """Git writes the base first, other tools need not; the last one waits for one that waits itself."""
    entries = [
        packs.entry(REF, packs.delta(ONE, TWO), IDS[0]),
        packs.entry(BLOB, b"between"),
        packs.entry(COMMIT, ONE),
    ]
    entries.insert(1, ofs(entries[:1], 0, packs.delta(TWO, THREE)))
    for order in (entries, [entries[2], entries[3], entries[0]]):
        walk = walked(packs.pack(order))
        assert known(walk) == [True, True, order is entries]
        assert walk.waiting == 0


def test_what_follows_one_that_had_waited_is_still_found_by_its_offset() -> None:
    """The order of rows is the order of offsets, but for those that had to wait."""
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 0, packs.delta(TWO, THREE)))
    assert known(walked(packs.pack(entries))) == [True] * 3
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 1, packs.delta(ONE, THREE)))
    assert known(walked(packs.pack(entries))) == [True] * 3


def test_a_base_that_never_comes_leaves_its_deltas_waiting() -> None:
    """A thin pack: the forge has the base. What hangs on it is not here, and nothing is said about commits."""
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0])]
    entries.append(ofs(entries, 0, packs.delta(TWO, THREE)))
    walk = walked(packs.pack(entries))
    assert (known(walk), walk.waiting, walk.graph.complete) == ([False] * 3, 2, True)


def test_blobs_and_their_deltas_are_dropped() -> None:
    """Even where one looks like a commit."""
    entries = [packs.entry(BLOB, ONE)]
    entries.append(ofs(entries, 0, packs.delta(ONE, TWO)))
    walk = walked(packs.pack(entries))
    assert (known(walk), walk.objects, walk.waiting, len(walk.graph)) == ([False] * 3, 2, 0, 0)


def test_trees_are_kept_when_asked_for() -> None:
    """A delta on a tree is a tree."""
    first, second = packs.tree({b"a": (0o100644, T)}), packs.tree({b"a": (0o100644, T), b"b": (0o40000, T)})
    entries = [packs.entry(TREE, first)]
    entries.append(ofs(entries, 0, packs.delta(first, second)))
    walk = walked(packs.pack(entries))
    tree = walk.tree(oid(TREE, second))
    assert tree is not None
    assert list(tree) == [b"a", b"b"]
    assert walk.tree(T) is None
    walk = walked(packs.pack(entries), trees=False)
    assert walk.tree(oid(TREE, second)) is None


def test_tags_lead_to_their_commits() -> None:
    """A pushed tag is judged by the commit that it names."""
    body = packs.tag(IDS[0])
    walk = walked(packs.pack([packs.entry(COMMIT, ONE), packs.entry(TAG, body)]))
    assert walk.graph.peel(oid(TAG, body)) == IDS[0]


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (evolve(LIMITS, body=len(THREE) - 1), [True, True, False]),
        (evolve(LIMITS, body=len(ONE) - 1), [False] * 3),
        (evolve(LIMITS, delta=len(packs.delta(ONE, TWO)) - 1), [True, False, False]),
        (evolve(LIMITS, made=len(TWO)), [True, True, False]),
        (evolve(LIMITS, kept=0), [True, False, False]),
        (evolve(LIMITS, oids=2), [True, False, False]),
    ],
)
def test_a_commit_lost_to_a_limit_is_told(limits: StoreLimits, found: list[bool]) -> None:
    """The verdict is then unknown, unless what is left proves it."""
    walk = walked(packs.pack(chain()), limits=limits)
    assert (known(walk), walk.graph.complete) == (found, False)
    assert walked(packs.pack(chain())).graph.complete


def test_a_tree_lost_to_a_limit_is_only_missing() -> None:
    """Whoever needs it will not find it; who does not is not bothered."""
    body = packs.tree({bytes([65 + number]): (0o100644, random.Random(number).randbytes(20)) for number in range(26)})
    for limits in (evolve(LIMITS, body=10), evolve(LIMITS, kept=0), evolve(LIMITS, oids=0)):
        walk = walked(packs.pack([packs.entry(TREE, body)]), limits=limits)
        assert (walk.tree(oid(TREE, body)), walk.graph.complete) == (None, True)
    assert walked(packs.pack([packs.entry(TREE, body)])).tree(oid(TREE, body)) is not None


def test_once_no_body_can_be_kept_trees_are_not_even_read() -> None:
    """A large push has gigabytes of them; commits are still read, for their parents."""
    chance = random.Random(2)
    large = packs.tree({b"%04d" % number: (0o100644, chance.randbytes(20)) for number in range(900)})
    longer = large + b"100644 z\0" + T
    change = packs.number(len(large)) + packs.number(len(longer)) + b"\xb0" + len(large).to_bytes(2, "little")
    change += bytes([len(longer) - len(large)]) + longer[len(large) :]
    name, after = oid(TREE, large), oid(TREE, longer)
    behind = [packs.entry(TREE, large), packs.entry(REF, change, name), packs.entry(COMMIT, ONE)]
    before = [behind[1], behind[0], behind[2]]
    for order in (behind, before):
        walk = walked(packs.pack(order), limits=evolve(LIMITS, kept=1))
        assert (walk.tree(name) is not None, walk.tree(after), walk.waiting) == (True, None, 0)
        assert (walk.graph.has(IDS[0]), walk.graph.complete) == (True, True)
        assert walked(packs.pack(order)).tree(after) is not None


def test_a_commit_without_a_kept_body_has_none() -> None:
    """Its parents are known; as a base, or for its bytes, it is lost."""
    walk = walked(packs.pack([packs.entry(COMMIT, ONE)]), limits=evolve(LIMITS, kept=0))
    assert (walk.graph.has(IDS[0]), walk._kept.body(IDS[0])) == (True, None)
    assert walked(packs.pack([packs.entry(COMMIT, ONE)]))._kept.body(IDS[0]) == ONE


def test_only_so_much_may_wait() -> None:
    """Deltas of blobs by id wait too, for nobody can tell them from commits; they are not let fill the memory."""
    waiting = [packs.entry(REF, packs.delta(ONE, TWO), bytes([number]) * 20) for number in range(50)]
    limits = evolve(LIMITS, waiting=3000)
    walk = walked(packs.pack(waiting), limits=limits)
    assert 5 < walk.waiting < 20
    late = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), *waiting, packs.entry(COMMIT, ONE)]
    walk = walked(packs.pack(late), limits=limits)
    assert known(walk) == [True, True, False]
    large = packs.entry(REF, packs.delta(ONE, TWO), IDS[0])
    walk = walked(packs.pack([large]), limits=evolve(LIMITS, delta=3))
    assert walk.waiting == 0


def test_one_that_waited_for_a_body_that_was_not_kept_is_lost() -> None:
    """And told, for its base was a commit."""
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), packs.entry(COMMIT, ONE)]
    walk = walked(packs.pack(entries), limits=evolve(LIMITS, kept=0))
    assert (known(walk), walk.graph.complete, walk.waiting) == ([True, False, False], False, 0)


@pytest.mark.parametrize(
    "entries",
    [
        [packs.entry(COMMIT, b"no commit")],
        [packs.entry(TAG, b"no tag")],
        [packs.entry(COMMIT, ONE), packs.entry(REF, b"\x01\x01\x01x", IDS[0])],
        [packs.entry(COMMIT, ONE), packs.entry(REF, b"", IDS[0])],
        [packs.entry(REF, b"\x01\x01\x01x", IDS[0]), packs.entry(COMMIT, ONE)],
    ],
)
def test_a_malformed_object_refuses_the_pack(entries: list[bytes]) -> None:
    """The forge would refuse it as well, or read it otherwise than we do."""
    with pytest.raises(PackError, match=r"git would not make|a delta"):
        walked(packs.pack(entries))


def test_an_object_that_comes_twice_is_kept_twice_and_found_once() -> None:
    """Git writes none twice; a hostile pack may."""
    walk = walked(packs.pack([packs.entry(COMMIT, ONE)] * 2))
    assert (walk.graph.commits, walk.graph.find(IDS[0])) == (1, 0)


def test_the_graph_may_come_from_elsewhere() -> None:
    """The forge's commits join the push's."""
    walk = walked(packs.pack([packs.entry(COMMIT, ONE)]))
    more = walked(packs.pack([packs.entry(COMMIT, TWO)]), graph=walk.graph)
    assert more.graph is walk.graph
    assert known(walk) == [True, True, False]
    walk.graph.add(IDS[2], Commit(T, ()))
    assert more._kept.body(IDS[2]) is None
    assert walk.graph.object_format is SHA1


ROOT = packs.tree({b"f%05d" % number: (0o100644, T) for number in range(3000)})


def rewriting(instructions: bytes, size: int, count: int) -> list[bytes]:
    """Make a tree and deltas of it, each ended by text of its own."""
    entries = [packs.entry(TREE, ROOT)]
    for number in range(count):
        change = packs.number(len(ROOT)) + packs.number(size + 8) + instructions + b"\x08%08d" % number
        entries.append(packs.entry(REF, change, oid(TREE, ROOT)))
    return entries


@pytest.mark.parametrize(
    ("instructions", "size"),
    [
        pytest.param(b"\x80" * 60, 60 * 65536, id="much is made"),
        pytest.param(b"\x90\x01" * 100_000, 100_000, id="many instructions"),
        pytest.param(b"\x90\x01", 1, id="a large base is opened"),
    ],
)
def test_what_deltas_cost_is_bounded_by_the_pack(instructions: bytes, size: int) -> None:
    """A few bytes may not be worth minutes; what is over is lost, and said to be."""
    entries = rewriting(instructions, size, 40)
    few = evolve(
        LIMITS, body=1 << 23, delta=1 << 20, work=20 * (size + 24 * len(instructions) + 40_000), work_per_byte=0
    )
    walk = walked(packs.pack(entries), limits=few)
    assert walk.exceeded == "more to inflate than can be judged in one push"
    assert 15 <= len(walk.graph) <= 32
    many = evolve(few, work_per_byte=1 << 20)
    assert (walked(packs.pack(entries), limits=many).exceeded, len(walked(packs.pack(entries), limits=many).graph)) == (
        "",
        41,
    )


def test_a_delta_of_many_instructions_is_applied_in_steps() -> None:
    """A step is a few milliseconds."""
    data = packs.pack(rewriting(b"\x90\x01" * 100_000, 100_000, 1))
    walk = PackWalk(SHA1, trees=True)
    walk.receive(data)
    steps = 1
    while walk.step():
        steps += 1
    assert steps > 10
    assert walk.done


def test_a_walk_that_ends_inside_a_delta_is_freed_at_once() -> None:
    """Nothing that it is doing refers back to it."""
    walk = PackWalk(SHA1, trees=True)
    walk.receive(packs.pack(rewriting(b"\x90\x01" * 100_000, 100_000, 1)))
    while walk._kept._applying is None:
        walk.step()
    held = weakref.ref(walk._kept._bodies)
    gc.collect()
    gc.disable()
    try:
        del walk
        assert held() is None
    finally:
        gc.enable()
