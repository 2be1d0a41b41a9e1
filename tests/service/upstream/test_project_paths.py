"""A forge's API asked for a project's path, over real HTTP: when, with which login, and what refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.service.credentials.sources import ANONYMOUS, Credential
from credgate.service.upstream import project_paths
from credgate.service.upstream.endpoints import forge_endpoints
from credgate.service.upstream.pool import ForgePool
from credgate.service.upstream.project_paths import ProjectPaths
from credgate.values import Reason, RepoPath
from tests.fakes.api import Reply
from tests.fakes.gitlab_api import GitLabApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.forges.driver import Driver

CANARY = "glpat-CANARY0123456789"
TOKEN = Credential("cred-1", CANARY)
HERE = RepoPath("lab", "group/project")


@pytest.fixture
def api() -> Iterator[GitLabApi]:
    """Start an API that has two projects, one of them under an old path, too."""
    started = GitLabApi()
    started.projects = {"group/project": "group/project", "group/old": "other/new"}
    yield started
    started.close()


def lab(url: str, **more: Any) -> Driver:
    """Make a driver of a GitLab whose API is there."""
    return driver_for(
        ForgeConfig("lab", "gitlab", "http://127.0.0.1:1", api_url=f"{url}/api/v4", **{"check_path": True} | more)
    )


def paths() -> ProjectPaths:
    """Make a table with nothing in it."""
    return ProjectPaths(ForgePool(reactor, 5.0, forge_endpoints(reactor, 5.0)))


@ensureDeferred
async def test_current_path_is_cached(api: GitLabApi) -> None:
    """With the request's own credential; another credential asks for itself, and after a minute all ask again."""
    asking, driver = paths(), lab(api.url)
    for _ in range(3):
        assert await asking.refused(driver, HERE, TOKEN) is None
    assert not asking.due(driver, HERE, TOKEN)
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("GET", "/api/v4/projects/group%2Fproject")
    assert CANARY in asked.headers["authorization"]
    assert asking.due(driver, HERE, ANONYMOUS)
    assert await asking.refused(driver, HERE, ANONYMOUS) is None
    assert "authorization" not in api.asked[1].headers
    asking._told = dict.fromkeys(asking._told, (True, 0.0))
    assert asking.due(driver, HERE, TOKEN)
    assert await asking.refused(driver, HERE, TOKEN) is None
    assert len(api.asked) == 3


@pytest.mark.parametrize("redirects", [False, True])
@ensureDeferred
async def test_transferred_project_is_refused(api: GitLabApi, *, redirects: bool) -> None:
    """However the API says so; and the refusal does not name the new path, which the session has no grant for."""
    api.redirects = redirects
    asking = paths()
    for _ in range(2):
        refused = await asking.refused(lab(api.url), RepoPath("lab", "group/old"), TOKEN)
        assert refused is not None
        assert (refused.reason, refused.rule) == (Reason.FORGE_MOVED, "check_path")
        assert "under another path now" in refused.text
        assert "other/new" not in refused.text
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("fault", "repo"),
    [
        (Reply(401, {}), "group/project"),
        (Reply(403, {}), "group/project"),
        (Reply(500, {}), "group/project"),
        (Reply(200, b"<html>"), "group/project"),
        (None, "group/unknown"),
        (None, "snippets/7"),
    ],
)
@ensureDeferred
async def test_unusable_answer_is_refused_and_not_cached(api: GitLabApi, fault: Reply | None, repo: str) -> None:
    """A refusal that is not kept: the next request may find the API as it should be."""
    api.faults = [] if fault is None else [fault]
    asking, driver = paths(), lab(api.url)
    refused = await asking.refused(driver, RepoPath("lab", repo), TOKEN)
    assert refused is not None
    assert (refused.reason, "could not check" in refused.text) == (Reason.FORGE_MOVED, True)
    assert asking.due(driver, RepoPath("lab", repo), TOKEN)
    assert await asking.refused(driver, HERE, TOKEN) is None


@ensureDeferred
async def test_unreachable_api_is_refused() -> None:
    """A closed port, and a credential that no head can hold."""
    for driver, credential in (
        (lab("http://127.0.0.1:1"), TOKEN),
        (lab("http://127.0.0.1:1"), Credential("c", "a\nb")),
    ):
        refused = await paths().refused(driver, HERE, credential)
        assert refused is not None
        assert "could not check" in refused.text


@ensureDeferred
async def test_nothing_is_asked_without_check_path(api: GitLabApi) -> None:
    """It costs a request, and a token that may read the API."""
    driver = lab(api.url, check_path=False)
    assert not paths().due(driver, HERE, TOKEN)
    assert await paths().refused(driver, HERE, TOKEN) is None
    assert api.asked == []


@ensureDeferred
async def test_cached_answers_are_bounded(api: GitLabApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grant of ``group/*`` is names without end."""
    monkeypatch.setattr(project_paths, "MAX_KEPT", 2)
    asking, driver = paths(), lab(api.url)
    api.projects = {f"group/{number}": f"group/{number}" for number in range(4)}
    for path in api.projects:
        assert await asking.refused(driver, RepoPath("lab", path), TOKEN) is None
    assert [repo.path for repo, _ in asking._told] == ["group/2", "group/3"]
