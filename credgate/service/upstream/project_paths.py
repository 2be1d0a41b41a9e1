"""Asks a forge's API, where its table has ``check_path``, whether a repository still has its granted name.

Asked before a request goes to the forge, with the credential of that request, over the endpoints of the relay
(``forge_api``). An answer is used for ``KEPT_FOR`` seconds by all requests with the same credential; at most
``MAX_KEPT`` are kept. "Moved" and "could not tell" refuse, and what could not be told is asked again the next time.
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
"""Seconds: for so long a transfer may go unseen."""
MAX_KEPT = 4096
_log = Logger()


@define(eq=False)
class ProjectPaths:
    """What forges said of repositories' names."""

    pool: ForgePool
    _told: dict[tuple[RepoPath, str], tuple[bool, float]] = field(factory=dict, init=False)
    """By repository and credential id: whether the name holds, and until when this may be used. Oldest first."""

    def due(self, driver: Driver, repo: RepoPath, credential: Credential) -> bool:
        """Whether the forge must be asked before the repository is used."""
        if not driver.forge.check_path:
            return False
        holds, until = self._told.get((repo, credential.id), (False, 0.0))
        return not holds or self.pool.reactor.seconds() >= until

    async def refused(self, driver: Driver, repo: RepoPath, credential: Credential) -> Decision | None:
        """Ask, where that is wanted and not known; return why the repository may not be used under this name."""
        if not driver.forge.check_path:
            return None
        holds, until = self._told.get((repo, credential.id), (False, 0.0))
        if self.pool.reactor.seconds() < until:
            return None if holds else _moved(driver)
        answered = await self._ask(driver, repo, credential)
        if answered is None:
            text = (
                f"could not tell whether {repo.path} is still the project's own path, because the API of "
                f"{driver.forge.name} did not say so; ask the operator of this gateway"
            )
            return Decision(allow=False, reason=Reason.FORGE_MOVED, rule="check_path", text=text)
        self._told.pop((repo, credential.id), None)
        self._told[repo, credential.id] = answered, self.pool.reactor.seconds() + KEPT_FOR
        while len(self._told) > MAX_KEPT:
            del self._told[next(iter(self._told))]
        return None if answered else _moved(driver)

    async def _ask(self, driver: Driver, repo: RepoPath, credential: Credential) -> bool | None:
        """Ask; ``None`` if that does not tell, and then the log says why."""
        path = project_path.question(driver, repo.path)
        if path is None:
            return None
        reactor = self.pool.reactor
        try:
            login = login_field(driver.api_login(credential.secret)) if credential.secret else {}
            api = forge_api(driver, api_origin(driver), reactor, self.pool.endpoint_for, wall=reactor.seconds)
            answer = await api.once(Request("GET", path, login))
        except (ValueError, ConfigError, NoResponseError) as error:
            why = str(error) if isinstance(error, NoResponseError) else "the credential cannot be shown there"
            _log.warn("the API of {forge} was asked for a project's path, but {why}", forge=driver.forge.name, why=why)
            return None
        told = project_path.judge(driver, repo.path, answer.status, answer.body)
        if told is None:
            what = "the API of {forge} was asked for a project's path and answered {status}, which does not tell"
            _log.warn(what, forge=driver.forge.name, status=answer.status)
        return told


def _moved(driver: Driver) -> Decision:
    text = (
        f"{driver.forge.name} has this project under another path now and serves this one only as its old path; "
        "ask the operator for a grant of the present one"
    )
    return Decision(allow=False, reason=Reason.FORGE_MOVED, rule="check_path", text=text)
