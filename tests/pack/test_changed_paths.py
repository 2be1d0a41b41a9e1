"""Changed protected paths: which are found, and which trees are reported as missing."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from credgate.pack import changed_paths
from credgate.pack.changed_paths import MAX_CHANGED, MAX_NAMES, Matcher, NameBudget, TreeComparison
from credgate.pack.objects import LimitError, Tree, TreeEntry
from credgate.rules.patterns import PathGlobs
from tests.fakes.packs import finish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from credgate.pack.objects import Sliced

FILE, RUN, LINK, SUB, DIR = 0o100644, 0o100755, 0o120000, 0o160000, 0o40000
Files = "Mapping[str, str | tuple[int, str]]"


@frozen
class Below:
    """Protects everything below one directory, and one file; ignores case with ``fold``."""

    directory: bytes = b".github/workflows"
    file: bytes = b"CODEOWNERS"
    fold: bool = False

    def _folded(self, path: bytes) -> bytes:
        return path.lower() if self.fold else path

    def matches(self, path: bytes) -> bool:
        """Whether it is the file, or below the directory."""
        path = self._folded(path)
        return path.startswith(self.directory + b"/") or path == self._folded(self.file)

    def below(self, directory: bytes) -> bool:
        """Whether it is above, below or equal to the directory."""
        directory = self._folded(directory) + b"/"
        return (self.directory + b"/").startswith(directory) or directory.startswith(self.directory + b"/")

    def shadows(self, path: bytes) -> str | None:
        """Name the directory and those above it."""
        return "the directory" if self.below(path) else None

    def fault(self, path: bytes) -> None:
        """Accept any length."""


class Trees:
    """Trees made from paths and looked up by id; some may be missing."""

    def __init__(self) -> None:
        self.all: dict[bytes, Tree] = {}
        self.missing: set[bytes] = set()
        self.asked = 0

    def make(self, files: Mapping[str, str | tuple[int, str]]) -> bytes:
        """Return the id of the tree of these paths. Equal texts have equal ids."""
        here: Tree = {}
        inner: dict[str, dict[str, str | tuple[int, str]]] = {}
        for path, content in files.items():
            first, slash, rest = path.partition("/")
            if slash:
                inner.setdefault(first, {})[rest] = content
            else:
                mode, text = content if isinstance(content, tuple) else (FILE, content)
                here[first.encode()] = TreeEntry(mode, text.encode().ljust(20, b"."))
        for name, below in inner.items():
            here[name.encode()] = TreeEntry(DIR, self.make(below))
        oid = (b"%d" % hash(tuple(sorted(here.items())))).ljust(20, b"#")[:20]
        self.all[oid] = here
        return oid

    def __call__(self, oid: bytes) -> Sliced[Tree | None]:
        """Look up a tree."""
        yield
        self.asked += 1
        return None if oid in self.missing else self.all[oid]


def compare(
    new: bytes, bases: Sequence[bytes], trees: Trees, protected: Matcher, max_names: int = MAX_NAMES
) -> TreeComparison:
    """Compare without slices."""
    return finish(changed_paths.compare(new, bases, trees, protected, NameBudget(max_names)))


W = ".github/workflows/"
OLD: Mapping[str, str | tuple[int, str]] = {
    "a": "1",
    "src/b": "2",
    W + "ci.yml": "3",
    W + "x.yml": "4",
    "CODEOWNERS": "5",
}


def without(*paths: str) -> dict[str, str | tuple[int, str]]:
    """Return the old files except these."""
    return {path: content for path, content in OLD.items() if path not in paths}


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        pytest.param({**OLD}, [], id="nothing"),
        pytest.param({**OLD, "a": "9", "src/c": "8"}, [], id="other files"),
        pytest.param({**OLD, ".github/other": "9"}, [], id="beside the protected directory"),
        pytest.param({**OLD, W + "ci.yml": "9"}, [W + "ci.yml"], id="changed"),
        pytest.param({**OLD, W + "new.yml": "3"}, [W + "new.yml"], id="created"),
        pytest.param({**OLD, W + "deep/er.yml": "3"}, [W + "deep/er.yml"], id="created deeper"),
        pytest.param(without(W + "ci.yml"), [W + "ci.yml"], id="deleted"),
        pytest.param(without(W + "ci.yml", W + "x.yml"), [W + "ci.yml", W + "x.yml"], id="directory deleted"),
        pytest.param({**without(W + "ci.yml"), W + "cd.yml": "3"}, [W + "cd.yml", W + "ci.yml"], id="renamed"),
        pytest.param({**without(W + "ci.yml"), "ci.yml": "3"}, [W + "ci.yml"], id="moved out"),
        pytest.param({**without("a"), W + "a": "1"}, [W + "a"], id="moved in"),
        pytest.param({**OLD, W + "ci.yml": (RUN, "3")}, [W + "ci.yml"], id="mode changed"),
        pytest.param({**OLD, W + "ci.yml": (LINK, "3")}, [W + "ci.yml"], id="file becomes a link"),
        pytest.param({**OLD, W + "ci.yml": (SUB, "3")}, [W + "ci.yml"], id="file becomes a submodule"),
        pytest.param({**OLD, W + "s": (SUB, "3")}, [W + "s"], id="submodule below"),
        pytest.param(
            {**without(W + "ci.yml", W + "x.yml"), ".github": (LINK, "9")},
            [".github", W + "ci.yml", W + "x.yml"],
            id="parent becomes a link",
        ),
        pytest.param(
            {**without(W + "ci.yml", W + "x.yml"), ".github/workflows": (SUB, "9")},
            [".github/workflows", W + "ci.yml", W + "x.yml"],
            id="directory becomes a submodule",
        ),
        pytest.param(
            {**without(W + "ci.yml", W + "x.yml"), ".github": "9"},
            [W + "ci.yml", W + "x.yml"],
            id="parent becomes a file",
        ),
        pytest.param({**OLD, "CODEOWNERS": "9"}, ["CODEOWNERS"], id="file protected by name"),
        pytest.param({**without("CODEOWNERS"), "CODEOWNERS/x": "9"}, ["CODEOWNERS"], id="file becomes a directory"),
        pytest.param({**OLD, ".GitHub/workflows/x": "9"}, [], id="another case, not folded"),
        pytest.param({**OLD, W + 'é "q"\n': "9"}, [W + 'é "q"\n'], id="non-ASCII and quoted name"),
        pytest.param({**OLD, ".github/workflows2/x": "9"}, [], id="longer name"),
    ],
)
def test_changed_paths_against_the_old_tree(new: Files, changed: list[str]) -> None:
    """Each kind of change, and changes that are not protected."""
    trees = Trees()
    result = compare(trees.make(new), [trees.make(OLD)], trees, Below())
    assert result == TreeComparison(tuple(sorted(path.encode() for path in changed)))
    assert result.unchanged == (not changed)


def test_matcher_decides_about_case() -> None:
    """The matcher sees every name, so it can ignore case."""
    trees = Trees()
    new = {**OLD, ".GitHub/Workflows/x": "9", "codeowners": "9"}
    result = compare(trees.make(new), [trees.make(OLD)], trees, Below(file=b"codeowners", fold=True))
    assert result.changed == (b".GitHub/Workflows/x", b"codeowners")


def test_without_base_every_protected_path_is_changed() -> None:
    """A new branch without a merge base."""
    trees = Trees()
    expected = (W + "ci.yml").encode(), (W + "x.yml").encode(), b"CODEOWNERS"
    assert compare(trees.make(OLD), [], trees, Below()).changed == expected
    assert compare(trees.make({"a": "1"}), [], trees, Below()).unchanged


MAIN = {**OLD, W + "ci.yml": "main's", W + "added.yml": "main's"}


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        pytest.param({**MAIN, "a": "9"}, [], id="main's own version"),
        pytest.param({**OLD, W + "ci.yml": "main's"}, [], id="some of main's"),
        pytest.param({**MAIN, W + "ci.yml": "evil"}, [W + "ci.yml"], id="evil merge"),
        pytest.param({**MAIN, W + "evil.yml": "9"}, [W + "evil.yml"], id="evil merge adds"),
        pytest.param({**MAIN, W + "ci.yml": "0"}, [W + "ci.yml"], id="an older version restored"),
        pytest.param({"a": "1"}, [W + "ci.yml", W + "x.yml", "CODEOWNERS"], id="a deletion of what both have"),
    ],
)
def test_merge_may_bring_the_default_branch_s_version(new: Files, changed: list[str]) -> None:
    """Each path must be as in one of the bases."""
    trees = Trees()
    result = compare(trees.make(new), [trees.make(OLD), trees.make(MAIN)], trees, Below())
    assert result.changed == tuple(sorted(path.encode() for path in changed))


def test_equal_and_unprotected_trees_are_not_read() -> None:
    """Equal ids are skipped, and so are directories without a rule."""
    trees = Trees()
    old = trees.make(OLD)
    assert compare(old, [old], trees, Below()).unchanged
    assert trees.asked == 0
    new = trees.make({**OLD, "src/b": "9", ".github/other": "9"})
    assert compare(new, [old], trees, Below()).unchanged
    assert trees.asked == 4


def test_missing_trees_are_reported_level_by_level() -> None:
    """A change that is found is final at once."""
    trees = Trees()
    old, new = trees.make(OLD), trees.make({**OLD, W + "ci.yml": "9"})
    trees.missing = set(trees.all)
    rounds = 0
    while not (result := compare(new, [old], trees, Below())).changed:
        assert result.missing
        assert not result.unchanged
        trees.missing -= result.missing
        rounds += 1
    assert (rounds, result) == (3, TreeComparison(((W + "ci.yml").encode(),)))
    trees.missing = {old}
    assert compare(new, [old], trees, Below()).missing == {old}


def test_change_is_final_while_trees_are_missing() -> None:
    """A tree that is fetched later cannot undo it."""
    trees = Trees()
    old = trees.make(OLD)
    new = trees.make({**OLD, "CODEOWNERS": "9", ".github/z": "1"})
    trees.missing = {trees.all[new][b".github"].oid}
    result = compare(new, [old], trees, Below())
    assert (result.changed, result.missing, result.unchanged) == ((b"CODEOWNERS",), trees.missing, False)


class Everything:
    """Protects every path."""

    def matches(self, path: bytes) -> bool:
        """Match every path."""
        return fnmatchcase(path.decode(), "*")

    def below(self, directory: bytes) -> bool:
        """Descend everywhere."""
        return bool(directory)

    def shadows(self, path: bytes) -> None:
        """Name no directory."""

    def fault(self, path: bytes) -> None:
        """Accept any length."""


def test_number_of_reported_paths_is_limited() -> None:
    """One is enough to refuse the push."""
    trees = Trees()
    new = trees.make({f"d{number}/f{each}": "9" for number in range(30) for each in range(3)})
    result = compare(new, [], trees, Everything())
    assert (len(result.changed), result.exceeded) == (MAX_CHANGED, False)


def test_repeated_tree_exceeds_the_limit_of_names() -> None:
    """Ten names of one tree, ten levels deep: a few objects stand for ten thousand million files."""
    trees = Trees()
    content: Mapping[str, str | tuple[int, str]] = {}
    oid = trees.make(content)
    for _ in range(10):
        trees.all[bytes([len(trees.all)]) * 20] = dict.fromkeys(
            (b"%d" % number for number in range(10)), TreeEntry(DIR, oid)
        )
        oid = bytes([len(trees.all) - 1]) * 20
    result = compare(oid, [], trees, Everything(), max_names=5000)
    assert (result.exceeded, result.unchanged) == (True, False)


def test_link_under_wildcard_rule_is_an_ordinary_file() -> None:
    """``**/CODEOWNERS`` may match below any name. A link counts only in place of the file itself."""
    trees, globs = Trees(), PathGlobs(("**/CODEOWNERS", ".github/workflows/**"))
    old = trees.make(OLD)
    for kind in (LINK, SUB):
        for name in ("lib.so", "vendor/x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).unchanged
        taken = trees.make({**OLD, "d/CODEOWNERS": (kind, "3")})
        assert compare(taken, [old], trees, globs).changed == (b"d/CODEOWNERS",)
        above = trees.make({**without(W + "ci.yml", W + "x.yml"), ".github": (kind, "3")})
        assert b".github" in compare(above, [old], trees, globs).changed


def test_link_in_place_of_named_directory_is_a_change() -> None:
    """After a wildcard, too: ``**/workflows/**`` and ``deploy-*/config`` name directories anywhere."""
    trees, globs = Trees(), PathGlobs(("**/workflows/**", "deploy-*/config"))
    old = trees.make(OLD)
    for kind in (LINK, SUB):
        for name in ("a/workflows", "deploy-x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).changed == (name.encode(),)
        for name in ("a/works", "a/deploy-x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).unchanged


@pytest.mark.parametrize("side", ["new", "base"])
def test_too_long_changed_path_raises_limit_error(side: str) -> None:
    """Added or removed. An unchanged long path does not matter."""
    trees, long = Trees(), "\u0301\u0316" * 100_000
    plain, marked = trees.make(OLD), trees.make({**OLD, long: "1"})
    new, base = (marked, plain) if side == "new" else (plain, marked)
    with pytest.raises(LimitError, match="more than 255 bytes"):
        compare(new, [base], trees, PathGlobs(("Makefile",)))
    both = trees.make({**OLD, long: "1", "src/b": "9"})
    assert compare(both, [marked], trees, PathGlobs(("Makefile",))).unchanged


def test_names_of_every_side_count() -> None:
    """Otherwise ten bases of a hundred thousand names would count as a hundred thousand."""
    trees = Trees()
    sides = [trees.make({**{f"f{each}": "1" for each in range(100)}, "x": str(number)}) for number in range(11)]
    budget = NameBudget(10_000)
    assert finish(changed_paths.compare(sides[0], sides[1:], trees, Below(), budget)).unchanged
    assert budget.left == 10_000 - (11 * 102 + 4)
    assert compare(sides[0], sides[1:], trees, Below(), max_names=500).exceeded


def test_comparison_runs_in_slices() -> None:
    """A large directory with many differences must not block other work."""
    trees = Trees()
    old, new = ({f"f{each}": str(side) for each in range(5000)} for side in range(2))
    work = changed_paths.compare(trees.make(new), [trees.make(old)], trees, Below())
    assert sum(1 for _ in work) >= 10
