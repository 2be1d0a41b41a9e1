"""Ancestry verdicts over random histories equal ``git merge-base --is-ancestor``; upload-pack is the forge."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.git.v2 import FetchResponseReader, fetch_request
from credgate.pack.ancestry import FAST_FORWARD, NOT, AncestryOutcome, AncestryVerdict, boundary_of, judge, settle
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import SHA1, SHA256
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import Repository, finish, walked

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMATS = {"sha1": SHA1, "sha256": SHA256}
History = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> list[Repository]:
    """Make one repository for each format. The histories in it are independent of each other."""
    place = tmp_path_factory.mktemp("ancestry")
    return [Repository.make(place / f"{name}.git", f"--object-format={name}") for name in FORMATS]


@pytest.fixture(params=range(len(FORMATS)), ids=FORMATS)
def repository(request: pytest.FixtureRequest, repositories: list[Repository]) -> Repository:
    """Choose a repository. Hypothesis tests cannot be parametrised under pytest-twisted and draw it instead."""
    chosen: Repository = repositories[request.param]
    return chosen


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a history: for each commit the numbers of its parents. It has roots and octopus merges, too."""
    count = draw(st.integers(2, 14))
    chosen: History = [()]
    for number in range(1, count):
        width = draw(st.sampled_from((0, 1, 1, 1, 1, 1, 2, 2, 3)))
        near = st.integers(max(0, number - draw(st.sampled_from((1, 3, 14)))), number - 1)
        chosen.append(tuple(sorted(draw(st.sets(near, max_size=width, min_size=min(width, 1))))))
    return chosen


def imported(repository: Repository, history: History) -> list[bytes]:
    """Write the history and return its commits' ids."""
    out = [b"feature done\n"]
    for number, parents in enumerate(history, 1):
        text = b"%d %r" % (number, history)
        out.append(b"reset refs/heads/c\ncommit refs/heads/c\nmark :%d\n" % number)
        out.append(b"committer A <a@example> %d +0000\ndata %d\n%s\n" % (1700000000 + number, len(text), text))
        words = [b"from", *[b"merge"] * 20]
        out += [b"%s :%d\n" % (word, parent + 1) for word, parent in zip(words, parents, strict=False)]
    out += [b"get-mark :%d\n" % number for number in range(1, len(history) + 1)]
    printed = repository.git("fast-import", "--quiet", "--force", data=b"".join((*out, b"done\n")))
    return [bytes.fromhex(line) for line in printed.decode().split()]


def asked(repository: Repository, graph: CommitGraph, wants: Iterable[bytes], haves: Iterable[bytes]) -> PackWalk:
    """Fetch from the forge into the graph."""
    answer = repository.ask(fetch_request(graph.object_format, wants, haves))
    walk = PackWalk(graph.object_format, graph=graph)
    reader = FetchResponseReader(walk)
    reader.receive(answer)
    while reader.step():
        pass
    reader.end()
    return walk


def verdict(repository: Repository, graph: CommitGraph, old: bytes, new: bytes) -> AncestryVerdict:
    """Judge as for a push."""
    result = finish(judge(graph, old, new))
    if result.outcome is not AncestryOutcome.ASK:
        return result
    asked(repository, graph, result.boundary, [old])
    return finish(settle(graph, old, new))


def is_ancestor(repository: Repository, old: bytes, new: bytes) -> bool:
    """Ask git."""
    return repository.run("merge-base", "--is-ancestor", old.hex(), new.hex()).returncode == 0


@given(histories(), st.data())
def test_verdict_equals_git_s(repositories: list[Repository], history: History, data: st.DataObject) -> None:
    """Whatever the forge already has. The pack is the one that git would push."""
    repository = data.draw(st.sampled_from(repositories))
    commits = imported(repository, history)
    one = st.sampled_from(commits)
    old, new, there = data.draw(one), data.draw(one), data.draw(st.sets(one, max_size=3))
    object_format = {20: SHA1, 32: SHA256}[len(old)]
    revisions = [new.hex(), *(f"^{name.hex()}" for name in {old, *there})]
    options = data.draw(st.sampled_from([("--thin",), ("--delta-base-offset",), ()]))
    graph = walked(repository.packed("\n".join(revisions) + "\n", *options), object_format).graph
    expected = FAST_FORWARD if is_ancestor(repository, old, new) else NOT
    assert verdict(repository, graph, old, new) == expected


@given(histories(), st.data())
def test_merge_bases_equal_git_s(repositories: list[Repository], history: History, data: st.DataObject) -> None:
    """The boundary with the default branch, without those that others of it reach."""
    repository = data.draw(st.sampled_from(repositories))
    commits = imported(repository, history)
    default, new = data.draw(st.sampled_from(commits)), data.draw(st.sampled_from(commits))
    object_format = {20: SHA1, 32: SHA256}[len(new)]
    graph = CommitGraph(object_format)
    asked(repository, graph, [new], [default])
    boundary = finish(boundary_of(graph, new))
    assert boundary is not None
    bases = {
        name
        for name in boundary
        if len(boundary) == 1 or asked(repository, CommitGraph(object_format), [name], boundary - {name}).objects
    }
    printed = repository.git("merge-base", "--all", default.hex(), new.hex(), ok=(0, 1)).decode().split()
    assert bases == {bytes.fromhex(word) for word in printed}


def test_push_from_a_shallow_clone(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its pack ends at commits that the client has without their parents."""
    old, middle, other = imported(repository, [(), (0,), (0,)])
    place = tmp_path_factory.mktemp("shallow") / "clone.git"
    repository.git("update-ref", "refs/heads/shallow", middle.hex())
    command = [
        "git",
        "clone",
        "-q",
        "--bare",
        "--depth=1",
        "--branch=shallow",
        f"file://{repository.place}",
        str(place),
    ]
    subprocess.run(command, env=packs.ENVIRON, check=True)
    clone = Repository(place)
    tree = clone.git("write-tree").decode().strip()
    new = clone.git("commit-tree", "-p", middle.hex(), "-m", "new", tree).decode().strip()
    object_format = {20: SHA1, 32: SHA256}[len(old)]
    for before, expected in ((old, FAST_FORWARD), (middle, FAST_FORWARD), (other, NOT)):
        graph = walked(clone.packed(f"{new}\n^{middle.hex()}\n"), object_format).graph
        assert verdict(repository, graph, before, bytes.fromhex(new)) == expected


def test_fetch_of_an_unknown_commit_is_refused_by_the_forge(repository: Repository) -> None:
    """Nothing is proved by a boundary commit that does not exist."""
    (commit,) = imported(repository, [()])
    object_format = {20: SHA1, 32: SHA256}[len(commit)]
    with pytest.raises(ResponseError, match="the forge refused: upload-pack: not our ref"):
        asked(repository, CommitGraph(object_format), [b"\xab" * len(commit)], [commit])


def test_history_is_fetched_without_trees(repository: Repository) -> None:
    """Otherwise one request would fetch the whole repository."""
    commits = imported(repository, [(), (0,), (1,), (2,)])
    object_format = {20: SHA1, 32: SHA256}[len(commits[0])]
    walk = asked(repository, CommitGraph(object_format), [commits[3]], [commits[1]])
    assert (walk.objects, walk.graph.commits) == (2, 2)
