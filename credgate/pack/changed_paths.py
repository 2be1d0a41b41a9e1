"""Finds the protected paths that a push changes, by comparing its tree with the trees that are allowed.

A path is unchanged if its entry (mode and object id) equals the entry in one of the *bases*. These are the tree at the
ref's old value and, for a merge, the tree at the merge base with the default branch: a push may merge the default
branch's own version of a file, but not another version in a merge commit. Without a base, every entry is a change.

Only directories in which a rule may match are read, and subtrees with equal ids are skipped. Trees that are missing are
reported together, level by level, so that the caller can fetch them. Blobs are never read, and renames are not
detected: a rename is a deletion and a creation. Paths are compared as bytes; the matcher folds case.

A symbolic link or submodule in place of a directory that a rule names is a change, even if the rule's files stay the
same: its content is not in the tree. Where a rule reaches only by ``*`` or ``**``, links and submodules are ordinary
files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from credgate.pack.memory import BUDGET
from credgate.pack.objects import LimitError, PackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from credgate.pack.objects import Sliced, Tree, TreeEntry

# Default limit of names read: about 3 s. It is needed because one tree may occur in a thousand places.
# A name that differs counts five times: 200,000 changed files cost as much as a million unchanged names.
MAX_NAMES = 1_000_000
MAX_CHANGED = 20
"""Changed paths that are reported. One more ends the comparison."""
_NAMES_PER_SLICE = 500
# The cost of matching a path, in names read: four, and one for each 256 bytes of the path.
_NAMES_PER_DIFFERENCE, _BYTES_PER_NAME = 4, 256
# The cost of a tree that cannot be read, wherever in it the fault is: about as many names as the largest tree has.
_NAMES_OF_MALFORMED = 150_000


class Matcher(Protocol):
    """The protected paths. Paths are bytes as in trees, joined by ``/``, without a slash at either end."""

    def matches(self, path: bytes) -> bool:
        """Whether ``path`` is protected."""
        ...

    def below(self, directory: bytes) -> bool:
        """Whether a path below ``directory`` may be protected."""
        ...

    def shadows(self, path: bytes) -> str | None:
        """Return the rule that names ``path`` as a directory, or ``None``."""
        ...

    def fault(self, path: bytes) -> str | None:
        """Return why ``path`` cannot be matched, or ``None`` if it can."""
        ...


@define(slots=True)
class NameBudget:
    """Names that may still be read. Comparisons may share it; one that fails has used its part, too."""

    left: int = field(factory=lambda: MAX_NAMES)


@frozen(slots=True)
class TreeComparison:
    """The result: the ``changed`` paths, and the ``missing`` trees to fetch before comparing again.

    A changed path is final even if trees are missing. ``exceeded``: there was too much to compare, so an empty
    ``changed`` proves nothing.
    """

    changed: tuple[bytes, ...] = ()
    missing: frozenset[bytes] = frozenset()
    exceeded: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether it is proved that no protected path changes."""
        return not (self.changed or self.missing or self.exceeded)


@frozen(slots=True)
class _Directory:
    """One directory to compare; ``None`` for a side that does not have it."""

    prefix: bytes
    new: bytes | None
    bases: tuple[bytes | None, ...]


def compare(
    new: bytes,
    bases: Sequence[bytes],
    lookup: Callable[[bytes], Sliced[Tree | None]],
    protected: Matcher,
    budget: NameBudget | None = None,
) -> Sliced[TreeComparison]:
    """Compare the tree ``new`` with the trees ``bases`` (all are ids) where ``protected`` may match.

    ``lookup`` returns a tree's entries, or ``None`` if the tree is missing; its exceptions pass through. Raises
    ``LimitError`` for a changed path that is too long to be matched.
    """
    if new in bases:
        return TreeComparison()
    search = _Search(lookup, protected, NameBudget() if budget is None else budget)
    search.ahead.append(_Directory(b"", new, tuple(bases)))
    try:
        while search.ahead and not search.exceeded and len(search.changed) <= MAX_CHANGED:
            yield from search.directory(search.ahead.pop())
        changed = tuple(sorted(search.changed)[:MAX_CHANGED])
        return TreeComparison(changed, frozenset(search.missing), bool(search.ahead) and not changed)
    finally:
        BUDGET.discard(search.ahead)


class _Search:
    """The state of one comparison."""

    def __init__(self, lookup: Callable[[bytes], Sliced[Tree | None]], protected: Matcher, budget: NameBudget) -> None:
        self.ahead: list[_Directory] = []
        self.changed: list[bytes] = []
        self.missing: set[bytes] = set()
        self._lookup, self._protected, self._budget = lookup, protected, budget

    @property
    def exceeded(self) -> bool:
        """Whether the limit of names is reached."""
        return self._budget.left <= 0

    def directory(self, here: _Directory) -> Sliced[None]:
        """Compare one directory, and queue the directories below it that differ."""
        trees: list[Tree | None] = []
        try:
            yield from self._compare(here, trees)
        finally:
            for tree in trees:
                if tree:
                    BUDGET.discard(tree)  # it may have 150,000 names

    def _compare(self, here: _Directory, trees: list[Tree | None]) -> Sliced[None]:
        for oid in (here.new, *here.bases):
            # The names of every side count, because reading is what costs. Each tree may have 150,000.
            if self.exceeded:
                self.ahead.append(here)
                return
            trees.append((yield from self._tree(oid)))
        sides = [tree for tree in trees if tree is not None]
        if len(sides) < len(trees):
            return  # compared again when the missing trees are fetched
        new, bases = sides[0], sides[1:]
        # Name by name: building a set or a sorted list of all names would hold the interpreter lock.
        for side, tree in enumerate(sides):
            for number, name in enumerate(tree):
                if number % _NAMES_PER_SLICE == _NAMES_PER_SLICE - 1:
                    yield
                if any(name in before for before in sides[:side]):
                    continue
                entry, others = new.get(name), [base.get(name) for base in bases]
                if entry not in others or not bases:
                    yield from self._difference(here.prefix + name, entry, others)

    def _tree(self, oid: bytes | None) -> Sliced[Tree | None]:
        if oid is None:
            return {}
        try:
            tree = yield from self._lookup(oid)
        except PackError:
            self._budget.left -= _NAMES_OF_MALFORMED
            raise
        self._budget.left -= 1
        if tree is None:
            self.missing.add(oid)
        else:
            self._budget.left -= len(tree)
        return tree

    def _difference(self, path: bytes, entry: TreeEntry | None, others: list[TreeEntry | None]) -> Sliced[None]:
        """Handle a name that differs from each base."""
        too_long = self._protected.fault(path)
        if too_long is not None:
            raise LimitError(too_long)
        # Matching costs more than reading, and more for a longer path.
        self._budget.left -= _NAMES_PER_DIFFERENCE + len(path) // _BYTES_PER_NAME
        if len(path) > _BYTES_PER_NAME:
            yield
        new, bases = _subtree(entry), tuple(map(_subtree, others))
        trees = any(oid is not None for oid in (new, *bases))
        below = self._protected.below(path)
        if trees and below:
            self.ahead.append(_Directory(path + b"/", new, bases))
        away = entry is not None and entry.leads_away and self._protected.shadows(path) is not None
        # A directory in which a rule may match is descended into, so that its files are reported. A directory that only
        # matches itself is reported as such.
        descends = below and all(one is None or one.is_tree for one in (entry, *others))
        if away or (self._protected.matches(path) and not descends):
            self.changed.append(path)


def _subtree(entry: TreeEntry | None) -> bytes | None:
    return entry.oid if entry is not None and entry.is_tree else None
