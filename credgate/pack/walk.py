"""The walk over one pack: bytes go in, in bounded steps; a graph of its commits and its trees come out.

Puts the pieces together that a push and the forge's own answers have in common: a reader that finds the pack's end, a
keeper that picks commits, tags and trees out of it, and a graph that may already hold the commits of an earlier pack.
Decides nothing. Whoever runs it counts time: a step is a few milliseconds of work at most, but for one commit or tree
of a size that no repository has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import Tree, read_tree
from credgate.pack.reader import WORK, PackReader
from credgate.pack.slices import finish
from credgate.pack.store import ObjectStore, StoreLimits

if TYPE_CHECKING:
    from credgate.pack.objects import ObjectFormat
    from credgate.pack.slices import Sliced

DEFAULT_LIMITS = StoreLimits()


class PackWalk:
    """Walks one pack. ``graph`` and what was kept are of use during the walk and after it."""

    def __init__(
        self,
        object_format: ObjectFormat,
        *,
        trees: bool = False,
        limits: StoreLimits = DEFAULT_LIMITS,
        graph: CommitGraph | None = None,
    ) -> None:
        """``trees``: keep them too. ``graph``: take commits into this one, instead of a new one."""
        self.graph = CommitGraph(object_format, limits.oids) if graph is None else graph
        self._kept = ObjectStore(self.graph, limits, trees=trees)
        self._reader = PackReader(object_format, self._kept, limits.inflated)

    @property
    def passed(self) -> int:
        """Bytes of the pack that are surely before its checksum: they may go on to the forge."""
        return self._reader.passed

    @property
    def done(self) -> bool:
        """The pack's checksum was read and is right; it stands at :attr:`passed`."""
        return self._reader.done

    @property
    def exceeded(self) -> str:
        """The first limit that an object was lost to, in a few words of ours; empty: none was lost."""
        return self._kept.exceeded

    @property
    def objects(self) -> int:
        """Entries of the pack that were read."""
        return self._reader.objects

    @property
    def waiting(self) -> int:
        """Deltas whose base was not in the pack so far; at the end: what a thin pack leaves open."""
        return self._kept.waiting

    def receive(self, data: bytes) -> None:
        """Take the next bytes (keep them under 1 MiB); only after :meth:`step` returned false."""
        self._reader.receive(data)

    def step(self, work: int = WORK) -> bool:
        """Read on for about ``work`` bytes; return whether there is more to do without more bytes.

        Raises :class:`~credgate.pack.objects.PackError`.
        """
        return self._reader.step(work)

    def end(self) -> None:
        """Note the end of the bytes. Raises :class:`~credgate.pack.objects.PackError` when the pack had not ended."""
        self._reader.end()

    def tree(self, oid: bytes) -> Tree | None:
        """Return a tree of this pack, ``None`` when it is not here.

        Raises :class:`~credgate.pack.objects.PackError` when it is malformed, or no tree.
        """
        return finish(self.read_tree(oid))

    def read_tree(self, oid: bytes) -> Sliced[Tree | None]:
        """Do the same in slices."""
        body = self._kept.body(oid)
        return None if body is None else (yield from read_tree(self.graph.object_format, body))
