"""Everything that writes: new branches, updates, tags, big packs, pushes from shallow clones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.fakes.repositories import noise
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter
    from tests.fakes.repositories import Repositories

MIB = 1024 * 1024


def test_new_branch_update_and_tags(repos: Repositories, enter: Enter, login: str) -> None:
    """The common case."""
    path = repos.seeded()
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    first = box.commit("clone", "file", b"1\n")
    box.git("push", "origin", "HEAD:refs/heads/agent/topic", cwd="clone").fine()
    assert repos.head(path, "refs/heads/agent/topic") == first
    second = box.commit("clone", "file", b"2\n")
    box.git("push", "origin", "HEAD:refs/heads/agent/topic", "HEAD:main", cwd="clone").fine()
    assert repos.head(path, "refs/heads/agent/topic") == repos.head(path) == second
    box.git("tag", "light", cwd="clone").fine()
    box.git("tag", "-a", "-m", "heavy", "heavy", cwd="clone").fine()
    box.git("push", "origin", "--tags", cwd="clone").fine()
    assert repos.head(path, "refs/tags/light") == second
    assert repos.head(path, "refs/tags/heavy") == box.git("rev-parse", "heavy", cwd="clone").fine()


def test_thirty_megabytes_are_probed_for_and_sent_in_chunks(
    repos: Repositories, enter: Enter, login: str, door: Door
) -> None:
    """Above http.postBuffer git asks with a lone flush first, then sends what it cannot measure."""
    path = repos.seeded()
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    pushed = box.commit("clone", "noise", noise(30))
    door.front.clear()
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) == pushed
    up = door.front.up
    assert len(up) > 30 * MIB
    assert re.search(rb"POST /git/\S+/git-receive-pack HTTP/1.1\r\n(?:[^\r\n]+\r\n)*Content-Length: 4\r\n", up)
    assert up.count(b"Transfer-Encoding: chunked\r\n") == 1
    line = door.gateway.audited(operation="git-receive-pack", repo=path, decision="allow", status=200)
    assert line["bytes_up"] > 30 * MIB or line["bytes_up"] == 4


def test_a_push_from_a_shallow_clone(repos: Repositories, enter: Enter, login: str) -> None:
    """Its command list begins with ``shallow`` lines."""
    path = repos.seeded(files=[{"README": f"{number}\n".encode()} for number in range(5)])
    box = enter([path], login=login).box
    box.git("clone", "--depth", "1", address(path), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", "HEAD:refs/heads/topic", cwd="clone").fine()
    assert repos.head(path) == repos.head(path, "refs/heads/topic") == pushed


def test_forge_refusal_is_shown_unchanged(repos: Repositories, enter: Enter, login: str) -> None:
    """The forge's report is relayed unchanged; credgate adds no text of its own."""
    path = repos.seeded()
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    hook = repos.folder(path) / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'the hook of the forge says no' >&2\nexit 1\n")
    hook.chmod(0o755)
    box.commit("clone", "file", b"new\n")
    said = box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    assert "remote: the hook of the forge says no" in said
    assert "[remote rejected] HEAD -> main (pre-receive hook declined)" in said


def test_a_stale_push_is_rejected_by_git_itself(repos: Repositories, enter: Enter, login: str) -> None:
    """Git rejects it before anything is sent."""
    path = repos.seeded()
    one, two = enter([path], login=login).box, enter([path], login=login).box
    for box in (one, two):
        box.git("clone", address(path), "clone").fine()
        box.commit("clone", "file", str(box.folder).encode())
    one.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert "[rejected]" in two.git("push", "origin", "HEAD:main", cwd="clone").refused()
    two.git("pull", "--rebase", "-X", "theirs", "origin", "main", cwd="clone").fine()
    two.git("push", "origin", "HEAD:main", cwd="clone").fine()
