"""Protected paths: the tree that a push leaves at the forge, compared with the tree before.

Each row of a table is one push to a branch of its own. The session may force; the forge's refs show the result. On the
forge's ``main`` a workflow was changed once, so that there is an old version to go back to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.pushing import ZERO, Content, Desk, commands

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter
    from tests.fakes.repositories import Repositories

FLOW = ".github/workflows/ci.yml"
GLOBS = [".github/workflows/**", "Makefile", "**/CODEOWNERS", "d\u00e9p\u00f4t/**"]
PUSH = [{"refs": "refs/**", "allow": ["create", "force", "delete"]}]
V1: dict[str, Content] = {
    FLOW: b"v1\n",
    "Makefile": b"all:\n",
    "README": b"hello\n",
    "d\u00e9p\u00f4t/x": b"x\n",
    "src/CODEOWNERS": b"* @me\n",
    "src/main.c": b"int main;\n",
}
V2 = V1 | {FLOW: b"v2\n"}
AGENT = "refs/heads/agent"


def sit(enter: Enter, door: Door, repos: Repositories, path: str, **grant: object) -> Desk:
    """Start a session with these globs and more."""
    visit = enter([{"repo": path, "push": PUSH, "protected_paths": GLOBS, **grant}], login="bearer")
    return Desk(visit.box, visit.lease, door.gateway, repos, path)


@pytest.fixture
def desk(repos: Repositories, enter: Enter, door: Door) -> Desk:
    """Start a session with a forge whose main has the old workflow, then the new one, then another commit."""
    desk = sit(enter, door, repos, repos.seeded())
    first = desk.commit(files=V1, name="refs/heads/v1")
    second = desk.commit(first, files=V2, name="refs/heads/v2")
    main = desk.commit(second, files=V2 | {"README": b"more\n"}, name="refs/heads/main")
    desk.give({"refs/heads/main": main, "refs/heads/v1": first})
    desk.local("update-ref", "refs/heads/topic", desk.commit(second, files=V2 | {"topic": b"1\n"}))
    desk.give({"refs/heads/topic": "topic"})
    return desk


SINGLE: dict[str, tuple[dict[str, Content | None], str]] = {
    # name: the changes (None: deleted), and the path in the refusal, or "" if the push is allowed
    "another-file": ({"README": b"new\n"}, ""),
    "a-file-beside": ({".github/dependabot.yml": b"new\n"}, ""),
    "a-name-that-begins-alike": ({".github/workflows.md": b"new\n", "Makefile.am": b"new\n"}, ""),
    "a-makefile-below": ({"src/Makefile": b"new\n"}, ""),
    "the-same-bytes": ({FLOW: b"v2\n", "new": b"1\n"}, ""),
    "changed": ({FLOW: b"evil\n"}, FLOW),
    "added": ({".github/workflows/evil.yml": b"evil\n"}, ".github/workflows/evil.yml"),
    "added-deep": ({".github/workflows/a/b/c.yml": b"evil\n"}, ".github/workflows/a/b/c.yml"),
    "deleted": ({FLOW: None}, FLOW),
    "renamed-away": ({FLOW: None, "ci.yml": b"v2\n"}, FLOW),
    "renamed-to": ({"README": None, "Makefile": b"hello\n"}, "Makefile"),
    "renamed-within": ({FLOW: None, ".github/workflows/new.yml": b"v2\n"}, FLOW),
    "made-executable": ({"Makefile": ("100755", b"all:\n")}, "Makefile"),
    "link-in-its-place": ({"Makefile": ("120000", b"README")}, "Makefile"),
    "link-in-place-of-the-directory": ({FLOW: None, ".github/workflows": ("120000", b"../src")}, ".github/workflows"),
    "a-link-above": ({FLOW: None, ".github": ("120000", b"src")}, ".github"),
    "a-submodule-in-its-place": ({FLOW: None, ".github/workflows": ("160000", b"1" * 40)}, ".github/workflows"),
    "a-submodule-above": ({FLOW: None, ".github": ("160000", b"1" * 40)}, ".github"),
    "a-submodule-elsewhere": ({"vendor": ("160000", b"1" * 40)}, ""),
    "a-link-elsewhere": ({"src/link": ("120000", b"main.c")}, ""),
    "a-file-in-the-directorys-place": ({FLOW: None, ".github/workflows": b"x\n"}, ".github/workflows"),
    "a-directory-in-the-files-place": ({"Makefile": None, "Makefile/x": b"x\n"}, "Makefile"),
    "another-case": ({"MAKEFILE": b"evil\n"}, "MAKEFILE"),
    "another-case-above": ({".GitHub/Workflows/ci.yml": b"evil\n"}, ".GitHub/Workflows"),
    "any-depth": ({"a/b/CODEOWNERS": b"* @evil\n"}, "a/b/CODEOWNERS"),
    "at-the-top": ({"CODEOWNERS": b"* @evil\n"}, "CODEOWNERS"),
    "not-ascii": ({"d\u00e9p\u00f4t/x": b"evil\n"}, '"d\\303\\251p\\303\\264t/x"'),
    "quotes-and-control-characters": (
        {'.github/workflows/a"b\n\x1b.yml': b"evil\n"},
        '".github/workflows/a\\042b\\012\\033.yml"',
    ),
    "not-even-utf-8": ({".github/workflows/\udcff.yml": b"evil\n"}, '".github/workflows/\\377.yml"'),
}


def put(files: dict[str, Content], changes: dict[str, Content | None]) -> dict[str, Content]:
    """Apply changes to a tree."""
    return {path: held for path, held in (files | changes).items() if held is not None}


def test_single_changes(desk: Desk) -> None:
    """Each on top of main, to a new or existing branch. The refusal quotes the path as git does."""
    main, ran = desk.local("rev-parse", "main"), {}
    desk.give({f"{AGENT}/there/{name}": main for name in SINGLE})
    for name, (changes, path) in SINGLE.items():
        new = desk.commit(main, files=put(V2 | {"README": b"more\n"}, changes))
        for kind in ("there", "new") if name in {"another-file", "changed"} else ("there",):
            ref, before = f"{AGENT}/{kind}/{name}", desk.refs()
            ran[name] = desk.push("origin", f"{new}:{ref}")
            assert desk.refs() == before | ({} if path else {ref: new}), (name, kind)
            assert ran[name].code == (1 if path else 0)
            if path:
                reason = f" -> {ref.removeprefix('refs/heads/')} (credgate: {path}"
                assert reason in ran[name].err, (name, kind)
                assert "is protected (" in ran[name].err
                assert desk.audited(ref, decision="deny")[ref]["reason"] == "push-path"


def histories(desk: Desk) -> dict[str, tuple[str, str, bool]]:
    """Return (old or nothing, new, allowed) by name, where not the last commit alone decides."""
    one, two, main, topic = (desk.local("rev-parse", name) for name in ("v1", "v2", "main", "topic"))
    evil = desk.commit(main, files=V2 | {FLOW: b"evil\n"})
    evil_topic = desk.commit(topic, files=V2 | {FLOW: b"evil\n"})
    plain = desk.commit(main, files=V2 | {"x": b"1\n"})
    return {
        "undone-later": (main, desk.commit(evil, files=V2 | {"x": b"1\n"}), True),
        "undone-later-on-a-new-branch": ("", desk.commit(evil, files=V2 | {"x": b"1\n"}), True),
        "in-an-earlier-commit": (main, desk.commit(evil, files=V2 | {FLOW: b"evil\n", "x": b"1\n"}), False),
        "in-an-earlier-commit-of-a-new-branch": ("", desk.commit(evil, files=V2 | {FLOW: b"evil\n"}), False),
        "old-version-written-again": (main, desk.commit(main, files=V1), False),
        "old-version-by-reset": (main, one, False),
        "old-version-by-reset-of-a-topic": (topic, one, False),
        "old-version-by-a-new-commit-on-the-old-one": (main, desk.commit(one, files=V1 | {"x": b"1\n"}), False),
        "new-branch-at-an-old-commit-of-main": ("", one, True),
        "new-branch-from-an-old-commit-of-main": ("", desk.commit(one, files=V1 | {"x": b"1\n"}), True),
        "new-branch-with-the-new-version-on-the-old-one": ("", desk.commit(one, files=V2), False),
        "new-branch-at-main": ("", main, True),
        "new-branch-from-main": ("", plain, True),
        "unrelated-new-branch": ("", desk.commit(files=V2), False),
        "unrelated-new-branch-without-the-paths": ("", desk.commit(files={"README": b"1\n"}), True),
        "merge-of-main": (topic, desk.commit(topic, main, files=V2 | {"topic": b"1\n"}), True),
        "merge-of-main-that-brings-its-new-version": ("v1-topic", "merge", True),
        "evil-merge-of-main": (topic, desk.commit(topic, main, files=V2 | {FLOW: b"evil\n"}), False),
        "evil-merge-that-brings-the-old-version": (topic, desk.commit(topic, main, files=V1), False),
        "evil-merge-whose-side-branch-was-evil": (
            topic, desk.commit(topic, evil_topic, files=V2 | {FLOW: b"evil\n"}), False,
        ),
        "merge-that-keeps-ours-over-an-evil-side": (topic, desk.commit(topic, evil_topic, files=V2), True),
        "rebased-onto-main": (topic, desk.commit(main, files=V2 | {"topic": b"2\n"}), True),
        "fast-forward-to-main": (two, main, True),
    }  # fmt: skip


def test_only_the_final_tree_counts(desk: Desk) -> None:
    """Compared with the tree before, or with the default branch's own version that is merged."""
    matrix = histories(desk)
    old = desk.commit("v1", files=V1 | {"x": b"1\n"})
    matrix["merge-of-main-that-brings-its-new-version"] = (old, desk.commit(old, "main", files=V2), True)
    desk.give({f"{AGENT}/{name}": old for name, (old, _, _) in matrix.items() if old})
    for name, (_, new, allowed) in matrix.items():
        ref, before = f"{AGENT}/{name}", desk.refs()
        ran = desk.push("origin", f"+{new}:{ref}")
        assert desk.refs() == before | ({ref: new} if allowed else {}), (name, ran)
        assert ran.code == (0 if allowed else 1), name
        assert allowed or "is protected (.github/workflows/**)" in ran.err, (name, ran)


def test_default_branch_cannot_go_back(desk: Desk) -> None:
    """Its older version is refused, unless the protected paths stay the same."""
    before = desk.refs()
    assert FLOW in desk.push("origin", "+v1:refs/heads/main").refused()
    assert desk.refs() == before
    desk.push("origin", "+main~1:refs/heads/main").fine()
    assert desk.refs()["refs/heads/main"] == desk.local("rev-parse", "main~1")


def test_default_branch_s_commits_in_the_pack_do_not_change_the_merge_base(desk: Desk) -> None:
    """They look as if they were the push's own, and an older commit as if it were the merge base."""
    main, root = (desk.local("rev-parse", name) for name in ("main", "v1"))
    evil, plain = (desk.commit(main, files=files) for files in (V1, V2 | {"x": b"1\n"}))
    before, ref = desk.refs(), f"{AGENT}/x"
    told = desk.post(commands((ZERO, evil, ref)) + desk.pack(evil, f"^{root}"))
    assert told.refs == {ref: f"credgate: {FLOW} is protected (.github/workflows/**): leave it as it was"}
    # The same with another ref in the push, which makes the forge send main's history from the root.
    moves = ((root, main, "refs/heads/v1"), (ZERO, evil, ref))
    assert FLOW in desk.post(commands(*moves) + desk.pack(evil, f"^{main}")).refs[ref]
    assert desk.refs() == before
    assert desk.post(commands((ZERO, plain, ref)) + desk.pack(plain, f"^{root}")).refs == {ref: "ok"}


def test_annotated_tags_are_followed(desk: Desk) -> None:
    """Also a tag whose commit the forge already has."""
    evil = desk.commit("main", files=V2 | {FLOW: b"evil\n"})
    for name, target in (("good", "main"), ("bad", evil)):
        desk.local("-c", "user.name=x", "-c", "user.email=x@example", "tag", "-a", "-m", name, name, target)
    assert FLOW in desk.push("origin", "bad").refused()
    assert "refs/tags/bad" not in desk.refs()
    desk.push("origin", "good").fine()
    desk.push("origin", "good:refs/tags/again").fine()
    assert desk.refs()["refs/tags/good"] == desk.refs()["refs/tags/again"] == desk.local("rev-parse", "good")


def test_branch_with_protected_paths_may_be_deleted(desk: Desk) -> None:
    """A deletion changes no path; the ref rule decides."""
    desk.push("origin", ":refs/heads/topic").fine()
    assert "refs/heads/topic" not in desk.refs()


def test_repository_without_a_default_branch(repos: Repositories, enter: Enter, door: Door) -> None:
    """The first push is compared with nothing, so every protected path is a change."""
    desk = sit(enter, door, repos, repos.empty())
    evil, plain = desk.commit(files=V1), desk.commit(files={"README": b"1\n"})
    assert f"{FLOW} is protected" in desk.push("origin", f"{evil}:refs/heads/main").refused()
    assert desk.refs() == {}
    desk.push("origin", f"{plain}:refs/heads/main").fine()
    assert desk.refs() == {"refs/heads/main": plain}


def test_sha256_repository(repos: Repositories, enter: Enter, door: Door) -> None:
    """Protected paths work the same."""
    desk = sit(enter, door, repos, repos.seeded(files=[{"Makefile": b"all:\n"}], object_format="sha256"))
    evil, plain = (desk.commit("main", files={"Makefile": text}) for text in (b"evil\n", b"all:\n"))
    assert "Makefile is protected" in desk.push("origin", f"{evil}:refs/heads/main").refused()
    desk.push("origin", f"{plain}:refs/heads/main").fine()
    assert desk.refs()["refs/heads/main"] == plain
