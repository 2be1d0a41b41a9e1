"""Check whether a forge accepts the credentials that are configured for it, for ``credgate doctor``.

One request a credential: to the forge's API where its kind has a suitable path, else git's ref discovery of a
repository that the operator or a credential's pattern names. It uses the relay's endpoints, so that addresses are
checked and the forge's authorities and proxy are used. No redirect is followed, and each check has a time limit.
``forges.acceptance`` judges the response; the credential is sent in the request's header only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.defer import ensureDeferred, gatherResults

from credgate.credentials.token_request import Request
from credgate.errors import CredentialError, InvalidValueError
from credgate.forges import acceptance
from credgate.forges.acceptance import DISCOVERY, CredentialVerdict
from credgate.forges.origin import Origin
from credgate.service.credentials.api_client import NoResponseError
from credgate.service.credentials.sources import CredentialRequest, Proving
from credgate.service.upstream.forge_api import api_origin, forge_api, login_field
from credgate.sessions.model import Session
from credgate.values import Access, RepoPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.forges.driver import Driver
    from credgate.forges.place import Place
    from credgate.service.credentials.api_client import ApiClient
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential, Source

TIME_LIMIT = 25.0
"""Seconds for one credential, including its fetch; the command line waits for thirty."""
_NOBODY = Session(
    id="s-0000000000000000",
    token_digest=b"",
    secret_digest=b"",
    grants=(),
    created=0.0,
    used=0.0,
    created_wall=0.0,
    idle_ttl=0.0,
    absolute_ttl=0.0,
)
"""A session without grants. Sources whose credential depends on the session are ``Proving`` and do not see it."""


@frozen(slots=True)
class CredentialCheck:
    """Checks the credentials of all forges."""

    drivers: Mapping[str, Driver]
    credentials: Credentials
    reactor: Any
    endpoints: Callable[[Place], IStreamClientEndpoint]
    wall: Callable[[], float]

    async def __call__(self, forge: str, repo: str = "") -> list[dict[str, object]]:
        """Return a verdict for each credential of ``forge``, or for that of ``repo`` alone; an empty list if none.

        Raises ``KeyError`` for a forge that is not configured, ``InvalidValueError`` for an illegal repository name.
        """
        driver = self.drivers[forge]
        normal = driver.normal(repo) if repo else ""
        if normal is None:
            raise InvalidValueError(f"repo: not a repository name on {forge}; expected {driver.shape}")
        asked = self.credentials.sources(forge, normal).items()
        spelled = [normal + ".git" if normal and repo.endswith(".git") else normal] * len(asked)
        verdicts = [
            ensureDeferred(self._verdict(driver, source, patterns, path))
            for (source, patterns), path in zip(asked, spelled, strict=True)
        ]
        return list(await gatherResults(verdicts, consumeErrors=True))

    async def _verdict(self, driver: Driver, source: Source, patterns: list[str], repo: str) -> dict[str, object]:
        path = repo or next((one for one in patterns if "*" not in one), "")
        asking = ensureDeferred(self._check(driver, source, path, named=bool(repo)))
        try:
            verdict = await asking.addTimeout(TIME_LIMIT, self.reactor)
        except CredentialError as error:
            verdict = acceptance.not_available(error)
        except NoResponseError as error:
            verdict = acceptance.not_answered(driver, str(error))
        except DeferredTimeout:
            verdict = acceptance.not_answered(driver, "the time limit was reached")
        return {"repositories": patterns, "kind": source.kind, "state": verdict.state, "text": verdict.text}

    async def _check(self, driver: Driver, source: Source, path: str, *, named: bool) -> CredentialVerdict:
        """Ask the forge. Raises ``CredentialError``, ``NoResponseError``."""
        # A GitHub App sends its signature; no token is made for a check.
        if isinstance(source, Proving):
            await source.prove(path.removesuffix(".git"))
            return CredentialVerdict("accepted", f"{driver.forge.name} accepted the App's signature")
        wanted = CredentialRequest(RepoPath(driver.forge.name, path.removesuffix(".git")), Access.READ, _NOBODY)
        credential = source.cached(wanted) or await source.fetch(wanted)
        proof = None if named or driver.api is None else driver.proof(source.kind)
        if proof is not None:
            return await self._by_api(driver, proof, credential)
        return await self._by_repository(driver, path, credential) if path else acceptance.not_asked(driver)

    async def _by_api(self, driver: Driver, proof: str, credential: Credential) -> CredentialVerdict:
        origin = api_origin(driver)
        try:
            login = driver.api_login(credential.secret)
        except ValueError:
            return acceptance.not_answered(driver, "the credential contains a space or a character outside ASCII")
        answer = await self._api(driver, origin).once(Request("GET", proof, login_field(login)))
        return acceptance.by_api(driver, answer.status)

    async def _by_repository(self, driver: Driver, path: str, credential: Credential) -> CredentialVerdict:
        origin = Origin.parse(driver.forge.url, allow_plain_http=driver.forge.allow_plain_http)
        target = driver.path(path, DISCOVERY, dot_git=path.endswith(".git")).removeprefix(origin.prefix)
        # In protocol version 2 this response has no refs, so it is short.
        version, api = {"Git-Protocol": "version=2"}, self._api(driver, origin)
        answer = await api.once(Request("GET", target, version | login_field(driver.login(credential.secret))))
        anonymous = None
        if answer.status == 200:  # noqa: PLR2004 - a public repository answers 200 without a credential, too
            try:
                anonymous = (await api.once(Request("GET", target, version))).status
            except NoResponseError:
                anonymous = None
        return acceptance.by_repository(driver, path, answer.status, anonymous)

    def _api(self, driver: Driver, origin: Origin) -> ApiClient:
        return forge_api(driver, origin, self.reactor, self.endpoints, wall=self.wall)
