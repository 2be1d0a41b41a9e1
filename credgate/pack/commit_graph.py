"""The commits that one push is about, from its pack and from the forge: who is whose parent, and each one's tree.

Holds a hundred thousand commits in some 14 MB: ids are numbered as they are first seen, parents are numbers in an
array, only merges have a tuple. An id may be known only as somebody's parent; then its commit is not here, and whoever
walks has reached the graph's *boundary*. Never decides anything and never forgets: over its limit it takes no more and
says so by ``complete``.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.pack.objects import Commit, ObjectFormat, Tag

MAX_OIDS = 400_000
"""Ids that are numbered unless the caller says otherwise: commits, their parents, and trees and tags that are kept."""

MAX_TAGS = 20_000
"""Annotated tags that are kept: as many as one push may name."""

MAX_STEPS = 20_000_000
"""Commits that all walks over one graph may visit together, some 6 s: a push may name 20,000 refs."""

_UNKNOWN, _ROOT, _MERGE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


class CommitGraph:
    """Commits by id, compactly."""

    def __init__(self, object_format: ObjectFormat, max_oids: int = MAX_OIDS) -> None:
        self.object_format = object_format
        self.complete = True
        """No commit had to be left out."""
        self.commits = 0
        """How many commits are here."""
        self.steps_left = MAX_STEPS
        """Commits that walks may yet visit; those who walk count."""
        self._max_oids, self._edges_left = max_oids, 4 * max_oids
        self._numbers: dict[bytes, int] = {}
        self._parents = array("I")
        self._merges: dict[int, tuple[int, ...]] = {}
        self._trees = bytearray()
        self._tags: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, oid: bytes) -> int | None:
        """Return the number of ``oid`` if it was ever seen."""
        return self._numbers.get(oid)

    def number(self, oid: bytes) -> int:
        """Return the number of ``oid``, a new one if it was not seen before."""
        numbers = self._numbers
        number = numbers.setdefault(oid, len(numbers))
        if number == len(self._parents):
            self._parents.append(_UNKNOWN)
            self._trees += bytes(self.object_format.size)
        return number

    @property
    def full(self) -> bool:
        """The limit is reached: nothing more is numbered."""
        return len(self._numbers) >= self._max_oids

    def add(self, oid: bytes, commit: Commit) -> None:
        """Take a commit whose id was made from its bytes. Over the limit it is left out: see :attr:`complete`."""
        count = len(commit.parents)
        # A commit may name one parent a hundred thousand times, in a few compressed bytes: edges count too.
        if len(self._numbers) + count >= self._max_oids or count > self._edges_left:
            self.complete = False
            return
        number = self.number(oid)
        parents = tuple(map(self.number, commit.parents))
        self.commits += self._parents[number] == _UNKNOWN
        if count > 1:
            self._merges[number] = parents
            self._edges_left -= count
        self._parents[number] = _MERGE if count > 1 else parents[0] if parents else _ROOT
        size = self.object_format.size
        self._trees[number * size : (number + 1) * size] = commit.tree

    def add_tag(self, oid: bytes, tag: Tag) -> None:
        """Take an annotated tag; over the limit it is left out."""
        if len(self._tags) < MAX_TAGS:
            self._tags[oid] = tag.target

    def parents(self, number: int) -> tuple[int, ...] | None:
        """Return the numbers of a commit's parents, ``None`` when that commit is not here."""
        first = self._parents[number]
        if first == _UNKNOWN:
            return None
        if first == _MERGE:
            return self._merges[number]
        return () if first == _ROOT else (first,)

    def has(self, oid: bytes) -> bool:
        """Whether the commit of that id is here."""
        number = self.find(oid)
        return number is not None and self._parents[number] != _UNKNOWN

    def tree(self, oid: bytes) -> bytes | None:
        """Return the id of a commit's tree, ``None`` when that commit is not here."""
        number = self.find(oid)
        if number is None or self._parents[number] == _UNKNOWN:
            return None
        size = self.object_format.size
        return bytes(self._trees[number * size : (number + 1) * size])

    def peel(self, oid: bytes) -> bytes:
        """Follow annotated tags from ``oid`` to what they point to in the end, as far as they are here."""
        # A tag's id is a hash over its target's, so there is no way round in a circle. Each tag that was passed is
        # made to point to the end: a chain of 20,000 tags is followed once and not once for each of 2,000 refs.
        passed, targets = [], self._tags
        while oid in targets:
            passed.append(oid)
            oid = targets[oid]
        for tag in passed:
            targets[tag] = oid
        return oid

    def oids(self, numbers: Iterable[int]) -> frozenset[bytes]:
        """Return the ids of these numbers: one look at every id, so ask for all at once."""
        wanted = frozenset(numbers)
        return frozenset(oid for oid, number in self._numbers.items() if number in wanted) if wanted else frozenset()
