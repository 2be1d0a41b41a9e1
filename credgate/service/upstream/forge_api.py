"""The way to a configured forge's API, for what credgate asks there itself: ``doctor``'s checks, and ancestry.

Over the relay's endpoints: addresses are checked, the forge's authorities and proxy hold. No redirect is followed,
each question has its time limit, and each answer its bound (``minting.api``). A login goes nowhere but into a head.
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
    """Return where the API of a forge that has one is. Raises ``ConfigError`` for what is no address."""
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
    """Return the means to ask at ``origin``, which is the forge itself or its API; ``limit`` is seconds a question."""
    agent = agent_for(reactor, Place.at(driver, origin), endpoints)
    return ApiClient(driver.forge.name, origin, agent, reactor, wall=wall, limit=limit)


def login_field(value: bytes) -> dict[str, str]:
    """Return the header field that carries a login."""
    return {"Authorization": value.decode("ascii")}
