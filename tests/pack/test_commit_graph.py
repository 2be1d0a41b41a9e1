"""The commit graph: what it holds, what it reports as missing, and its limits."""

from __future__ import annotations

import time

from credgate.pack.commit_graph import MAX_TAGS, CommitGraph
from credgate.pack.objects import SHA1, SHA256, Commit, ObjectType, Tag


def oid(number: int, size: int = 20) -> bytes:
    """Return the id with this number."""
    return number.to_bytes(size, "big")


def test_parents_and_trees_are_known_for_held_commits_only() -> None:
    """A root has no parents. A commit that is only named as a parent has unknown ones: it is the boundary."""
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


def test_repeated_commit_counts_once() -> None:
    """A pack may hold an object twice, and the forge may send what the push already brought."""
    graph = CommitGraph(SHA256)
    for _ in range(2):
        graph.add(oid(1, 32), Commit(oid(101, 32), (oid(9, 32),)))
    assert (graph.commits, len(graph), graph.tree(oid(1, 32))) == (1, 2, oid(101, 32))


def test_ids_are_found_by_number() -> None:
    """Several at once, or none."""
    graph = CommitGraph(SHA1)
    numbers = [graph.number(oid(value)) for value in range(10)]
    assert graph.oids(numbers[3:5]) == {oid(3), oid(4)}
    assert graph.oids([]) == frozenset()


def test_commits_over_the_limit_clear_complete() -> None:
    """A push with too many commits is unknown, not misjudged."""
    graph = CommitGraph(SHA1, max_oids=4)
    graph.add(oid(1), Commit(oid(101), (oid(2), oid(3))))
    assert (graph.complete, graph.full) == (True, False)
    graph.add(oid(4), Commit(oid(101), (oid(1),)))
    assert (graph.complete, graph.commits, graph.has(oid(4))) == (False, 1, False)
    graph.number(oid(5))
    assert graph.full


def test_repeated_parents_count_against_the_limit() -> None:
    """They compress to almost nothing on the wire, and would fill the memory here."""
    graph = CommitGraph(SHA1, max_oids=100)
    graph.add(oid(1), Commit(oid(101), (oid(2),) * 90))
    for number in range(10, 20):
        graph.add(oid(number), Commit(oid(101), (oid(2),) * 80))
    assert (graph.complete, graph.commits) == (False, 4)


def test_tags_are_followed_to_their_commit() -> None:
    """A tag of a tag leads to its commit; an unknown id is returned as it is."""
    graph = CommitGraph(SHA1)
    graph.add_tag(oid(1), Tag(oid(2), ObjectType.TAG))
    graph.add_tag(oid(2), Tag(oid(3), ObjectType.COMMIT))
    assert [graph.peel(oid(number)) for number in (1, 2, 3)] == [oid(3)] * 3


def test_number_of_tags_is_limited() -> None:
    """As many as one push can name."""
    graph = CommitGraph(SHA1)
    for number in range(MAX_TAGS + 1):
        graph.add_tag(oid(number), Tag(oid(1 << 30), ObjectType.COMMIT))
    assert (graph.peel(oid(MAX_TAGS - 1)), graph.peel(oid(MAX_TAGS))) == (oid(1 << 30), oid(MAX_TAGS))


def test_chain_of_tags_is_followed_once() -> None:
    """Thousands of refs may name its tags. A tag may be added to the end of a chain later."""
    graph = CommitGraph(SHA1)
    for number in range(1, MAX_TAGS):
        graph.add_tag(oid(number), Tag(oid(number + 1), ObjectType.TAG))
    begun = time.process_time()
    assert {graph.peel(oid(number)) for number in range(1, 2001)} == {oid(MAX_TAGS)}
    assert time.process_time() - begun < 1  # following the chain for each ref takes several seconds
    graph.add_tag(oid(MAX_TAGS), Tag(oid(2 * MAX_TAGS), ObjectType.COMMIT))
    assert graph.peel(oid(1)) == oid(2 * MAX_TAGS)
