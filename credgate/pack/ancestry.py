"""Whether a push is a fast-forward: whether *old* is an ancestor of *new*, as ``git merge-base --is-ancestor`` says.

From *new* the walk follows parents through the commits of the push's pack. If it meets *old*, that is proof: every step
is a commit whose id was made from its bytes. If it leaves the pack, the commits that it leaves to (the *boundary*) are
at the forge, and the forge is asked for their history down to *old* in git's own protocol (``ask``): what it sends goes
into the same graph and the walk is made again. A boundary commit that the forge does not send is one that *old*
reaches; it cannot reach *old* too, for history has no circles. So the second verdict is final and exact.

Never guesses: a pack with more commits than could be held, or more boundary than can be asked for, is ``UNKNOWN`` and
the reason says so. A lost or lying commit can only make a push look forced, never the other way.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.pack.slices import finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.pack.commit_graph import CommitGraph
    from credgate.pack.slices import Sliced

MAX_BOUNDARY = 256
"""Boundary commits that are asked for in one push, unless the caller says otherwise."""
STEPS_PER_SLICE = 5000
TOO_MANY_COMMITS = "more commits than can be judged in one push"
TOO_MUCH_TO_WALK = "more refs over more commits than can be judged in one push"
BOUNDARY_TOO_WIDE = "more merged branches than can be asked about in one push"


class AncestryOutcome(Enum):
    """What the walk found."""

    FAST_FORWARD = "fast-forward"
    NOT = "not a fast-forward"
    ASK = "the forge must be asked"
    UNKNOWN = "cannot be told"


@frozen(slots=True)
class AncestryVerdict:
    """``boundary`` holds what to ask for (``ASK``), ``reason`` why nothing can be said (``UNKNOWN``)."""

    outcome: AncestryOutcome
    boundary: frozenset[bytes] = frozenset()
    reason: str = ""


FAST_FORWARD, NOT = AncestryVerdict(AncestryOutcome.FAST_FORWARD), AncestryVerdict(AncestryOutcome.NOT)


def judge(graph: CommitGraph, old: bytes, new: bytes, max_boundary: int = MAX_BOUNDARY) -> AncestryVerdict:
    """Judge by the push's pack alone. Never raises."""
    return finish(judging(graph, old, new, max_boundary))


def judging(graph: CommitGraph, old: bytes, new: bytes, max_boundary: int = MAX_BOUNDARY) -> Sliced[AncestryVerdict]:
    """Do the same in slices."""
    reached, boundary = yield from _walk(graph, new, old)
    if reached or not boundary or not _whole(graph):
        return _final(graph, reached, boundary)
    if len(boundary) > max_boundary:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=BOUNDARY_TOO_WIDE)
    return AncestryVerdict(AncestryOutcome.ASK, boundary=graph.oids(boundary))


def settle(graph: CommitGraph, old: bytes, new: bytes) -> AncestryVerdict:
    """Judge again, now that ``graph`` also holds what the forge sent for the boundary with ``have old``. Final."""
    return finish(settling(graph, old, new))


def settling(graph: CommitGraph, old: bytes, new: bytes) -> Sliced[AncestryVerdict]:
    """Do the same in slices."""
    return _final(graph, *(yield from _walk(graph, new, old)))


def boundary_of(graph: CommitGraph, tip: bytes) -> frozenset[bytes] | None:
    """Return the commits that the history of ``tip`` leaves ``graph`` to; ``tip`` itself if it is not there.

    ``None`` when it cannot be told: commits had to be left out, or there was too much to walk.

    In a graph that holds only what the forge sent for ``tip`` with ``have default``, these are on the default branch,
    and the merge bases are those of them that no other of them reaches: for each, fetch it with ``have`` all the
    others; an empty answer means that it is reached. One alone is the merge base. A push's own graph may hold commits
    of the default branch too, and then leaves it too late: look for those before taking one.
    """
    return finish(bounding(graph, tip))


def bounding(graph: CommitGraph, tip: bytes) -> Sliced[frozenset[bytes] | None]:
    """Do the same in slices."""
    _, boundary = yield from _walk(graph, tip, None)
    return graph.oids(boundary) if _whole(graph) else None


def steps(graph: CommitGraph, tip: bytes) -> Iterator[tuple[int, tuple[int, ...] | None]]:
    """Yield each commit that ``tip`` reaches, once, by number, with its parents (``None``: it is not here).

    Ends early when ``graph.steps_left`` is used up.
    """
    start = graph.number(tip)
    seen, ahead = bytearray(len(graph)), [start]
    seen[start] = 1
    # What a walk costs before its first step: its marks, and looking up the boundary's ids.
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
    """Return whether ``old`` was met, and the numbers of the boundary met until then."""
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


def _whole(graph: CommitGraph) -> bool:
    """Whether the walks over this graph saw all that there is to see."""
    return graph.complete and graph.steps_left > 0


def _final(graph: CommitGraph, reached: bool, boundary: set[int]) -> AncestryVerdict:  # noqa: FBT001 - what the walk returned
    """Return the verdict when nobody is left to be asked."""
    if reached:
        return FAST_FORWARD
    if graph.steps_left <= 0:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=TOO_MUCH_TO_WALK)
    if boundary and not graph.complete:
        return AncestryVerdict(AncestryOutcome.UNKNOWN, reason=TOO_MANY_COMMITS)
    return NOT
