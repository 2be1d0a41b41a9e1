"""What a push waits for is found out from its pack and, where that leaves off, from the forge; or it is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from twisted.internet.defer import ensureDeferred, maybeDeferred

from credgate.config.schema import PushPolicy
from credgate.git.push_list import Command
from credgate.git.push_rules import PushRules, rules_for
from credgate.git.push_verdict import Findings, PushVerdict, judge
from credgate.pack import ancestry
from credgate.pack.commit_graph import CommitGraph
from credgate.pack.objects import SHA1, SHA256, ObjectFormat, PackError
from credgate.service.inspect import push_inspection as module
from credgate.service.inspect.push_inspection import MAX_BASES, MAX_ROUNDS, PushInspection, walk_for
from credgate.service.inspect.repository_client import CANNOT_SEND, InquiryError, NoFilterError
from credgate.sessions.model import Grant, PushRule
from tests.fakes import packs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from credgate.pack.walk import PackWalk

REF, OTHER = b"refs/heads/a", b"refs/heads/b"
ZERO = bytes(20)
FILE, DIRECTORY = 0o100644, 0o40000


@define
class Forge:
    """The objects of a repository at a forge, its refs, and what it was asked: stands for the inquiry."""

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
        """Add the trees of one file, and return the topmost."""
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
        """Answer as the inquiry does."""
        assert object_format is SHA1
        wanted = list(names)
        self.asked.append(("refs", wanted))
        self._may("refs")
        return {name: self.named[name].hex().encode() for name in wanted if name in self.named}

    async def fetch(
        self, walk: PackWalk, wants: Collection[bytes], haves: Iterable[bytes] = (), deepen: int = 0
    ) -> None:
        """Send what was asked for, as a forge with ``filter tree:0`` does."""
        self.asked.append(("fetch", set(wants)))
        self._may("fetch")
        if "filter" in self.fails:
            raise NoFilterError(CANNOT_SEND)
        sent = set(wants) if deepen else (self.history(wants) - self.history(haves)) | (set(wants) - set(self.parents))
        if self.withholds:
            sent = set()
        packs.feed(walk, packs.pack([packs.entry(*self.objects[one]) for one in sorted(sent)]))
        walk.end()

    def _may(self, what: str) -> None:
        if what in self.fails:
            raise InquiryError(f"no {what}")


def rules(**more: Any) -> PushRules:
    """Make rules: branches may be created and moved forward, unless ``push`` says otherwise."""
    return rules_for(Grant("octo/*", "github.com", **more), PushPolicy(), "s-1", "x")


def command(old: bytes, new: bytes, ref: bytes = REF) -> Command:
    """Make a command."""
    return Command(old.hex().encode(), new.hex().encode(), ref)


def found(forge: Forge, brings: Forge, *commands: Command, **more: Any) -> tuple[Findings, PushVerdict]:
    """Find out what a push of these commands, that brings those objects, must know."""
    limits = rules(**more)
    verdict = judge(commands, limits)
    walk = walk_for(verdict)
    packs.feed(walk, packs.pack([packs.entry(*one) for one in brings.objects.values()]))
    walk.end()
    results: list[Any] = []
    looking = PushInspection(verdict, limits, walk, forge, maybeDeferred)  # type: ignore[arg-type]  # a fake
    ensureDeferred(looking.find()).addBoth(results.append)
    (result,) = results
    assert isinstance(result, Findings), result
    return result, verdict


def test_nothing_needed_is_nothing_asked() -> None:
    """A branch that is made, without protected paths."""
    brings = Forge()
    new = brings.commit(b"\xaa" * 20)
    forge = Forge()
    result, verdict = found(forge, brings, command(ZERO, new))
    assert verdict.settled
    assert (result, forge.asked) == (Findings(None, {}, {}, ""), [])


# Where refs are.


def test_refs_are_asked_for_by_name_at_once() -> None:
    """All of them in one question."""
    forge, brings = Forge(named={REF: b"\x11" * 20}), Forge()
    new = brings.commit(b"\xaa" * 20)
    result, _ = found(forge, brings, command(ZERO, new), command(ZERO, new, OTHER), require_old_oid=True)
    assert result.old == {REF: b"11" * 20}
    assert forge.asked == [("refs", [REF, OTHER])]
    forge.fails.add("refs")
    result, _ = found(forge, brings, command(ZERO, new), require_old_oid=True)
    assert (result.old, result.why) == (None, "no refs")


# Fast-forwards.


def history() -> tuple[Forge, bytes, bytes]:
    """Make a forge with two commits, the second on the first."""
    forge = Forge()
    first = forge.commit(b"\xaa" * 20)
    return forge, first, forge.commit(b"\xbb" * 20, first)


def test_a_fast_forward_in_the_pack_needs_no_forge() -> None:
    """Every step is there."""
    forge, _, old = history()
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, brings.commit(b"\xdd" * 20, old))
    result, _ = found(forge, brings, command(old, new))
    assert (result.fast_forward, forge.asked) == ({REF: True}, [])


def test_what_the_pack_leaves_to_is_asked_for() -> None:
    """A branch on top of a commit at the forge that has the old one below it; and one that has not."""
    forge, first, second = history()
    aside = forge.commit(b"\xee" * 20)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    result, _ = found(forge, brings, command(first, new), command(aside, new, OTHER))
    assert result.fast_forward == {REF: True, OTHER: False}
    assert forge.asked[0] == ("fetch", {second})


def test_an_annotated_tag_counts_for_its_commit() -> None:
    """The pack brings both."""
    forge, _, old = history()
    brings = Forge()
    tag = brings.add(packs.TAG, packs.tag(brings.commit(b"\xcc" * 20, old)))
    result, _ = found(forge, brings, command(old, tag))
    assert result.fast_forward == {REF: True}


def test_what_cannot_be_asked_is_not_known_and_the_others_are() -> None:
    """The reason is the forge's failure."""
    forge, first, second = history()
    forge.fails.add("fetch")
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    result, _ = found(forge, brings, command(first, new), command(second, new, OTHER))
    assert (result.fast_forward, result.why) == ({OTHER: True}, "no fetch")


def test_too_wide_a_boundary_is_not_asked_about() -> None:
    """Nothing is known then."""
    forge, first, _ = history()
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, *[b"%020d" % at for at in range(ancestry.MAX_BOUNDARY + 1)])
    result, _ = found(forge, brings, command(first, new))
    assert (result.fast_forward, result.why) == ({}, ancestry.BOUNDARY_TOO_WIDE)
    assert forge.asked == []


@define
class Comparison:
    """Stands for the forge's API: knows which commits are below which."""

    below: dict[bytes, bool] = field(factory=dict)
    asked: list[tuple[bytes, frozenset[bytes]]] = field(factory=list)

    def __call__(self, inquiry: object) -> Comparison:
        """Be made for a push."""
        return self

    async def reached(self, old: bytes, boundary: frozenset[bytes]) -> bool:
        """Answer as the real one does."""
        self.asked.append((old, boundary))
        if old not in self.below:
            raise NoFilterError(CANNOT_SEND)
        return self.below[old]


def test_a_forge_without_filter_is_asked_by_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """About the commits that the pack leaves to, each ref of its own; what it does not tell is not known."""
    forge, first, second = history()
    aside, lost = forge.commit(b"\xee" * 20), forge.commit(b"\xef" * 20)
    forge.fails.add("filter")
    api = Comparison({first: True, aside: False})
    monkeypatch.setattr(module, "CompareClient", api)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    commands = [command(old, new, b"refs/heads/%d" % at) for at, old in enumerate((first, aside, lost, second))]
    result, _ = found(forge, brings, *commands)
    assert result.fast_forward == {b"refs/heads/0": True, b"refs/heads/1": False, b"refs/heads/3": True}
    assert (result.why, result.unasked) == (CANNOT_SEND, True)
    assert api.asked == [(old, frozenset({second})) for old in (first, aside, lost)]


def test_an_api_is_asked_only_for_want_of_filter_and_never_about_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forge that fails otherwise might have told; and which paths change no API is asked."""
    forge, first, second = history()
    api = Comparison({first: True})
    monkeypatch.setattr(module, "CompareClient", api)
    brings = Forge()
    new = brings.commit(b"\xcc" * 20, second)
    forge.fails = {"fetch"}
    assert found(forge, brings, command(first, new))[0].fast_forward == {}
    forge.fails = {"filter"}
    result, _ = found(forge, brings, command(second, new), protected_paths=("ci/**",))
    assert (result.fast_forward, result.touched, result.unasked) == ({REF: True}, {}, True)
    assert api.asked == []


# Protected paths.

SAFE = ("ci/**",)
MAY = (PushRule("refs/heads/*", frozenset({"create", "force"})),)


def paths(forge: Forge, brings: Forge, *commands: Command, globs: tuple[str, ...] = SAFE) -> tuple[Any, str]:
    """Return the first path that is touched (None: not known), and why it is not known."""
    result, _ = found(forge, brings, *commands, push=MAY, protected_paths=globs)
    return result.touched.get(REF), result.why


def project() -> tuple[Forge, bytes, bytes]:
    """Make a forge whose default branch changed ``ci/x`` in its second commit."""
    forge = Forge()
    first = forge.commit(forge.file(b"ci/x", b"1"))
    second = forge.commit(forge.file(b"ci/x", b"2"), first)
    forge.named[b"HEAD"] = second
    return forge, first, second


def test_an_update_is_compared_with_what_the_ref_had() -> None:
    """Its own tree is in the pack, the other at the forge."""
    forge, _, old = project()
    for content, path in ((b"2", b""), (b"3", b"ci/x")):
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", content), old)
        assert paths(forge, brings, command(old, new)) == (path, "")


def test_going_back_to_what_the_ref_left_behind_is_a_change() -> None:
    """Though the tree is the default branch's own, and at the forge already."""
    forge, first, second = project()
    assert paths(forge, Forge(), command(second, first)) == (b"ci/x", "")


def test_what_the_default_branch_brings_in_is_none() -> None:
    """A branch of an older version takes up the newer one, by a merge or by moving there."""
    forge, first, second = project()
    branch = forge.commit(forge.file(b"ci/x", b"1"), first, text=b"branch")
    for content, path in ((b"2", b""), (b"3", b"ci/x")):
        brings = Forge()
        merge = brings.commit(brings.file(b"ci/x", content), branch, second)
        assert paths(forge, brings, command(branch, merge)) == (path, "")
    assert paths(forge, Forge(), command(first, second)) == (b"", "")


def test_a_new_branch_is_compared_with_where_it_left_the_default_branch() -> None:
    """On top of it, or on an older commit of it; with history between."""
    forge, first, second = project()
    for base, content in ((second, b"2"), (first, b"1")):
        for changed in (False, True):
            brings = Forge()
            tree = brings.file(b"ci/x", b"3" if changed else content)
            new = brings.commit(tree, brings.commit(tree, base))
            assert paths(forge, brings, command(ZERO, new)) == (b"ci/x" if changed else b"", "")


def test_a_history_of_its_own_is_compared_with_nothing() -> None:
    """Everything that is there is a change; also where the forge has no default branch yet."""
    for forge in (project()[0], Forge()):
        for path, touched in ((b"ci/x", b"ci/x"), (b"src/x", b"")):
            brings = Forge()
            new = brings.commit(brings.file(path, b"1"), text=b"own")
            assert paths(forge, brings, command(ZERO, new)) == (touched, "")


def test_the_best_of_several_merge_bases_count() -> None:
    """One that another reaches is an older version, and going back to it is a change."""
    forge, first, second = project()
    for content, path in ((b"2", b""), (b"1", b"ci/x")):
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", content), first, second)
        assert paths(forge, brings, command(ZERO, new)) == (path, "")


def test_trees_that_are_missing_are_fetched_level_by_level() -> None:
    """Only along the protected paths, and kept for the next ref."""
    forge = Forge()
    old = forge.commit(forge.file(b"a/b/c/d", b"1"))
    forge.named[b"HEAD"] = old
    brings = Forge()
    new = brings.commit(brings.file(b"a/b/c/d", b"2"), old)
    assert paths(forge, brings, command(old, new), globs=("a/b/c/*",)) == (b"a/b/c/d", "")
    fetched = [what for _, wants in forge.asked if isinstance(wants, set) for what in wants]
    trees = [one for one in fetched if one not in forge.parents]
    assert len(trees) == len(set(trees)) == 4


def test_a_branch_at_a_commit_that_the_forge_has_is_looked_up_there() -> None:
    """The pack is empty, also behind a tag."""
    forge, _, second = project()
    assert paths(forge, Forge(), command(ZERO, second)) == (b"", "")
    tag = forge.add(packs.TAG, packs.tag(second))
    forge.parents[tag] = (second,)
    brings = Forge()
    brings.add(packs.TAG, packs.tag(second))
    assert paths(forge, brings, command(ZERO, tag)) == (b"", "")


@pytest.mark.parametrize("what", ["refs", "fetch"])
def test_what_the_forge_does_not_say_is_not_known(what: str) -> None:
    """It counts against the push."""
    forge, first, second = project()
    forge.fails.add(what)
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), first)
    assert paths(forge, brings, command(ZERO, new)) == (None, f"no {what}")
    assert second in forge.parents


def test_a_forge_that_sends_nothing_is_not_believed() -> None:
    """An answer that reads well and does not have what was asked for."""
    forge, _, second = project()
    forge.withholds = True
    assert paths(forge, Forge(), command(ZERO, second)) == (
        None,
        "the forge did not send a commit that was asked for",
    )


def test_trees_that_are_never_sent_end_the_asking() -> None:
    """After so many rounds."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    trees = {oid for oid, (kind, _) in forge.objects.items() if kind == packs.TREE}
    for oid in trees:
        forge.objects[oid] = packs.BLOB, b"no tree"
    assert paths(forge, brings, command(old, new)) == (None, "directories deeper than can be compared")
    assert len(forge.asked) >= MAX_ROUNDS


def test_a_malformed_tree_is_not_known() -> None:
    """Nor are its neighbours guessed."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.add(packs.TREE, b"no tree"), old)
    assert paths(forge, brings, command(old, new)) == (None, "an object in it is malformed")


def test_too_much_to_compare_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison says so."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    assert paths(forge, brings, command(old, new)) == (None, "more files than can be compared")


def test_too_many_merge_bases_are_not_told_apart() -> None:
    """So many are, one more is not."""
    for count in (MAX_BASES, MAX_BASES + 1):
        forge = Forge()
        roots = [forge.commit(forge.file(b"ci/x", b"%d" % at)) for at in range(count)]
        forge.named[b"HEAD"] = forge.commit(forge.file(b"ci/x", b"0"), *roots)
        brings = Forge()
        new = brings.commit(brings.file(b"ci/x", b"1"), *roots, text=b"own")
        path, why = paths(forge, brings, command(ZERO, new))
        assert (path, why) == ((b"", "") if count == MAX_BASES else (None, _TOO_MANY))


_TOO_MANY = "too many merge bases with the default branch"


def test_too_wide_a_history_is_not_asked_about() -> None:
    """As for fast-forwards."""
    forge, _, _ = project()
    brings = Forge()
    tree = brings.file(b"ci/x", b"3")
    new = brings.commit(tree, *[b"%020d" % at for at in range(ancestry.MAX_BOUNDARY + 1)])
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.BOUNDARY_TOO_WIDE)


def test_a_graph_without_room_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the push's nor the default branch's."""
    forge, _, second = project()
    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"3"), second)

    def none(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(ancestry, "bounding", none)
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.TOO_MANY_COMMITS)
    monkeypatch.undo()

    class Full(CommitGraph):
        """Has no room."""

        def __init__(self, object_format: ObjectFormat) -> None:
            super().__init__(object_format, 1)

    brings = Forge()
    new = brings.commit(brings.file(b"ci/x", b"1"), brings.commit(brings.file(b"ci/x", b"1")))
    monkeypatch.setattr(module, "CommitGraph", Full)
    assert paths(forge, brings, command(ZERO, new)) == (None, ancestry.TOO_MUCH_TO_WALK)


# The walk.


def test_the_walk_is_of_the_pushs_hash_and_keeps_trees_only_to_compare_them() -> None:
    """Memory is for what is needed."""
    old, new = b"1" * 40, b"2" * 40
    plain = walk_for(judge([Command(old, new, REF)], rules()))
    assert plain.graph.object_format is SHA1
    tree = packs.tree({b"x": (FILE, b"\x11" * 20)})
    pack = packs.pack([packs.entry(packs.TREE, tree)])
    assert packs.feed(plain, pack).tree(packs.oid(packs.TREE, tree)) is None
    kept = walk_for(judge([Command(old, new, REF)], rules(protected_paths=SAFE)))
    assert packs.feed(kept, pack).tree(packs.oid(packs.TREE, tree)) is not None
    longer = walk_for(judge([Command(b"1" * 64, b"2" * 64, REF)], rules()))
    assert longer.graph.object_format is SHA256


def test_a_defect_is_no_finding() -> None:
    """It goes up: whoever carries the push cuts it."""
    limits = rules()
    verdict = judge([command(b"\x11" * 20, b"\x22" * 20)], limits)

    def breaks(*_: Any) -> Any:
        raise RuntimeError("defect")

    results: list[Any] = []
    looking = PushInspection(verdict, limits, walk_for(verdict), Forge(), breaks)  # type: ignore[arg-type]  # a fake
    ensureDeferred(looking.find()).addErrback(lambda failure: results.append(failure.value))
    assert isinstance(results[0], RuntimeError)
    assert not isinstance(results[0], PackError)


def test_refs_with_the_same_commits_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all refs of a push share the names that may be read."""
    forge, _, old = project()
    brings = Forge()
    searched: list[bytes] = []
    comparing = module.changed_paths.comparing

    def counted(new: bytes, *rest: Any) -> Any:
        searched.append(new)
        return comparing(new, *rest)

    monkeypatch.setattr(module.changed_paths, "comparing", counted)
    new = brings.commit(brings.file(b"ci/x", b"3"), old)
    moves = [command(old, new, b"refs/heads/%d" % number) for number in range(50)]
    result, _ = found(forge, brings, *moves, protected_paths=("ci/**",))
    assert set(result.touched.values()) == {b"ci/x"}
    assert len(searched) == 4  # with the old tree alone and with the merge base, twice each as trees are missing
    searched.clear()
    others = [brings.commit(brings.file(b"ci/x", b"%d" % number), old) for number in range(50)]
    moves = [command(old, new, b"refs/heads/%d" % number) for number, new in enumerate(others)]
    monkeypatch.setattr(module, "MAX_NAMES", 60)
    result, _ = found(forge, brings, *moves, protected_paths=("ci/**",))
    assert result.why == "more files than can be compared"
    assert 0 < len(result.touched) < 25


def test_a_limit_is_named() -> None:
    """Not that an object is malformed, which it is not."""
    forge, _, old = project()
    brings = Forge()
    new = brings.commit(brings.file(b"x" * 256, b"3"), old)
    assert paths(forge, brings, command(old, new)) == (None, "a file name has more than 255 bytes")
