"""The protected-path table at its core, and what is asked for when trees are missing."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from credgate.pack.changed_paths import MAX_CHANGED, TreeComparison, compare, comparing
from credgate.pack.objects import LimitError, Tree, TreeEntry
from credgate.rules.patterns import PathGlobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from credgate.pack.slices import Sliced

FILE, RUN, LINK, SUB, DIR = 0o100644, 0o100755, 0o120000, 0o160000, 0o40000
Files = "Mapping[str, str | tuple[int, str]]"


@frozen
class Below:
    """Protects everything below one directory, and one file; folding case if told to."""

    directory: bytes = b".github/workflows"
    file: bytes = b"CODEOWNERS"
    fold: bool = False

    def _folded(self, path: bytes) -> bytes:
        return path.lower() if self.fold else path

    def matches(self, path: bytes) -> bool:
        """Whether it is the file or below the directory."""
        path = self._folded(path)
        return path.startswith(self.directory + b"/") or path == self._folded(self.file)

    def below(self, directory: bytes) -> bool:
        """Whether it lies on the way to the directory, or in it."""
        directory = self._folded(directory) + b"/"
        return (self.directory + b"/").startswith(directory) or directory.startswith(self.directory + b"/")

    def shadows(self, path: bytes) -> str | None:
        """Spell the directory and those above it."""
        return "the directory" if self.below(path) else None


class Trees:
    """Trees made from paths, looked up by id; some may be missing."""

    def __init__(self) -> None:
        self.all: dict[bytes, Tree] = {}
        self.missing: set[bytes] = set()
        self.asked = 0

    def make(self, files: Mapping[str, str | tuple[int, str]]) -> bytes:
        """Return the id of the tree of these paths; a content is an id here, equal if its text is."""
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

    def __call__(self, oid: bytes) -> Tree | None:
        """Look one up."""
        self.asked += 1
        return None if oid in self.missing else self.all[oid]


W = ".github/workflows/"
OLD: Mapping[str, str | tuple[int, str]] = {
    "a": "1",
    "src/b": "2",
    W + "ci.yml": "3",
    W + "x.yml": "4",
    "CODEOWNERS": "5",
}


def without(*paths: str) -> dict[str, str | tuple[int, str]]:
    """Return the old files but these."""
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
def test_what_a_push_changes(new: Files, changed: list[str]) -> None:
    """By path, against the old tree."""
    trees = Trees()
    result = compare(trees.make(new), [trees.make(OLD)], trees, Below())
    assert result == TreeComparison(tuple(sorted(path.encode() for path in changed)))
    assert result.unchanged == (not changed)


def test_case_is_the_matcher_s_business() -> None:
    """Every name is shown to it, so it may fold."""
    trees = Trees()
    new = {**OLD, ".GitHub/Workflows/x": "9", "codeowners": "9"}
    result = compare(trees.make(new), [trees.make(OLD)], trees, Below(file=b"codeowners", fold=True))
    assert result.changed == (b".GitHub/Workflows/x", b"codeowners")


def test_a_new_branch_without_a_base_is_all_change() -> None:
    """Against nothing, what is protected is created."""
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
def test_a_merge_may_bring_what_the_default_branch_has(new: Files, changed: list[str]) -> None:
    """Each path must stand as in one of the bases."""
    trees = Trees()
    result = compare(trees.make(new), [trees.make(OLD), trees.make(MAIN)], trees, Below())
    assert result.changed == tuple(sorted(path.encode() for path in changed))


def test_an_unchanged_tree_is_not_even_looked_up() -> None:
    """And neither is an unprotected directory, nor one that both have."""
    trees = Trees()
    old = trees.make(OLD)
    assert compare(old, [old], trees, Below()).unchanged
    assert trees.asked == 0
    new = trees.make({**OLD, "src/b": "9", ".github/other": "9"})
    assert compare(new, [old], trees, Below()).unchanged
    assert trees.asked == 4


def test_missing_trees_are_named_level_by_level() -> None:
    """Each round names what can be known to be needed; a change that is found is final at once."""
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


def test_a_found_change_stands_beside_missing_trees() -> None:
    """Nothing that is fetched could undo it."""
    trees = Trees()
    old = trees.make(OLD)
    new = trees.make({**OLD, "CODEOWNERS": "9", ".github/z": "1"})
    trees.missing = {trees.all[new][b".github"].oid}
    result = compare(new, [old], trees, Below())
    assert (result.changed, result.missing, result.unchanged) == ((b"CODEOWNERS",), trees.missing, False)


class Everything:
    """Protects every path."""

    def matches(self, path: bytes) -> bool:
        """Whether it is a path at all."""
        return fnmatchcase(path.decode(), "*")

    def below(self, directory: bytes) -> bool:
        """Look everywhere."""
        return bool(directory)

    def shadows(self, path: bytes) -> None:
        """Spell nothing."""


def test_only_so_many_changed_paths_are_named() -> None:
    """One is enough to refuse."""
    trees = Trees()
    new = trees.make({f"d{number}/f{each}": "9" for number in range(30) for each in range(3)})
    result = compare(new, [], trees, Everything())
    assert (len(result.changed), result.exceeded) == (MAX_CHANGED, False)


def test_one_tree_in_a_million_places_is_not_opened_a_million_times() -> None:
    """Ten names of one tree, ten levels deep: a few objects that stand for ten thousand million files."""
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


def test_a_rule_that_looks_everywhere_minds_no_link() -> None:
    """``**/CODEOWNERS`` may stand below any name: a link is no reason to refuse, unless it takes the file's place."""
    trees, globs = Trees(), PathGlobs(("**/CODEOWNERS", ".github/workflows/**"))
    old = trees.make(OLD)
    for kind in (LINK, SUB):
        for name in ("lib.so", "vendor/x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).unchanged
        taken = trees.make({**OLD, "d/CODEOWNERS": (kind, "3")})
        assert compare(taken, [old], trees, globs).changed == (b"d/CODEOWNERS",)
        above = trees.make({**without(W + "ci.yml", W + "x.yml"), ".github": (kind, "3")})
        assert b".github" in compare(above, [old], trees, globs).changed


def test_a_link_takes_the_place_of_no_directory_that_a_rule_spells_anywhere() -> None:
    """Behind stars, too: ``**/workflows/**`` and ``deploy-*/config`` mean what is found below, wherever that lies."""
    trees, globs = Trees(), PathGlobs(("**/workflows/**", "deploy-*/config"))
    old = trees.make(OLD)
    for kind in (LINK, SUB):
        for name in ("a/workflows", "deploy-x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).changed == (name.encode(),)
        for name in ("a/works", "a/deploy-x"):
            assert compare(trees.make({**OLD, name: (kind, "3")}), [old], trees, globs).unchanged


@pytest.mark.parametrize("side", ["new", "base"])
def test_a_changed_path_that_is_too_long_is_not_matched(side: str) -> None:
    """Added or taken away; one that both sides have is nobody's business."""
    trees, long = Trees(), "\u0301\u0316" * 100_000
    plain, marked = trees.make(OLD), trees.make({**OLD, long: "1"})
    new, base = (marked, plain) if side == "new" else (plain, marked)
    with pytest.raises(LimitError, match="more than 255 bytes"):
        compare(new, [base], trees, PathGlobs(("Makefile",)))
    both = trees.make({**OLD, long: "1", "src/b": "9"})
    assert compare(both, [marked], trees, PathGlobs(("Makefile",))).unchanged


def test_the_names_of_every_side_count() -> None:
    """Ten bases of a hundred thousand names each once passed for a hundred thousand."""
    trees = Trees()
    sides = [trees.make({**{f"f{each}": "1" for each in range(100)}, "x": str(number)}) for number in range(11)]
    result = compare(sides[0], sides[1:], trees, Below(), max_names=10_000)
    assert result.unchanged
    assert result.names == 11 * 102 + 4
    assert compare(sides[0], sides[1:], trees, Below(), max_names=500).exceeded


def test_a_comparison_is_made_in_slices() -> None:
    """So that others have their turn: a large directory, and many differences."""
    trees = Trees()
    old, new = ({f"f{each}": str(side) for each in range(5000)} for side in range(2))
    work = comparing(trees.make(new), [trees.make(old)], _read_at_once(trees), Below())
    assert sum(1 for _ in work) >= 10


def _read_at_once(trees: Trees) -> Callable[[bytes], Sliced[Tree | None]]:
    def read(oid: bytes) -> Sliced[Tree | None]:
        yield
        return trees(oid)

    return read
