"""Short-lived credentials, by real git through a real gateway: minted, renewed in the middle, ended, lost and kept."""

from __future__ import annotations

import contextlib
import signal
import urllib.error
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define
from cryptography.fernet import Fernet

from tests.fakes.api import Reply
from tests.fakes.canary import traces
from tests.fakes.gitea_api import CLIENT_ID, CLIENT_SECRET, GiteaApi
from tests.fakes.github_api import APP_ID, GitHubApi, Issued, make_key
from tests.fakes.gitlab_api import GitLabApi
from tests.fakes.mintedforge import MintedForge
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import noise
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

LIFETIME = 4
"""Seconds of a token: a session outlives several."""
MIB = 1024 * 1024
PEM, PUBLIC = make_key()


@define(eq=False)
class Mint:
    """A forge whose git server takes what its API gives out, and a gateway that mints there."""

    api: Any
    server: MintedForge
    git: Recorder
    door: Door

    def outlive(self, issued: Issued) -> None:
        """Wait until a token has ended."""
        wait_until(lambda: self.api.now() > issued.expires_at, "the token has ended")

    def tokens(self, path: str) -> list[str]:
        """List the tokens that asked for this repository, each once, in order."""
        return list(dict.fromkeys(shown.token for shown in self.server.shown if shown.path == path))


def secret_file(folder: Path, name: str, text: str) -> str:
    """Write a secret for the gateway; its reference."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return f"file://{path}"


@pytest.fixture
def github(forge: Forge, start_gateway: StartGateway, tmp_path: Path) -> Iterator[Mint]:
    """Start GitHub's API over TLS, a git server that knows its tokens, and a gateway with an App."""
    with contextlib.ExitStack() as stack:
        api = GitHubApi(PUBLIC, tls=forge.authority.server_context(), lifetime=LIFETIME)
        stack.callback(api.close)
        server = MintedForge(
            forge.repositories.root, tmp_path, lambda token, path, write: api.admits(token, path, write=write)
        )
        stack.callback(server.close)
        git = Recorder(server.port)
        stack.callback(git.close)
        table = {
            "credential": "",
            "api_url": api.url,
            "ca_file": str(forge.authority.ca_file),
            "app": {"app_id": APP_ID, "private_key": secret_file(tmp_path, "app.pem", PEM)},
        }
        yield Mint(api, server, git, start_gateway(url=git.url, settings={'forges."github.com"': table}))


def installed(mint: Mint, repos: Repositories, count: int = 1, **seed: Any) -> list[str]:
    """Make repositories that the App is installed on."""
    paths = [repos.seeded(**seed) for _ in range(count)]
    mint.api.install("octo", *(path.removeprefix("octo/") for path in paths))
    return paths


def status(mint: Mint, token: str, path: str) -> int:
    """Ask the git server directly, as a bearer of ``token``."""
    login = b64encode(f"x-access-token:{token}".encode()).decode()
    url = f"http://127.0.0.1:{mint.server.port}/{path}.git/info/refs?service=git-upload-pack"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_session_outlives_three_tokens(github: Mint, repos: Repositories, enter: Enter, login: str) -> None:
    """Clone, fetch and push, each with a token of its own time; git notices nothing."""
    (path,) = installed(github, repos)
    visit = enter([path], door=github.door, login=login)
    visit.box.git("clone", address(path), "clone").fine()
    for number in range(3):
        github.outlive(github.api.issued[-1])
        visit.box.commit("clone", f"file{number}", b"content\n")
        visit.box.git("push", "origin", "HEAD:main", cwd="clone").fine()
        github.outlive(github.api.issued[-1])
        visit.box.git("fetch", cwd="clone").fine()
    assert len(github.tokens(path)) >= 6
    assert all(shown.taken for shown in github.server.shown)
    assert repos.head(path) == visit.box.git("rev-parse", "HEAD", cwd="clone").fine()


def test_a_token_is_renewed_in_the_middle_of_a_clone(github: Mint, repos: Repositories, enter: Enter) -> None:
    """The discovery's answer comes so late that its token has ended: the next request of the same clone has another."""
    (path,) = installed(github, repos)
    visit = enter([path], door=github.door)
    hold = github.git.hold("down", 1)
    clone = visit.box.begin("git", "clone", address(path), "clone")
    assert hold.reached.wait(30)
    github.outlive(github.api.issued[-1])
    hold.release()
    visit.box.finish(clone).fine()
    assert len(github.tokens(path)) == 2
    assert all(shown.taken for shown in github.server.shown)


def test_a_clone_keeps_its_token_after_a_renewal(github: Mint, repos: Repositories, enter: Enter) -> None:
    """It outlives its token in the middle of the pack; what comes next has another."""
    (path,) = installed(github, repos, files=[{"noise": noise(8)}])
    visit = enter([path], door=github.door)
    hold = github.git.hold("down", 2 * MIB)
    clone = visit.box.begin("git", "clone", address(path), "clone")
    assert hold.reached.wait(30)
    before = len(github.tokens(path))
    github.outlive(github.api.issued[-1])
    hold.release()
    visit.box.finish(clone).fine()
    assert len(github.tokens(path)) == before
    visit.box.git("fetch", cwd="clone").fine()
    assert len(github.tokens(path)) == before + 1
    assert visit.box.git("rev-parse", "HEAD", cwd="clone").fine() == repos.head(path)


def test_a_token_is_renewed_in_the_middle_of_a_push(github: Mint, repos: Repositories, enter: Enter) -> None:
    """Between discovery and pack; and a pack that outlives its token arrives whole."""
    (path,) = installed(github, repos)
    visit = enter([path], door=github.door)
    visit.box.git("clone", address(path), "clone").fine()
    commit = visit.box.commit("clone", "noise", noise(8))
    hold = github.git.hold("down", 1)
    push = visit.box.begin("git", "push", "origin", "HEAD:main", cwd="clone")
    assert hold.reached.wait(30)
    github.outlive(github.api.issued[-1])
    hold.release()
    hold = github.git.hold("up", 2 * MIB)
    assert hold.reached.wait(30)
    github.outlive(github.api.issued[-1])
    hold.release()
    visit.box.finish(push).fine()
    assert repos.head(path) == commit
    assert len({shown.token for shown in github.server.shown if shown.write}) == 2
    assert all(shown.taken for shown in github.server.shown)


def test_a_token_is_good_until_it_ends_and_not_after(github: Mint, repos: Repositories, enter: Enter) -> None:
    """What the tests above stand on: the git server refuses a token that has ended."""
    (path,) = installed(github, repos)
    visit = enter([path], door=github.door)
    visit.box.git("ls-remote", address(path)).fine()
    (issued,) = github.api.issued
    assert status(github, issued.token, path) == 200
    github.outlive(issued)
    assert status(github, issued.token, path) == 401


def test_a_token_ends_with_its_session(github: Mint, repos: Repositories, enter: Enter) -> None:
    """At the forge, and in the audit log; another session's stays."""
    github.api.lifetime = 3600
    path, other = installed(github, repos, 2)
    visit, neighbour = enter([path], door=github.door), enter([other], door=github.door)
    visit.box.git("ls-remote", address(path)).fine()
    neighbour.box.git("ls-remote", address(other)).fine()
    mine, its = github.api.issued
    assert status(github, mine.token, path) == 200
    github.door.gateway.revoke(visit.lease)
    line = github.door.gateway.audited(event="credential-revoked")
    assert (line["decision"], line["repositories"]) == ("allow", [path])
    assert status(github, mine.token, path) == 401
    assert status(github, its.token, other) == 200


def test_a_token_reaches_the_granted_repositories_only(github: Mint, repos: Repositories, enter: Enter) -> None:
    """Repositories and permissions as they were asked for; the list of repositories is never empty."""
    path, read, other = installed(github, repos, 3)
    visit = enter([path, {"repo": read, "access": "read"}], door=github.door)
    visit.box.git("clone", address(path), "clone").fine()
    visit.box.commit("clone", "file", b"content\n")
    visit.box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    enter(["octo/*"], door=github.door).box.git("ls-remote", address(other)).fine()
    enter(["**"], door=github.door).box.git("ls-remote", address(read)).fine()
    asked = [one.json for one in github.api.asked if one.method == "POST"]
    assert all(one.get("repositories") or one.get("repository_ids") for one in asked)
    assert [(sorted(one.repositories), one.permissions) for one in github.api.issued] == [
        (sorted([path, read]), {"contents": "read", "metadata": "read"}),
        ([path], {"contents": "write", "metadata": "read"}),
        ([other], {"contents": "read", "metadata": "read"}),
        ([read], {"contents": "read", "metadata": "read"}),
    ]
    line = github.door.gateway.audited(event="credential-minted", permissions="contents: write, metadata: read")
    assert line["repositories"] == [path]


def test_a_session_without_repositories_makes_no_token(github: Mint, repos: Repositories, enter: Enter) -> None:
    """Not even the API: an empty list would be all repositories there."""
    (path,) = installed(github, repos)
    visit = enter([], door=github.door)
    assert "outside this session" in visit.box.git("ls-remote", address(path)).refused()
    assert not github.api.asked


def test_a_missing_app_installation_is_shown_by_git(github: Mint, repos: Repositories, enter: Enter) -> None:
    """With what to do; and beside it the repository that it is installed on works."""
    (path,) = installed(github, repos)
    outside = repos.seeded(repos.fresh("else"))
    visit = enter([path, outside], door=github.door)
    said = visit.box.git("ls-remote", address(outside)).refused()
    assert "credgate" in said
    assert f"GitHub App is not installed on {outside}" in " ".join(said.replace("remote:", "").split())
    assert github.door.gateway.audited(event="credential-failed")["reason"] == "credential-not-covering"
    visit.box.git("ls-remote", address(path)).fine()


def test_a_rate_limit_is_shown_by_git(github: Mint, repos: Repositories, enter: Enter) -> None:
    """And the forge's API is left alone meanwhile."""
    (path,) = installed(github, repos)
    github.api.faults = [Reply(429, {"message": "API rate limit exceeded"}, {"Retry-After": "60"})]
    visit = enter([path], door=github.door)
    for _ in range(3):
        assert "its rate limit is reached" in " ".join(visit.box.git("ls-remote", address(path)).refused().split())
    assert len(github.api.asked) == 1
    assert github.door.gateway.audited(event="credential-failed")["reason"] == "credential-limited"


def test_no_token_jwt_or_key_is_seen_anywhere(github: Mint, repos: Repositories, enter: Enter) -> None:
    """By the sandbox, in the log, the audit log, whoami, the status pages."""
    (path,) = installed(github, repos)
    visit = enter([path], door=github.door)
    visit.box.git("clone", address(path), "clone").fine()
    github.api.faults = [Reply(401, {"message": "Bad credentials"})]
    visit.box.commit("clone", "file", b"content\n")
    visit.box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    visit.box.git("ls-remote", address(path))
    gateway = github.door.gateway
    gateway.control("GET", "/v1/forges")
    seen = github.door.front.down + gateway.log().encode() + gateway.audit_file.read_bytes()
    seen += "".join(reply.text for reply in gateway.replies).encode() + "".join(visit.box.said).encode()
    secrets = [issued.token for issued in github.api.issued] + [PEM.splitlines()[1]]
    secrets += [one.headers["authorization"].removeprefix("Bearer ") for one in github.api.asked]
    assert len(secrets) > 3
    assert not [traces(secret, seen) for secret in secrets if traces(secret, seen)]


@pytest.fixture(params=["gitea", "gitlab"])
def kept(request: pytest.FixtureRequest, forge: Forge, start_gateway: StartGateway, tmp_path: Path) -> Iterator[Mint]:
    """Start a forge whose tokens are used up in asking, and a gateway that keeps the next one."""
    with contextlib.ExitStack() as stack:
        tls = forge.authority.server_context()
        api: Any = GiteaApi(tls=tls) if request.param == "gitea" else GitLabApi(tls=tls)
        stack.callback(api.close)
        server = MintedForge(forge.repositories.root, tmp_path, lambda token, _path, _write: bool(api.admits(token)))
        stack.callback(server.close)
        git = Recorder(server.port, tls=forge.authority.server_context())
        stack.callback(git.close)
        key = secret_file(tmp_path, "key", Fernet.generate_key().decode())
        table: dict[str, Any] = {"kind": request.param, "credential": "", "ca_file": str(forge.authority.ca_file)}
        if request.param == "gitea":
            secret = secret_file(tmp_path, "client", CLIENT_SECRET)
            first = secret_file(tmp_path, "first", api.refresh)
            table["oauth"] = {"client_id": CLIENT_ID, "client_secret": secret, "refresh_token": first, "key": key}
            # The token endpoint is on the forge itself, not on its API's address.
            server.pages["/login/oauth/access_token"] = api.serve
        else:
            table["api_url"] = f"{api.url}/api/v4"
            table["rotate"] = {"token": secret_file(tmp_path, "first", api.current), "key": key}
        yield Mint(api, server, git, start_gateway(url=git.url, settings={'forges."github.com"': table}))


def test_a_kill_between_renewal_and_use_loses_nothing(kept: Mint, repos: Repositories, enter: Enter) -> None:
    """The forge has ended the token that asked; the next one is on disk before its first use."""
    path = repos.seeded()
    visit = enter([path], door=kept.door)
    kept.server.open.clear()
    asking = visit.box.begin("git", "ls-remote", address(path))
    assert kept.server.asked.wait(30)
    assert kept.api.asked
    kept.door.gateway.stop(signal.SIGKILL)
    kept.server.open.set()
    visit.box.finish(asking).refused()
    kept.door.gateway.start()
    visit.box.git("ls-remote", address(path)).fine()
    assert all(shown.taken for shown in kept.server.shown)
    assert "credential-failed" not in {line["event"] for line in kept.door.gateway.audit()}
