"""Changed paths equal those of ``git diff-tree``, with trees from the push and from upload-pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.v2 import FetchResponseReader, fetch_request
from credgate.pack.changed_paths import TreeComparison, compare
from credgate.pack.objects import SHA1
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import Repository, finish, walked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.pack.objects import Sliced, Tree

MODES = st.sampled_from((0o100644, 0o100644, 0o100755, 0o120000, 0o160000))
NAMES = st.sampled_from(("a", "b", "é", 'q"\n', "A", "a-", "a0"))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.tuples(MODES, st.sampled_from(("1", "2"))), max_size=6)


class Everything:
    """Protects every path."""

    def matches(self, path: bytes) -> bool:
        """Match every path."""
        return bool(path)

    def below(self, directory: bytes) -> bool:
        """Descend everywhere."""
        return bool(directory)

    def shadows(self, path: bytes) -> None:
        """Name no directory."""

    def fault(self, path: bytes) -> None:
        """Accept any length."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Make one repository for all trees."""
    return Repository.make(tmp_path_factory.mktemp("changed") / "r.git")


def imported(repository: Repository, *sides: Mapping[str, tuple[int, str]]) -> list[bytes]:
    """Write each side as a commit, and return the commits."""
    out = [b"feature done\n"]
    for number, files in enumerate(sides, 1):
        out.append(b"reset refs/heads/c\ncommit refs/heads/c\nmark :%d\ncommitter A <a@e> 1 +0000\ndata 0\n" % number)
        for path, (mode, text) in files.items():
            quoted = '"' + path.replace('"', '\\"').replace("\n", "\\n") + '"'
            if mode == 0o160000:
                out.append(f"M 160000 {text * 40} {quoted}\n".encode())
            else:
                out.append(f"M {mode:o} inline {quoted}\ndata 1\n{text}\n".encode())
    out += [b"get-mark :%d\n" % number for number in range(1, len(sides) + 1)]
    printed = repository.git("fast-import", "--quiet", "--force", data=b"".join((*out, b"done\n")))
    return [bytes.fromhex(line) for line in printed.decode().split()]


def fetched(repository: Repository, wants: frozenset[bytes], **options: object) -> PackWalk:
    """Fetch from the forge, and keep the trees."""
    walk = PackWalk(SHA1, trees=True)
    reader = FetchResponseReader(walk)
    reader.receive(repository.ask(fetch_request(SHA1, wants, **options)))  # type: ignore[arg-type]
    while reader.step():
        pass
    reader.end()
    return walk


def judged(
    repository: Repository, walk: PackWalk, new: bytes, old: bytes
) -> tuple[TreeComparison, list[frozenset[bytes]]]:
    """Compare and fetch missing trees; return the last comparison, and the trees fetched in each round."""
    walks = [walk]
    rounds: list[frozenset[bytes]] = []

    def lookup(oid: bytes) -> Sliced[Tree | None]:
        for one in walks:
            tree = yield from one.tree(oid)
            if tree is not None:
                return tree
        return None

    while (result := finish(compare(new, [old], lookup, Everything()))).missing and not result.changed:
        answer = fetched(repository, result.missing)
        assert answer.objects == len(result.missing)
        rounds.append(result.missing)
        walks.append(answer)
    return result, rounds


@given(FILES, FILES)
def test_changed_paths_equal_git_diff_tree(
    repository: Repository, old: dict[str, tuple[int, str]], new: dict[str, tuple[int, str]]
) -> None:
    """Creations, deletions, modes, links, submodules, names that need quotes, files that become directories."""
    before, after = imported(repository, old, new)
    walk = walked(repository.packed(f"{after.hex()}\n{before.hex()}\n"))
    trees = [walk.graph.tree(name) for name in (after, before)]
    assert trees[0] is not None
    assert trees[1] is not None
    result = finish(compare(trees[0], [trees[1]], walk.tree, Everything()))
    printed = repository.git("diff-tree", "-r", "-z", "--no-renames", "--name-only", before.hex(), after.hex())
    assert result.changed == tuple(sorted(set(printed.split(b"\0")[:-1])))


def test_missing_trees_come_from_the_forge(repository: Repository) -> None:
    """The pack holds only new trees. Only the old trees that are needed are fetched."""
    plain = (0o100644, "1")
    old = {".github/workflows/ci.yml": plain, "src/a": plain, "docs/deep/b": plain}
    before, good, evil = imported(
        repository, old, {**old, "src/a": (0o100644, "2")}, {**old, ".github/workflows/ci.yml": (0o100644, "2")}
    )
    for tip, changed in ((good, (b"src/a",)), (evil, (b".github/workflows/ci.yml",))):
        data = repository.packed(f"{tip.hex()}\n^{before.hex()}\n", "--delta-base-offset")
        walk = walked(data)
        new, root = walk.graph.tree(tip), repository.oid(f"{before.hex()}^{{tree}}")
        assert new is not None
        assert finish(walk.tree(root)) is None
        result, rounds = judged(repository, walk, new, root)
        assert result == TreeComparison(changed)
        assert sum(map(len, rounds)) < 4


def test_one_fetch_can_bring_all_trees_of_a_commit(repository: Repository) -> None:
    """With ``blob:none`` and a depth of one: fewer rounds, more bytes."""
    (commit,) = imported(repository, {"a/b/c": (0o100644, "1"), "d/e": (0o100644, "2")})
    walk = fetched(repository, frozenset({commit}), filter_spec=b"blob:none", deepen=1)
    root = walk.graph.tree(commit)
    assert root is not None
    result = finish(compare(root, [], walk.tree, Everything()))
    assert result.changed == (b"a/b/c", b"d/e")
    assert walk.objects == 5
    assert packs.oid(packs.COMMIT, repository.git("cat-file", "commit", commit.hex())) == commit
