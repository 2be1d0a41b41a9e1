"""Refusals, as git prints them: each with the same command allowed, each with its reason in the audit file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.repositories import noise
from tests.fakes.sandbox import Ran, Sandbox, address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

WRONG = "A" * 43 + ":" + "B" * 43


def _list(box: Sandbox, path: str) -> Ran:
    return box.git("ls-remote", "--heads", address(path))


def test_a_clone_out_of_scope_is_refused_by_name(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """Git shows who refuses, what, and what is granted; nothing is sent to the forge."""
    path, other = repos.seeded(), repos.seeded()
    box = enter([path], login=login).box
    said = box.git("clone", address(other), "clone").refused()
    assert "remote: credgate" in said
    assert other in said
    assert path in said
    assert "403" in said
    assert not (box.home / "clone").exists()
    assert forge.plain.up == b""
    line = door.gateway.audited(repo=other, decision="deny")
    assert (line["reason"], line["status"], "upstream_status" in line) == ("outside-session", 403, False)
    box.git("clone", address(path), "clone").fine()
    assert forge.plain.up != b""


@pytest.mark.parametrize("spelling", ["{}.wiki", "{}-secret", "{}.git.git", "other/{}"])
def test_a_neighbouring_name_is_another_repository(
    repos: Repositories, enter: Enter, spelling: str, forge: Forge
) -> None:
    """A grant is for one repository, not for names that begin or end with its name."""
    path = repos.seeded()
    name = spelling.format(path if spelling.startswith("{") else path.split("/")[1])
    repos.seeded(name)
    box = enter([path]).box
    assert "remote: credgate" in _list(box, name).refused()
    assert forge.plain.up == b""
    _list(box, path).fine()


def test_a_session_without_grants_reaches_nothing(repos: Repositories, enter: Enter, login: str) -> None:
    """An empty list means none."""
    path = repos.seeded()
    assert "remote: credgate" in _list(enter([], login=login).box, path).refused()
    _list(enter([path], login=login).box, path).fine()


def test_patterns_reach_what_they_name_and_no_more(repos: Repositories, enter: Enter, login: str) -> None:
    """``owner/*`` is below owner; ``**`` is everything."""
    inside, outside = repos.seeded(repos.fresh("team")), repos.seeded(repos.fresh("teams"))
    box = enter(["team/*"], login=login).box
    _list(box, inside).fine()
    assert "remote: credgate" in _list(box, outside).refused()
    _list(enter(["**"], login=login).box, outside).fine()


def test_a_push_with_read_access_is_refused_at_discovery(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """Before a byte of the pack is sent; reading still works."""
    path = repos.seeded()
    before = repos.head(path)
    box = enter([{"repo": path, "access": "read"}], login=login).box
    box.git("clone", address(path), "clone").fine()
    box.commit("clone", "noise", noise(3))
    forge.plain.clear()
    said = box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    assert "remote: credgate" in said
    assert "read" in said
    assert forge.plain.up == b""
    assert repos.head(path) == before
    assert door.gateway.audited(repo=path, decision="deny")["reason"] == "read-only"
    box.git("fetch", "origin", cwd="clone").fine()


def _expect_wrong(said: str, login: str) -> None:
    assert "remote: credgate" in said
    assert ("Authentication failed" if login == "helper" else "error: 403") in said


@pytest.mark.parametrize("wrong", ["unknown", "swapped", "secret of another"])
def test_a_wrong_credential_is_refused(
    repos: Repositories, enter: Enter, login: str, wrong: str, door: Door, forge: Forge
) -> None:
    """Both halves are needed, of one session; the answer does not say which was wrong."""
    path = repos.seeded()
    visit, other = enter([path], login=login), enter([path], login=login)
    lines = {
        "unknown": WRONG,
        "swapped": f"{visit.lease.secret}:{visit.lease.token}",
        "secret of another": f"{visit.lease.token}:{other.lease.secret}",
    }
    if login == "helper":
        visit.box.token_file.unlink()
    said = _list(visit.box.show(lines[wrong]), path).refused()
    _expect_wrong(said, login)
    assert forge.plain.up == b""
    assert door.gateway.audited(decision="deny", reason="bad-credential", status=401 if login == "helper" else 403)
    _list(other.box, path).fine()


def test_a_revoked_session_is_refused(repos: Repositories, enter: Enter, login: str, door: Door) -> None:
    """At the very next request."""
    path = repos.seeded()
    visit = enter([path], login=login)
    _list(visit.box, path).fine()
    door.gateway.revoke(visit.lease)
    _expect_wrong(_list(visit.box, path).refused(), login)
    assert door.gateway.audited(event="session-revoked", session=visit.lease.id)


def test_an_expired_session_is_refused(repos: Repositories, enter: Enter, login: str, door: Door) -> None:
    """Its absolute life is over, however busy it was; the one beside it lives."""
    path = repos.seeded()
    visit = enter([path], login=login, absolute_ttl="3s")
    _list(visit.box, path).fine()

    from tests.fakes.waiting import wait_until  # noqa: PLC0415 -- beside its only use

    wait_until(lambda: _list(visit.box, path).code != 0, "the session expires")
    # The one that fails first may have been let in and expired between its two requests: git says that differently.
    _expect_wrong(_list(visit.box, path).refused(), login)
    _list(enter([path], login=login).box, path).fine()


def test_without_a_session_git_says_that_it_has_no_credential(repos: Repositories, enter: Enter) -> None:
    """The helper prints nothing, git does not prompt, and the audit line has the reason."""
    path = repos.seeded()
    visit = enter([path])
    visit.box.token_file.unlink()
    assert "terminal prompts disabled" in _list(visit.box, path).refused()


def test_a_session_bound_elsewhere_is_refused_as_unknown(repos: Repositories, enter: Enter, login: str) -> None:
    """The same words as for a wrong secret: the binding is not an oracle."""
    path = repos.seeded()
    _expect_wrong(_list(enter([path], login=login, bind="192.0.2.0/24").box, path).refused(), login)
    _list(enter([path], login=login, bind="127.0.0.0/8").box, path).fine()


def test_ten_wrong_logins_a_minute_throttle_the_address(
    repos: Repositories, enter: Enter, start_gateway: StartGateway
) -> None:
    """Further tries are refused cheaply and recorded; a correct credential is still accepted."""
    path = repos.seeded()
    door = start_gateway(settings={"limits": {"wrong_credentials_per_minute": 10}})
    right, wrong = enter([path], door=door, login="bearer").box, enter([path], door=door, login="bearer").box
    wrong.show(WRONG)
    answers = [_list(wrong, path).refused() for _ in range(14)]
    assert all("403" in said for said in answers[:10])
    assert any("429" in said for said in answers[10:])  # one try more comes free every six seconds
    assert b"\r\nRetry-After: " in door.front.down
    _list(right, path).fine()


def test_lfs_requests_are_refused_in_lfs_format(repos: Repositories, enter: Enter, door: Door) -> None:
    """A 501 in JSON for requests that are not part of the API."""
    path = repos.seeded()
    visit = enter([path])
    batch = f"{door.front.url}/git/{path}.git/info/lfs/objects/bulk"
    ran = visit.box.run("python3", "-c", LFS, batch, visit.lease.line, environ={"PATH": visit.box.environ["PATH"]})
    status, kind, body = ran.fine().split("\n", 2)
    assert (status, kind) == ("501", "application/vnd.git-lfs+json")
    assert "credgate" in body


LFS = """
import base64, http.client, sys, urllib.parse
place = urllib.parse.urlsplit(sys.argv[1])
login = base64.b64encode(b"x:" + sys.argv[2].encode()).decode()
fields = {"Authorization": "Basic " + login, "Content-Type": "application/vnd.git-lfs+json"}
connection = http.client.HTTPConnection(place.netloc)
connection.request("POST", place.path, '{"operation":"download","objects":[]}', fields)
answer = connection.getresponse()
print(answer.status, answer.headers["Content-Type"], answer.read().decode(), sep="\\n")
"""


@pytest.mark.needs("git-lfs")
def test_git_lfs_prints_the_reason(repos: Repositories, enter: Enter, login: str) -> None:
    """The real client, by its own hook at a push, to a forge that has no LFS."""
    path = repos.seeded()
    box = enter([path], login=login).box
    box.git("clone", address(path), "clone").fine()
    box.git("lfs", "install", "--local", cwd="clone").fine()
    box.git("lfs", "track", "*.bin", cwd="clone").fine()
    box.commit("clone", "large.bin", noise(1))
    said = box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    assert "batch response: credgate: github.com answered 404" in said
    assert "LFS is disabled for it" in said
