"""Makes the client for a configured forge's API: the checks of ``doctor``, project paths, ancestry of commits.

No redirect is followed, each request has a time limit and each answer a size limit (``credentials.api_client``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.service.credentials.api_client import TIME_LIMIT, ApiClient
from credgate.service.credentials.api_connection import agent_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.forges.driver import Driver


def api_origin(driver: Driver) -> Origin:
    """Return the origin of a forge's API. Raises ``ConfigError`` for a malformed ``api_url``."""
    return Origin.parse(driver.api or "", allow_plain_http=driver.forge.allow_plain_http, key="api_url")


def forge_api(  # noqa: PLR0913 - the means, and the bound
    driver: Driver,
    origin: Origin,
    reactor: Any,  # noqa: ANN401 - TCP and time at once
    endpoints: Callable[[Place], IStreamClientEndpoint],
    *,
    wall: Callable[[], float],
    limit: float = TIME_LIMIT,
) -> ApiClient:
    """Return the client for ``origin``, which is the forge itself or its API; ``limit`` is seconds a request."""
    # The relay's endpoints: addresses are checked, and the forge's authorities and proxy apply.
    agent = agent_for(reactor, Place.at(driver, origin), endpoints)
    return ApiClient(driver.forge.name, origin, agent, reactor, wall=wall, limit=limit)


def login_field(value: bytes) -> dict[str, str]:
    """Return the header field for the credential ``value``."""
    return {"Authorization": value.decode("ascii")}
