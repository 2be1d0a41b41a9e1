"""Keeps the commits and tags of a pack, and its trees on request, and resolves their deltas.

A delta is a commit if its base is one (OFS_DELTA: base by offset, REF_DELTA: base by id). So the store remembers every
kept object's offset, and its body as a possible base. A delta whose base is not kept is not wanted either. A REF_DELTA
may precede its base and then waits, up to a limit: git itself writes the base first. Follows git's
``gitformat-pack``. As in ``index-pack``, every id is computed from the bytes.

The store never keeps a blob. When a limit is reached, it drops objects and reports that. A dropped commit only makes a
push harder to judge (``graph.complete``), and a dropped tree is missing from :meth:`ObjectStore.body`. Neither makes a
rule more lenient.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from credgate.pack import delta
from credgate.pack.memory import IN_USE
from credgate.pack.objects import ObjectType, object_id, parse_commit, parse_tag
from credgate.pack.reader import OFS_DELTA, PackEntry

if TYPE_CHECKING:
    from credgate.pack.commit_graph import CommitGraph
    from credgate.pack.memory import PushMemory
    from credgate.pack.objects import Sliced

TOO_MUCH = "too much data to inflate in one push"
TOO_MANY_TREES = "too many directories to inspect in one push"

BLOCK = 16 * 1024
# Bytes of decompressed blocks in the cache. The latest block is cached even if larger: a body may have 4 MiB.
CACHED = 2 * 1024 * 1024
_LEVEL = 1
# The cost of work, in units of the time that one produced byte takes. A delta costs 4096 (a block may be decompressed
# for it), and each of its bytes 24 (every second byte may be an instruction). Four bytes of its base cost 1.
_EACH_DELTA, _DELTA_BYTE, _BASE_BYTES = 4096, 24, 4
_WAITING_COST = 200  # bytes of Python objects that hold one waiting delta
_NONE = 0xFFFFFFFF


@frozen(slots=True)
class StoreLimits:
    """What one walk may hold and do, in bytes unless stated otherwise."""

    kept: int = 32 * 1024 * 1024
    """All kept commits, tags and trees, compressed."""
    body: int = 4 * 1024 * 1024
    """One commit, tag or tree."""
    delta: int = 256 * 1024
    """One delta."""
    waiting: int = 2 * 1024 * 1024
    """Deltas whose base was not seen yet."""
    results: int = 4 * 1024 * 1024 * 1024
    """The results of all deltas."""
    work: int = 128 * 1024 * 1024
    """Cost of keeping bodies and applying deltas, counted in bytes produced (:meth:`ObjectStore.take`): about 1.3 s."""
    work_per_byte: int = 512
    """Added to ``work`` for each byte of the pack read, so that a long history is allowed its cost."""
    oids: int = 400_000
    """Number of ids."""
    inflated: int = 64 * 1024 * 1024 * 1024
    """Inflated size of all entries of the pack."""


class CompressedBodies:
    """Object bodies in little memory: compressed in blocks, found by number, up to a limit.

    A delta may name any earlier commit or tree as its base, so all bodies are held until the push is decided.
    Neighbouring commits and trees are similar: blocks of 16 KiB at zlib's fastest level hold three to ten times as
    many, and one block is cheap to decompress again.
    """

    def __init__(self, max_bytes: int, memory: PushMemory) -> None:
        """``max_bytes`` counts compressed bytes and may be exceeded by one block."""
        self._max_bytes, self._held, self._memory = max_bytes, 0, memory
        self._cached_bytes = 0
        self._ends = array("Q")
        self._blocks: list[bytes] = []
        self._block_starts = array("Q", [0])
        self._last = bytearray()
        self._cached: dict[int, bytes] = {}

    def __del__(self) -> None:
        # The only place that covers every way in which a push may end. No reference cycle leads back to this object, so
        # this runs as soon as the push is dropped.
        self._memory.take(-self._cached_bytes)
        self._memory.budget.discard(self._blocks, self._memory, self._held)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def held(self) -> int:
        """Bytes of the compressed blocks, and of the block that is still being filled."""
        return self._held + len(self._last)

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._held >= self._max_bytes or not self._room(BLOCK)

    def add(self, body: bytes) -> int | None:
        """Keep ``body`` and return its number, or ``None`` if the limit is reached."""
        if self.full:
            return None
        if len(body) >= BLOCK:
            if self._last:
                self._close()  # a small body must not share a block with a large one: both would be decompressed
            # A body of 4 MiB may compress to nothing, or not at all.
            if not self._memory.fits(len(body)) and not self._room(len(zlib.compress(body, _LEVEL))):
                return None
        self._last += body
        self._ends.append((self._ends[-1] if self._ends else 0) + len(body))
        if len(self._last) >= BLOCK:
            self._close()
        return len(self._ends) - 1

    def get(self, number: int) -> bytes:
        """Return the body with this number."""
        start = self._ends[number - 1] if number else 0
        block = bisect_right(self._block_starts, start) - 1
        origin = self._block_starts[block]
        return bytes(self._open(block)[start - origin : self._ends[number] - origin])

    def _room(self, count: int) -> bool:
        """Whether ``count`` bytes may be held. The cache is given up for them."""
        memory = self._memory
        if not memory.fits(count) and self._cached:
            self._cached.clear()
            self._count_cached(-self._cached_bytes)
        if memory.fits(count):
            return True
        memory.refused = True
        return False

    def _close(self) -> None:
        block = zlib.compress(self._last, _LEVEL)
        self._blocks.append(block)
        self._held += len(block)
        self._memory.take(len(block))
        self._block_starts.append(self._ends[-1])
        self._last.clear()

    def _open(self, block: int) -> bytes | bytearray:
        """Return a decompressed block. The most recently used blocks are cached."""
        if block == len(self._blocks):
            return self._last
        cached = self._cached
        content = cached.pop(block, None)
        if content is None:
            content = zlib.decompress(self._blocks[block])
            self._count_cached(len(content))
        cached[block] = content
        while self._cached_bytes > CACHED and len(cached) > 1:
            self._count_cached(-len(cached.pop(next(iter(cached)))))
        return content

    def _count_cached(self, count: int) -> None:
        self._cached_bytes += count
        self._memory.take(count)


class _Applying(NamedTuple):
    """A delta that is being applied. ``cost`` is reported when it is done."""

    entry: PackEntry
    kind: int
    cost: int
    work: Sliced[bytes]


class ObjectStore:
    """The :class:`~credgate.pack.reader.ObjectSink` of a pack: fills a graph, keeps trees, resolves deltas."""

    def __init__(self, graph: CommitGraph, limits: StoreLimits, *, trees: bool) -> None:
        self._graph, self._limits, self._format = graph, limits, graph.object_format
        self._kinds = frozenset({ObjectType.COMMIT, ObjectType.TAG} | ({ObjectType.TREE} if trees else set()))
        self._bodies = CompressedBodies(limits.kept, graph.memory)
        # One row for each kept object: its offset, its type, and the number of its body. Rows are ordered by offset. An
        # object that had to wait repeats the last offset here, and has its own in _late.
        self._offsets, self._row_kinds, self._row_bodies = array("Q"), bytearray(), array("I")
        self._late: dict[int, int] = {}
        self._row_of = array("I")
        self._waiting: dict[int | bytes, list[tuple[PackEntry, bytes]]] = {}
        self._waiting_offsets: set[int] = set()
        self._waiting_bytes = self._produced = self._work = 0
        self.exceeded = ""
        """The first limit for which an object was dropped, as text for users; empty if none was."""
        self._ready: deque[tuple[PackEntry, bytes, int]] = deque()
        self._applying: _Applying | None = None

    @property
    def backlog(self) -> bool:
        """Whether there are deltas to resolve."""
        return self._applying is not None or bool(self._ready)

    @property
    def waiting(self) -> int:
        """Deltas whose base was not seen: a blob, an object that only the forge has (a thin pack), or a later entry."""
        return len(self._waiting_offsets)

    def wants(self, entry: PackEntry) -> bool:
        """Whether an entry is, or may be, a commit, tag or tree to keep."""
        if entry.base is None:
            if entry.kind not in self._kinds:
                return False
            if self._too_costly(entry):
                self._drop(entry.kind, TOO_MUCH)
                return False
            return self._fits(entry.kind, possible=entry.size <= self._limits.body)
        row = self._row(entry.base)
        if row is None:
            return self._may_wait(entry)
        if self._too_costly(entry):
            self._drop(self._row_kinds[row], TOO_MUCH)
            return False
        possible = entry.size <= self._limits.delta and self._row_bodies[row] != _NONE
        return self._fits(self._row_kinds[row], possible=possible)

    def take(self, entry: PackEntry, body: bytes) -> int:
        """Keep a body, or the result of a delta. Raises :class:`PackError` if it is malformed.

        Returns the cost, in bytes produced.
        """
        if entry.base is None:
            self._work += len(body)
            self._keep(entry.offset, entry.kind, body)
            return len(body)
        row = self._row(entry.base)
        if row is None:
            self._wait(entry, body)
        else:
            self._ready.append((entry, body, row))  # the reader calls catch_up() before it continues
        return 0

    def catch_up(self) -> int:
        """Resolve one delta, or a part of one that has many instructions; return the cost."""
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
        """Return the body of a kept object, or ``None``."""
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

    def _drop(self, kind: int, why: str = TOO_MANY_TREES) -> None:
        self.exceeded = self.exceeded or (IN_USE if self._graph.memory.refused else why)
        if kind == ObjectType.COMMIT:
            self._graph.complete = False

    def _fits(self, kind: int, *, possible: bool) -> bool:
        """Whether an object of this type can be kept. If not, it is dropped."""
        if not possible:
            self._drop(kind)
            return False
        # When no more bodies fit, only commits are still of use, for their parents.
        if kind == ObjectType.COMMIT or not self._bodies.full:
            return True
        self._drop(kind)
        return False

    def _may_wait(self, entry: PackEntry) -> bool:
        """Whether a delta with an unknown base may still be a commit, and there is room for it."""
        if entry.kind == OFS_DELTA and entry.base not in self._waiting_offsets:
            return False
        return entry.size <= self._limits.delta and self._waiting_bytes < self._limits.waiting

    def _wait(self, entry: PackEntry, body: bytes) -> None:
        assert entry.base is not None
        self._waiting.setdefault(entry.base, []).append((entry, body))
        self._waiting_offsets.add(entry.offset)
        self._waiting_bytes += len(body) + _WAITING_COST

    def _begin(self, entry: PackEntry, body: bytes, row: int) -> _Applying | None:
        """Begin to apply a delta to a kept object, unless a limit drops it."""
        kind, number = self._row_kinds[row], self._row_bodies[row]
        base, size, _ = delta.sizes(body)
        self._produced += size
        cost = size + base // _BASE_BYTES + _EACH_DELTA
        self._work += cost + _DELTA_BYTE * len(body)
        if self._produced > self._limits.results or self._too_costly(entry):
            self._drop(kind, TOO_MUCH)
            return None
        if number == _NONE or size > self._limits.body:
            self._drop(kind)
            return None
        # The generator must not refer to this object: if a push ends halfway, the cycle would keep its memory.
        return _Applying(entry, kind, cost, delta.apply(self._bodies.get(number), body))

    def _too_costly(self, entry: PackEntry) -> bool:
        """Whether the cost so far exceeds what the pack up to this entry is allowed."""
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
            self._drop(ObjectType.TREE)  # of a commit, only the body is dropped
        if kind == ObjectType.COMMIT or number is not None:
            row = self._add_row(offset, kind, _NONE if number is None else number)
            self._index(oid, row)
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

    def _index(self, oid: bytes, row: int) -> None:
        """Index the row by id, unless the graph is full."""
        graph = self._graph
        if graph.find(oid) is None and (graph.full or not graph.has_room()):
            return
        number = graph.number(oid)
        missing = number + 1 - len(self._row_of)
        if missing > 0:
            self._row_of.extend([_NONE] * missing)
        self._row_of[number] = row

    def _wake(self, base: int | bytes, row: int) -> None:
        """Make the deltas ready that waited for this object."""
        for entry, body in self._waiting.pop(base, ()):
            self._waiting_bytes -= len(body) + _WAITING_COST
            self._ready.append((entry, body, row))
