"""What git-lfs prints when it is refused, and that handles are valid for their session only."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.lfs.conftest import oid_of
from tests.fakes.repositories import MIB, noise
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Door, Visit
    from tests.e2e.lfs.conftest import LfsForge
    from tests.fakes.gateway import Lease
    from tests.fakes.sandbox import Ran, Sandbox

    EnterLfs = Callable[..., Visit]

CONTENT = b"an object\n" * 1000


def clone_and_commit(box: Sandbox, path: str, *contents: bytes) -> None:
    """Clone, and commit LFS files that are not pushed yet."""
    box.git("clone", "-q", address(path), "clone").fine()
    box.git("lfs", "track", "*.bin", cwd="clone").fine()
    for number, content in enumerate(contents):
        (box.home / "clone" / f"new{number}.bin").write_bytes(content)
    box.git("add", ".", cwd="clone").fine()
    box.git("commit", "-q", "-m", "objects", cwd="clone").fine()


def push(box: Sandbox) -> Ran:
    """Push objects alone, so that what is said is git-lfs's."""
    return box.git("lfs", "push", "origin", "HEAD", cwd="clone")


def test_a_read_only_session_does_not_upload(lfs_forge: LfsForge, enter_lfs: EnterLfs, login: str) -> None:
    """Said in the batch, once, before a byte is sent; reading works."""
    path = lfs_forge.holding(CONTENT)
    box = enter_lfs([{"repo": path, "access": "read"}], login=login).box
    clone_and_commit(box, path, b"new" * 100)
    assert (box.home / "clone" / "0.bin").read_bytes() == CONTENT
    said = push(box).refused()
    assert f"batch response: credgate: this session may only read github.com/{path}" in said
    assert not lfs_forge.lfs.has(path, oid_of(b"new" * 100))


def test_another_repository_is_out_of_scope(lfs_forge: LfsForge, enter_lfs: EnterLfs, login: str) -> None:
    """Also for its objects alone, from a clone of one that is granted."""
    path, other = lfs_forge.holding(CONTENT), lfs_forge.holding(b"secret" * 100)
    box = enter_lfs([path], login=login).box
    box.git("clone", "-q", address(path), "clone").fine()
    box.git("config", "lfs.url", f"{address(other)}/info/lfs", cwd="clone").fine()
    clone = box.home / "clone"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid_of(b'secret' * 100)}\nsize 600\n"
    (clone / "other.bin").write_text(pointer)
    said = box.run("sh", "-c", "git lfs smudge < other.bin", cwd="clone").refused()
    assert f"credgate: github.com/{other} is outside this session" in said
    box.git("config", "--unset", "lfs.url", cwd="clone").fine()
    assert "outside" not in box.run("sh", "-c", "git lfs smudge < other.bin", cwd="clone").err


def test_object_over_the_grants_limit_is_refused_by_name(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """The other objects of the batch are transferred, either direction."""
    large, small = noise(1), CONTENT
    path = lfs_forge.holding(large)
    box = enter_lfs([{"repo": path, "max_lfs_object_bytes": MIB - 1}]).box
    box.git("clone", "-q", address(path), "clone", environ={"GIT_LFS_SKIP_SMUDGE": "1"}).fine()
    said = box.git("lfs", "pull", cwd="clone").refused()
    assert f"credgate: this session may not move LFS objects over {MIB - 1} bytes" in said
    for number, content in enumerate([large, small]):
        (box.home / "clone" / f"new{number}.bin").write_bytes(content[:-1] + b"!")
    box.git("add", ".", cwd="clone").fine()
    box.git("commit", "-q", "-m", "objects", cwd="clone").fine()
    said = push(box).refused()
    assert f"{oid_of(large[:-1] + b'!')}] credgate: this session may not move" in said
    assert lfs_forge.lfs.has(path, oid_of(small[:-1] + b"!"))
    reasons = {line["reason"] for line in door.gateway.audit() if line.get("operation") == "lfs-batch"}
    assert "lfs-object-too-large" in reasons


def test_objects_by_a_repositorys_old_name_have_the_limits_of_the_new_name(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door
) -> None:
    """The old name's grant allows all; an upload by it is taken only where the new name's grant allows pushes."""
    large = CONTENT + b"more"
    path = lfs_forge.holding(CONTENT, large)
    old = path.replace("octo/", "moved-in/")
    for number, limits in enumerate(({"push": [], "max_lfs_object_bytes": len(CONTENT)}, {})):
        box = enter_lfs([{"repo": path, **limits}, old]).box
        clone, new = f"clone{number}", b"new object %d" % number
        box.git("clone", "-q", address(old), clone, environ={"GIT_LFS_SKIP_SMUDGE": "1"}).fine()
        pulled = box.git("lfs", "pull", cwd=clone)
        (box.home / clone / "new.bin").write_bytes(new)
        box.git("add", ".", cwd=clone).fine()
        box.git("commit", "-q", "-m", "objects", cwd=clone).fine()
        pushed = box.git("lfs", "push", "origin", "HEAD", cwd=clone)
        assert (box.home / clone / "0.bin").read_bytes() == CONTENT
        if limits:
            assert f"may not move LFS objects over {len(CONTENT)} bytes" in pulled.refused()
            assert "this session may push no commit to this repository" in pushed.refused()
            assert not lfs_forge.lfs.has(old, oid_of(new))
        else:
            pulled.fine()
            pushed.fine()
            assert lfs_forge.lfs.has(path, oid_of(new))
        assert door.gateway.audited(repo=path, moved_from=old, operation="lfs-batch")


def test_missing_object_is_reported(lfs_forge: LfsForge, enter_lfs: EnterLfs) -> None:
    """The text of the forge's server is not repeated."""
    path = lfs_forge.holding(CONTENT, b"lost" * 10)
    lfs_forge.lfs.object(path, oid_of(b"lost" * 10)).unlink()
    box = enter_lfs([path]).box
    box.git("clone", "-q", address(path), "clone", environ={"GIT_LFS_SKIP_SMUDGE": "1"}).fine()
    said = box.git("lfs", "pull", cwd="clone").refused()
    assert "credgate: the LFS server of github.com does not have this object" in said
    assert "Object does not exist" not in said
    assert (box.home / "clone" / "0.bin").read_bytes() == CONTENT


def test_revoked_session_is_refused_with_a_text(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """git-lfs shows what a 401 or 403 says."""
    path = lfs_forge.holding(CONTENT)
    visit = enter_lfs([path])
    visit.box.git("clone", "-q", address(path), "clone", environ={"GIT_LFS_SKIP_SMUDGE": "1"}).fine()
    assert door.gateway.control("DELETE", f"/session/{visit.lease.token}").status == 200
    said = visit.box.git("lfs", "pull", cwd="clone").refused()
    assert "credgate: this session credential is not accepted here" in said


# Handles.


def ask(door: Door, lease: Lease, method: str, target: str, body: bytes = b"", **fields: str) -> tuple[int, Any]:
    """Ask as a program of the sandbox might."""
    login = base64.b64encode(f"x:{lease.line}".encode()).decode()
    kind = {"Content-Type": "application/vnd.git-lfs+json"} if method == "POST" else {}
    connection = http.client.HTTPConnection("127.0.0.1", door.front.port, timeout=20)
    chunked = "Transfer-Encoding" in fields
    sent = {"Authorization": f"Basic {login}", **kind, **fields}
    connection.request(method, target, body or None, sent, encode_chunked=chunked)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    is_json = answer.getheader("Content-Type") == "application/vnd.git-lfs+json"
    return answer.status, json.loads(content) if is_json else content


def batch(door: Door, lease: Lease, path: str, operation: str, content: bytes) -> dict[str, str]:
    """Ask for one object; the targets of its actions by name."""
    objects = [{"oid": oid_of(content), "size": len(content)}]
    body = json.dumps({"operation": operation, "transfers": ["basic"], "objects": objects}).encode()
    status, answer = ask(door, lease, "POST", f"/git/{path}.git/info/lfs/objects/batch", body)
    assert status == 200, answer
    actions = answer["objects"][0]["actions"]
    for action in actions.values():
        assert action["href"].startswith(f"{door.front.url}/git/{path}.git/info/lfs/_x/")
        assert list(action["header"]) == ["X-Credgate-Handle"]
    return {name: action["href"].removeprefix(door.front.url) for name, action in actions.items()}


def test_a_handle_opens_its_object_for_its_session_only(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """Another session, another repository, another method: 404; and then the one that it was given to."""
    path, other = lfs_forge.holding(CONTENT), lfs_forge.holding(CONTENT)
    mine, theirs = enter_lfs([path, other]).lease, enter_lfs([path, other]).lease
    target = batch(door, mine, path, "download", CONTENT)["download"]
    there = target.replace(f"/{path}.git/", f"/{other}.git/")
    for lease, method, place in ((theirs, "GET", target), (mine, "GET", there), (mine, "POST", target)):
        status, answer = ask(door, lease, method, place, b"{}" if method == "POST" else b"")
        assert status == 404
        assert "this link to an LFS object is not valid" in answer["message"]
    assert ask(door, mine, "PUT", target, CONTENT)[0] == 404
    assert ask(door, mine, "GET", target) == (200, CONTENT)
    assert ask(door, mine, "GET", target) == (200, CONTENT), "again, for whoever tries again"

    def refused() -> list[str]:
        lines = [line for line in door.gateway.audit() if line.get("operation") in {"lfs-download", "lfs-upload"}]
        return [line["operation"] for line in lines if line["reason"] == "lfs-handle"]

    wait_until(lambda: len(refused()) == 3, "the three refusals of a known operation are audited")


def test_handle_needs_the_sessions_credential(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """Logs and process lists may show a URL."""
    path = lfs_forge.holding(CONTENT)
    lease = enter_lfs([path]).lease
    target = batch(door, lease, path, "download", CONTENT)["download"]
    status, answer = ask(door, lease, "GET", target, Authorization="Basic eDp5Ono=")
    assert (status, "session credential is not accepted" in answer["message"]) == (403, True)
    assert ask(door, lease, "GET", target)[0] == 200


def test_secret_of_a_handle_ends_with_its_session(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """It opens its object without the session's credential, nothing else, and nothing after a revoke."""
    path = lfs_forge.holding(CONTENT)
    lease = enter_lfs([path]).lease
    objects = [{"oid": oid_of(CONTENT), "size": len(CONTENT)}]
    asked = json.dumps({"operation": "download", "transfers": ["basic"], "objects": objects}).encode()
    _, answer = ask(door, lease, "POST", f"/git/{path}.git/info/lfs/objects/batch", asked)
    (told,) = answer["objects"]
    link = told["actions"]["download"]
    target, own = link["href"].removeprefix(door.front.url), link["header"]["X-Credgate-Handle"]
    assert told["authenticated"] is True
    assert own not in (lease.token, lease.secret)

    def with_own(method: str, place: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", door.front.port, timeout=20)
        connection.request(method, place, headers={"X-Credgate-Handle": own})
        heard = connection.getresponse()
        content = heard.read()
        connection.close()
        return heard.status, content

    assert with_own("GET", target) == (200, CONTENT)
    assert with_own("GET", f"/git/{path}.git/info/refs?service=git-upload-pack")[0] == 401
    assert with_own("GET", "/whoami")[0] == 401
    assert with_own("PUT", target)[0] == 404
    assert door.gateway.control("DELETE", f"/session/{lease.token}").status == 200
    status, content = with_own("GET", target)
    assert (status, b"this link to an LFS object is not valid" in content) == (404, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_corrupt_upload_is_never_complete(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, *, chunked: bool
) -> None:
    """The storage is left with an unfinished request; the right bytes are then taken by the same handle."""
    path = lfs_forge.repositories.seeded()
    lease, content = enter_lfs([path]).lease, b"right" * 1000
    targets = batch(door, lease, path, "upload", content)
    wrong = content[:-1] + b"!"
    more = {"Transfer-Encoding": "chunked"} if chunked else {}
    body: Any = iter([wrong[:2000], wrong[2000:]]) if chunked else wrong
    status, answer = ask(door, lease, "PUT", targets["upload"], body, **more)
    assert (status, "its bytes do not match the object's digest" in answer["message"]) == (422, True)
    line = wait_until(lambda: [line for line in door.gateway.audit() if line.get("operation") == "lfs-upload"], "told")[
        0
    ]
    assert (line["reason"], line["oid"], line["size"]) == ("lfs-mismatch", oid_of(content), len(content))
    held = lfs_forge.lfs.object(path, oid_of(content))
    assert not held.exists() or held.read_bytes() != wrong
    assert ask(door, lease, "PUT", targets["upload"], content)[0] == 200
    assert held.read_bytes() == content
    assert ask(door, lease, "POST", targets["verify"], b"{}") == (200, {})


def test_an_upload_of_another_size_is_refused(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """The batch's size is the only one."""
    path = lfs_forge.repositories.seeded()
    lease, content = enter_lfs([path]).lease, b"right" * 1000
    target = batch(door, lease, path, "upload", content)["upload"]
    status, answer = ask(door, lease, "PUT", target, content + b"more")
    assert (status, "this upload has 5004 bytes, and its batch said 5000" in answer["message"]) == (422, True)
    assert not lfs_forge.lfs.has(path, oid_of(content))


def test_a_corrupt_download_is_cut(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door) -> None:
    """git-lfs never has all of it, and says so in the end."""
    path = lfs_forge.holding(noise(1))
    stored = lfs_forge.lfs.object(path, oid_of(noise(1)))
    stored.write_bytes(noise(1)[:-1] + b"!")
    box = enter_lfs([path]).box
    box.git("config", "--global", "lfs.transfer.maxretries", "1").fine()
    box.git("clone", "-q", address(path), "clone").refused()
    assert "lfs-mismatch" in {line.get("reason") for line in door.gateway.audit()}
    assert not list((box.home / "clone" / ".git" / "lfs" / "objects").glob("??/??/*"))
