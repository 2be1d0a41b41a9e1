"""Checks by a forge's API whether a repository still has the name that was granted (``check_path`` of a forge).

Some forges serve a renamed or transferred project under its old path without a redirect. The check is made before a
request goes to the forge, with the credential of that request (``forge_api``). An answer is cached for ``KEPT_FOR``
seconds for all requests with the same credential; at most ``MAX_KEPT`` are kept. A request is refused if the repository
has moved or if the API did not answer the question; only the latter is not cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from credgate.credentials.token_request import Request
from credgate.errors import ConfigError
from credgate.forges import project_path
from credgate.service.credentials.api_client import NoResponseError
from credgate.service.upstream.forge_api import api_origin, forge_api, login_field
from credgate.values import Decision, Reason, RepoPath

if TYPE_CHECKING:
    from credgate.forges.driver import Driver
    from credgate.service.credentials.sources import Credential
    from credgate.service.upstream.pool import ForgePool

KEPT_FOR = 60.0
"""Seconds; a rename is noticed at most this much later."""
MAX_KEPT = 4096
_log = Logger()


@define(eq=False)
class ProjectPaths:
    """The answers of forges about the names of repositories."""

    pool: ForgePool
    _told: dict[tuple[RepoPath, str], tuple[bool, float]] = field(factory=dict, init=False)
    """By repository and credential id: whether the name is current, and until when this is cached. Oldest first."""

    def due(self, driver: Driver, repo: RepoPath, credential: Credential) -> bool:
        """Whether the forge must be asked before the repository is used."""
        if not driver.forge.check_path:
            return False
        holds, until = self._told.get((repo, credential.id), (False, 0.0))
        return not holds or self.pool.reactor.seconds() >= until

    async def refused(self, driver: Driver, repo: RepoPath, credential: Credential) -> Decision | None:
        """Return why the repository may not be used under this name; None if it may."""
        if not driver.forge.check_path:
            return None
        # A cached refusal is used as well, so that a client cannot make credgate ask again and again.
        holds, until = self._told.get((repo, credential.id), (False, 0.0))
        if self.pool.reactor.seconds() < until:
            return None if holds else _moved(driver)
        answered = await self._ask(driver, repo, credential)
        if answered is None:
            text = (
                f"could not check whether {repo.path} is still the project's own path, because the API of "
                f"{driver.forge.name} gave no usable answer; ask the operator of this gateway"
            )
            return Decision(allow=False, reason=Reason.FORGE_MOVED, rule="check_path", text=text)
        # Removed first, so that the new entry becomes the youngest of the dict's order.
        self._told.pop((repo, credential.id), None)
        self._told[repo, credential.id] = answered, self.pool.reactor.seconds() + KEPT_FOR
        while len(self._told) > MAX_KEPT:
            del self._told[next(iter(self._told))]
        return None if answered else _moved(driver)

    async def _ask(self, driver: Driver, repo: RepoPath, credential: Credential) -> bool | None:
        """Ask the API; None, with a line in the log, if it gives no usable answer."""
        path = project_path.question(driver, repo.path)
        if path is None:
            return None
        reactor = self.pool.reactor
        try:
            login = login_field(driver.api_login(credential.secret)) if credential.secret else {}
            api = forge_api(driver, api_origin(driver), reactor, self.pool.endpoint_for, wall=reactor.seconds)
            answer = await api.once(Request("GET", path, login))
        except (ValueError, ConfigError, NoResponseError) as error:
            why = str(error) if isinstance(error, NoResponseError) else "the credential cannot be sent there"
            _log.warn("the API of {forge} was asked for a project's path, but {why}", forge=driver.forge.name, why=why)
            return None
        told = project_path.judge(driver, repo.path, answer.status, answer.body)
        if told is None:
            what = "the API of {forge} was asked for a project's path; its answer (status {status}) cannot be used"
            _log.warn(what, forge=driver.forge.name, status=answer.status)
        return told


def _moved(driver: Driver) -> Decision:
    text = (
        f"{driver.forge.name} has this project under another path now, and this is only its old path; "
        "ask the operator for a grant of the new one"
    )
    return Decision(allow=False, reason=Reason.FORGE_MOVED, rule="check_path", text=text)
