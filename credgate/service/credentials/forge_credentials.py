"""The credentials of all forges: makes the sources, and finds the credential of each request.

``read`` makes every source before anything listens, so a reference that cannot be used stops the start. From then on
``cached`` answers from memory on every request, and ``fetch`` waits for a credential that is not in memory.
``forges.choice`` decides which credential a repository gets; a repository without one is requested anonymously. Files
are checked once a second. Variables are read once and then removed from the environment.

No secret is logged, shown by ``repr`` or derivable from a credential's id.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from credgate.audit.event import timestamp
from credgate.config.environment import TOKEN_VARIABLES
from credgate.metrics.gauges import HeldSessions
from credgate.service.credentials.source_factory import SourceFactory
from credgate.service.credentials.sources import ANONYMOUS, CredentialRequest, Renewing
from credgate.service.credentials.static import EnvSource, FileSource
from credgate.values import RepoPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from credgate.config.schema import Config, ForgeConfig
    from credgate.forges.choice import Choice
    from credgate.forges.driver import Driver
    from credgate.service.credentials.source_factory import Mint
    from credgate.service.credentials.sources import Credential, Source
    from credgate.sessions.model import Grant, Session

# A module-level logger: a logger of the class would put the instance into every event.
_log = Logger()

ROUND_SECONDS = 1.0
"""Maximum time until a changed file is seen, while its file system responds."""


class Credentials(Service):
    """Finds the credential of each request."""

    def __init__(  # noqa: PLR0913 - tests replace each of them
        self,
        config: Config,
        drivers: Mapping[str, Driver],
        *,
        mint: Mint = lambda _forge, _driver: None,
        environ: MutableMapping[str, str] | None = None,
        reactor: Any = None,  # noqa: ANN401 - a reactor is IReactorTime, IReactorThreads and more at once
        in_thread: Callable[..., Deferred[Any]] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read nothing yet. ``mint`` makes the source of a forge's table of short-lived credentials, if it has one.

        ``in_thread(call, *args)`` replaces the reactor's thread pool in tests.
        """
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one
        self._config, self._drivers, self._mint = config, drivers, mint
        self._environ = os.environ if environ is None else environ
        self._reactor, self._wall = reactor, wall
        self._in_thread = in_thread or (
            lambda call, *args: deferToThreadPool(reactor, reactor.getThreadPool(), call, *args)
        )
        self._choices: dict[str, Choice[Source]] = {}
        self._loop = LoopingCall(self._round)
        self._loop.clock = reactor

    # For requests.

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return the credential to use now, ``ANONYMOUS`` where none is configured; ``None``: call ``fetch``."""
        choice = self._choices.get(wanted.repo.forge)
        source = None if choice is None else choice.find(wanted.repo.path)
        return ANONYMOUS if source is None else source.cached(wanted)

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Get the credential; ``refused`` is the id of one that the forge refused. Raises ``CredentialError``."""
        choice = self._choices.get(wanted.repo.forge)
        source = None if choice is None else choice.find(wanted.repo.path)
        return ANONYMOUS if source is None else await source.fetch(wanted, refused)

    def configured(self, repo: RepoPath) -> bool:
        """Whether ``repo`` has a credential: without one no forge accepts a push."""
        choice = self._choices.get(repo.forge)
        return choice is not None and choice.find(repo.path) is not None

    def session_ended(self, session: Session, _reason: str = "") -> None:
        """Revoke the credentials that only this session used, in the background."""
        for source in self._sources():
            ended = ensureDeferred(source.session_ended(session))
            ended.addErrback(lambda failure: _log.failure("revoking a credential failed", failure))

    # For status pages and checks.

    def serves(self, forge: str) -> bool:
        """Whether any credential is configured for a forge."""
        return forge in self._choices

    def named(self, grant: Grant, session: Session) -> list[dict[str, object]]:
        """Return the id, kind and end of each credential that a session's grant may use, never a value."""
        choice = self._choices.get(grant.forge)
        wanted = CredentialRequest(RepoPath(grant.forge, grant.normal), grant.access, session)
        sources = [] if choice is None else choice.within(grant.normal)
        return [_named(source.cached(wanted), source) for source in sources]

    def overview(self) -> list[dict[str, object]]:
        """Return every forge with its credentials, for ``GET /v1/forges``."""
        return [self._forge(forge) for forge in self._config.forges.values()]

    def held(self) -> list[HeldSessions]:
        """Return the metrics of every credential."""
        choices = self._choices.items()
        return [
            HeldSessions(forge, one.kind, one.expires_at, bool(one.trouble))
            for forge, choice in choices
            for source in dict.fromkeys(choice.patterns.values())
            for one in source.describe()
        ]

    def sources(self, forge: str, path: str = "") -> dict[Source, list[str]]:
        """Return a forge's sources with their patterns; with ``path``, only the source of that repository."""
        choice = self._choices.get(forge)
        if choice is None:
            return {}
        only = choice.find(path) if path else None
        by_source: dict[Source, list[str]] = {}
        for pattern, source in choice.patterns.items():
            if not path or source is only:
                by_source.setdefault(source, []).append(pattern)
        return by_source

    def _forge(self, forge: ForgeConfig) -> dict[str, object]:
        return {
            "name": forge.name,
            "kind": forge.kind,
            "url": forge.url,
            "default": forge.name == self._config.default_forge,
            "credentials": [
                {
                    "repositories": patterns,
                    "id": one.id,
                    "kind": one.kind,
                    "expires_at": None if one.expires_at is None else timestamp(one.expires_at),
                    "trouble": one.trouble,
                }
                for source, patterns in self.sources(forge.name).items()
                for one in source.describe()
            ],
        }

    # The service.

    def read(self) -> None:
        """Make every source, and remove the variables. Blocks. Raises ``ConfigError`` with the place of the key."""
        # This may run before privileges are dropped: files must also be readable for the user that credgate then runs
        # as. Commands run later.
        making = SourceFactory(self._config, self._mint, self._environ, self._reactor, self._in_thread, self._wall)
        choices = {name: making.choice(forge, self._drivers[name]) for name, forge in self._config.forges.items()}
        self._choices = {name: choice for name, choice in choices.items() if choice.patterns}
        # Read once and removed, so that no child inherits them. The kernel still shows the environment that the process
        # was started with; ``file://`` avoids that.
        variables = {source.variable for source in self._sources() if isinstance(source, EnvSource)}
        for variable in variables.union(TOKEN_VARIABLES):
            self._environ.pop(variable, None)

    def startService(self) -> None:
        """Start to check files and to fetch credentials; ``read`` has been called."""
        super().startService()
        sources = self._sources()
        if any(isinstance(source, FileSource) for source in sources):
            self._loop.start(ROUND_SECONDS, now=False)
        for source in sources:
            if isinstance(source, Renewing):
                source.start()

    def stopService(self) -> None:
        """Stop. A file check that runs ends in its thread; its result is not used."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        for source in self._sources():
            if isinstance(source, Renewing):
                source.stop()

    def _sources(self) -> list[Source]:
        return list(dict.fromkeys(one for choice in self._choices.values() for one in choice.patterns.values()))

    def _round(self) -> None:
        """Check every file."""
        # Without waiting: a file system that hangs delays no other file.
        for source in self._sources():
            if isinstance(source, FileSource):
                source.watch()


def _named(credential: Credential | None, source: Source) -> dict[str, object]:
    """Return the public members of a credential; only its kind while it is not fetched."""
    if credential is None:
        return {"kind": source.kind}
    ends = {} if credential.expires_at is None else {"expires_at": timestamp(credential.expires_at)}
    return {"id": credential.id, "kind": credential.kind, **ends}
