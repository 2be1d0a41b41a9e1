"""Everything that reads, with ordinary commands and addresses: clone, fetch, ls-remote, submodules, every protocol.

Each runs with the credential helper (Basic) and with a URL-scoped extraHeader (Bearer). What arrived is compared with
what the forge holds, never with what git says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Enter
    from tests.fakes.repositories import Repositories


def test_clone_brings_the_whole_history(repos: Repositories, enter: Enter, login: str) -> None:
    """A plain ``git clone``."""
    path = repos.seeded()
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    assert box.git("rev-parse", "HEAD", cwd="clone").fine() == repos.head(path)
    assert box.git("rev-list", "--count", "HEAD", cwd="clone").fine() == "2"
    assert box.git("remote", "get-url", "origin", cwd="clone").fine() != address(path)
    assert box.git("config", "remote.origin.url", cwd="clone").fine() == address(path)


@pytest.mark.parametrize(
    "form",
    [
        "https://github.com/{}",
        "https://github.com/{}.git/",
        "git@github.com:{}.git",
        "ssh://git@github.com/{}.git",
        "http://github.com/{}.git",
    ],
)
def test_every_way_to_write_the_address_leads_through_the_gateway(
    repos: Repositories, enter: Enter, login: str, form: str
) -> None:
    """Every form of address that users paste or scripts use."""
    path = repos.seeded()
    box = enter([path], login=login).box
    heads = box.git("ls-remote", "--heads", form.format(path)).fine()
    assert heads == f"{repos.head(path)}\trefs/heads/main"


def test_the_name_may_be_written_in_any_case(repos: Repositories, enter: Enter, login: str) -> None:
    """GitHub folds case; a session granted ``octo/x`` is one for ``Octo/X``, and the forge is asked for its own."""
    path = repos.seeded()
    box = enter([path], login=login).box
    assert box.git("ls-remote", "--heads", address(path.upper())).fine().startswith(repos.head(path))


def test_fetch_brings_what_was_added(repos: Repositories, enter: Enter, login: str) -> None:
    """Haves and wants are negotiated through the relay, also over several rounds."""
    path = repos.seeded()
    reader, writer = enter([path], login=login).box, enter([path], login=login).box
    reader.git("clone", address(path), "clone").fine()
    writer.git("clone", address(path), "clone").fine()
    commits = [writer.commit("clone", "file", f"{number}\n".encode()) for number in range(40)]
    writer.git("push", "origin", "HEAD:main", "HEAD:refs/heads/topic", cwd="clone").fine()
    reader.commit("clone", "mine", b"mine\n")
    reader.git("fetch", "origin", cwd="clone").fine()
    assert reader.git("rev-parse", "origin/main", "origin/topic", cwd="clone").fine().split() == [commits[-1]] * 2


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_every_protocol_version_clones_fetches_and_pushes(
    repos: Repositories, enter: Enter, login: str, version: str
) -> None:
    """Git-Protocol crosses; what it negotiates is between git and the forge."""
    path = repos.seeded()
    box = enter([path], login=login).box
    use = ["-c", f"protocol.version={version}"]
    box.git(*use, "clone", address(path), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    box.git(*use, "push", "origin", "HEAD:main", cwd="clone").fine()
    box.git(*use, "fetch", "origin", cwd="clone").fine()
    assert box.git("rev-parse", "origin/main", cwd="clone").fine() == pushed == repos.head(path)
    assert pushed in box.git(*use, "ls-remote", "origin", cwd="clone").fine()


def test_a_shallow_clone_deepens(repos: Repositories, enter: Enter, login: str) -> None:
    """Agents clone with ``--depth 1`` and find out later that they need more."""
    path = repos.seeded(files=[{"README": f"{number}\n".encode()} for number in range(10)])
    box = enter([path], login=login).box
    box.git("clone", "--depth", "1", address(path), "clone").fine()
    assert box.git("rev-list", "--count", "HEAD", cwd="clone").fine() == "1"
    box.git("fetch", "--unshallow", cwd="clone").fine()
    assert box.git("rev-list", "--count", "HEAD", cwd="clone").fine() == "10"


def test_a_partial_clone_comes_back_for_blobs(repos: Repositories, enter: Enter, login: str) -> None:
    """Each later checkout fetches: the session must serve long after the clone."""
    path = repos.seeded(files=[{"old": b"old\n"}, {"new": b"new\n", "old": b"changed\n"}])
    box = enter([path], login=login).box
    box.git("clone", "--filter=blob:none", "--no-checkout", address(path), "clone").fine()
    missing = box.git("rev-list", "--objects", "--all", "--missing=print", cwd="clone").fine()
    assert sum(line.startswith("?") for line in missing.splitlines()) == 3
    box.git("checkout", "main", cwd="clone").fine()
    assert (box.home / "clone" / "new").read_bytes() == b"new\n"
    box.git("checkout", "main~1", cwd="clone").fine()
    assert (box.home / "clone" / "old").read_bytes() == b"old\n"


def test_a_partial_clone_asks_for_thousands_of_blobs_at_once(repos: Repositories, enter: Enter, login: str) -> None:
    """By a line each, in one gzipped fetch of many pieces: the longest request that git makes."""
    files = {f"file-{number}": b"%d\n" % number for number in range(4000)}
    path = repos.seeded(files=[files])
    box = enter([path], login=login).box
    box.git("clone", "--filter=blob:none", "--no-checkout", address(path), "clone").fine()
    box.git("checkout", "main", cwd="clone").fine()
    assert (box.home / "clone" / "file-3999").read_bytes() == b"3999\n"
    missing = box.git("rev-list", "--objects", "--all", "--missing=print", cwd="clone").fine()
    assert not [line for line in missing.splitlines() if line.startswith("?")]


def test_submodules_with_relative_and_absolute_addresses(repos: Repositories, enter: Enter, login: str) -> None:
    """A relative one resolves against the gateway, an absolute one is rewritten: all need to be granted only."""
    near, far, further = repos.seeded(), repos.seeded(), repos.seeded()
    places = {"near": f"../{near.split('/')[1]}.git", "far": address(far), "further": f"git@github.com:{further}.git"}
    modules = "".join(f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n' for name, url in places.items())
    links = {"near": repos.head(near), "far": repos.head(far), "further": repos.head(further)}
    path = repos.seeded(files=[{".gitmodules": modules.encode()}], links=links)
    box = enter([path, near, far, further], login=login).box
    box.git("clone", "--recurse-submodules", address(path), "clone").fine()
    for name in places:
        assert (box.home / "clone" / name / "README").read_bytes() == b"two\n"


def test_a_submodule_that_is_not_granted_is_refused_by_name(repos: Repositories, enter: Enter, login: str) -> None:
    """The refusal names the repository."""
    other = repos.seeded()
    modules = f'[submodule "far"]\n\tpath = far\n\turl = {address(other)}\n'
    path = repos.seeded(files=[{".gitmodules": modules.encode()}], links={"far": repos.head(other)})
    box = enter([path], login=login).box
    said = box.git("clone", "--recurse-submodules", address(path), "clone").refused()
    assert "remote: credgate" in said
    assert other in said


@pytest.mark.parametrize("version", ["0", "2"])
def test_three_thousand_refs(repos: Repositories, enter: Enter, login: str, version: str) -> None:
    """The advertisement is larger than any one read, and in v0 it comes before the first POST."""
    path = repos.seeded()
    repos.tags(path, 3000)
    box = enter([path], login=login).box
    listed = box.git("-c", f"protocol.version={version}", "ls-remote", "--tags", address(path)).fine()
    assert len(listed.splitlines()) == 3000
    box.git("-c", f"protocol.version={version}", "clone", address(path), "clone").fine()
    assert len(box.git("tag", cwd="clone").fine().splitlines()) == 3000
    box.commit("clone", "file", b"x\n")
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()


def test_a_sha256_repository(repos: Repositories, enter: Enter, login: str) -> None:
    """Object ids are 64 digits: nothing on the way may count on 40."""
    path = repos.seeded(object_format="sha256")
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    assert len(pushed) == 64
    box.git("push", "origin", "HEAD:main", "HEAD:refs/heads/topic", cwd="clone").fine()
    assert repos.head(path) == repos.head(path, "refs/heads/topic") == pushed


def test_an_empty_repository_is_cloned_and_given_its_first_commit(
    repos: Repositories, enter: Enter, login: str
) -> None:
    """An advertisement without any ref, then a push that creates everything."""
    path = repos.empty()
    box = enter([path], login=login).box
    ran = box.git("clone", address(path), "clone")
    ran.fine()
    assert "empty repository" in ran.err
    pushed = box.commit("clone", "file", b"first\n")
    box.git("push", "-u", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) == pushed


def test_a_proxy_in_the_environment_does_not_get_the_session(repos: Repositories, enter: Enter, login: str) -> None:
    """``HTTP_PROXY`` is not used for the gateway."""
    path = repos.seeded()
    box = enter([path], login=login).box
    elsewhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    listed = box.git("ls-remote", "--heads", address(path), environ=elsewhere).fine()
    assert listed.startswith(repos.head(path))
