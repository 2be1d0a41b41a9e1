"""The inspection of a push: from its pack and, where that ends, from the forge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from twisted.internet.defer import ensureDeferred, maybeDeferred

from credgate.config.schema import PushPolicy
from credgate.git.push_list import Command
from credgate.git.push_rules import PushRules, rules_for
from credgate.git.push_verdict import Findings, PushVerdict, judge, settle
from credgate.pack import ancestry, commit_graph
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.memory import IN_USE, MemoryBudget
from credgate.pack.objects import SHA1, SHA256, ObjectFormat, PackError
from credgate.rules.parse import PushRule
from credgate.service.inspect import push_inspection as module
from credgate.service.inspect.push_inspection import MAX_BASES, MAX_ROUNDS, PushInspection, walk_for
from credgate.service.inspect.repository_client import CANNOT_SEND, InspectionError, NoFilterError
from credgate.sessions.model import Grant
from credgate.values import Reason
from tests.fakes import packs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from credgate.pack.memory import PushMemory
    from credgate.pack.walk import PackWalk

REF, OTHER = b"refs/heads/a", b"refs/heads/b"
ZERO = bytes(20)
FILE, DIRECTORY = 0o100644, 0o40000


@define
class Forge:
    """A fake of ``RepositoryClient``: a repository's objects and refs, and a record of the requests."""

    objects: dict[bytes, tuple[int, bytes]] = field(factory=dict)
    parents: dict[bytes, tuple[bytes, ...]] = field(factory=dict)
    named: dict[bytes, bytes] = field(factory=dict)
    asked: list[tuple[str, Any]] = field(factory=list)
    fails: set[str] = field(factory=set)
    withholds: bool = False

    def add(self, kind: int, body: bytes) -> bytes:
        """Add an object."""
        oid = packs.oid(kind, body)
        self.objects[oid] = kind, body
        return oid

    def commit(self, tree: bytes, *parents: bytes, text: bytes = b"x") -> bytes:
        """Add a commit."""
        oid = self.add(packs.COMMIT, packs.commit(tree, parents, text))
        self.parents[oid] = parents
        return oid

    def file(self, path: bytes, content: bytes) -> bytes:
        """Add the trees of one file, and return the root tree."""
        entry = FILE, packs.oid(packs.BLOB, content)
        for name in reversed(path.split(b"/")):
            entry = DIRECTORY, self.add(packs.TREE, packs.tree({name: entry}))
        return entry[1]

    def history(self, tips: Iterable[bytes]) -> set[bytes]:
        """Return all commits that ``tips`` reach."""
        ahead, seen = list(tips), set()
        while ahead:
            one = ahead.pop()
            if one not in seen:
                seen.add(one)
                ahead += self.parents.get(one, ())
        return seen

    async def refs(self, object_format: ObjectFormat, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Answer as the client does."""
        assert object_format is SHA1
        wanted = list(names)
        self.asked.append(("refs", wanted))
        self._check("refs")
        return {name: self.named[name].hex().encode() for name in wanted if name in self.named}

    async def fetch(
        self, walk: PackWalk, wants: Collection[bytes], haves: Iterable[bytes] = (), deepen: int = 0
    ) -> None:
        """Send the requested objects, as a forge with ``filter tree:0`` does."""
        self.asked.append(("fetch", set(wants)))
        self._check("fetch")
        if "filter" in self.fails:
            raise NoFilterError(CANNOT_SEND)
        sent = set(wants) if deepen else (self.history(wants) - self.history(haves)) | (set(wants) - set(self.parents))
        if self.withholds:
            sent = set()
        packs.feed(walk, packs.pack([packs.entry(*self.objects[one]) for one in sorted(sent)]))
        walk.end()

    def _check(self, what: str) -> None:
        if what in self.fails:
            raise InspectionError(f"no {what}")


def rules(**more: Any) -> PushRules:
    """Make rules: branches may be created and updated, unless ``push`` says otherwise."""
    return rules_for(Grant("octo/*", "github.com", **more), PushPolicy(), "s-1", "x")


def command(old: bytes, new: bytes, ref: bytes = REF) -> Command:
    """Make a command."""
    return Command(old.hex().encode(), new.hex().encode(), ref)


def inspect(forge: Forge, brings: Forge, *commands: Command, **more: Any) -> tuple[Findings, PushVerdict]:
    """Inspect a push of these commands whose pack holds these objects."""
    limits = rules(**more)
    verdict = judge(commands, limits)
    walk = walk_for(verdict)
    packs.feed(walk, packs.pack([packs.entry(*one) for one in brings.objects.values()]))
    walk.end()
    results: list[Any] = []
    inspection = PushInspection(verdict, limits, walk, forge, maybeDeferred)  # type: ignore[arg-type]  # a fake
    ensureDeferred(inspection.find()).addBoth(results.append)
    (result,) = results
    assert isinstance(result, Findings), result
    return result, verdict


def test_settled_verdict_sends_no_request() -> None:
    """A branch is created, without protected paths."""
    brings = Forge()
    new = brings.commit(b"\xaa" * 20)
    forge = Forge()
    result, verdict = inspect(forge, brings, command(ZERO, new))
    assert verdict.settled
    assert (result, forge.asked) == (Findings(None, {}, {}, ""), [])


# Old object ids.


def test_refs_are_requested_by_name_in_one_request() -> None:
    """A failure leaves them unknown."""
    forge, brings = Forge(named={REF: b"\x11" * 20}), Forge()
    new = brings.commit(b"\xaa" * 20)
    result, _ = inspect(forge, brings, command(ZERO, new), command(ZERO, new, OTHER), require_old_oid=True)
    assert result.old == {REF: b"11" * 20}
    assert forge.asked == [("refs", [REF, OTHER])]
    forge.fails.add("refs")
    result, _ = inspect(forge, brings, command(ZERO, new), require_old_oid=True)
    assert (result.old, result.why) == (None, "no refs")


# Fast-forwards.


def history() -> tuple[Forge, bytes, bytes]:
    """Make a forge with two commits, a parent and its child."""
    forge = Forge()
    first = forge.commit(b"\xaa" * 20)
    return forge, first, forge.commit(b"\xbb" * 20, first)


def test_fast_forward_within_the_pack_sends_no_request() -> None:
    """Every step is in the pack."""
    forge, _, old = history()
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, brings.commit(b"\xdd" * 20, old))
    result, _ = inspect(forge, brings, command(old, new))
    assert (result.fast_forward, forge.asked) == ({REF: True}, [])


def test_boundary_of_the_pack_is_fetched() -> None:
    """The old commit may or may not be an ancestor of a commit at the forge."""
    forge, first, second = history()
    aside = forge.commit(b"\xee" * 20)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    result, _ = inspect(forge, brings, command(first, new), command(aside, new, OTHER))
    assert result.fast_forward == {REF: True, OTHER: False}
    assert forge.asked[0] == ("fetch", {second})


def test_annotated_tag_counts_as_its_commit() -> None:
    """The pack brings both."""
    forge, _, old = history()
    brings = Forge()
    tag = brings.add(packs.TAG, packs.tag(brings.commit(b"\xcc" * 20, old)))
    result, _ = inspect(forge, brings, command(old, tag))
    assert result.fast_forward == {REF: True}


def test_failed_request_leaves_only_its_ref_unknown() -> None:
    """The reason is the forge's failure."""
    forge, first, second = history()
    forge.fails.add("fetch")
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    result, _ = inspect(forge, brings, command(first, new), command(second, new, OTHER))
    assert (result.fast_forward, result.why) == ({OTHER: True}, "no fetch")


def test_boundary_over_the_limit_is_not_fetched() -> None:
    """The fast-forward is unknown then."""
    forge, first, _ = history()
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, *[b"%020d" % at for at in range(ancestry.MAX_BOUNDARY + 1)])
    result, _ = inspect(forge, brings, command(first, new))
    assert (result.fast_forward, result.why) == ({}, ancestry.BOUNDARY_TOO_WIDE)
    assert forge.asked == []


@define
class Comparison:
    """A fake of ``CompareClient`` that knows some ancestors."""

    below: dict[bytes, bool] = field(factory=dict)
    asked: list[tuple[bytes, frozenset[bytes]]] = field(factory=list)

    def __call__(self, client: object) -> Comparison:
        """Act as the class, too."""
        return self

    async def reached(self, old: bytes, boundary: frozenset[bytes]) -> bool:
        """Answer as the real client does."""
        self.asked.append((old, boundary))
        if old not in self.below:
            raise NoFilterError(CANNOT_SEND)
        return self.below[old]


def test_forge_without_filter_is_asked_by_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """About the boundary of each ref. What the API does not tell is unknown."""
    forge, first, second = history()
    aside, lost = forge.commit(b"\xee" * 20), forge.commit(b"\xef" * 20)
    forge.fails.add("filter")
    api = Comparison({first: True, aside: False})
    monkeypatch.setattr(module, "CompareClient", api)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    commands = [command(old, new, b"refs/heads/%d" % at) for at, old in enumerate((first, aside, lost, second))]
    result, _ = inspect(forge, brings, *commands)
    assert result.fast_forward == {b"refs/heads/0": True, b"refs/heads/1": False, b"refs/heads/3": True}
    assert (result.why, result.unasked) == (CANNOT_SEND, True)
    assert api.asked == [(old, frozenset({second})) for old in (first, aside, lost)]


def test_api_is_asked_only_without_filter_and_only_for_ancestry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after another failure of the forge, and not about changed paths."""
    forge, first, second = history()
    api = Comparison({first: True})
    monkeypatch.setattr(module, "CompareClient", api)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    forge.fails = {"fetch"}
    assert inspect(forge, brings, command(first, new))[0].fast_forward == {}
    forge.fails = {"filter"}
    result, _ = inspect(forge, brings, command(second, new), protected_paths=("ci/**",))
    assert (result.fast_forward, result.touched, result.unasked) == ({REF: True}, {}, True)
    assert api.asked == []


# Protected paths.

SAFE = ("ci/**",)
MAY = (PushRule("refs/heads/*", frozenset({"create", "force"})),)


def paths(forge: Forge, brings: Forge, *commands: Command, globs: tuple[str, ...] = SAFE) -> tuple[Any, str]:
    """Return the first changed path (``None``: unknown), and why it is unknown."""
    result, _ = inspect(forge, brings, *commands, push=MAY, protected_paths=globs)
    return result.touched.get(REF), result.why


def project() -> tuple[Forge, bytes, bytes]:
    """Make a forge whose default branch changes ``ci/x`` in its second commit."""
    forge = Forge()
    first = forge.commit(forge.file(b"ci/x", b"1"))
    second = forge.commit(forge.file(b"ci/x", b"2"), first)
    forge.named[b"HEAD"] = second
    return forge, first, second


def test_update_is_compared_with_the_old_tree() -> None:
    """The new tree is in the pack, the old one at the forge."""
    forge, _, old = project()
    for content, path in ((b"2", b""), (b"3", b"ci/x")):
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", content), old)
        assert paths(forge, brings, command(old, new)) == (path, "")


def test_going_back_to_an_older_version_is_a_change() -> None:
    """Although that tree is the default branch's own, and already at the forge."""
    forge, first, second = project()
    assert paths(forge, Forge(), command(second, first)) == (b"ci/x", "")


def test_default_branch_s_version_may_be_merged() -> None:
    """A branch of an older version gets the newer one, by a merge or by moving there."""
    forge, first, second = project()
    branch = forge.commit(forge.file(b"ci/x", b"1"), first, text=b"branch")
    for content, path in ((b"2", b""), (b"3", b"ci/x")):
        brings = Forge()
        merge = brings.commit(brings.file(b"ci/x", content), branch, second)
        assert paths(forge, brings, command(branch, merge)) == (path, "")
    assert paths(forge, Forge(), command(first, second)) == (b"", "")


def test_new_branch_is_compared_with_its_merge_base() -> None:
    """The tip of the default branch or an older commit of it, with commits in between."""
    forge, first, second = project()
    for base, content in ((second, b"2"), (first, b"1")):
        for changed in (False, True):
            brings = Forge()
            tree = brings.file(b"ci/x", b"3" if changed else content)
            new = brings.commit(tree, brings.commit(tree, base))
            assert paths(forge, brings, command(ZERO, new)) == (b"ci/x" if changed else b"", "")


def test_unrelated_history_is_compared_with_nothing() -> None:
    """Every protected path is a change, also if the forge has no default branch yet."""
    for forge in (project()[0], Forge()):
        for path, touched in ((b"ci/x", b"ci/x"), (b"src/x", b"")):
            brings = Forge()
            new = brings.commit(brings.file(path, b"1"), text=b"own")
            assert paths(forge, brings, command(ZERO, new)) == (touched, "")


def test_only_best_merge_bases_count() -> None:
    """A base that another reaches is an older version, and going back to it is a change."""
    forge, first, second = project()
    for content, path in ((b"2", b""), (b"1", b"ci/x")):
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", content), first, second)
        assert paths(forge, brings, command(ZERO, new)) == (path, "")


def test_missing_trees_are_fetched_level_by_level() -> None:
    """Only along the protected paths, and each once."""
    forge = Forge()
    old = forge.commit(forge.file(b"a/b/c/d", b"1"))
    forge.named[b"HEAD"] = old
    brings = Forge()
    new = brings.commit(brings.file(b"a/b/c/d", b"2"), old)
    assert paths(forge, brings, command(old, new), globs=("a/b/c/*",)) == (b"a/b/c/d", "")
    fetched = [what for _, wants in forge.asked if isinstance(wants, set) for what in wants]
    trees = [one for one in fetched if one not in forge.parents]
    assert len(trees) == len(set(trees)) == 4


def test_commit_that_only_the_forge_has_is_fetched() -> None:
    """The pack is empty, or holds only a tag."""
    forge, _, second = project()
    assert paths(forge, Forge(), command(ZERO, second)) == (b"", "")
    tag = forge.add(packs.TAG, packs.tag(second))
    forge.parents[tag] = (second,)
    brings = Forge()
    brings.add(packs.TAG, packs.tag(second))
    assert paths(forge, brings, command(ZERO, tag)) == (b"", "")


@pytest.mark.parametrize("what", ["refs", "fetch"])
def test_failed_request_leaves_the_path_unknown(what: str) -> None:
    """It counts against the push."""
    forge, first, second = project()
    forge.fails.add(what)
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), first)
    assert paths(forge, brings, command(ZERO, new)) == (None, f"no {what}")
    assert second in forge.parents


def test_answer_without_the_requested_commit_is_unknown() -> None:
    """It is well-formed, but incomplete."""
    forge, _, second = project()
    forge.withholds = True
    assert paths(forge, Forge(), command(ZERO, second)) == (
        None,
        "the forge did not send a requested commit",
    )


def test_number_of_fetches_for_missing_trees_is_limited() -> None:
    """The forge never sends them."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    trees = {oid for oid, (kind, _) in forge.objects.items() if kind == packs.TREE}
    for oid in trees:
        forge.objects[oid] = packs.BLOB, b"no tree"
    assert paths(forge, brings, command(old, new)) == (None, "too many levels of directories to compare")
    assert len(forge.asked) >= MAX_ROUNDS


def test_malformed_tree_is_unknown() -> None:
    """The reason says so."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.add(packs.TREE, b"no tree"), old)
    assert paths(forge, brings, command(old, new)) == (None, "malformed object in the pack")


def test_too_much_to_compare_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says so."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    assert paths(forge, brings, command(old, new)) == (None, "too many files to compare")


def test_number_of_merge_bases_is_limited() -> None:
    """The limit itself is accepted, one more is not."""
    for count in (MAX_BASES, MAX_BASES + 1):
        forge = Forge()
        roots = [forge.commit(forge.file(b"ci/x", b"%d" % at)) for at in range(count)]
        forge.named[b"HEAD"] = forge.commit(forge.file(b"ci/x", b"0"), *roots)
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", b"1"), *roots, text=b"own")
        path, why = paths(forge, brings, command(ZERO, new))
        assert (path, why) == ((b"", "") if count == MAX_BASES else (None, _TOO_MANY))


_TOO_MANY = "too many merge bases with the default branch"


def test_history_with_too_wide_a_boundary_is_not_fetched() -> None:
    """As for fast-forwards."""
    forge, _, _ = project()
    brings = Forge()
    tree = brings.file(b"ci/x", b"3")
    new = brings.commit(tree, *[b"%020d" % at for at in range(ancestry.MAX_BOUNDARY + 1)])
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.BOUNDARY_TOO_WIDE)


def test_incomplete_graph_leaves_the_path_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The push's graph, or the default branch's."""
    forge, _, second = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), second)

    def none(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(ancestry, "boundary_of", none)
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.TOO_MANY_COMMITS)
    monkeypatch.undo()

    class Full(CommitGraph):
        """A graph that is full at once."""

        def __init__(self, object_format: ObjectFormat, memory: PushMemory) -> None:
            super().__init__(object_format, 1, memory)

    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"1"), brings.commit(brings.file(b"ci/x", b"1")))
    monkeypatch.setattr(module, "CommitGraph", Full)
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.TOO_MUCH_TO_WALK)


# The walk.


def test_walk_keeps_trees_only_for_protected_paths() -> None:
    """It uses the hash of the push."""
    old, new = b"1" * 40, b"2" * 40
    plain = walk_for(judge([Command(old, new, REF)], rules()))
    assert plain.graph.object_format is SHA1
    tree = packs.tree({b"x": (FILE, b"\x11" * 20)})
    pack = packs.pack([packs.entry(packs.TREE, tree)])
    assert packs.tree_of(packs.feed(plain, pack), packs.oid(packs.TREE, tree)) is None
    kept = walk_for(judge([Command(old, new, REF)], rules(protected_paths=SAFE)))
    assert packs.tree_of(packs.feed(kept, pack), packs.oid(packs.TREE, tree)) is not None
    longer = walk_for(judge([Command(b"1" * 64, b"2" * 64, REF)], rules()))
    assert longer.graph.object_format is SHA256


def test_unexpected_exception_passes_through() -> None:
    """The caller then aborts the push."""
    limits = rules()
    verdict = judge([command(b"\x11" * 20, b"\x22" * 20)], limits)

    def breaks(*_: Any) -> Any:
        raise RuntimeError("defect")

    results: list[Any] = []
    inspection = PushInspection(verdict, limits, walk_for(verdict), Forge(), breaks)  # type: ignore[arg-type]  # a fake
    ensureDeferred(inspection.find()).addErrback(lambda failure: results.append(failure.value))
    assert isinstance(results[0], RuntimeError)
    assert not isinstance(results[0], PackError)


def test_refs_with_the_same_commits_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All refs of a push share the limit of names."""
    forge, _, old = project()
    brings = Forge()
    searched: list[bytes] = []
    compare = module.changed_paths.compare

    def counted(new: bytes, *rest: Any) -> Any:
        searched.append(new)
        return compare(new, *rest)

    monkeypatch.setattr(module.changed_paths, "compare", counted)
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    moves = [command(old, new, b"refs/heads/%d" % number) for number in range(50)]
    result, _ = inspect(forge, brings, *moves, protected_paths=("ci/**",))
    assert set(result.touched.values()) == {b"ci/x"}
    assert len(searched) == 4  # with the old tree alone and with the merge base, twice each as trees are missing
    searched.clear()
    others = [brings.commit(brings.file(b"ci/x", b"%d" % number), old) for number in range(50)]
    moves = [command(old, new, b"refs/heads/%d" % number) for number, new in enumerate(others)]
    monkeypatch.setattr(module, "MAX_NAMES", 60)
    result, _ = inspect(forge, brings, *moves, protected_paths=("ci/**",))
    assert result.why == "too many files to compare"
    assert 0 < len(result.touched) < 25


def test_memory_in_use_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said about directories. A small push passes nevertheless."""
    monkeypatch.setattr(commit_graph, "BUDGET", MemoryBudget(0))
    forge, _, second = history()
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    assert inspect(forge, brings, command(second, new))[0].fast_forward == {REF: True}
    for number in range(3000):
        new = brings.commit(b"\xcc" * 20, new, text=b"%d" % number)
    result, verdict = inspect(forge, brings, command(second, new))
    assert (result.fast_forward, result.why, result.crowded) == ({}, IN_USE, True)
    (one,) = settle(verdict, result, rules()).refs
    text = f"could not tell whether this is a fast-forward ({IN_USE}): push again later"
    assert (one.decision.reason, one.decision.text) == (Reason.PUSH_UNKNOWN, text)


def test_failed_comparison_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each ref with the same commits: neither the trees are read again, nor the forge is asked again."""
    forge, _, old = project()
    tree = packs.tree({b"ci": (DIRECTORY, b"\x07" * 20)})
    compared: list[bytes] = []
    compare = module.changed_paths.compare

    def counted(new: bytes, *rest: Any) -> Any:
        compared.append(new)
        return compare(new, *rest)

    monkeypatch.setattr(module.changed_paths, "compare", counted)
    forge.objects[b"\x07" * 20] = packs.BLOB, b"no tree"
    for root, why in (
        (tree, "too many levels of directories to compare"),
        (b"no tree", "malformed object in the pack"),
    ):
        costs = []
        for refs in (1, 50):
            forge.asked.clear()
            compared.clear()
            brings = Forge()
            new = brings.commit(brings.add(packs.TREE, root), old)
            moves = [command(old, new, b"refs/heads/%d" % number) for number in range(refs)]
            result, _ = inspect(forge, brings, *moves, push=MAY, protected_paths=SAFE)
            assert (result.touched, result.why) == ({}, why)
            costs.append((len(forge.asked), len(compared)))
        assert costs[0] == costs[1] != (0, 0)


def test_failed_request_for_a_commit_is_remembered() -> None:
    """For ancestry as well. Refs with other commits are asked for."""
    forge, first, second = history()
    forge.fails.add("fetch")
    brings = Forge()
    tips = [brings.commit(b"\xcc" * 20, second, text=text) for text in (b"1", b"2")]
    moves = [command(first, tips[number % 2], b"refs/heads/%d" % number) for number in range(50)]
    result, _ = inspect(forge, brings, *moves)
    assert (result.fast_forward, result.why) == ({}, "no fetch")
    assert len(forge.asked) == 2


def test_failed_comparisons_use_the_limit_of_names() -> None:
    """Refs with different commits share one malformed tree, and it is not read for each of them."""
    forge, _, old = project()
    brings = Forge()
    bad = brings.add(packs.TREE, b"no tree")
    moves = [command(old, brings.commit(bad, old, text=b"%d" % at), b"refs/heads/%d" % at) for at in range(20)]
    result, _ = inspect(forge, brings, *moves, protected_paths=SAFE)
    assert (result.touched, result.why) == ({}, "too many files to compare")
    result, _ = inspect(forge, brings, *moves[:2], protected_paths=SAFE)
    assert (result.touched, result.why) == ({}, "malformed object in the pack")


def test_reason_names_the_limit() -> None:
    """It does not claim that an object is malformed."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"x" * 256, b"3"), old)
    assert paths(forge, brings, command(old, new)) == (None, "a file name has more than 255 bytes")
