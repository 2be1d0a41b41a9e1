"""Fast-forward or force: from a pack's commits alone, and with the commits that the forge adds."""

from __future__ import annotations

import pytest

from credgate.pack import ancestry
from credgate.pack.ancestry import FAST_FORWARD, NOT, AncestryOutcome, AncestryVerdict
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import SHA1, Commit, ObjectType, Tag
from tests.fakes.packs import finish

T = b"\xaa" * 20


def judge(commits: CommitGraph, old: bytes, new: bytes, max_boundary: int = ancestry.MAX_BOUNDARY) -> AncestryVerdict:
    """Judge without slices."""
    return finish(ancestry.judge(commits, old, new, max_boundary))


def settle(commits: CommitGraph, old: bytes, new: bytes) -> AncestryVerdict:
    """Settle without slices."""
    return finish(ancestry.settle(commits, old, new))


def boundary_of(commits: CommitGraph, tip: bytes) -> frozenset[bytes] | None:
    """Find the boundary without slices."""
    return finish(ancestry.boundary_of(commits, tip))


def name(letter: str) -> bytes:
    """Return the id of the commit with this letter."""
    return letter.encode() * 20


def graph(history: str) -> CommitGraph:
    """Return the graph of ``"b:a c:ab d:"``: each commit with its parents."""
    made = CommitGraph(SHA1)
    for word in history.split():
        child, _, parents = word.partition(":")
        made.add(name(child), Commit(T, tuple(map(name, parents))))
    return made


def ask(letters: str) -> AncestryVerdict:
    """Return the verdict that asks for these commits."""
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
def test_verdict_equals_git_merge_base_is_ancestor(
    pack: str, old: str, new: str, first: AncestryVerdict, forge: str, second: AncestryVerdict
) -> None:
    """First from the pack alone, then with the forge's answer."""
    commits = graph(pack)
    assert judge(commits, name(old), name(new)) == first
    for number, parents in ((word[0], word[2:]) for word in forge.split()):
        commits.add(name(number), Commit(T, tuple(map(name, parents))))
    assert settle(commits, name(old), name(new)) == second


def test_dropped_commit_makes_unproved_verdict_unknown() -> None:
    """A verdict that was proved, or that has no boundary, stays as it is."""
    commits = graph("c:b b:a d:")
    commits.complete = False
    unknown = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.TOO_MANY_COMMITS)
    assert judge(commits, name("a"), name("c")) == FAST_FORWARD
    assert settle(commits, name("a"), name("c")) == FAST_FORWARD
    assert judge(commits, name("o"), name("d")) == settle(commits, name("o"), name("d")) == NOT
    assert judge(commits, name("o"), name("c")) == settle(commits, name("o"), name("c")) == unknown


def test_boundary_over_limit_is_unknown() -> None:
    """The number of commits fetched for one push is limited."""
    commits = graph("m:abc")
    assert judge(commits, name("o"), name("m"), max_boundary=3) == ask("abc")
    expected = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.BOUNDARY_TOO_WIDE)
    assert judge(commits, name("o"), name("m"), max_boundary=2) == expected


def test_boundary_is_where_history_leaves_the_graph() -> None:
    """The tip itself if it is not in the graph."""
    commits = graph("m:xb x:a r:")
    assert boundary_of(commits, name("m")) == {name("a"), name("b")}
    assert boundary_of(commits, name("r")) == frozenset()
    assert boundary_of(commits, name("z")) == {name("z")}


def test_long_history_is_walked_without_recursion() -> None:
    """200,000 commits in a row, with a merge in every seventh."""
    commits = CommitGraph(SHA1)
    ids = [number.to_bytes(20, "big") for number in range(200_001)]
    for number in range(1, 200_001):
        parents = (ids[number - 1],) if number % 7 else (ids[number - 1], ids[max(number - 5, 0)])
        commits.add(ids[number], Commit(T, parents))
    assert commits.complete
    assert judge(commits, ids[0], ids[-1]) == FAST_FORWARD
    assert judge(commits, T, ids[-1]) == AncestryVerdict(AncestryOutcome.ASK, boundary=frozenset({ids[0]}))


def test_walks_of_all_refs_share_one_limit() -> None:
    """What is proved within the limit stays proved."""
    commits = graph("c:b b:a d:c")
    commits.steps_left = 8
    unknown = AncestryVerdict(AncestryOutcome.UNKNOWN, reason=ancestry.TOO_MUCH_TO_WALK)
    verdicts = [judge(commits, name(old), name("d")) for old in "acoa"]
    assert verdicts == [FAST_FORWARD, FAST_FORWARD, unknown, unknown]
    assert settle(commits, name("a"), name("d")) == unknown
    assert boundary_of(commits, name("d")) is None


def test_boundary_is_unknown_with_dropped_commits() -> None:
    """A merge base must not be taken from an incomplete history."""
    commits = graph("c:b")
    assert boundary_of(commits, name("c")) == {name("b")}
    commits.complete = False
    assert boundary_of(commits, name("c")) is None


def test_annotated_tag_is_judged_as_its_commit() -> None:
    """The pushed object may be a tag."""
    commits, tag = graph("b:a"), b"t" * 20
    commits.add_tag(tag, Tag(name("b"), ObjectType.COMMIT))
    assert judge(commits, name("a"), tag) == settle(commits, name("a"), tag) == FAST_FORWARD
