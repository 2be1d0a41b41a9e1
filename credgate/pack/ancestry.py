"""Decides whether a push is a fast-forward: whether *old* is an ancestor of *new* (``git merge-base --is-ancestor``).

The walk starts at *new* and follows parents through the commits of the push's pack. If it reaches *old*, the push is a
fast-forward, because every commit id was computed from the commit's bytes. Commits at which the walk leaves the pack
(the *boundary*) are at the forge. The forge is then asked for their history down to *old* (``git.ask``), its answer is
added to the same graph, and the walk is repeated. The forge omits a boundary commit only if *old* reaches it. Such a
commit cannot in turn reach *old*, because history has no cycles, so the second verdict is final and exact.

It never guesses. If the pack has more commits than are held, or a larger boundary than may be asked for, the verdict is
``UNKNOWN`` with a reason. A lost or forged commit can only make a push look forced, never the other way round.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.pack.commit_graph import CommitGraph
    from credgate.pack.objects import Sliced

MAX_BOUNDARY = 256
"""Default limit of boundary commits that are fetched for one push."""
STEPS_PER_SLICE = 5000  # a few milliseconds
TOO_MANY_COMMITS = "too many commits to inspect in one push"
TOO_MUCH_TO_WALK = "too many refs and commits to inspect in one push"
BOUNDARY_TOO_WIDE = "too many merged branches to inspect in one push"


class AncestryOutcome(Enum):
    """The result of a walk."""

    FAST_FORWARD = "fast-forward"
    NOT = "not a fast-forward"
    ASK = "the forge must be asked"
    UNKNOWN = "unknown"


@frozen(slots=True)
class AncestryVerdict:
    """``boundary``: the commits to fetch (``ASK``). ``reason``: why there is no result (``UNKNOWN``)."""

    outcome: AncestryOutcome
    boundary: frozenset[bytes] = frozenset()
    reason: str = ""


FAST_FORWARD, NOT = AncestryVerdict(AncestryOutcome.FAST_FORWARD), AncestryVerdict(AncestryOutcome.NOT)


def judge(graph: CommitGraph, old: bytes, new: bytes, max_boundary: int = MAX_BOUNDARY) -> Sliced[AncestryVerdict]:
    """Judge with the push's own pack only. ``new`` may be an annotated tag. Never raises."""
    # Tags are followed here and not by the caller, because a chain may have 20,000 of them.
    reached, boundary = yield from _walk(graph, graph.peel(new), old)
    if reached or not boundary or not _complete(graph):
        return _final(graph, boundary, reached=reached)
    if len(boundary) > max_boundary:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=BOUNDARY_TOO_WIDE)
    return AncestryVerdict(AncestryOutcome.ASK, boundary=graph.oids(boundary))


def settle(graph: CommitGraph, old: bytes, new: bytes) -> Sliced[AncestryVerdict]:
    """Judge again after the forge's history of the boundary (fetched with ``have old``) was added. Final."""
    reached, boundary = yield from _walk(graph, graph.peel(new), old)
    return _final(graph, boundary, reached=reached)


def boundary_of(graph: CommitGraph, tip: bytes) -> Sliced[frozenset[bytes] | None]:
    """Return the commits at which the history of ``tip`` leaves ``graph``: ``tip`` itself if it is not in the graph.

    Returns ``None`` if commits had to be left out, or if there was too much to walk.

    In a graph that holds only what the forge sent for ``tip`` with ``have default``, these commits are on the default
    branch, and the merge bases are those that no other of them reaches. To find out, fetch each with ``have`` all the
    others: an empty answer means that it is reached. A single commit is the merge base. A push's own graph may also
    hold commits of the default branch and then leaves that branch too late: look for such commits first.
    """
    _, boundary = yield from _walk(graph, tip, None)
    return graph.oids(boundary) if _complete(graph) else None


def steps(graph: CommitGraph, tip: bytes) -> Iterator[tuple[int, tuple[int, ...] | None]]:
    """Yield the number of each commit that ``tip`` reaches, once, with its parents (``None`` if it is not held).

    Ends early when ``graph.steps_left`` is used up.
    """
    start = graph.number(tip)
    seen, ahead = bytearray(len(graph)), [start]
    seen[start] = 1
    # The cost of a walk before its first step: allocating the marks, and looking up the boundary's ids afterwards.
    graph.steps_left -= len(graph) // 8
    while ahead and graph.steps_left > 0:
        graph.steps_left -= 1
        number = ahead.pop()
        parents = graph.parents(number)
        for parent in parents or ():
            if not seen[parent]:
                seen[parent] = 1
                ahead.append(parent)
        yield number, parents


def _walk(graph: CommitGraph, new: bytes, old: bytes | None) -> Sliced[tuple[bool, set[int]]]:
    """Return whether ``old`` was reached, and the numbers of the boundary commits met until then."""
    # The order of the walk does not matter: the verdict depends on what is reached, not on when.
    boundary: set[int] = set()
    goal = None if old is None else graph.number(old)
    for count, (number, parents) in enumerate(steps(graph, new)):
        if count % STEPS_PER_SLICE == STEPS_PER_SLICE - 1:
            yield
        if number == goal:
            return True, boundary
        if parents is None:
            boundary.add(number)
    return False, boundary


def _complete(graph: CommitGraph) -> bool:
    """Whether no commit was left out of the graph and no walk was cut short."""
    return graph.complete and graph.steps_left > 0


def _final(graph: CommitGraph, boundary: set[int], *, reached: bool) -> AncestryVerdict:
    if reached:
        return FAST_FORWARD
    if graph.steps_left <= 0:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=TOO_MUCH_TO_WALK)
    # Without a boundary the whole history was walked, so no commit of it was left out.
    if boundary and not graph.complete:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=TOO_MANY_COMMITS)
    return NOT
