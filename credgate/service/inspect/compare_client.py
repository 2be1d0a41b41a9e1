"""Asks a forge's API whether a push is a fast-forward, where the forge cannot be asked in git's own protocol.

The walk over the pack ends at a few commits that the forge has (``pack.ancestry``). *old* is reached if it is an
ancestor of one of them. Each pair of commits is one request with the session's own forge credential, for the push's own
repository. All requests of a push share the time of its ``RepositoryClient``, their number is limited, and no answer is
requested twice. One "yes" suffices; "no" needs a "no" for every commit. Any other answer means "unknown": the push is
refused as if there were no API, and a log line tells the operator why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from credgate.credentials.token_request import Request
from credgate.errors import ConfigError
from credgate.forges import comparison
from credgate.service.credentials.api_client import TIME_LIMIT, NoResponseError
from credgate.service.inspect.repository_client import CANNOT_SEND, NoFilterError
from credgate.service.upstream.forge_api import api_origin, forge_api, login_field

if TYPE_CHECKING:
    from collections.abc import Collection

    from credgate.service.inspect.repository_client import RepositoryClient

MAX_REQUESTS = 16
"""Requests for one push: old commits times boundary commits."""
_NOT_FOUND = 404
_log = Logger()


@define(eq=False)
class CompareClient:
    """The requests for one push."""

    client: RepositoryClient
    _answers: dict[tuple[bytes, bytes], bool | None] = field(factory=dict, init=False)
    _given_up: bool = field(default=False, init=False)
    _warned: bool = field(default=False, init=False)

    async def reached(self, old: bytes, boundary: Collection[bytes]) -> bool:
        """Whether ``old`` is an ancestor of one of these commits (binary ids), which the forge has.

        Raises ``NoFilterError`` if the API does not tell, ``InspectionError`` if the push's time is used up.
        """
        certain = bool(boundary)
        for tip in sorted(boundary):  # sorted, so that a repeated push sends the same requests
            answer = await self._ancestor(old, tip)
            if answer:
                return True
            certain = certain and answer is False
        if not certain:
            raise NoFilterError(CANNOT_SEND)
        return False

    async def _ancestor(self, old: bytes, tip: bytes) -> bool | None:
        if (old, tip) in self._answers:
            return self._answers[old, tip]
        path = comparison.question(self.client.driver, self.client.path, old.hex(), tip.hex())
        if path is None or self._given_up:
            return None
        if len(self._answers) >= MAX_REQUESTS:
            self._warn("the limit of requests for one push was reached", give_up=True)
            return None
        answer = self._answers[old, tip] = await self._request(path, old.hex())
        return answer

    async def _request(self, path: str, old: str) -> bool | None:
        credential, seconds = await self.client.api_credential()
        driver, pool = self.client.driver, self.client.pool
        if not credential.secret:
            self._warn("no credential is configured for it", give_up=True)
            return None
        try:
            login, origin = driver.api_login(credential.secret), api_origin(driver)
        except (ValueError, ConfigError):  # the secret does not fit into a header, or the API's address is invalid
            self._warn("the credential or api_url cannot be used for it", give_up=True)
            return None
        limit, wall = min(seconds, TIME_LIMIT), pool.reactor.seconds
        api = forge_api(driver, origin, pool.reactor, pool.endpoint_for, wall=wall, limit=limit)
        try:
            answer = await api.once(Request("GET", path, login_field(login)))
        except NoResponseError as error:
            self._warn(str(error), give_up=True)
            return None
        result = comparison.judge(driver, old, answer.status, answer.body)
        if result is None:
            # 404 may apply to this commit only, so the next one is still asked for.
            self._warn(f"the answer ({answer.status}) was not usable", give_up=answer.status != _NOT_FOUND)
        return result

    def _warn(self, why: str, *, give_up: bool) -> None:
        """Log the first problem of a push. ``give_up``: send no more requests for this push."""
        warned, self._warned = self._warned, True
        self._given_up = self._given_up or give_up
        if not warned:
            forge = self.client.driver.forge.name
            _log.warn("the API of {forge} was asked about a push's history, but {why}", forge=forge, why=why)
