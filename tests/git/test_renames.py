"""Renamed repositories of sessions."""

from __future__ import annotations

from credgate.git.authorize import Moved
from credgate.git.renames import MAX_MOVES, Renames
from credgate.values import RepoPath


def repo(number: int) -> RepoPath:
    """Name a repository."""
    return RepoPath("github.com", f"octo/{number}")


MOVED = Moved(repo(0), dot_git=True)


def test_end_of_a_session_removes_its_entries_only() -> None:
    """Without a walk over the entries of others."""
    moves = Renames()
    for number in range(3):
        moves["s-1", repo(number)] = MOVED
    moves["s-2", repo(1)] = MOVED
    moves.forget("s-3")
    moves.forget("s-1")
    assert dict(moves) == {("s-2", repo(1)): MOVED}
    assert list(moves.by_session) == ["s-2"]
    del moves["s-2", repo(1)]
    assert (len(moves), moves.by_session) == (0, {})


def test_oldest_entries_are_dropped_over_the_limit() -> None:
    """The index shrinks with them."""
    moves = Renames()
    for number in range(MAX_MOVES):
        moves[f"s-{number}", repo(number)] = MOVED
    moves["s-0", repo(0)] = MOVED
    moves["s-new", repo(0)] = MOVED
    assert (len(moves), len(moves.by_session)) == (MAX_MOVES, MAX_MOVES)
    assert ("s-0", repo(0)) in moves
    assert ("s-1", repo(1)) not in moves
