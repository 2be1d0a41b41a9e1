"""Finding out, for a push that waits, what its rules must know: refs, fast-forwards, changed paths.

First the push's own pack is looked at (``git.ancestry``, ``git.changed``), then the forge is asked for what the pack
leaves open (``inquiry``). Costly looks are made in a thread. What could not be found out is simply missing from
``Found``, with the reason why, and counts against the push.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from credgate.git import ancestry, changed
from credgate.git.ancestry import Outcome
from credgate.git.graph import Graph
from credgate.git.objects import PackError, format_of
from credgate.git.verdict import Found
from credgate.git.walk import PackWalk
from credgate.service.inquiry import InquiryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from credgate.git.objects import ObjectFormat, Tree
    from credgate.git.push import Command
    from credgate.git.rules import Rules
    from credgate.git.verdict import Verdict
    from credgate.service.inquiry import Inquiry

MAX_BASES = 8
"""Merge bases with the default branch that are told apart; more: could not tell."""
MAX_ROUNDS = 64
"""Times that missing trees are fetched for one ref: as deep as a protected path may lie."""
_NO_OID = b"0"


@define(eq=False)
class Findings:
    """What is found out for one push. ``walk`` is over the push's pack, which is read by now."""

    verdict: Verdict
    rules: Rules
    walk: PackWalk
    inquiry: Inquiry
    in_thread: Callable[..., Deferred[Any]]
    why: str = field(default="", init=False)
    _walks: list[PackWalk] = field(factory=list, init=False)
    _default: bytes | None = field(default=None, init=False)

    async def find(self) -> Found:
        """Find out all that the verdict needs."""
        self._walks = [self.walk]
        old = await self._tried(self._old) if self.verdict.needs_old else None
        forward: dict[bytes, bool] = {}
        for command in self.verdict.needs_ancestry:
            known = await self._tried(self._forward, command)
            if known is not None:
                forward[command.ref] = known
        touched: dict[bytes, bytes] = {}
        for command in self.verdict.needs_paths:
            path = await self._tried(self._touched, command)
            if path is not None:
                touched[command.ref] = path
        return Found(old, forward, touched, self.why)

    async def _tried(self, ask: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what ``ask`` answers
        """Ask; None, and the reason kept, if it could not be told."""
        try:
            return await ask(*args)
        except InquiryError as error:
            self.why = str(error)
        except PackError:
            self.why = "an object in it is malformed"
        return None

    @property
    def _format(self) -> ObjectFormat:
        return self.walk.graph.object_format

    async def _old(self) -> dict[bytes, bytes]:
        return await self.inquiry.refs(self._format, [command.ref for command in self.verdict.needs_old])

    # Is it a fast-forward?

    async def _forward(self, command: Command) -> bool:
        old, new = bytes.fromhex(command.old.decode()), bytes.fromhex(command.new.decode())
        graph = self.walk.graph
        tip = graph.peel(new)
        judged = await self.in_thread(ancestry.judge, graph, old, tip)
        if judged.outcome is Outcome.ASK:
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), judged.boundary, [old])
            judged = await self.in_thread(ancestry.settle, graph, old, tip)
        if judged.outcome is Outcome.UNKNOWN:
            raise InquiryError(judged.reason)
        return bool(judged.outcome is Outcome.FAST_FORWARD)

    # Which protected path changes?

    async def _touched(self, command: Command) -> bytes:
        new = self.walk.graph.peel(bytes.fromhex(command.new.decode()))
        bases = await self._bases(command, new)
        tree = await self._tree_of(new)
        return await self._compare(tree, [await self._tree_of(base) for base in bases])

    async def _bases(self, command: Command, new: bytes) -> list[bytes]:
        """Return the commits whose trees are allowed: the ref's old one, and where it left the default branch."""
        old = [] if command.creates else [bytes.fromhex(command.old.decode())]
        default = await self._default_branch()
        return old + (await self._merge_bases(new, default) if default else [])

    async def _default_branch(self) -> bytes:
        if self._default is None:
            found = await self.inquiry.refs(self._format, [b"HEAD"])
            self._default = bytes.fromhex(found.get(b"HEAD", b"").decode())
        return self._default

    async def _merge_bases(self, new: bytes, default: bytes) -> list[bytes]:
        """Return the merge bases of ``new`` and ``default``, as ``git.ancestry.boundary_of`` says how."""
        graph = self.walk.graph
        left = ancestry.boundary_of(graph, new)
        if left:
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), left, [default])
        bases = await self.in_thread(ancestry.boundary_of, graph, new)
        if len(bases) > MAX_BASES:
            raise InquiryError("too many merge bases with the default branch")
        return [base for base in bases if len(bases) == 1 or await self._best(base, bases)]

    async def _best(self, base: bytes, bases: frozenset[bytes]) -> bool:
        """Whether no other of ``bases`` reaches this one."""
        walk = PackWalk(self._format, graph=Graph(self._format))
        await self.inquiry.fetch(walk, [base], bases - {base})
        return walk.objects > 0

    async def _tree_of(self, commit: bytes) -> bytes:
        graph = self.walk.graph
        if graph.tree(commit) is None:
            await self.inquiry.fetch(PackWalk(self._format, graph=graph), [commit], deepen=1)
        tree = graph.tree(commit)
        if tree is None:
            raise InquiryError("the forge did not send a commit that was asked for")
        return tree

    async def _compare(self, new: bytes, bases: list[bytes]) -> bytes:
        for _ in range(MAX_ROUNDS):
            compared = await self.in_thread(changed.compare, new, bases, self._tree, self.rules.protected)
            if compared.changed:
                return bytes(compared.changed[0])
            if compared.unchanged:
                return b""
            if compared.exceeded:
                raise InquiryError("more files than can be compared")
            walk = PackWalk(self._format, trees=True, graph=Graph(self._format))
            await self.inquiry.fetch(walk, compared.missing)
            self._walks.append(walk)
        raise InquiryError("directories deeper than can be compared")

    def _tree(self, oid: bytes) -> Tree | None:
        for walk in self._walks:
            tree = walk.tree(oid)
            if tree is not None:
                return tree
        return None


def walk_for(verdict: Verdict) -> PackWalk:
    """Return the walk over the pack of a push; trees are kept only if paths are compared."""
    format_ = format_of(verdict.forwarded[0].new)
    return PackWalk(format_, trees=bool(verdict.needs_paths))
