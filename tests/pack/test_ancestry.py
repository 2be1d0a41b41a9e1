"""The force matrix at its core: from a pack's commits alone, and with what the forge adds."""

from __future__ import annotations

import pytest

from credgate.pack import ancestry
from credgate.pack.ancestry import FAST_FORWARD, NOT, AncestryOutcome, AncestryVerdict, boundary_of, judge, settle
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import SHA1, Commit

T = b"\xaa" * 20


def name(letter: str) -> bytes:
    """Return the made-up id of a commit that is called by one letter."""
    return letter.encode() * 20


def graph(history: str) -> CommitGraph:
    """Read ``"b:a c:ab d:"``: each commit with its parents."""
    made = CommitGraph(SHA1)
    for word in history.split():
        child, _, parents = word.partition(":")
        made.add(name(child), Commit(T, tuple(map(name, parents))))
    return made


def ask(letters: str) -> AncestryVerdict:
    """Return the verdict that asks for these."""
    return AncestryVerdict(AncestryOutcome.ASK, boundary=frozenset(map(name, letters)))


@pytest.mark.parametrize(
    ("pack", "old", "new", "first", "forge", "second"),
    [
        pytest.param("c:b b:a", "a", "c", FAST_FORWARD, "", FAST_FORWARD, id="fast-forward, old is the boundary"),
        pytest.param("c:b b:a a:", "a", "c", FAST_FORWARD, "", FAST_FORWARD, id="old itself in the pack"),
        pytest.param("", "a", "a", FAST_FORWARD, "", FAST_FORWARD, id="no change"),
        pytest.param("c:b", "a", "c", ask("b"), "b:a", FAST_FORWARD, id="fast-forward over a commit of another branch"),
        pytest.param("", "a", "c", ask("c"), "c:b b:a", FAST_FORWARD, id="moved ahead to a commit at the forge"),
        pytest.param("", "c", "a", ask("a"), "", NOT, id="reset to an older commit"),
        pytest.param("d:a", "c", "d", ask("a"), "", NOT, id="amended or rebased onto an older commit"),
        pytest.param("d:x", "c", "d", ask("x"), "x:a", NOT, id="rebased onto another branch"),
        pytest.param("d:c e:d", "c", "e", FAST_FORWARD, "", FAST_FORWARD, id="two commits"),
        pytest.param("m:xo x:w", "o", "m", FAST_FORWARD, "", FAST_FORWARD, id="merge with old as second parent"),
        pytest.param("m:xw x:w", "o", "m", ask("w"), "w:o", FAST_FORWARD, id="merge of a branch that holds old"),
        pytest.param("m:xyzo", "o", "m", FAST_FORWARD, "", FAST_FORWARD, id="octopus with old as the last"),
        pytest.param("m:xyz", "o", "m", ask("xyz"), "x:a y:b z:c", NOT, id="octopus without old"),
        pytest.param("b:a a:", "o", "b", NOT, "", NOT, id="orphan"),
        pytest.param("m:bc b:a c:a a:", "o", "m", NOT, "", NOT, id="unrelated history, whole in the pack"),
        pytest.param("m:ab b:o", "o", "m", FAST_FORWARD, "", FAST_FORWARD, id="a boundary beside the way to old"),
    ],
)
def test_the_force_matrix(
    pack: str, old: str, new: str, first: AncestryVerdict, forge: str, second: AncestryVerdict
) -> None:
    """Each row as ``git merge-base --is-ancestor`` would say it once the forge has answered."""
    commits = graph(pack)
    assert judge(commits, name(old), name(new)) == first
    for number, parents in ((word[0], word[2:]) for word in forge.split()):
        commits.add(name(number), Commit(T, tuple(map(name, parents))))
    assert settle(commits, name(old), name(new)) == second


def test_a_lost_commit_makes_the_verdict_unknown_where_it_matters() -> None:
    """A proof stays one, and a history without a boundary is whole; else nothing can be said."""
    commits = graph("c:b b:a d:")
    commits.complete = False
    unknown = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.TOO_MANY_COMMITS)
    assert judge(commits, name("a"), name("c")) == FAST_FORWARD
    assert settle(commits, name("a"), name("c")) == FAST_FORWARD
    assert judge(commits, name("o"), name("d")) == settle(commits, name("o"), name("d")) == NOT
    assert judge(commits, name("o"), name("c")) == settle(commits, name("o"), name("c")) == unknown


def test_a_boundary_too_wide_is_unknown() -> None:
    """The forge is not asked a thousand things for one push."""
    commits = graph("m:abc")
    assert judge(commits, name("o"), name("m"), max_boundary=3) == ask("abc")
    expected = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.BOUNDARY_TOO_WIDE)
    assert judge(commits, name("o"), name("m"), max_boundary=2) == expected


def test_the_boundary_is_what_a_history_leaves_the_graph_to() -> None:
    """The merge bases with the default branch are among it, once the forge has answered."""
    commits = graph("m:xb x:a r:")
    assert boundary_of(commits, name("m")) == {name("a"), name("b")}
    assert boundary_of(commits, name("r")) == frozenset()
    assert boundary_of(commits, name("z")) == {name("z")}


def test_a_long_history_is_walked_without_recursion() -> None:
    """200,000 commits in a row, one merge in seven."""
    commits = CommitGraph(SHA1)
    ids = [number.to_bytes(20, "big") for number in range(200_001)]
    for number in range(1, 200_001):
        parents = (ids[number - 1],) if number % 7 else (ids[number - 1], ids[max(number - 5, 0)])
        commits.add(ids[number], Commit(T, parents))
    assert commits.complete
    assert judge(commits, ids[0], ids[-1]) == FAST_FORWARD
    assert judge(commits, T, ids[-1]) == AncestryVerdict(AncestryOutcome.ASK, boundary=frozenset({ids[0]}))


def test_twenty_thousand_refs_over_a_long_history_are_not_all_walked() -> None:
    """All walks over one push's commits share one bound; what is proved within it stays proved."""
    commits = graph("c:b b:a d:c")
    commits.steps_left = 8
    unknown = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.TOO_MUCH_TO_WALK)
    verdicts = [judge(commits, name(old), name("d")) for old in "acoa"]
    assert verdicts == [FAST_FORWARD, FAST_FORWARD, unknown, unknown]
    assert settle(commits, name("a"), name("d")) == unknown
    assert boundary_of(commits, name("d")) is None


def test_a_boundary_with_lost_commits_is_none() -> None:
    """A merge base must not be taken from half a history."""
    commits = graph("c:b")
    assert boundary_of(commits, name("c")) == {name("b")}
    commits.complete = False
    assert boundary_of(commits, name("c")) is None
