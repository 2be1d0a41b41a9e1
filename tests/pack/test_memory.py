"""The memory that pushes share: the part of each session and push, and how large containers are freed."""

from __future__ import annotations

from credgate.pack.commit_graph import CommitGraph
from credgate.pack.memory import ALLOWANCE, AT_ONCE, MemoryBudget
from credgate.pack.objects import SHA1, Commit

MIB = 1024 * 1024


def test_session_has_a_quarter_and_another_the_rest() -> None:
    """What a session frees, it may take again."""
    budget = MemoryBudget(4 * MIB)
    one, more, other = budget.push("a"), budget.push("a"), budget.push("b")
    one.take(ALLOWANCE + MIB)
    assert not one.fits(1)
    more.take(ALLOWANCE)
    assert not more.fits(1)
    assert other.fits(ALLOWANCE + MIB)
    one.take(-1)
    assert more.fits(1)
    one.take(1 - ALLOWANCE - MIB)
    assert budget.used == 0


def test_small_push_fits_whatever_others_hold() -> None:
    """Its allowance is not counted."""
    budget = MemoryBudget(0)
    push = budget.push()
    assert push.fits(ALLOWANCE)
    assert not push.fits(ALLOWANCE + 1)
    push.take(ALLOWANCE)
    assert budget.used == 0
    assert not push.fits(1)


def test_ids_of_a_graph_count() -> None:
    """Over the limit, commits are left out, and the push's account remembers why."""
    budget = MemoryBudget(4 * MIB)
    memory = budget.push("a")
    graph = CommitGraph(SHA1, memory=memory)
    parents = iter(range(1 << 20))
    for number in range(1, 6000):
        graph.add(b"c%019d" % number, Commit(bytes(20), (b"p%019d" % next(parents), b"q%019d" % next(parents))))
    assert not graph.complete
    assert memory.refused
    assert len(graph) * 200 < MIB + ALLOWANCE
    small = CommitGraph(SHA1, memory=budget.push("a"))
    for number in range(300):
        small.add(b"c%019d" % number, Commit(bytes(20), (b"p%019d" % number,)))
    assert small.complete
    del graph, small
    assert budget.used == 0


def test_large_containers_are_freed_in_steps() -> None:
    """Their bytes count until they are freed. Small ones are freed at once, and all without a thread."""
    budget = MemoryBudget(1 << 30)
    woken: list[int] = []
    for threads, size, steps in ((True, 10 * AT_ONCE, 10), (True, 100, 0), (False, 10 * AT_ONCE, 0)):
        budget.wake = (lambda: woken.append(1)) if threads else None
        for kind in (dict, list):
            woken.clear()
            memory = budget.push()
            memory.take(2 * ALLOWANCE)
            budget.discard(dict.fromkeys(range(size)) if kind is dict else list(range(size)), memory, 2 * ALLOWANCE)
            assert (bool(woken), budget.discarded, budget.used > 0) == ((steps > 0,) * 3)
            assert len(list(budget.freeing())) == steps
            assert (budget.discarded, budget.used) == (False, 0)


def test_graph_is_freed_in_steps() -> None:
    """On every way out, because its end is that of its last reference."""
    budget = MemoryBudget(1 << 30)
    budget.wake = lambda: None
    graph = CommitGraph(SHA1, memory=budget.push())
    for number in range(5 * AT_ONCE):
        graph.number(b"%020d" % number)
    used = budget.used
    del graph
    assert budget.discarded
    assert budget.used == used > 0
    assert len(list(budget.freeing())) == 5
    assert budget.used == 0
