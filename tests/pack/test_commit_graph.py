"""The graph holds what was added, tells what is missing, and stops at its limits."""

from __future__ import annotations

from credgate.pack.commit_graph import MAX_TAGS, CommitGraph
from credgate.pack.objects import SHA1, SHA256, Commit, ObjectType, Tag


def oid(number: int, size: int = 20) -> bytes:
    """Return a made-up id."""
    return number.to_bytes(size, "big")


def test_parents_and_trees_of_commits_and_nothing_of_others() -> None:
    """A root has no parents; a commit that is only named has unknown ones: the difference is the boundary."""
    graph = CommitGraph(SHA1)
    graph.add(oid(1), Commit(oid(101), ()))
    graph.add(oid(2), Commit(oid(102), (oid(1),)))
    graph.add(oid(3), Commit(oid(103), (oid(2), oid(9), oid(1))))
    names = {number: graph.find(oid(number)) for number in (1, 2, 3, 9)}
    parents = {number: graph.parents(at) for number, at in names.items() if at is not None}
    assert parents == {1: (), 2: (names[1],), 3: (names[2], names[9], names[1]), 9: None}
    assert [graph.tree(oid(number)) for number in (1, 2, 3, 9, 8)] == [oid(101), oid(102), oid(103), None, None]
    assert [graph.has(oid(number)) for number in (1, 3, 9, 8)] == [True, True, False, False]
    assert graph.find(oid(8)) is None
    assert (graph.commits, len(graph), graph.complete) == (3, 4, True)


def test_a_commit_that_comes_twice_counts_once() -> None:
    """A pack may hold an object twice, and the forge may send what the push already brought."""
    graph = CommitGraph(SHA256)
    for _ in range(2):
        graph.add(oid(1, 32), Commit(oid(101, 32), (oid(9, 32),)))
    assert (graph.commits, len(graph), graph.tree(oid(1, 32))) == (1, 2, oid(101, 32))


def test_ids_are_found_by_number() -> None:
    """Many at once, or none."""
    graph = CommitGraph(SHA1)
    numbers = [graph.number(oid(value)) for value in range(10)]
    assert graph.oids(numbers[3:5]) == {oid(3), oid(4)}
    assert graph.oids([]) == frozenset()


def test_over_its_limit_commits_are_left_out_and_it_says_so() -> None:
    """A push with more commits than can be held is judged unknown, not wrongly."""
    graph = CommitGraph(SHA1, max_oids=4)
    graph.add(oid(1), Commit(oid(101), (oid(2), oid(3))))
    assert (graph.complete, graph.full) == (True, False)
    graph.add(oid(4), Commit(oid(101), (oid(1),)))
    assert (graph.complete, graph.commits, graph.has(oid(4))) == (False, 1, False)
    graph.number(oid(5))
    assert graph.full


def test_one_parent_named_a_thousand_times_is_counted_a_thousand_times() -> None:
    """It compresses to nothing on the wire, and would fill the memory here."""
    graph = CommitGraph(SHA1, max_oids=100)
    graph.add(oid(1), Commit(oid(101), (oid(2),) * 90))
    for number in range(10, 20):
        graph.add(oid(number), Commit(oid(101), (oid(2),) * 80))
    assert (graph.complete, graph.commits) == (False, 4)


def test_tags_are_followed_as_far_as_they_are_here() -> None:
    """A tag of a tag leads to its commit; an unknown id is itself."""
    graph = CommitGraph(SHA1)
    graph.add_tag(oid(1), Tag(oid(2), ObjectType.TAG))
    graph.add_tag(oid(2), Tag(oid(3), ObjectType.COMMIT))
    assert [graph.peel(oid(number)) for number in (1, 2, 3)] == [oid(3)] * 3


def test_only_so_many_tags_are_kept() -> None:
    """As many as one push can name."""
    graph = CommitGraph(SHA1)
    for number in range(MAX_TAGS + 1):
        graph.add_tag(oid(number), Tag(oid(1 << 30), ObjectType.COMMIT))
    assert (graph.peel(oid(MAX_TAGS - 1)), graph.peel(oid(MAX_TAGS))) == (oid(1 << 30), oid(MAX_TAGS))


def test_a_chain_of_tags_is_followed_once() -> None:
    """Thousands of refs may name its tags: what was passed is not passed again, and the end may yet turn out a tag."""
    graph = CommitGraph(SHA1)
    for number in range(1, 10_000):
        graph.add_tag(oid(number), Tag(oid(number + 1), ObjectType.TAG))
    counted = graph._tags = Counted(graph._tags)
    assert {graph.peel(oid(number)) for number in range(1, 2001)} == {oid(10_000)}
    assert counted.looks < 30_000
    graph.add_tag(oid(10_000), Tag(oid(20_000), ObjectType.COMMIT))
    assert graph.peel(oid(1)) == oid(20_000)


class Counted(dict[bytes, bytes]):
    """Counts how often something is looked up."""

    looks = 0

    def __getitem__(self, key: bytes) -> bytes:
        self.looks += 1
        return super().__getitem__(key)
