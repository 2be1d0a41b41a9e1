"""The client for a forge's API: its origin and its limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from credgate.config.schema import ForgeConfig
from credgate.credentials.token_request import Request
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.service.credentials.api_client import NoResponseError
from credgate.service.upstream.endpoints import forge_endpoints
from credgate.service.upstream.forge_api import api_origin, forge_api, login_field
from tests.fakes.api import Asked, FakeApi, Reply, Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.service.credentials.api_client import ApiClient


class Echo(FakeApi):
    """Answers everything."""

    def answer(self, asked: Asked) -> Reply:
        """Say yes."""
        return Reply(200, {"path": asked.path})


@pytest.fixture
def api() -> Iterator[Echo]:
    """Start one."""
    fake = Echo()
    yield fake
    fake.close()


def way(url: str, limit: float = 10.0, **table: Any) -> ApiClient:
    """Make the way to the API of a forge that is somewhere else."""
    driver = driver_for(
        ForgeConfig("lab", "github", "https://lab.example", allow_plain_http=True, api_url=url, **table)
    )
    return forge_api(driver, api_origin(driver), reactor, forge_endpoints(reactor, 5), wall=time.time, limit=limit)


@ensureDeferred
async def test_api_is_asked_at_its_configured_origin(api: Echo) -> None:
    """Below its path, with the login in the head; an escaped path arrives as it was written."""
    request = Request("GET", "/projects/a%2Fb/x?refs%5B%5D=1&refs%5B%5D=2", login_field(b"Bearer secret"))
    assert (await way(api.url + "/api/v4/").once(request)).status == 200
    (asked,) = api.asked
    assert (asked.path, asked.query) == ("/api/v4/projects/a%2Fb/x", "refs%5B%5D=1&refs%5B%5D=2")
    assert asked.headers["authorization"] == "Bearer secret"


@ensureDeferred
async def test_redirects_are_not_followed_and_time_is_limited(api: Echo) -> None:
    """A redirect is returned as an answer; a silent server is a failure."""
    api.faults = [Reply(302, headers={"Location": api.url + "/elsewhere"}), Silence()]
    silence = api.faults[1]
    assert (await way(api.url).once(Request("GET", "/x"))).status == 302
    with pytest.raises(NoResponseError, match="did not answer in time"):
        await way(api.url, limit=0.2).once(Request("GET", "/x"))
    assert api.paths("GET") == ["/x", "/x"]
    assert isinstance(silence, Silence)
    silence.over.set()


def test_malformed_api_url_is_a_configuration_error() -> None:
    """Without an API, or without TLS where that is not allowed."""
    for forge in (
        ForgeConfig("lab", "generic", "https://lab.example"),
        ForgeConfig("lab", "github", "https://a", api_url="ftp://b"),
    ):
        with pytest.raises(ConfigError):
            api_origin(driver_for(forge))
