"""Which protected paths a push changes: the tree that it brings against the trees that are allowed.

A path is unchanged when what stands there (mode and object) is what stands there in one of the *bases*: the tree at
the ref's old value, and for a merge the tree at the merge base with the default branch, so that bringing in the default
branch's own version passes and an evil merge does not. Without a base everything that is there is a change. Only the
directories that a rule looks below are read, and what both sides have in common is not: trees are looked up by id, and
those that are missing are named together, level by level, so that they can be fetched. Never looks at a blob, knows no
renames (a rename is a deletion and a creation), and compares bytes: folding case is the matcher's business.

A symbolic link or a submodule in the place of a directory that a rule spells, wherever that may lie, is a change: what
lies behind it is not in the tree. Where a rule merely passes (by ``*``, ``**``) links and submodules are like any file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from credgate.pack.objects import LimitError
from credgate.pack.slices import finish
from credgate.rules.path_folding import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from credgate.pack.objects import Tree, TreeEntry
    from credgate.pack.slices import Sliced

MAX_NAMES = 1_000_000
"""Names that are read unless the caller says otherwise, some 3 s: one tree may stand in a thousand places.

A name that differs counts for five: 200,000 changed files are as much as a million names that were read.
"""
MAX_CHANGED = 20
"""Changed paths that are named; finding one more ends the comparison."""
_NAMES_PER_SLICE = 500
_NAMES_PER_DIFFERENCE, _BYTES_PER_NAME = 4, 256


class Matcher(Protocol):
    """The protected paths, compiled. Paths are bytes as in the trees, joined by ``/``, without one at either end."""

    def matches(self, path: bytes) -> bool:
        """Whether what stands at ``path`` is protected."""
        ...

    def below(self, directory: bytes) -> bool:
        """Whether something below ``directory`` may be protected."""
        ...

    def shadows(self, path: bytes) -> str | None:
        """Return the rule that names ``path`` as a directory of its own; ``None``: none does."""
        ...


@frozen(slots=True)
class TreeComparison:
    """What was found: ``changed`` paths if there are any; ``missing`` trees to fetch before comparing again.

    A changed path is final, whatever is missing. ``exceeded``: there was too much to compare, so nothing is proved.
    """

    changed: tuple[bytes, ...] = ()
    missing: frozenset[bytes] = frozenset()
    exceeded: bool = False
    names: int = field(default=0, eq=False)
    """How much was read and compared, as ``max_names`` counts it."""

    @property
    def unchanged(self) -> bool:
        """Whether it is proved that no protected path is changed."""
        return not (self.changed or self.missing or self.exceeded)


@frozen(slots=True)
class _Directory:
    """One directory to compare; ``None`` where a side has none."""

    prefix: bytes
    new: bytes | None
    bases: tuple[bytes | None, ...]


def compare(
    new: bytes,
    bases: Sequence[bytes],
    lookup: Callable[[bytes], Tree | None],
    protected: Matcher,
    max_names: int = MAX_NAMES,
) -> TreeComparison:
    """Compare the tree ``new`` with the trees ``bases`` (ids all) where ``protected`` looks.

    ``lookup`` gives a tree's entries, ``None`` when it is missing; what it raises goes through. Raises ``LimitError``
    for a changed path that is too long to be matched.
    """

    def at_once(oid: bytes) -> Sliced[Tree | None]:
        yield
        return lookup(oid)

    return finish(comparing(new, bases, at_once, protected, max_names))


def comparing(
    new: bytes,
    bases: Sequence[bytes],
    lookup: Callable[[bytes], Sliced[Tree | None]],
    protected: Matcher,
    max_names: int = MAX_NAMES,
) -> Sliced[TreeComparison]:
    """Do the same in slices."""
    if new in bases:
        return TreeComparison()
    search = _Search(lookup, protected, max_names)
    search.ahead.append(_Directory(b"", new, tuple(bases)))
    while search.ahead and not search.exceeded and len(search.changed) <= MAX_CHANGED:
        yield from search.directory(search.ahead.pop())
    changed = tuple(sorted(search.changed)[:MAX_CHANGED])
    return TreeComparison(changed, frozenset(search.missing), bool(search.ahead) and not changed, search.names)


class _Search:
    """A comparison on its way."""

    def __init__(self, lookup: Callable[[bytes], Sliced[Tree | None]], protected: Matcher, max_names: int) -> None:
        self.ahead: list[_Directory] = []
        self.changed: list[bytes] = []
        self.missing: set[bytes] = set()
        self.names = 0
        self._lookup, self._protected, self._max_names = lookup, protected, max_names

    @property
    def exceeded(self) -> bool:
        """Whether as many names were read as may be."""
        return self.names >= self._max_names

    def directory(self, here: _Directory) -> Sliced[None]:
        """Compare one directory; put those below it that differ ahead."""
        trees: list[Tree | None] = []
        for oid in (here.new, *here.bases):
            # Reading is what costs: the names of every side count, and each tree may have 150,000.
            if self.exceeded:
                self.ahead.append(here)
                return
            trees.append((yield from self._tree(oid)))
        whole = [tree for tree in trees if tree is not None]
        if len(whole) < len(trees):
            return
        new, bases = whole[0], whole[1:]
        # One name after the other: a set or a sorted list of all holds the interpreter's lock while it is made.
        for side, tree in enumerate(whole):
            for number, name in enumerate(tree):
                if number % _NAMES_PER_SLICE == _NAMES_PER_SLICE - 1:
                    yield
                if any(name in before for before in whole[:side]):
                    continue
                entry, others = new.get(name), [base.get(name) for base in bases]
                if entry not in others or not bases:
                    yield from self._difference(here.prefix + name, entry, others)

    def _tree(self, oid: bytes | None) -> Sliced[Tree | None]:
        if oid is None:
            return {}
        tree = yield from self._lookup(oid)
        self.names += 1
        if tree is None:
            self.missing.add(oid)
        else:
            self.names += len(tree)
        return tree

    def _difference(self, path: bytes, entry: TreeEntry | None, others: list[TreeEntry | None]) -> Sliced[None]:
        """Judge a name that differs from each base."""
        too_long = fault(path)
        if too_long is not None:
            raise LimitError(too_long)
        # Matching takes longer than reading, and more the longer the path is.
        self.names += _NAMES_PER_DIFFERENCE + len(path) // _BYTES_PER_NAME
        if len(path) > _BYTES_PER_NAME:
            yield
        new, bases = _subtree(entry), tuple(map(_subtree, others))
        trees = any(oid is not None for oid in (new, *bases))
        below = self._protected.below(path)
        if trees and below:
            self.ahead.append(_Directory(path + b"/", new, bases))
        away = entry is not None and entry.leads_away and self._protected.shadows(path) is not None
        # A directory that a rule looks below is opened, so that files are named; one that only matches is named itself.
        opened = below and _only_trees(entry, others)
        if away or (self._protected.matches(path) and not opened):
            self.changed.append(path)


def _subtree(entry: TreeEntry | None) -> bytes | None:
    return entry.oid if entry is not None and entry.is_tree else None


def _only_trees(entry: TreeEntry | None, others: list[TreeEntry | None]) -> bool:
    """Whether the name stands for a directory, or nothing, on every side."""
    return all(one is None or one.is_tree for one in (entry, *others))
