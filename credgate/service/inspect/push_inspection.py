"""Finding out, for a push that waits, what its rules must know: refs, fast-forwards, changed paths.

First the push's own pack is looked at (``pack.ancestry``, ``pack.changed_paths``), then the forge is asked for what the
pack leaves open (``inquiry``), or its API if it has no ``filter`` and ancestry is open (``comparing``). Costly looks
are made in a thread. What could not be found out is simply missing from ``Findings``, with the reason why, and counts
against the push.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from attrs import define, field

from credgate.git.push_verdict import Findings
from credgate.pack import ancestry, changed_paths
from credgate.pack.ancestry import AncestryOutcome
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import LimitError, PackError, format_of
from credgate.pack.walk import PackWalk
from credgate.rules import path_folding
from credgate.service.inspect.compare_client import CompareClient
from credgate.service.inspect.pack_reader import in_slices
from credgate.service.inspect.repository_client import InquiryError, NoFilterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from twisted.internet.defer import Deferred

    from credgate.git.push_list import Command
    from credgate.git.push_rules import PushRules
    from credgate.git.push_verdict import PushVerdict
    from credgate.pack.objects import ObjectFormat, Tree
    from credgate.pack.slices import Sliced
    from credgate.service.inspect.repository_client import RepositoryClient

MAX_BASES = 8
"""Merge bases with the default branch that are told apart; more: could not tell."""
MAX_ROUNDS = path_folding.MAX_DEPTH + 1
"""Times that trees are compared for one ref: once for each level to be fetched, as deep as a path may be."""
REFS_PER_TURN = 200
"""Refs that are looked at in one turn of the reactor, some 5 ms."""
MAX_NAMES = changed_paths.MAX_NAMES
"""Names in trees that are read and compared for one push, whatever its number of refs: some 3 s."""


@define(eq=False)
class PushInspection:
    """What is found out for one push. ``walk`` is over the push's pack, which is read by now."""

    verdict: PushVerdict
    rules: PushRules
    walk: PackWalk
    inquiry: RepositoryClient
    in_thread: Callable[..., Deferred[Any]]
    why: str = field(default="", init=False)
    unasked: bool = field(default=False, init=False)
    _comparing: CompareClient = field(init=False)
    _walks: list[PackWalk] = field(factory=list, init=False)
    _default: bytes | None = field(default=None, init=False)
    _names_left: int = field(factory=lambda: MAX_NAMES, init=False)
    _moves: dict[tuple[bytes, bytes | None], bytes] = field(factory=dict, init=False)

    @_comparing.default
    def _by_api(self) -> CompareClient:
        return CompareClient(self.inquiry)

    async def find(self) -> Findings:
        """Find out all that the verdict needs. Once: what was read is given up then."""
        self._walks = [self.walk]
        try:
            return await self._all()
        finally:
            self._walks.clear()
            self._moves.clear()
            del self.walk  # an error's frames may hold this object until the collector of cycles runs

    async def _all(self) -> Findings:
        old = await self._tried(self._old) if self.verdict.needs_old else None
        forward: dict[bytes, bool] = {}
        for command in self.verdict.needs_ancestry:
            known = await self._tried(self._forward, command)
            if known is not None:
                forward[command.ref] = known
        touched: dict[bytes, bytes] = {}
        for count, command in enumerate(self.verdict.needs_paths, 1):
            if count % REFS_PER_TURN == 0:
                await self.in_thread(_pause)  # what is known already is found without waiting: others have a turn
            path = await self._tried(self._touched, command)
            if path is not None:
                touched[command.ref] = path
        return Findings(old, forward, touched, self.why, self.unasked)

    async def _tried(self, ask: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what ``ask`` answers
        """Ask; None, and the reason kept, if it could not be told."""
        try:
            return await self._freed(ask, *args)
        except InquiryError as error:
            # Where objects of the pack were lost to a limit, the forge was asked for what only the push has.
            self.why = self.walk.exceeded or str(error)
            self.unasked = self.unasked or (isinstance(error, NoFilterError) and not self.walk.exceeded)
        except LimitError as error:
            self.why = str(error)
        except PackError:
            self.why = "an object in it is malformed"
        return None

    async def _freed(self, ask: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what ``ask`` answers
        """Ask; an error keeps nothing alive: its frames hold what was read, and Twisted's failures refer to them."""
        try:
            return await ask(*args)
        except BaseException as error:
            one: BaseException | None = error
            while one is not None:
                traceback.clear_frames(one.__traceback__)
                one = one.__context__
            raise

    @property
    def _format(self) -> ObjectFormat:
        return self.walk.graph.object_format

    async def _old(self) -> dict[bytes, bytes]:
        return await self.inquiry.refs(self._format, [command.ref for command in self.verdict.needs_old])

    # Is it a fast-forward?

    async def _forward(self, command: Command) -> bool:
        old, new = bytes.fromhex(command.old.decode()), bytes.fromhex(command.new.decode())
        graph = self.walk.graph
        judged = await in_slices(self.in_thread, _peeled(ancestry.judging, graph, old, new))
        if judged.outcome is AncestryOutcome.ASK:
            try:
                await self.inquiry.fetch(PackWalk(self._format, graph=graph), judged.boundary, [old])
            except NoFilterError:  # which is known before anything comes: the boundary is what it was
                return await self._comparing.reached(old, judged.boundary)
            judged = await in_slices(self.in_thread, _peeled(ancestry.settling, graph, old, new))
        if judged.outcome is AncestryOutcome.UNKNOWN:
            raise InquiryError(judged.reason)
        return bool(judged.outcome is AncestryOutcome.FAST_FORWARD)

    # Which protected path changes?

    async def _touched(self, command: Command) -> bytes:
        """Return the first path that is neither as the ref had it nor, if that is new to it, the default branch's.

        Refs that move alike, such as thousands of tags of one commit, are looked into once.
        """
        new = await self._commit(bytes.fromhex(command.new.decode()))
        old = None if command.creates else bytes.fromhex(command.old.decode())
        if (new, old) not in self._moves:
            self._moves[new, old] = await self._changed(new, old)
        return self._moves[new, old]

    async def _changed(self, new: bytes, old: bytes | None) -> bytes:
        tree = await self._tree_of(new)
        trees = [] if old is None else [await self._tree_of(old)]
        path = await self._compare(tree, trees) if trees else b"/"
        if not path:
            return path
        bases = await self._brought_in(new, old)
        return await self._compare(tree, [*trees, *[await self._tree_of(base) for base in bases]])

    async def _brought_in(self, new: bytes, old: bytes | None) -> list[bytes]:
        """Return the merge bases of ``new`` and the default branch, but those that ``old`` reaches.

        They are the default branch's own versions that the push brings to the ref. One that ``old`` reaches is a
        version that the ref has left behind: going back to it is a change.
        """
        default = await self._default_branch()
        return await self._merge_bases(new, default, old) if default else []

    async def _default_branch(self) -> bytes:
        if self._default is None:
            found = await self.inquiry.refs(self._format, [b"HEAD"])
            self._default = bytes.fromhex(found.get(b"HEAD", b"").decode())
        return self._default

    async def _merge_bases(self, new: bytes, default: bytes, old: bytes | None) -> list[bytes]:
        """Return the merge bases of ``new`` and ``default`` that ``old`` does not reach, see ``pack.ancestry``.

        The push's graph alone does not tell them: its pack may hold commits of the default branch, too.
        """
        graph = self.walk.graph
        left = await self._left(new)
        if left - {default}:
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), left, [default])
            left = await self._left(new)
        branch = CommitGraph(self._format)
        if default not in left:
            await self.inquiry.fetch(PackWalk(self._format, graph=branch), [default], left)
        bases = await in_slices(self.in_thread, _met(graph, new, branch))
        if not branch.complete or graph.steps_left <= 0:
            raise InquiryError(ancestry.TOO_MUCH_TO_WALK)
        if len(bases) > MAX_BASES:
            raise InquiryError("too many merge bases with the default branch")
        others = bases | ({old} if old is not None else set())
        return [base for base in bases if others == {base} or await self._best(base, others - {base})]

    async def _left(self, tip: bytes) -> frozenset[bytes]:
        """Return the commits that the history of ``tip`` leaves the graph to."""
        left = await in_slices(self.in_thread, ancestry.bounding(self.walk.graph, tip))
        if left is None:
            raise InquiryError(ancestry.TOO_MANY_COMMITS)
        if len(left) > ancestry.MAX_BOUNDARY:
            raise InquiryError(ancestry.BOUNDARY_TOO_WIDE)
        return left

    async def _best(self, base: bytes, others: AbstractSet[bytes]) -> bool:
        """Whether none of the ``others`` reaches this one."""
        walk = PackWalk(self._format, graph=CommitGraph(self._format))
        await self.inquiry.fetch(walk, [base], others)
        return walk.objects > 0

    async def _commit(self, oid: bytes) -> bytes:
        """Return the commit that ``oid`` is or, as a tag, points to; a tag may be at the forge only."""
        graph = self.walk.graph
        if not graph.has(graph.peel(oid)):
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), [graph.peel(oid)], deepen=1)
        return graph.peel(oid)

    async def _tree_of(self, commit: bytes) -> bytes:
        graph = self.walk.graph
        if graph.tree(commit) is None:
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), [commit], deepen=1)
        tree = graph.tree(commit)
        if tree is None:
            raise InquiryError("the forge did not send a commit that was asked for")
        return tree

    async def _compare(self, new: bytes, bases: list[bytes]) -> bytes:
        """Return the first protected path that differs, ``b""`` if none does."""
        for _ in range(MAX_ROUNDS):
            search = changed_paths.comparing(new, bases, self._tree, self.rules.protected, self._names_left)
            compared = await in_slices(self.in_thread, search)
            self._names_left -= compared.names
            if compared.changed:
                return compared.changed[0]
            if compared.unchanged:
                return b""
            if compared.exceeded:
                raise InquiryError("more files than can be compared")
            walk = PackWalk(self._format, trees=True, graph=CommitGraph(self._format))
            await self.inquiry.fetch(walk, compared.missing)
            self._walks.append(walk)
        raise InquiryError("directories deeper than can be compared")

    def _tree(self, oid: bytes) -> Sliced[Tree | None]:
        for walk in self._walks:
            tree = yield from walk.read_tree(oid)
            if tree is not None:
                return tree
        return None


def _pause() -> None:
    """Do nothing."""


def _peeled(
    judging: Callable[[CommitGraph, bytes, bytes], Sliced[ancestry.AncestryVerdict]],
    graph: CommitGraph,
    old: bytes,
    new: bytes,
) -> Sliced[ancestry.AncestryVerdict]:
    """Judge what a tag points to. A chain may have 20,000 tags: it is followed in the thread."""
    return (yield from judging(graph, old, graph.peel(new)))


def _met(graph: CommitGraph, tip: bytes, branch: CommitGraph) -> Sliced[frozenset[bytes]]:
    """Return the first commits on every way from ``tip`` that are in ``branch``, or not in ``graph``."""
    ends = {graph.find(oid) for oid in branch.oids(range(len(branch))) if branch.has(oid)}
    ahead, seen, met = [graph.number(tip)], set(), set()
    while ahead and graph.steps_left > 0:
        graph.steps_left -= 1
        if graph.steps_left % ancestry.STEPS_PER_SLICE == 0:
            yield
        number = ahead.pop()
        if number in seen:
            continue
        seen.add(number)
        parents = None if number in ends else graph.parents(number)
        if parents is None:
            met.add(number)
        ahead += parents or ()
    return graph.oids(met)


def walk_for(verdict: PushVerdict) -> PackWalk:
    """Return the walk over the pack of a push; trees are kept only if paths are compared."""
    format_ = format_of(verdict.forwarded[0].new)
    return PackWalk(format_, trees=bool(verdict.needs_paths))
