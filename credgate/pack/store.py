"""What is kept of a pack in passing: its commits and tags, and its trees when somebody asks, deltas resolved.

An entry that is a delta is a commit if its base is one (OFS_DELTA: by offset, REF_DELTA: by id), so every commit must
be remembered by where it stands, with its body as a possible base. A delta on something that is no kept object is not
wanted. A REF_DELTA may come before its base; it waits, up to a limit, for git itself writes the base first. Follows
git's ``gitformat-pack``; like ``index-pack`` it makes every id from the bytes and believes none.

Never keeps a blob. Over a limit it loses objects and says so: a lost commit only makes a push harder to judge
(``graph.complete``), a lost tree is one that :meth:`ObjectStore.body` does not have. Neither ever makes a rule lenient.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from credgate.pack import delta
from credgate.pack.compressed_bodies import CompressedBodies
from credgate.pack.objects import ObjectType, object_id, parse_commit, parse_tag
from credgate.pack.reader import OFS_DELTA, PackEntry

if TYPE_CHECKING:
    from credgate.pack.commit_graph import CommitGraph
    from credgate.pack.slices import Sliced


@frozen(slots=True)
class StoreLimits:
    """What one walk may hold and do. Bytes, unless said otherwise."""

    kept: int = 32 * 1024 * 1024
    """Commits, tags and trees, compressed as they are held."""
    body: int = 4 * 1024 * 1024
    """One of them."""
    delta: int = 256 * 1024
    """One delta."""
    waiting: int = 2 * 1024 * 1024
    """Deltas whose base was not seen yet."""
    made: int = 4 * 1024 * 1024 * 1024
    """All that deltas make, together."""
    work: int = 128 * 1024 * 1024
    """What keeping bodies and applying deltas may cost, counted in bytes made (see :meth:`ObjectStore.take`); some 1.3
    s.
    """
    work_per_byte: int = 512
    """What is added to ``work`` for each byte of the pack that was read: a long history costs as much as it brings."""
    oids: int = 400_000
    """Ids, counted."""
    inflated: int = 64 * 1024 * 1024 * 1024
    """All that the pack's entries inflate to."""


_EACH_DELTA, _DELTA_BYTE, _BASE_BYTES = 4096, 24, 4
# What takes as long as making so many bytes: one delta, a block opened for it; each of its bytes (there may be an
# instruction in every second one). As many bytes of its base take as long as one byte made.
TOO_MUCH = "more to inflate than can be judged in one push"
TOO_MANY_TREES = "more directories than can be judged in one push"
_WAITING_COST = 200
_NONE = 0xFFFFFFFF


class _Applying(NamedTuple):
    """A delta that is being applied; ``cost`` is counted when it is done."""

    entry: PackEntry
    kind: int
    cost: int
    work: Sliced[bytes]


class ObjectStore:
    """A pack's :class:`~credgate.pack.reader.Sink`: fills a graph, keeps trees, resolves deltas."""

    def __init__(self, graph: CommitGraph, limits: StoreLimits, *, trees: bool) -> None:
        self._graph, self._limits, self._format = graph, limits, graph.object_format
        self._kinds = frozenset({ObjectType.COMMIT, ObjectType.TAG} | ({ObjectType.TREE} if trees else set()))
        self._bodies = CompressedBodies(limits.kept)
        # One row an object: where it stands, what it is, its body's number. Ascending by offset; an object that had to
        # wait repeats the last offset here and has its own in _late.
        self._offsets, self._row_kinds, self._row_bodies = array("Q"), bytearray(), array("I")
        self._late: dict[int, int] = {}
        self._row_of = array("I")
        self._waiting: dict[int | bytes, list[tuple[PackEntry, bytes]]] = {}
        self._waiting_offsets: set[int] = set()
        self._waiting_bytes = self._made = self._work = 0
        self.exceeded = ""
        """The first limit that an object was lost to, for people; empty: none."""
        self._ready: deque[tuple[PackEntry, bytes, int]] = deque()
        self._applying: _Applying | None = None

    @property
    def backlog(self) -> bool:
        """Whether there are deltas to resolve."""
        return self._applying is not None or bool(self._ready)

    @property
    def waiting(self) -> int:
        """Deltas whose base was not seen: of blobs, of objects that the forge has (a thin pack), or to come."""
        return len(self._waiting_offsets)

    def wants(self, entry: PackEntry) -> bool:
        """Say whether an entry is, or may be, a commit, a tag or a tree to keep."""
        if entry.base is None:
            if entry.kind not in self._kinds:
                return False
            if self._overworked(entry):
                self._lost(entry.kind, TOO_MUCH)
                return False
            return self._fits(entry.kind, entry.size <= self._limits.body)
        row = self._row(entry.base)
        if row is None:
            return self._may_wait(entry)
        if self._overworked(entry):
            self._lost(self._row_kinds[row], TOO_MUCH)
            return False
        return self._fits(self._row_kinds[row], entry.size <= self._limits.delta and self._row_bodies[row] != _NONE)

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Keep a body; of a delta, what it makes. Raises :class:`PackError` when it is malformed.

        Returns the work that it was, in bytes made.
        """
        if entry.base is None:
            self._work += len(body)
            self._keep(entry.offset, entry.kind, body)
            return len(body)
        row = self._row(entry.base)
        if row is None:
            self._wait(entry, body)
        else:
            self._ready.append((entry, body, row))  # the reader catches up before it reads on
        return 0

    def catch_up(self) -> int:
        """Resolve one delta, or a part of one that has many instructions; return the work that it was."""
        if self._applying is None:
            entry, body, row = self._ready.popleft()
            self._waiting_offsets.discard(entry.offset)
            self._applying = self._begin(entry, body, row)
            if self._applying is None:
                return 0
        entry, kind, cost, applying = self._applying
        try:
            next(applying)
        except StopIteration as ended:
            self._applying = None
            self._keep(entry.offset, kind, ended.value)
            return cost
        return delta.PER_SLICE * 2 * _DELTA_BYTE

    def body(self, oid: bytes) -> bytes | None:
        """Return the body of a kept object, ``None`` when it is not here."""
        row = self._row(oid)
        if row is None or self._row_bodies[row] == _NONE:
            return None
        return self._bodies.get(self._row_bodies[row])

    def _row(self, base: int | bytes) -> int | None:
        """Find a kept object by offset or by id."""
        if isinstance(base, bytes):
            number = self._graph.find(base)
            if number is None or number >= len(self._row_of) or self._row_of[number] == _NONE:
                return None
            return self._row_of[number]
        row = bisect_left(self._offsets, base)
        if row < len(self._offsets) and self._offsets[row] == base:
            return row
        return self._late.get(base)

    def _lost(self, kind: int, why: str = TOO_MANY_TREES) -> None:
        self.exceeded = self.exceeded or why
        if kind == ObjectType.COMMIT:
            self._graph.complete = False

    def _fits(self, kind: int, possible: bool) -> bool:  # noqa: FBT001 - the limit that the caller looked up
        """Whether to read an entry of this kind; what cannot be read is lost."""
        if not possible:
            self._lost(kind)
            return False
        # Once no body can be kept there is more to learn only of commits: their parents.
        if kind == ObjectType.COMMIT or not self._bodies.full:
            return True
        self._lost(kind)
        return False

    def _may_wait(self, entry: PackEntry) -> bool:
        """Whether a delta on nothing known may yet turn out to be one on a commit, and there is room for it."""
        if entry.kind == OFS_DELTA and entry.base not in self._waiting_offsets:
            return False
        return entry.size <= self._limits.delta and self._waiting_bytes < self._limits.waiting

    def _wait(self, entry: PackEntry, body: bytes) -> None:
        assert entry.base is not None
        self._waiting.setdefault(entry.base, []).append((entry, body))
        self._waiting_offsets.add(entry.offset)
        self._waiting_bytes += len(body) + _WAITING_COST

    def _begin(self, entry: PackEntry, body: bytes, row: int) -> _Applying | None:
        """Begin to apply a delta on a kept object, unless it is lost to a limit."""
        kind, number = self._row_kinds[row], self._row_bodies[row]
        base, size, _ = delta.sizes(body)
        self._made += size
        cost = size + base // _BASE_BYTES + _EACH_DELTA
        self._work += cost + _DELTA_BYTE * len(body)
        if self._made > self._limits.made or self._overworked(entry):
            self._lost(kind, TOO_MUCH)
            return None
        if number == _NONE or size > self._limits.body:
            self._lost(kind)
            return None
        # The generator must not refer to this object: a push that ends in its middle would be kept by the cycle.
        return _Applying(entry, kind, cost, delta.applying(self._bodies.get(number), body))

    def _overworked(self, entry: PackEntry) -> bool:
        """Whether what was kept has cost more than the pack up to this entry may."""
        read = max(entry.offset, self._offsets[-1] if self._offsets else 0)
        return self._work > self._limits.work + self._limits.work_per_byte * read

    def _keep(self, offset: int, kind: int, body: bytes) -> None:
        graph = self._graph
        oid = object_id(self._format, kind, body)
        if kind == ObjectType.COMMIT:
            graph.add(oid, parse_commit(self._format, body))
        elif kind == ObjectType.TAG:
            graph.add_tag(oid, parse_tag(self._format, body))
        number = self._bodies.add(body)
        if number is None:
            self.exceeded = self.exceeded or TOO_MANY_TREES
        if kind == ObjectType.COMMIT or number is not None:
            row = self._add_row(offset, kind, _NONE if number is None else number)
            self._name(oid, row)
            self._wake(offset, row)
            self._wake(oid, row)

    def _add_row(self, offset: int, kind: int, number: int) -> int:
        row = len(self._offsets)
        last = self._offsets[-1] if row else 0
        if offset < last:
            self._late[offset] = row
        self._offsets.append(max(offset, last))
        self._row_kinds.append(kind)
        self._row_bodies.append(number)
        return row

    def _name(self, oid: bytes, row: int) -> None:
        """Make the row findable by id, if ids are still numbered."""
        if self._graph.full and self._graph.find(oid) is None:
            return
        number = self._graph.number(oid)
        missing = number + 1 - len(self._row_of)
        if missing > 0:
            self._row_of.extend([_NONE] * missing)
        self._row_of[number] = row

    def _wake(self, base: int | bytes, row: int) -> None:
        """Make ready what waited for this object."""
        for entry, body in self._waiting.pop(base, ()):
            self._waiting_bytes -= len(body) + _WAITING_COST
            self._ready.append((entry, body, row))
