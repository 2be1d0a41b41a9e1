"""The object store: commits, tags and trees are kept whatever they are deltas of, and dropped objects are reported."""

from __future__ import annotations

import gc
import random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack.memory import ALLOWANCE, BUDGET, MemoryBudget
from credgate.pack.object_store import BLOCK, CACHED, TOO_MUCH, CompressedBodies, StoreLimits
from credgate.pack.objects import SHA1, PackError
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import BLOB, COMMIT, OFS, REF, TAG, TREE, oid, tree_of, walked

T = b"\xaa" * 20
ONE = packs.commit(T, text=b"one")
TWO = packs.commit(T, [oid(COMMIT, ONE)], b"two")
THREE = packs.commit(T, [oid(COMMIT, TWO)], b"three")
IDS = [oid(COMMIT, body) for body in (ONE, TWO, THREE)]
LIMITS = StoreLimits()


def ofs(entries: list[bytes], base: int, body: bytes) -> bytes:
    """Return a delta on the entry with this number, to follow ``entries``."""
    return packs.entry(OFS, body, packs.distance(sum(map(len, entries[base:]))))


def chain() -> list[bytes]:
    """Return three commits: a whole one, a delta on it, and a delta on that."""
    entries = [packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 0, packs.delta(ONE, TWO)))
    entries.append(ofs(entries, 1, packs.delta(TWO, THREE)))
    return entries


def known(walk: PackWalk) -> list[bool]:
    """Whether each of the three commits is held."""
    return [walk.graph.has(name) for name in IDS]


def test_offset_delta_on_commit_is_commit() -> None:
    """About seven in a hundred commits are such deltas in packs of git."""
    walk = walked(packs.pack(chain()))
    assert known(walk) == [True] * 3
    assert walk.graph.tree(IDS[2]) == T
    assert (walk.graph.complete, walk.waiting) == (True, 0)


def test_ref_delta_is_resolved_before_and_after_its_base() -> None:
    """Git writes the base first; other tools may not. A waiting delta may itself be a base."""
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


def test_offset_delta_after_a_waiting_delta_is_resolved() -> None:
    """Rows are ordered by offset, except for deltas that had to wait."""
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 0, packs.delta(TWO, THREE)))
    assert known(walked(packs.pack(entries))) == [True] * 3
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0]), packs.entry(COMMIT, ONE)]
    entries.append(ofs(entries, 1, packs.delta(ONE, THREE)))
    assert known(walked(packs.pack(entries))) == [True] * 3


def test_delta_without_base_stays_waiting() -> None:
    """A thin pack: the forge has the base. The graph stays complete."""
    entries = [packs.entry(REF, packs.delta(ONE, TWO), IDS[0])]
    entries.append(ofs(entries, 0, packs.delta(TWO, THREE)))
    walk = walked(packs.pack(entries))
    assert (known(walk), walk.waiting, walk.graph.complete) == ([False] * 3, 2, True)


def test_blobs_and_their_deltas_are_not_kept() -> None:
    """Even if a blob looks like a commit."""
    entries = [packs.entry(BLOB, ONE)]
    entries.append(ofs(entries, 0, packs.delta(ONE, TWO)))
    walk = walked(packs.pack(entries))
    assert (known(walk), walk.objects, walk.waiting, len(walk.graph)) == ([False] * 3, 2, 0, 0)


def test_trees_are_kept_on_request() -> None:
    """A delta on a tree is a tree."""
    first, second = packs.tree({b"a": (0o100644, T)}), packs.tree({b"a": (0o100644, T), b"b": (0o40000, T)})
    entries = [packs.entry(TREE, first)]
    entries.append(ofs(entries, 0, packs.delta(first, second)))
    walk = walked(packs.pack(entries))
    tree = tree_of(walk, oid(TREE, second))
    assert tree is not None
    assert list(tree) == [b"a", b"b"]
    assert tree_of(walk, T) is None
    walk = walked(packs.pack(entries), trees=False)
    assert tree_of(walk, oid(TREE, second)) is None


def test_tag_leads_to_its_commit() -> None:
    """A pushed tag is judged as the commit that it names."""
    body = packs.tag(IDS[0])
    walk = walked(packs.pack([packs.entry(COMMIT, ONE), packs.entry(TAG, body)]))
    assert walk.graph.peel(oid(TAG, body)) == IDS[0]


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (evolve(LIMITS, body=len(THREE) - 1), [True, True, False]),
        (evolve(LIMITS, body=len(ONE) - 1), [False] * 3),
        (evolve(LIMITS, delta=len(packs.delta(ONE, TWO)) - 1), [True, False, False]),
        (evolve(LIMITS, results=len(TWO)), [True, True, False]),
        (evolve(LIMITS, kept=0), [True, False, False]),
        (evolve(LIMITS, oids=2), [True, False, False]),
    ],
)
def test_commit_over_a_limit_clears_complete(limits: StoreLimits, found: list[bool]) -> None:
    """The verdict is then unknown, unless the remaining commits prove it."""
    walk = walked(packs.pack(chain()), limits=limits)
    assert (known(walk), walk.graph.complete) == (found, False)
    assert walked(packs.pack(chain())).graph.complete


def test_tree_over_a_limit_is_missing() -> None:
    """Only a comparison that needs it is affected."""
    body = packs.tree({bytes([65 + number]): (0o100644, random.Random(number).randbytes(20)) for number in range(26)})
    for limits in (evolve(LIMITS, body=10), evolve(LIMITS, kept=0), evolve(LIMITS, oids=0)):
        walk = walked(packs.pack([packs.entry(TREE, body)]), limits=limits)
        assert (tree_of(walk, oid(TREE, body)), walk.graph.complete) == (None, True)
    assert tree_of(walked(packs.pack([packs.entry(TREE, body)])), oid(TREE, body)) is not None


def test_trees_are_skipped_when_no_more_bodies_fit() -> None:
    """A large push has gigabytes of them. Commits are still read, for their parents."""
    chance = random.Random(2)
    large = packs.tree({b"%04d" % number: (0o100644, chance.randbytes(20)) for number in range(900)})
    longer = large + b"100644 z\0" + T
    change = packs.number(len(large)) + packs.number(len(longer)) + b"\xb0" + len(large).to_bytes(2, "little")
    change += bytes([len(longer) - len(large)]) + longer[len(large) :]
    name, after = oid(TREE, large), oid(TREE, longer)
    after_base = [packs.entry(TREE, large), packs.entry(REF, change, name), packs.entry(COMMIT, ONE)]
    before_base = [after_base[1], after_base[0], after_base[2]]
    for order in (after_base, before_base):
        walk = walked(packs.pack(order), limits=evolve(LIMITS, kept=1))
        assert (tree_of(walk, name) is not None, tree_of(walk, after), walk.waiting) == (True, None, 0)
        assert (walk.graph.has(IDS[0]), walk.graph.complete) == (True, True)
        assert tree_of(walked(packs.pack(order)), after) is not None


def test_waiting_deltas_are_limited() -> None:
    """A REF_DELTA of a blob waits, too: it cannot be told from one of a commit."""
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


def test_waiting_delta_is_dropped_if_its_base_is_not_kept() -> None:
    """This clears ``complete``, because the base was a commit."""
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
def test_malformed_object_refuses_the_pack(entries: list[bytes]) -> None:
    """The forge would refuse it, too, or parse it differently."""
    with pytest.raises(PackError, match="malformed"):
        walked(packs.pack(entries))


def test_repeated_object_is_found_once() -> None:
    """Git does not write one twice, but a hostile pack may."""
    walk = walked(packs.pack([packs.entry(COMMIT, ONE)] * 2))
    assert (walk.graph.commits, walk.graph.find(IDS[0])) == (1, 0)


def test_two_packs_share_a_graph() -> None:
    """The forge's commits are added to the push's."""
    walk = walked(packs.pack([packs.entry(COMMIT, ONE)]))
    more = walked(packs.pack([packs.entry(COMMIT, TWO)]), graph=walk.graph)
    assert more.graph is walk.graph
    assert known(walk) == [True, True, False]
    assert walk.graph.object_format is SHA1


ROOT = packs.tree({b"f%05d" % number: (0o100644, T) for number in range(3000)})


def rewriting(instructions: bytes, size: int, count: int) -> list[bytes]:
    """Return a tree and deltas of it, each with a unique ending."""
    entries = [packs.entry(TREE, ROOT)]
    for number in range(count):
        change = packs.number(len(ROOT)) + packs.number(size + 8) + instructions + b"\x08%08d" % number
        entries.append(packs.entry(REF, change, oid(TREE, ROOT)))
    return entries


@pytest.mark.parametrize(
    ("instructions", "size"),
    [
        pytest.param(b"\x80" * 60, 60 * 65536, id="large results"),
        pytest.param(b"\x90\x01" * 100_000, 100_000, id="many instructions"),
        pytest.param(b"\x90\x01", 1, id="large base"),
    ],
)
def test_cost_of_deltas_is_limited_by_the_size_of_the_pack(instructions: bytes, size: int) -> None:
    """A few bytes must not cost minutes. Objects over the limit are dropped and reported."""
    entries = rewriting(instructions, size, 40)
    few = evolve(
        LIMITS, body=1 << 23, delta=1 << 20, work=20 * (size + 24 * len(instructions) + 40_000), work_per_byte=0
    )
    walk = walked(packs.pack(entries), limits=few)
    assert walk.exceeded == TOO_MUCH
    assert 15 <= len(walk.graph) <= 32
    many = evolve(few, work_per_byte=1 << 20)
    assert (walked(packs.pack(entries), limits=many).exceeded, len(walked(packs.pack(entries), limits=many).graph)) == (
        "",
        41,
    )


def test_cost_of_whole_objects_is_limited() -> None:
    """An object over the limit is dropped and reported."""
    walk = walked(
        packs.pack([packs.entry(COMMIT, ONE), packs.entry(COMMIT, TWO)]), limits=evolve(LIMITS, work=1, work_per_byte=0)
    )
    assert (known(walk), walk.exceeded, walk.graph.complete) == ([True, False, False], TOO_MUCH, False)


def test_delta_of_many_instructions_is_applied_in_steps() -> None:
    """A step takes a few milliseconds."""
    data = packs.pack(rewriting(b"\x90\x01" * 100_000, 100_000, 1))
    walk = PackWalk(SHA1, trees=True)
    walk.receive(data)
    steps = 1
    while walk.step():
        steps += 1
    assert steps > 10
    assert walk.done


def test_walk_dropped_inside_a_delta_frees_its_memory() -> None:
    """No reference cycle leads back to the walk."""
    gc.collect()
    gc.disable()
    try:
        before = BUDGET.used
        memory = BUDGET.push()
        memory.take(ALLOWANCE)  # so that every byte counts
        walk = PackWalk(SHA1, trees=True, memory=memory)
        walk.receive(packs.pack(rewriting(b"\x90\x01" * 100_000, 100_000, 1)))
        while walk.objects < 2:
            walk.step(1)
        assert walk.step(1)  # begins to apply the delta
        assert BUDGET.used > before
        del walk
        assert BUDGET.used == before
    finally:
        gc.enable()


# The bodies.


@given(st.lists(st.binary(max_size=BLOCK // 3), max_size=12))
def test_bodies_are_returned_unchanged(contents: list[bytes]) -> None:
    """Including empty ones, and those at the edge of a block."""
    held = CompressedBodies(1 << 30, BUDGET.push())
    numbers = [held.add(content) for content in contents]
    assert numbers == list(range(len(contents)))
    assert len(held) == len(contents)
    assert [held.get(number) for number in reversed(range(len(contents)))] == contents[::-1]


def test_blocks_are_read_in_any_order() -> None:
    """There are more than the cache holds, so the oldest are dropped and decompressed again."""
    budget = MemoryBudget(1 << 30)
    memory = budget.push()
    memory.take(ALLOWANCE)  # so that every byte counts
    held = CompressedBodies(1 << 30, memory)
    contents = [b"%d " % number * 400 for number in range(2000)]
    for content in contents:
        held.add(content)
    order = [*range(2000), *random.Random(1).sample(range(2000), 2000)]
    assert [held.get(number) for number in order] == [contents[number] for number in order]
    assert held.held < sum(map(len, contents)) / 10
    assert budget.used - held.held <= CACHED


def test_empty_body_at_the_edge_of_a_block() -> None:
    """It starts where one block ends and the next has not begun."""
    held = CompressedBodies(1 << 30, BUDGET.push())
    for content in (b"x" * BLOCK, b"", b"y"):
        held.add(content)
    assert [held.get(number) for number in range(3)] == [b"x" * BLOCK, b"", b"y"]


def test_bodies_over_the_limit_are_refused() -> None:
    """What is already held is never dropped."""
    held = CompressedBodies(1000, BUDGET.push())
    noise = random.Random(2).randbytes(BLOCK)
    assert held.add(noise) == 0
    assert held.held > 1000
    assert held.add(b"more") is None
    assert held.get(0) == noise


def test_large_blocks_are_not_cached() -> None:
    """A hundred bodies of 4 MiB may compress to almost nothing."""
    budget = MemoryBudget(1 << 30)
    memory = budget.push()
    memory.take(ALLOWANCE)  # so that every byte counts
    held = CompressedBodies(1 << 30, memory)
    for number in range(20):
        held.add(b"%d" % number * CACHED)
    for number in range(20):
        held.get(number)
    assert budget.used < 3 * CACHED


def test_large_body_has_its_own_block() -> None:
    """Otherwise reading a small body beside it would decompress 4 MiB."""
    budget = MemoryBudget(1 << 30)
    memory = budget.push()
    memory.take(ALLOWANCE)  # so that every byte counts
    held = CompressedBodies(1 << 30, memory)
    for body in (b"small", b"large" * BLOCK, b"after"):
        held.add(body)
    before = budget.used
    held.get(0)
    assert budget.used - before == len(b"small")
    assert [held.get(number) for number in range(3)] == [b"small", b"large" * BLOCK, b"after"]


def test_pushes_share_the_memory() -> None:
    """Each leaves room for the next, one session takes a quarter at most, and each push frees its own when it ends."""
    chance = random.Random(3)
    for sessions in (1, 8):
        budget = MemoryBudget(256 * BLOCK)
        accounts = [budget.push(f"s-{number % sessions}") for number in range(16)]
        pushes = [CompressedBodies(1 << 30, account) for account in accounts]
        for held in pushes:
            while held.add(chance.randbytes(BLOCK)) is not None:
                pass
        assert all(account.refused for account in accounts)
        assert all(held.held >= ALLOWANCE - 2 * BLOCK for held in pushes)  # whatever the others hold
        assert (60 if sessions == 1 else 240) * BLOCK <= budget.used <= (64 if sessions == 1 else 256) * BLOCK
        neighbour = CompressedBodies(1 << 30, budget.push("neighbour"))
        while neighbour.add(chance.randbytes(BLOCK)) is not None:
            pass
        assert (neighbour.held > 2 * ALLOWANCE) == (sessions == 1)
        del held, neighbour, accounts
        pushes.clear()
        assert budget.used == 0


def test_large_body_that_does_not_fit_is_left_out() -> None:
    """One that compresses to almost nothing is kept."""
    budget = MemoryBudget(0)
    held = CompressedBodies(1 << 30, budget.push())
    assert held.add(random.Random(4).randbytes(2 * ALLOWANCE)) is None
    assert held.add(bytes(2 * ALLOWANCE)) == 0
