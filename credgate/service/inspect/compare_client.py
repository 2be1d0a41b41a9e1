"""Asks a forge's API whether a push is a fast-forward, where the forge cannot be asked in git's own protocol.

The pack's walk has left to a few commits that are at the forge (``pack.ancestry``): *old* is reached if it is an
ancestor of one of them. Each question is one small request with the session's own forge credential (``forge_api``),
about the push's own repository; all of a push share the patience of its ``RepositoryClient``, there are at most so
many, and no answer is asked for twice. One answer of "yes" is enough, "no" must be said of every commit. Whatever else
comes is "cannot tell": the push is refused as if the API did not exist, and a line in the log tells the operator why.
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

MAX_QUESTIONS = 16
"""Requests for one push: old commits times commits that its pack leaves to."""
_NOT_FOUND = 404
_log = Logger()


@define(eq=False)
class CompareClient:
    """Asks for one push."""

    inquiry: RepositoryClient
    _told: dict[tuple[bytes, bytes], bool | None] = field(factory=dict, init=False)
    _given_up: bool = field(default=False, init=False)
    _warned: bool = field(default=False, init=False)

    async def reached(self, old: bytes, boundary: Collection[bytes]) -> bool:
        """Whether ``old`` is an ancestor of one of these commits (binary ids) that the forge has.

        Raises ``NoFilterError`` if that cannot be told, ``InquiryError`` if patience is at its end.
        """
        sure = bool(boundary)
        for tip in sorted(boundary):
            told = await self._asked(old, tip)
            if told:
                return True
            sure = sure and told is False
        if not sure:
            raise NoFilterError(CANNOT_SEND)
        return False

    async def _asked(self, old: bytes, tip: bytes) -> bool | None:
        """Ask, unless it was asked before or too much was."""
        if (old, tip) in self._told:
            return self._told[old, tip]
        driver = self.inquiry.driver
        path = comparison.question(driver, self.inquiry.path, old.hex(), tip.hex())
        if path is None or self._given_up:
            return None
        if len(self._told) >= MAX_QUESTIONS:
            self._give_up("it was asked as often as it may be for one push")
            return None
        told = self._told[old, tip] = await self._answer(path, old.hex())
        return told

    async def _answer(self, path: str, old: str) -> bool | None:
        credential, seconds = await self.inquiry.means()
        driver, pool = self.inquiry.driver, self.inquiry.pool
        if not credential.secret:
            self._give_up("credgate has no credential for it")
            return None
        try:
            login, origin = driver.api_login(credential.secret), api_origin(driver)
        except (ValueError, ConfigError):  # what no head can hold
            self._give_up("credgate's credential cannot be shown there")
            return None
        limit, wall = min(seconds, TIME_LIMIT), pool.reactor.seconds
        api = forge_api(driver, origin, pool.reactor, pool.endpoint_for, wall=wall, limit=limit)
        try:
            answer = await api.once(Request("GET", path, login_field(login)))
        except NoResponseError as error:
            self._give_up(str(error))
            return None
        told = comparison.judge(driver, old, answer.status, answer.body)
        if told is None:  # 404 may be so of one commit and not of the next
            self._give_up(f"it answered {answer.status} with what does not tell", wholly=answer.status != _NOT_FOUND)
        return told

    def _give_up(self, why: str, *, wholly: bool = True) -> None:
        """Tell the operator, once a push; ``wholly``: ask no more for this one."""
        warned, self._warned = self._warned, True
        self._given_up = self._given_up or wholly
        if warned:
            return
        forge = self.inquiry.driver.forge.name
        _log.warn("the API of {forge} was asked about a push's history, but {why}", forge=forge, why=why)
