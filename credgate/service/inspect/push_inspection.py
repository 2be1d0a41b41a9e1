"""Inspects a push that waits for its verdict: old object ids, fast-forwards, and changed protected paths.

The push's own pack is examined first (``pack.ancestry``, ``pack.changed_paths``). What it leaves open is asked of the
forge (``repository_client``). If the forge supports no ``filter``, ancestry is asked of its API (``compare_client``).
Costly work runs in a thread. What could not be determined is missing from ``Findings``, with a reason, and counts
against the push: ``git.push_verdict.settle`` decides.
"""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from attrs import define, field

from credgate.git.push_verdict import Findings
from credgate.pack import ancestry, changed_paths
from credgate.pack.ancestry import AncestryOutcome
from credgate.pack.changed_paths import NameBudget
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.memory import IN_USE
from credgate.pack.objects import LimitError, PackError, format_of
from credgate.pack.walk import PackWalk
from credgate.rules import path_folding
from credgate.service.inspect.compare_client import CompareClient
from credgate.service.inspect.pack_reader import in_slices
from credgate.service.inspect.repository_client import InspectionError, NoFilterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from twisted.internet.defer import Deferred

    from credgate.git.push_list import Command
    from credgate.git.push_rules import PushRules
    from credgate.git.push_verdict import PushVerdict
    from credgate.pack.memory import PushMemory
    from credgate.pack.objects import ObjectFormat, Sliced, Tree
    from credgate.service.inspect.repository_client import RepositoryClient

MAX_BASES = 8
"""Merge bases with the default branch that are examined."""
MAX_ROUNDS = path_folding.MAX_DEPTH + 1
"""Comparisons of trees for one ref: one for each level that must be fetched, as deep as a path may be."""
REFS_PER_TURN = 200
"""Refs that are examined in one turn of the reactor, about 5 ms."""
MAX_NAMES = changed_paths.MAX_NAMES
"""Names in trees that are compared for one push, whatever its number of refs: about 3 s."""


T = TypeVar("T")


@define(eq=False)
class PushInspection:
    """The inspection of one push. ``walk`` has read the push's pack to its end."""

    verdict: PushVerdict
    rules: PushRules
    walk: PackWalk
    client: RepositoryClient
    in_thread: Callable[..., Deferred[Any]]
    why: str = field(default="", init=False)
    """Why something could not be determined."""
    unasked: bool = field(default=False, init=False)
    """The forge supports no ``filter``, so the same question has no answer for any push."""
    crowded: bool = field(default=False, init=False)
    """The memory that pushes share is in use, so the same push may pass later."""
    _compare_client: CompareClient = field(init=False)
    _walks: list[PackWalk] = field(factory=list, init=False)
    _default: bytes | None = field(default=None, init=False)
    _names: NameBudget = field(factory=lambda: NameBudget(MAX_NAMES), init=False)
    _known: dict[tuple[object, ...], Callable[[], Any]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._compare_client = CompareClient(self.client)

    async def find(self) -> Findings:
        """Determine all that the verdict needs. Can be called once, because it drops the walk."""
        self._walks = [self.walk]
        try:
            return await self._find_all()
        finally:
            self._walks.clear()
            self._known.clear()
            del self.walk  # an exception's frames may keep this object until the next garbage collection

    async def _find_all(self) -> Findings:
        refs = [command.ref for command in self.verdict.needs_old]
        old = await self._try(self.client.refs, self._format, refs) if refs else None
        forward: dict[bytes, bool] = {}
        for count, command in enumerate(self.verdict.needs_ancestry, 1):
            await self._pause(count)
            known = await self._try(self._once, self._is_fast_forward, *_ids(command))
            if known is not None:
                forward[command.ref] = known
        touched: dict[bytes, bytes] = {}
        for count, command in enumerate(self.verdict.needs_paths, 1):
            await self._pause(count)
            path = await self._try(self._once, self._first_touched, *_ids(command))
            if path is not None:
                touched[command.ref] = path
        return Findings(old, forward, touched, self.why, self.unasked, self.crowded)

    async def _pause(self, count: int) -> None:
        """Let other clients run now and then: results that are already known are found without waiting."""
        if count % REFS_PER_TURN == 0:
            await self.in_thread(lambda: None)

    async def _try(self, find: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - the result of ``find``
        """Return the result of ``find``, or ``None`` if it could not be determined; keep the reason."""
        try:
            return await _without_frames(find, *args)
        except InspectionError as error:
            if self.walk.graph.memory.refused:
                self.why, self.crowded = IN_USE, True
                return None
            # If the pack lost objects to a limit, the forge was asked for objects that only the push has.
            self.why = self.walk.exceeded or str(error)
            self.unasked = self.unasked or (isinstance(error, NoFilterError) and not self.walk.exceeded)
        except LimitError as error:
            self.why = str(error)
        except PackError:
            self.why = "malformed object in the pack"
        return None

    async def _once(self, find: Callable[..., Any], *key: object) -> Any:  # noqa: ANN401 - the result of ``find``
        """Return the result of ``find`` for ``key``; the same for each ref that asks again, also if it failed.

        A push may name two thousand refs with the same commits.
        """
        known = self._known.get((find, *key))
        if known is None:
            try:
                known = partial(_same, await find(*key))
            except (InspectionError, PackError) as error:
                known = partial(_again, type(error), str(error))  # not the exception itself: its frames hold the pack
            self._known[find, *key] = known
        return known()

    @property
    def _format(self) -> ObjectFormat:
        return self.walk.graph.object_format

    def _graph(self) -> CommitGraph:
        """Return a new graph for the forge's commits, which counts as this push's memory."""
        return CommitGraph(self._format, memory=self.walk.graph.memory)

    # Fast-forwards.

    async def _is_fast_forward(self, new: bytes, old: bytes) -> bool:
        graph = self.walk.graph
        judged = await in_slices(self.in_thread, ancestry.judge(graph, old, new))
        if judged.outcome is AncestryOutcome.ASK:
            try:
                await self.client.fetch(PackWalk(self._format, graph=graph), judged.boundary, [old])
            except NoFilterError:  # raised before anything was fetched, so the boundary is still valid
                return await self._compare_client.reached(old, judged.boundary)
            judged = await in_slices(self.in_thread, ancestry.settle(graph, old, new))
        if judged.outcome is AncestryOutcome.UNKNOWN:
            raise InspectionError(judged.reason)
        return bool(judged.outcome is AncestryOutcome.FAST_FORWARD)

    # Protected paths.

    async def _first_touched(self, new: bytes, old: bytes | None) -> bytes:
        """Return the first protected path that the push changes, or ``b""``.

        A path may be as the ref had it, or, if that version is new to the ref, as the default branch has it.
        """
        # Thousands of tags of one commit are compared once, too.
        return cast("bytes", await self._once(self._changed, await self._commit(new), old))

    async def _changed(self, new: bytes, old: bytes | None) -> bytes:
        tree = await self._tree_of(new)
        trees = [] if old is None else [await self._tree_of(old)]
        if trees and not await self._compare(tree, trees):
            return b""
        # Merge bases with the default branch are that branch's own versions, which a push may bring to the ref. A merge
        # base that ``old`` reaches is a version that the ref had and replaced: going back to it is a change.
        if self._default is None:  # the same for all refs of the push; ``b""`` if the forge has none
            found = await self.client.refs(self._format, [b"HEAD"])
            self._default = bytes.fromhex(found.get(b"HEAD", b"").decode())
        bases = await self._merge_bases(new, self._default, old) if self._default else []
        return await self._compare(tree, [*trees, *[await self._tree_of(base) for base in bases]])

    async def _merge_bases(self, new: bytes, default: bytes, old: bytes | None) -> list[bytes]:
        """Return the merge bases of ``new`` and ``default`` that ``old`` does not reach (``ancestry.boundary_of``)."""
        graph = self.walk.graph
        boundary = await self._boundary(new)
        if boundary - {default}:
            await self.client.fetch(PackWalk(self._format, graph=graph), boundary, [default])
            boundary = await self._boundary(new)
        # A graph of its own: the push's pack may also hold commits of the default branch.
        branch = self._graph()
        if default not in boundary:
            await self.client.fetch(PackWalk(self._format, graph=branch), [default], boundary)
        bases = await in_slices(self.in_thread, _first_common(graph, new, branch))
        if not branch.complete or graph.steps_left <= 0:
            raise InspectionError(ancestry.TOO_MUCH_TO_WALK)
        if len(bases) > MAX_BASES:
            raise InspectionError("too many merge bases with the default branch")
        others = bases | ({old} if old is not None else set())
        return [base for base in bases if others == {base} or await self._unreached(base, others - {base})]

    async def _boundary(self, tip: bytes) -> frozenset[bytes]:
        boundary = await in_slices(self.in_thread, ancestry.boundary_of(self.walk.graph, tip))
        if boundary is None:
            raise InspectionError(ancestry.TOO_MANY_COMMITS)
        if len(boundary) > ancestry.MAX_BOUNDARY:
            raise InspectionError(ancestry.BOUNDARY_TOO_WIDE)
        return boundary

    async def _unreached(self, base: bytes, others: AbstractSet[bytes]) -> bool:
        """Whether none of ``others`` reaches ``base``."""
        # The forge then sends ``base`` although they are ``have`` lines.
        walk = PackWalk(self._format, graph=self._graph())
        await self.client.fetch(walk, [base], others)
        return walk.objects > 0

    async def _commit(self, oid: bytes) -> bytes:
        """Return the commit that ``oid`` is or, as a tag, points to. Only the forge may have the tag."""
        graph = self.walk.graph
        if not graph.has(graph.peel(oid)):
            await self.client.fetch(PackWalk(self._format, graph=graph), [graph.peel(oid)], deepen=1)
        return graph.peel(oid)

    async def _tree_of(self, commit: bytes) -> bytes:
        graph = self.walk.graph
        if graph.tree(commit) is None:
            await self.client.fetch(PackWalk(self._format, graph=graph), [commit], deepen=1)
        tree = graph.tree(commit)
        if tree is None:
            raise InspectionError("the forge did not send a requested commit")
        return tree

    async def _compare(self, new: bytes, bases: list[bytes]) -> bytes:
        """Return the first protected path that differs from every base, or ``b""``."""
        for _ in range(MAX_ROUNDS):  # each round fetches the trees that the last one found missing
            search = changed_paths.compare(new, bases, self._tree, self.rules.protected, self._names)
            compared = await in_slices(self.in_thread, search)
            if compared.changed:
                return compared.changed[0]
            if compared.unchanged:
                return b""
            if compared.exceeded:
                raise InspectionError("too many files to compare")
            walk = PackWalk(self._format, trees=True, graph=self._graph())
            await self.client.fetch(walk, compared.missing)
            self._walks.append(walk)  # kept for the other refs of this push
        raise InspectionError("too many levels of directories to compare")

    def _tree(self, oid: bytes) -> Sliced[Tree | None]:
        for walk in self._walks:
            tree = yield from walk.tree(oid)
            if tree is not None:
                return tree
        return None


def walk_for(verdict: PushVerdict, memory: PushMemory | None = None) -> PackWalk:
    """Return a walk for a push's pack, which counts in ``memory``. Trees are kept only if paths must be compared."""
    format_ = format_of(verdict.forwarded[0].new)
    return PackWalk(format_, trees=bool(verdict.needs_paths), memory=memory)


def _ids(command: Command) -> tuple[bytes, bytes | None]:
    """Return the binary ids of a command: the new one, and the old one unless it creates the ref."""
    return bytes.fromhex(command.new.decode()), None if command.creates else bytes.fromhex(command.old.decode())


def _same(result: T) -> T:
    return result


def _again(kind: type[Exception], text: str) -> NoReturn:
    raise kind(text)


async def _without_frames(find: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - the result of ``find``
    """Await ``find``, and clear the frames of its exception."""
    # Twisted's failures refer to frames, and these to the pack: its memory would stay until a garbage collection.
    try:
        return await find(*args)
    except BaseException as error:
        one: BaseException | None = error
        while one is not None:
            traceback.clear_frames(one.__traceback__)
            one = one.__context__
        raise


def _first_common(graph: CommitGraph, tip: bytes, branch: CommitGraph) -> Sliced[frozenset[bytes]]:
    """Return the first commit on each path from ``tip`` that is in ``branch``, or that is not in ``graph``."""
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
