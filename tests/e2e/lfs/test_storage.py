"""git-lfs with objects on another host by signed links, locks with paging, and interrupted transfers.

The forge is ``tests.fakes.lfsforge``, which says what it does not prove.
"""

from __future__ import annotations

import contextlib
import json
import signal
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.e2e.conftest import random_secret
from tests.e2e.lfs.conftest import oid_of
from tests.fakes.canary import traces
from tests.fakes.lfsforge import LfsForge
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import MIB, noise
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, StartGateway, Visit
    from tests.fakes.sandbox import Ran, Sandbox

PATH = "octo/stored"
SETTINGS = {'forges."github.com"': {"lfs_hosts": ["localhost"], "internal": True}}


@define(eq=False)
class Scene:
    """The forge with its storage, a gateway before both, and one sandbox with a repository of its own."""

    forge: LfsForge
    api: Recorder
    door: Door
    visit: Visit

    @property
    def box(self) -> Sandbox:
        """The sandbox."""
        return self.visit.box

    def lfs(self, *arguments: str) -> Ran:
        """Run git-lfs in the repository."""
        return self.box.git("lfs", *arguments, cwd="repo")

    def commit(self, *contents: bytes) -> None:
        """Commit objects that are only here."""
        for number, content in enumerate(contents):
            (self.box.home / "repo" / f"{number}.bin").write_bytes(content)
        self.box.git("add", ".", cwd="repo").fine()
        self.box.git("commit", "-q", "-m", "objects", cwd="repo").fine()

    def forget(self) -> None:
        """Drop the objects that the sandbox holds."""
        self.box.run("rm", "-rf", "repo/.git/lfs/objects").fine()

    def has(self, content: bytes) -> bool:
        """Whether the sandbox holds this object, whole."""
        oid = oid_of(content)
        place = self.box.home / "repo" / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        return place.exists() and place.read_bytes() == content


@pytest.fixture
def scene(start_gateway: StartGateway, enter: Enter) -> Iterator[Scene]:
    """Start everything."""
    with contextlib.ExitStack() as stack:
        forge = LfsForge(random_secret())
        stack.callback(forge.close)
        api = Recorder(forge.port)
        stack.callback(api.close)
        door = start_gateway(api.url, forge.state.secret, settings=SETTINGS)
        visit = enter([PATH], door=door)
        box = visit.box
        box.git("lfs", "install", "--skip-repo").fine()
        box.git("init", "-q", "-b", "main", "repo").fine()
        box.git("remote", "add", "origin", f"https://github.com/{PATH}.git", cwd="repo").fine()
        box.git("lfs", "track", "*.bin", cwd="repo").fine()
        yield Scene(forge, api, door, visit)


@pytest.mark.parametrize("chunked", [False, True])
def test_sandbox_sees_no_storage_and_no_credential(scene: Scene, *, chunked: bool) -> None:
    """Every byte that it received, both ways done, is searched; and the storage never saw the forge's credential."""
    state, contents = scene.forge.state, [noise(2), *(b"small %d" % number for number in range(20))]
    state.chunked = chunked
    scene.commit(*contents)
    scene.lfs("push", "origin", "main").fine()
    assert state.objects == {oid_of(content): content for content in contents}
    assert (set(state.uploads) == {"chunked"}) is chunked
    scene.forget()
    scene.lfs("fetch", "origin", "main").fine()
    assert all(map(scene.has, contents))
    received = scene.door.front.down
    assert len(received) > 2 * MIB
    for secret in (state.secret, state.signature, state.header, state.storage):
        assert traces(secret, received) == set(), secret
    assert b"localhost" not in received
    assert b"AmazonS3" not in received
    assert b"secret-etag" not in received
    assert state.shown == []
    assert traces(state.secret, scene.api.up) == {"base64"}, "the control: the forge's API was shown it"
    assert traces(scene.visit.lease.secret, scene.api.up) == set()


def test_interrupted_download_is_resumed(scene: Scene) -> None:
    """With a new batch and a range; what git-lfs then has is the object."""
    content = noise(8)
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    scene.forge.state.break_after = 5 * MIB
    scene.lfs("fetch", "origin", "main").fine()
    assert scene.has(content)
    first, second = scene.forge.state.ranges
    assert first == ""
    assert second.startswith("bytes=")
    assert 0 < int(second.removeprefix("bytes=").partition("-")[0]) <= 5 * MIB
    lines = [line for line in scene.door.gateway.audit() if line.get("operation") == "lfs-download"]
    assert [(line["status"], line["reason"]) for line in lines] == [(200, "forge-cut"), (206, "allowed")]


def test_git_lfs_continues_after_a_restart_during_a_transfer(scene: Scene) -> None:
    """The handles are gone; git-lfs asks for a new batch by itself."""
    content = noise(8)
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    hold = scene.door.front.hold("down", 4 * MIB)
    process = scene.box.begin("git", "lfs", "fetch", "origin", "main", cwd="repo")
    assert hold.reached.wait(20)
    scene.door.gateway.stop(signal.SIGKILL)
    scene.door.gateway.start()
    hold.release()
    scene.box.finish(process).fine()
    assert scene.has(content)


def test_git_lfs_continues_after_a_restart_between_batch_and_transfer(scene: Scene) -> None:
    """An old handle is answered 404 with a text, and git-lfs continues."""
    content = b"an object" * 1000
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    scene.box.login = "bearer"  # the first answer is the batch's, not a challenge
    scene.box.show(scene.visit.lease.line)
    hold = scene.door.front.hold("down", 50)
    process = scene.box.begin("git", "lfs", "fetch", "origin", "main", cwd="repo")
    assert hold.reached.wait(20)
    wait_until(lambda: any(line.get("operation") == "lfs-batch" for line in scene.door.gateway.audit()), "a batch")
    scene.door.gateway.stop(signal.SIGKILL)
    scene.door.gateway.start()
    hold.release()
    scene.box.finish(process).fine()
    assert scene.has(content)
    assert "lfs-handle" in {line.get("reason") for line in scene.door.gateway.audit()}


def test_locks_are_made_listed_in_pages_and_released(scene: Scene) -> None:
    """With git-lfs's own commands, a path with a blank and a slash among them."""
    scene.commit(b"one")
    names = ["0.bin", "folder/a b.bin", *(f"{number}.bin" for number in range(2, 6))]
    (scene.box.home / "repo" / "folder").mkdir()
    for name in names:
        (scene.box.home / "repo" / name).write_bytes(name.encode())
        scene.lfs("lock", name).fine()
    listed = json.loads(scene.lfs("locks", "--json").fine())
    assert [lock["path"] for lock in listed] == names
    assert {lock["owner"]["name"] for lock in listed} == {"Robot"}
    (one,) = json.loads(scene.lfs("locks", "--json", "--path", "folder/a b.bin").fine())
    assert one["path"] == "folder/a b.bin"
    assert "this file is already locked" in scene.lfs("lock", "0.bin").refused()
    scene.lfs("unlock", "folder/a b.bin", "--force").fine()
    assert len(json.loads(scene.lfs("locks", "--json", "--verify").fine())["ours"]) == len(names) - 1
    operations = {line.get("operation") for line in scene.door.gateway.audit()}
    assert {"lfs-lock", "lfs-locks", "lfs-locks-verify", "lfs-unlock"} <= operations


def test_read_only_session_lists_locks_and_cannot_lock(scene: Scene, enter: Enter) -> None:
    """git-lfs prints its own text."""
    scene.forge.state.locks.append({"id": "1", "path": "0.bin", "owner": {"name": "Robot"}})
    other = enter([{"repo": PATH, "access": "read"}], door=scene.door).box
    other.git("init", "-q", "repo").fine()
    other.git("remote", "add", "origin", f"https://github.com/{PATH}.git", cwd="repo").fine()
    assert "0.bin" in other.git("lfs", "locks", cwd="repo").fine()
    said = other.git("lfs", "lock", "1.bin", cwd="repo").refused()
    assert f"credgate: this session may only read github.com/{PATH}" in said


# Ways around.


def test_other_server_in_lfsconfig_is_not_reached(scene: Scene) -> None:
    """One on the forge goes through the gateway, as every address of the forge; no other learns anything."""
    content = b"an object" * 1000
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    config = scene.box.home / "repo" / ".lfsconfig"
    config.write_text(f"[lfs]\n\turl = https://github.com/{PATH}.git/info/lfs\n")
    scene.lfs("fetch", "origin", "main").fine()
    assert scene.has(content)
    scene.forget()
    config.write_text("[lfs]\n\turl = https://github.com/other/repository.git/info/lfs\n")
    assert "is outside this session" in scene.lfs("fetch", "origin", "main").refused()
    scene.door.front.clear()
    config.write_text("[lfs]\n\turl = https://localhost:1/elsewhere\n")
    scene.lfs("fetch", "origin", "main").refused()
    assert scene.door.front.up == b""


def test_custom_transfer_agent_is_refused(scene: Scene) -> None:
    """It is a program of the sandbox's own; a batch that offers it still ends in basic transfers, or in a refusal."""
    content = b"an object" * 1000
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    scene.box.git("config", "lfs.customtransfer.agent.path", "/bin/false", cwd="repo").fine()
    scene.lfs("fetch", "origin", "main").fine()
    assert scene.has(content)
    scene.forget()
    scene.door.front.clear()
    scene.box.git("config", "lfs.standalonetransferagent", "agent", cwd="repo").fine()
    scene.lfs("fetch", "origin", "main").refused()
    assert b"_x/" not in scene.door.front.up


def test_unlisted_storage_is_refused_by_name(scene: Scene, start_gateway: StartGateway, enter: Enter) -> None:
    """So that an operator can list it; nothing is asked there."""
    content = b"an object" * 1000
    scene.commit(content)
    scene.forge.state.objects[oid_of(content)] = content
    scene.forget()
    door = start_gateway(scene.api.url, scene.forge.state.secret, settings={'forges."github.com"': {"lfs_hosts": []}})
    visit = enter([PATH], door=door)
    visit.box.git("init", "-q", "repo").fine()
    visit.box.git("remote", "add", "origin", f"https://github.com/{PATH}.git", cwd="repo").fine()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid_of(content)}\nsize {len(content)}\n"
    (visit.box.home / "repo" / "pointer").write_text(pointer)
    said = visit.box.run("sh", "-c", "git lfs smudge < pointer", cwd="repo").refused()
    assert "on localhost, which is not among lfs_hosts" in said
    assert scene.forge.state.ranges == []


NOTHING = "may push no commit to this repository, so it may neither upload objects nor lock or unlock files"
CLOSED = {"policy": {"push": [{"refs": "refs/**", "allow": []}]}}


@pytest.mark.parametrize("by_policy", [False, True])
def test_session_without_push_cannot_upload(
    scene: Scene, start_gateway: StartGateway, enter: Enter, *, by_policy: bool
) -> None:
    """No upload, lock or forced unlock reaches the forge, by the grant or by the policy; downloads and lists do.

    Each of these commands works for a session that may push, whose lock and object are what the other one sees.
    """
    scene.commit(b"an object that the forge has")
    scene.lfs("push", "origin", "main").fine()
    for name in ("0.bin", "1.bin"):
        scene.lfs("lock", name).fine()
    scene.lfs("unlock", "--force", "1.bin").fine()
    state = scene.forge.state
    before = dict(state.objects), list(state.locks)
    door = start_gateway(scene.api.url, state.secret, settings=SETTINGS | CLOSED) if by_policy else scene.door
    box = enter([PATH if by_policy else {"repo": PATH, "push": []}], door=door).box
    box.git("lfs", "install", "--skip-repo").fine()
    box.run("cp", "-r", scene.box.home / "repo", "repo").fine()
    box.run("rm", "-rf", "repo/.git/lfs").fine()

    def lfs(*arguments: str) -> Ran:
        return box.git("lfs", *arguments, cwd="repo")

    lfs("fetch", "origin", "main").fine()
    assert [lock["path"] for lock in json.loads(lfs("locks", "--json").fine())] == ["0.bin"]
    assert [lock["path"] for lock in json.loads(lfs("locks", "--json", "--verify").fine())["ours"]] == ["0.bin"]
    (box.home / "repo" / "2.bin").write_bytes(b"an object that the forge does not have")
    box.git("add", ".", cwd="repo").fine()
    box.git("commit", "-q", "-m", "more", cwd="repo").fine()
    assert f"batch response: credgate: {who(by_policy)} {NOTHING}" in lfs("push", "origin", "main").refused()
    for command in (("lock", "2.bin"), ("unlock", "0.bin"), ("unlock", "--force", "0.bin")):
        assert NOTHING in lfs(*command).refused()
    assert (dict(state.objects), list(state.locks)) == before
    refused = [line for line in door.gateway.audit() if line.get("reason") == "push-ref"]
    assert {line["operation"] for line in refused} == {"lfs-batch", "lfs-lock", "lfs-unlock"}


def who(by_policy: bool) -> str:  # noqa: FBT001 - the table's column
    """Begin the refusal."""
    return "under this policy a session" if by_policy else "this session"
