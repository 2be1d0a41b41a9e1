"""Walks one pack: takes its bytes in bounded steps and fills a graph of its commits and a store of its trees.

Combines the parts that the pack of a push and the pack of a forge's answer have in common: a reader that finds the
pack's end, a store that keeps commits, tags and trees, and a graph that may already hold the commits of another pack.
It decides nothing. One step takes a few milliseconds at most, except for a single commit or tree of a size that no
real repository has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.pack.commit_graph import CommitGraph
from credgate.pack.object_store import ObjectStore, StoreLimits
from credgate.pack.objects import Tree, parse_tree
from credgate.pack.reader import WORK, PackReader

if TYPE_CHECKING:
    from credgate.pack.memory import PushMemory
    from credgate.pack.objects import ObjectFormat, Sliced

DEFAULT_LIMITS = StoreLimits()


class PackWalk:
    """The walk over one pack. ``graph`` and the stored trees can be read during the walk and after it."""

    def __init__(
        self,
        object_format: ObjectFormat,
        *,
        trees: bool = False,
        limits: StoreLimits = DEFAULT_LIMITS,
        graph: CommitGraph | None = None,
        memory: PushMemory | None = None,
    ) -> None:
        """``trees``: keep trees, too. ``graph``: add the commits to this graph instead of a new one.

        ``memory``: the push's account, for a new graph.
        """
        self.graph = CommitGraph(object_format, limits.oids, memory) if graph is None else graph
        self._store = ObjectStore(self.graph, limits, trees=trees)
        self._reader = PackReader(object_format, self._store, limits.inflated)

    @property
    def passed(self) -> int:
        """Bytes of the pack that certainly precede its checksum: they may be sent to the forge."""
        return self._reader.passed

    @property
    def done(self) -> bool:
        """The pack's checksum was read and is correct. It starts at :attr:`passed`."""
        return self._reader.done

    @property
    def exceeded(self) -> str:
        """The first limit for which an object was dropped, as text for users; empty if none was."""
        return self._store.exceeded

    @property
    def objects(self) -> int:
        """Number of entries read."""
        return self._reader.objects

    @property
    def waiting(self) -> int:
        """Number of deltas whose base was not seen; after the end, those that a thin pack leaves unresolved."""
        return self._store.waiting

    def receive(self, data: bytes) -> None:
        """Take the next bytes (less than 1 MiB), after :meth:`step` has returned false."""
        self._reader.receive(data)

    def step(self, work: int = WORK) -> bool:
        """Continue for about ``work`` bytes; return whether there is more to do before more bytes are needed.

        Raises :class:`~credgate.pack.objects.PackError`.
        """
        return self._reader.step(work)

    def end(self) -> None:
        """Signal the end of the bytes. Raises :class:`~credgate.pack.objects.PackError` if the pack is incomplete."""
        self._reader.end()

    def tree(self, oid: bytes) -> Sliced[Tree | None]:
        """Return a tree of this pack, or ``None`` if the pack does not hold it.

        Raises :class:`~credgate.pack.objects.PackError` if it is malformed or not a tree.
        """
        body = self._store.body(oid)
        return None if body is None else (yield from parse_tree(self.graph.object_format, body))
