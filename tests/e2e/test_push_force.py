"""Fast-forward or force: credgate's verdict, from the pack and the forge, compared with ``git merge-base``.

Every push here is forced on the client's side; the grant allows ``update`` and not ``force``. The expected result comes
from ``git merge-base --is-ancestor`` in the sandbox's own repository, and from the forge's refs before and after.
"""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.fakes.pushing import ZERO, Desk, commands
from tests.fakes.repositories import ENVIRON
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter
    from tests.fakes.repositories import Repositories

UPDATES = [{"refs": "refs/heads/**", "allow": ["create", "update"]}]
FORCED = [{"refs": "refs/heads/**", "allow": ["create", "force"]}]
REF = "refs/heads/agent"
NOT_FORWARD = "not a fast-forward, and push[0] refs/heads/** does not allow force: rebase, or push to a new branch"


def ancestor(desk: Desk, old: str, new: str) -> bool:
    """Ask git."""
    words = ["git", "-C", str(desk.tree), "merge-base", "--is-ancestor", old, new]
    return subprocess.run(words, env=ENVIRON, check=False).returncode == 0


def desk_for(enter: Enter, door: Door, repos: Repositories, path: str, push: object = UPDATES) -> Desk:
    """Start a session with these push rules."""
    visit = enter([{"repo": path, "push": push}], login="bearer")
    return Desk(visit.box, visit.lease, door.gateway, repos, path)


@pytest.fixture
def desk(repos: Repositories, enter: Enter, door: Door) -> Desk:
    """Start a session with three commits on main."""
    files = [{"README": b"%d\n" % number} for number in range(3)]
    return desk_for(enter, door, repos, repos.seeded(files=files))


def histories(desk: Desk) -> dict[str, tuple[str, str, bool]]:
    """Return (old, new, is a fast-forward) by name. The forge has topic and main, and nothing else."""
    first, second, third = desk.local("rev-list", "--reverse", "main").split()
    one = desk.commit(first)
    topic = desk.commit(one)
    desk.give({"refs/heads/topic": topic})
    ahead = desk.commit(desk.commit(third))
    return {
        "fast-forward": (third, ahead, True),
        "amended": (third, desk.commit(second), False),
        "reset-to-an-older-commit": (third, first, False),
        "rebased": (topic, desk.commit(desk.commit(third)), False),
        "rebased-onto-an-older-commit": (topic, desk.commit(second), False),
        "merge-with-old-as-second-parent": (topic, desk.commit(third, topic), True),
        "merge-without-old": (topic, desk.commit(third, one), False),
        "orphan": (third, desk.commit(), False),
        "moved-to-a-later-commit-of-the-forge": (first, third, True),
        "moved-to-another-branch-of-the-forge": (topic, third, False),
        "octopus-with-old": (topic, desk.commit(third, ahead, topic), True),
        "octopus-without-old": (topic, desk.commit(third, ahead, one), False),
        "old-is-beyond-the-boundary": (first, desk.commit(third), True),
        "old-is-beyond-the-boundary-of-a-merge": (one, desk.commit(third, topic), True),
        "reverted-by-a-new-commit": (third, desk.commit(third, files={"README": b"0\n"}), True),
        "old-below-a-merge-of-an-orphan": (third, desk.commit(desk.commit(), third), True),
    }


def test_every_kind_of_move_is_judged_as_git_does(desk: Desk, enter: Enter, door: Door, repos: Repositories) -> None:
    """One push each: fast-forwards move the ref, the others do not. With ``force`` allowed, all of them do."""
    matrix = histories(desk)
    desk.give({f"{REF}/{name}": old for name, (old, _, _) in matrix.items()})
    expected = {name: ancestor(desk, old, new) for name, (old, new, _) in matrix.items()}
    assert expected == {name: forward for name, (_, _, forward) in matrix.items()}
    for name, (old, new, forward) in matrix.items():
        before = desk.refs()
        assert before[f"{REF}/{name}"] == old
        ran = desk.push("origin", f"+{new}:{REF}/{name}")
        if forward:
            ran.fine()
            assert desk.refs() == before | {f"{REF}/{name}": new}, name
        else:
            assert ran.code == 1, ran
            assert f"! [remote rejected] {new} -> agent/{name} (credgate: {NOT_FORWARD})" in ran.err
            assert "Everything up-to-date" not in ran.err
            assert desk.refs() == before, name
            assert desk.audited(f"{REF}/{name}", decision="deny")[f"{REF}/{name}"] == {
                "ref": f"{REF}/{name}", "old": old, "new": new, "verb": "force", "reason": "push-force",
            }  # fmt: skip
    forced = desk_for(enter, door, repos, desk.path, FORCED)
    forced.local("fetch", "-q", str(desk.tree), "+refs/*:refs/all/*")
    forced.push("origin", *(f"+{new}:{REF}/{name}" for name, (_, new, _) in matrix.items())).fine()
    assert {ref.split("/")[-1]: oid for ref, oid in desk.refs().items() if ref.startswith(REF)} == {
        name: new for name, (_, new, _) in matrix.items()
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_histories_are_judged_as_git_does(desk: Desk, seed: int) -> None:
    """Forty moves in one push, each judged on its own; then the fast-forwards alone, which all pass."""
    choose = random.Random(seed)
    known = desk.local("rev-list", "main").split()
    for _ in range(12):
        known.append(desk.commit(*choose.sample(known, choose.choice([1, 1, 2, 3]))))
    desk.give({f"refs/heads/known/{oid}": oid for oid in known})
    all_ = list(known)
    for _ in range(18):
        all_.append(desk.commit(*choose.sample(all_, choose.choice([0, 1, 1, 1, 2, 2, 3]))))
    moves = {f"{REF}/{number}": (choose.choice(known), choose.choice(all_)) for number in range(40)}
    moves = {ref: (old, new) for ref, (old, new) in moves.items() if old != new}
    desk.give({ref: old for ref, (old, _) in moves.items()})
    before = desk.refs()
    forward = {ref for ref, (old, new) in moves.items() if ancestor(desk, old, new)}
    assert 3 < len(forward) < len(moves) - 3
    said = desk.push("--porcelain", "origin", *(f"+{new}:{ref}" for ref, (_, new) in moves.items()))
    assert said.code == 1
    lines = {line.split("\t")[1].split(":")[1]: line for line in said.out.splitlines() if line.startswith("!")}
    assert {ref for ref, line in lines.items() if NOT_FORWARD in line} == moves.keys() - forward
    assert {ref for ref, line in lines.items() if "not attempted" in line} == forward
    assert desk.refs() == before
    desk.push("origin", *(f"+{moves[ref][1]}:{ref}" for ref in forward)).fine()
    assert desk.refs() == before | {ref: moves[ref][1] for ref in forward}


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_shallow_clones_in_both_formats(repos: Repositories, enter: Enter, door: Door, object_format: str) -> None:
    """The command list begins with ``shallow`` lines, and the graph ends where the sandbox's history does."""
    files = [{"README": b"%d\n" % number} for number in range(5)]
    path = repos.seeded(files=files, object_format=object_format)
    desk = desk_for(enter, door, repos, path)
    desk.box.git("clone", "-q", "--depth", "2", address(path), "shallow").fine()
    pushed = desk.box.commit("shallow", "file", b"new\n")
    door.front.clear()
    desk.box.git("push", "origin", "HEAD:main", cwd="shallow").fine()
    assert b"shallow " in door.front.up
    assert repos.head(path) == pushed
    root = desk.behind("rev-list", "--max-parents=0", "main")
    desk.behind("update-ref", f"{REF}/old", root)
    desk.box.git("push", "origin", f"+HEAD:{REF}/old", cwd="shallow").fine()
    assert repos.head(path, f"{REF}/old") == pushed, "the root is an ancestor, although the sandbox does not have it"
    desk.box.git("reset", "-q", "--hard", "HEAD~1", cwd="shallow").fine()
    desk.box.commit("shallow", "file", b"other\n")
    said = desk.box.git("push", "--force", "origin", "HEAD:main", cwd="shallow").refused()
    assert NOT_FORWARD in said
    assert repos.head(path) == pushed


def test_thin_pack_is_judged(desk: Desk) -> None:
    """A client that ignores ``no-thin``: its commits are whole; the bases of its blobs are not needed."""
    text = "".join(f"line {number}\n" for number in range(2000))
    base = desk.commit(files={"big": text.encode()})
    old = desk.commit(base, files={"big": text.encode() + b"more\n"})
    ahead = desk.commit(old, files={"big": text.encode() + b"and more\n"})
    aside = desk.commit(base, files={"big": text.encode() + b"other\n"})
    desk.give({REF: old})
    for new, forward in ((aside, False), (ahead, True)):
        pack = desk.pack(new, f"^{old}", options=["--thin", "--delta-base-offset"])
        assert len(pack) < 2000, "it is thin"
        told = desk.post(commands((old, new, REF)) + pack)
        assert (told.status, told.unpack) == (200, "ok")
        assert told.refs == {REF: "ok" if forward else f"credgate: {NOT_FORWARD}"}
        assert desk.refs()[REF] == (new if forward else old)


def test_no_thin_is_offered_only_if_the_pack_is_inspected(repos: Repositories, enter: Enter, door: Door) -> None:
    """A session that may force is not inspected."""
    text = "".join(f"line {number}\n" for number in range(2000)).encode()
    for push, alone in ((UPDATES, True), (FORCED, False)):
        desk = desk_for(enter, door, repos, repos.seeded(files=[{"big": text}]), push)
        desk.commit("main", files={"big": text + b"more\n"}, name="refs/heads/next")
        door.front.clear()
        desk.push("origin", "next:main").fine()
        assert (b" no-thin" in door.front.down) == alone
        assert (len(door.front.up.partition(b"PACK")[2]) > 4000) == alone


@pytest.mark.parametrize("options", [["--delta-base-offset"], []], ids=["by-offset", "by-id"])
def test_commits_may_be_deltas(desk: Desk, options: list[str]) -> None:
    """Pack-objects makes deltas of commits with long and similar messages."""
    text = "\n".join(f"reason {number} of many" for number in range(300))
    tip = chain = desk.local("rev-parse", "main")
    for number in range(12):
        chain = desk.commit(chain, text=f"{text}\n{number}")
    pack = desk.pack(chain, f"^{tip}", options=["--window=50", *options])
    assert len(pack) < 12 * 1000, "not all commits are whole"
    desk.give({REF: tip})
    aside = desk.post(commands((chain, tip, f"{REF}2"), (tip, chain, REF)) + pack)
    assert aside.refs[f"{REF}2"] == f"credgate: {NOT_FORWARD}"
    assert desk.post(commands((tip, chain, REF)) + pack).refs == {REF: "ok"}
    assert desk.refs()[REF] == chain


def test_invented_old_value_moves_nothing(desk: Desk) -> None:
    """Whatever is proved about it, the forge compares it with its own."""
    fake = desk.commit("main")
    new = desk.commit(fake)
    desk.give({REF: "main"})
    before = desk.refs()
    told = desk.post(commands((fake, new, REF)) + desk.pack(new, "^main"))
    assert told.refs[REF] != "ok"
    assert desk.post(commands((ZERO, new, REF)) + desk.pack(new, "^main")).refs[REF] != "ok"
    assert desk.refs() == before
    assert desk.post(commands((before[REF], new, REF)) + desk.pack(new, "^main")).refs == {REF: "ok"}
