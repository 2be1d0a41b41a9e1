"""The commits of one push, from its pack and from the forge: each commit's parents and tree.

The graph is compact: a hundred thousand commits take about 14 MB. Ids are numbered in the order in which they are first
seen, a single parent is a number in an array, and only merges have a tuple. An id may be known only as a parent. Its
commit is then not held, and a walk that reaches it has reached the graph's *boundary*.

The graph decides nothing and drops nothing. When a limit is reached, it takes no more commits and clears ``complete``.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from credgate.pack.memory import BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.pack.memory import PushMemory
    from credgate.pack.objects import Commit, ObjectFormat, Tag

MAX_OIDS = 400_000
"""Default limit of numbered ids: commits, their parents, and the trees and tags that are kept."""
# Annotated tags that are kept: as many as one push may name.
MAX_TAGS = 20_000
# Commits that all walks over one graph may visit together: about 6 s. A push may name 20,000 refs.
MAX_STEPS = 20_000_000

# Bytes that an id takes besides its own: it is an object, a key in a table that grows by doubling, a number, and a row
# in three arrays. Measured: 173 to 205 for an id of 20 or 32 bytes. A merge takes 140, with two parents.
_EACH_ID, _EACH_MERGE, _EACH_PARENT, _EACH_TAG = 190, 124, 8, 260
# Values in place of a parent's number: the commit is not held, has no parent, or has several (see ``_merges``).
_UNKNOWN, _ROOT, _MERGE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


class CommitGraph:
    """Commits by id, in a compact form."""

    def __init__(self, object_format: ObjectFormat, max_oids: int = MAX_OIDS, memory: PushMemory | None = None) -> None:
        """``memory``: the account of the push that holds this graph."""
        self.object_format = object_format
        self.memory = BUDGET.push() if memory is None else memory
        self.complete = True
        """No commit was left out."""
        self.commits = 0
        """Number of commits held."""
        self.steps_left = MAX_STEPS
        """Commits that walks may still visit. Each walk decrements it."""
        self._max_oids, self._edges_left = max_oids, 4 * max_oids  # four edges for each id are ample for real histories
        self._numbers: dict[bytes, int] = {}
        self._parents = array("I")
        self._merges: dict[int, tuple[int, ...]] = {}
        self._trees = bytearray()
        self._tags: dict[bytes, bytes] = {}
        self._id_bytes = _EACH_ID + object_format.size
        self._merge_bytes = 0

    def __del__(self) -> None:
        # The only place that covers every way in which a push may end, as in ``object_store``.
        discard = self.memory.budget.discard
        discard(self._numbers, self.memory, len(self._numbers) * self._id_bytes)
        discard(self._merges, self.memory, self._merge_bytes)
        discard(self._tags, self.memory, len(self._tags) * _EACH_TAG)

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, oid: bytes) -> int | None:
        """Return the number of ``oid``, or ``None`` if it has none."""
        return self._numbers.get(oid)

    def number(self, oid: bytes) -> int:
        """Return the number of ``oid``, and assign one if it has none."""
        numbers = self._numbers
        number = numbers.setdefault(oid, len(numbers))
        if number == len(self._parents):
            self._parents.append(_UNKNOWN)
            self._trees += bytes(self.object_format.size)
            self.memory.take(self._id_bytes)
        return number

    @property
    def full(self) -> bool:
        """Whether the limit of ids is reached."""
        return len(self._numbers) >= self._max_oids

    def add(self, oid: bytes, commit: Commit) -> None:
        """Add a commit whose id was computed from its bytes. Over the limit, clear :attr:`complete` instead."""
        count = len(commit.parents)
        # Edges are limited, too: a commit may name one parent a hundred thousand times in a few compressed bytes.
        if len(self._numbers) + count >= self._max_oids or count > self._edges_left:
            self.complete = False
            return
        merge = _EACH_MERGE + _EACH_PARENT * count if count > 1 else 0
        if not self.has_room((1 + count) * self._id_bytes + merge):
            self.complete = False
            return
        number = self.number(oid)
        parents = tuple(map(self.number, commit.parents))
        self.commits += self._parents[number] == _UNKNOWN
        if count > 1 and number not in self._merges:
            self._merges[number] = parents
            self._merge_bytes += merge
            self.memory.take(merge)
            self._edges_left -= count
        self._parents[number] = _MERGE if count > 1 else parents[0] if parents else _ROOT
        size = self.object_format.size
        self._trees[number * size : (number + 1) * size] = commit.tree

    def add_tag(self, oid: bytes, tag: Tag) -> None:
        """Add an annotated tag, unless the limit is reached."""
        if oid not in self._tags and len(self._tags) < MAX_TAGS and self.has_room(_EACH_TAG):
            self._tags[oid] = tag.target
            self.memory.take(_EACH_TAG)

    def has_room(self, count: int = 0) -> bool:
        """Whether the push may hold ``count`` more bytes, or one more id. If not, the push's account remembers it."""
        if self.memory.fits(count or self._id_bytes):
            return True
        self.memory.refused = True
        return False

    def parents(self, number: int) -> tuple[int, ...] | None:
        """Return the numbers of a commit's parents, or ``None`` if the commit is not held."""
        first = self._parents[number]
        if first == _UNKNOWN:
            return None
        if first == _MERGE:
            return self._merges[number]
        return () if first == _ROOT else (first,)

    def has(self, oid: bytes) -> bool:
        """Whether the commit with this id is held."""
        number = self.find(oid)
        return number is not None and self._parents[number] != _UNKNOWN

    def tree(self, oid: bytes) -> bytes | None:
        """Return the id of a commit's tree, or ``None`` if the commit is not held."""
        number = self.find(oid)
        if number is None or self._parents[number] == _UNKNOWN:
            return None
        size = self.object_format.size
        return bytes(self._trees[number * size : (number + 1) * size])

    def peel(self, oid: bytes) -> bytes:
        """Follow annotated tags from ``oid`` to the object that they finally point to, as far as the tags are held."""
        # There are no cycles, because a tag's id is a hash over its target's id. The paths are compressed: a chain of
        # 20,000 tags is followed once, not once for each of 2,000 refs.
        passed, targets = [], self._tags
        while oid in targets:
            passed.append(oid)
            oid = targets[oid]
        for tag in passed:
            targets[tag] = oid
        return oid

    def oids(self, numbers: Iterable[int]) -> frozenset[bytes]:
        """Return the ids of these numbers. Each call scans all ids, so pass all numbers at once."""
        wanted = frozenset(numbers)
        return frozenset(oid for oid, number in self._numbers.items() if number in wanted) if wanted else frozenset()
