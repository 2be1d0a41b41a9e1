"""Asking an API: bounded in time and bytes, on the way that the configuration names, and in our own words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from credgate.config.schema import ForgeConfig
from credgate.credentials.token_request import Request, with_json
from credgate.errors import CredentialError
from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.service.credentials.api_client import ApiClient, NoResponseError
from credgate.service.credentials.api_connection import agent_for
from credgate.service.upstream.endpoints import forge_endpoints
from tests.fakes.api import Asked, FakeApi, Reply, Silence
from tests.fakes.authority import Authority
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GET = Request("GET", "/thing", {"Authorization": "Bearer x"})


class Echo(FakeApi):
    """Says what it was asked."""

    def answer(self, asked: Asked) -> Reply:
        """Repeat the path and the body."""
        return Reply(200, {"path": asked.path, "body": asked.body.decode()}, {"Set-Cookie": "a=b"})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the API's certificate is from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def echo(authority: Authority) -> Iterator[Echo]:
    """Start it."""
    fake = Echo(authority.server_context())
    yield fake
    fake.close()


def api_at(url: str, ca_file: str = "", limit: float = 10.0) -> ApiClient:
    """Make what asks."""
    forge = ForgeConfig("lab", "github", "https://localhost", ca_file=ca_file)
    origin = Origin.parse(url, allow_plain_http=False)
    agent = agent_for(reactor, Place.at(driver_for(forge), origin), forge_endpoints(reactor, 5))
    return ApiClient("lab", origin, agent, reactor, wall=time.time, limit=limit, jitter=lambda: 0.0)


def once(api: ApiClient, request: Request = GET) -> Deferred[Any]:
    """Ask once, with a deadline of the test's own."""
    return Deferred.fromCoroutine(api.once(request)).addTimeout(20, reactor)


@ensureDeferred
async def test_an_answer_comes_with_its_headers(echo: Echo, authority: Authority) -> None:
    """Names in lower case; the request is sent as it was made, below the API's path."""
    api = api_at(f"{echo.url}/api/v3", str(authority.ca_file))
    answer = await once(api, with_json("POST", "/thing", {}, {"a": 1}))
    assert (answer.status, answer.body) == (200, b'{"path": "/api/v3/thing", "body": "{\\"a\\":1}"}')
    assert answer.headers["content-type"].startswith("application/json")
    assert echo.asked[0].headers["user-agent"].startswith("credgate/")


@ensureDeferred
async def test_no_cookie_is_kept(echo: Echo, authority: Authority) -> None:
    """One answer's is no business of the next request."""
    api = api_at(echo.url, str(authority.ca_file))
    await once(api)
    await once(api)
    assert ["cookie" in asked.headers for asked in echo.asked] == [False, False]


@ensureDeferred
async def test_no_redirect_is_followed(echo: Echo, authority: Authority) -> None:
    """It would carry the JWT with it."""
    echo.faults = [Reply(302, headers={"Location": f"{echo.url}/elsewhere"})]
    answer = await once(api_at(echo.url, str(authority.ca_file)))
    assert (answer.status, len(echo.asked)) == (302, 1)


@ensureDeferred
async def test_a_certificate_of_another_authority_is_refused(echo: Echo, tmp_path: Path) -> None:
    """Before a byte is sent."""
    other = Authority(tmp_path / "other")
    with pytest.raises(NoResponseError, match="its TLS certificate is not accepted"):
        await once(api_at(echo.url, str(other.ca_file)))
    assert not echo.asked


@ensureDeferred
async def test_a_silent_api_is_left(echo: Echo, authority: Authority) -> None:
    """A git command waits behind it."""
    echo.faults = [silence := Silence()]
    with pytest.raises(NoResponseError, match="it did not answer in time"):
        await once(api_at(echo.url, str(authority.ca_file), limit=0.3))
    silence.over.set()


@ensureDeferred
async def test_nobody_there_is_told_after_three_tries() -> None:
    """In our own words."""
    api = api_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(CredentialError, match="asked for one, but it refuses connections"):
        await Deferred.fromCoroutine(api.ask(GET)).addTimeout(20, reactor)


@ensureDeferred
async def test_a_cut_answer_is_none(echo: Echo, authority: Authority) -> None:
    """Half a JSON object may look whole."""
    echo.faults = [Reply(200, b"{}", {"Content-Length": "5000", "Connection": "close"})]
    api = api_at(echo.url, str(authority.ca_file), limit=2.0)
    with pytest.raises(NoResponseError):
        await once(api)


@ensureDeferred
async def test_who_leaves_ends_the_request(echo: Echo, authority: Authority) -> None:
    """Nothing of it stays behind; the clean-reactor fixture looks."""
    echo.faults = [silence := Silence()]
    waiting = Deferred.fromCoroutine(api_at(echo.url, str(authority.ca_file)).ask(GET))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    silence.over.set()
