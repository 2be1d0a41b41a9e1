"""The forges' credentials: from what the operator wrote to sources, and from a request to the one it may use.

``read`` makes every source before anything listens: a reference that cannot be used stops the start. From then on
``at_hand`` answers from memory, on the path of every request; what is not at hand is waited for (``obtain``). Which
credential a repository gets, ``forges.choice`` decides; what none is meant for is asked anonymously. Files are watched
once a second, so that a rotated one is seen within that. Variables are read once and then removed from the environment,
so that no child inherits them (what the kernel shows of the environment a process was started with stays: ``file://``
is the better reference).

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
    from credgate.service.credentials.sources import Credential, Source, SourceDescription
    from credgate.sessions.model import Grant, Session

# Of the module, not of the class: a class's logger would put the instance into every event.
_log = Logger()

ROUND_SECONDS = 1.0
"""How long a rotated file goes unseen, at most, while its file system answers."""


class Credentials(Service):
    """The credentials of all configured forges."""

    def __init__(  # noqa: PLR0913 - what tests stand in for
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
        """Hold nothing yet. ``mint`` makes the source of a forge's minting table, if it has one.

        ``in_thread(call, *args)`` stands in for the reactor's thread pool in tests.
        """
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one
        self._config, self._drivers, self._mint = config, drivers, mint
        self._environ = os.environ if environ is None else environ
        self._reactor, self._wall = reactor, wall
        self._in_thread = in_thread or self._in_pool
        self._choices: dict[str, Choice[Source]] = {}
        self._loop = LoopingCall(self._round)
        self._loop.clock = reactor

    # What requests ask.

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return the credential to use now, ``ANONYMOUS`` where none is meant for it; ``None``: ``obtain`` it."""
        choice = self._choices.get(wanted.repo.forge)
        source = None if choice is None else choice.find(wanted.repo.path)
        return ANONYMOUS if source is None else source.cached(wanted)

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Get it; with ``refused``, the id of one that the forge rejected, another value. Raises CredentialError."""
        choice = self._choices.get(wanted.repo.forge)
        source = None if choice is None else choice.find(wanted.repo.path)
        return ANONYMOUS if source is None else await source.fetch(wanted, refused)

    def configured(self, repo: RepoPath) -> bool:
        """Whether a credential is meant for ``repo``: without one a push could not be accepted."""
        choice = self._choices.get(repo.forge)
        return choice is not None and choice.find(repo.path) is not None

    def session_ended(self, session: Session, _reason: str = "") -> None:
        """Have what was made for this session alone taken back; nobody waits for it."""
        for source in self._sources():
            ended = ensureDeferred(source.session_ended(session))
            ended.addErrback(lambda failure: _log.failure("a credential was not taken back", failure))

    # What people ask.

    def serves(self, forge: str) -> bool:
        """Whether any credential is configured for a forge."""
        return forge in self._choices

    def named(self, grant: Grant, session: Session) -> list[dict[str, object]]:
        """Name the credentials that a session's grant may use: id, kind and end, never a value."""
        choice = self._choices.get(grant.forge)
        wanted = CredentialRequest(RepoPath(grant.forge, grant.normal), grant.access, session)
        sources = [] if choice is None else choice.within(grant.normal)
        return [_named(source.cached(wanted), source) for source in sources]

    def overview(self) -> list[dict[str, object]]:
        """Return every forge with its credentials, for ``GET /v1/forges``."""
        return [self._forge(forge) for forge in self._config.forges.values()]

    def held(self) -> list[HeldSessions]:
        """Return what metrics say of every credential."""
        choices = self._choices.items()
        return [
            HeldSessions(forge, one.kind, one.expires_at, bool(one.trouble))
            for forge, choice in choices
            for source in dict.fromkeys(choice.patterns.values())
            for one in source.describe()
        ]

    def sources(self, forge: str, path: str = "") -> dict[Source, list[str]]:
        """Return a forge's sources with the patterns they stand for; with ``path``, the one that repository gets."""
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
                _described(one, patterns)
                for source, patterns in self.sources(forge.name).items()
                for one in source.describe()
            ],
        }

    # The service.

    def read(self) -> None:
        """Make every source. Blocks. Raises ``ConfigError`` with the key's place. Variables are removed after it.

        It may run before privileges are dropped; files must stay readable for the user that credgate then runs as, and
        commands are only run later.
        """
        making = SourceFactory(self._config, self._mint, self._environ, self._reactor, self._in_thread, self._wall)
        choices = {name: making.choice(forge, self._drivers[name]) for name, forge in self._config.forges.items()}
        self._choices = {name: choice for name, choice in choices.items() if choice.patterns}
        variables = {source.variable for source in self._sources() if isinstance(source, EnvSource)}
        for variable in variables.union(TOKEN_VARIABLES):
            self._environ.pop(variable, None)

    def startService(self) -> None:
        """Begin to watch files and to fetch what is fetched; ``read`` has been called."""
        super().startService()
        sources = self._sources()
        if any(isinstance(source, FileSource) for source in sources):
            self._loop.start(ROUND_SECONDS, now=False)
        for source in sources:
            if isinstance(source, Renewing):
                source.start()

    def stopService(self) -> None:
        """Stop watching. A look that is under way ends in its thread and changes nothing any more that matters."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        for source in self._sources():
            if isinstance(source, Renewing):
                source.stop()

    def _sources(self) -> list[Source]:
        return list(dict.fromkeys(one for choice in self._choices.values() for one in choice.patterns.values()))

    def _round(self) -> None:
        """Look at every file, without waiting: one on a file system that hangs delays no other."""
        for source in self._sources():
            if isinstance(source, FileSource):
                source.watch()

    def _in_pool(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args)


def _named(credential: Credential | None, source: Source) -> dict[str, object]:
    """Return what may be told of a credential; of one that is still to be had, its kind."""
    if credential is None:
        return {"kind": source.kind}
    ends = {} if credential.expires_at is None else {"expires_at": timestamp(credential.expires_at)}
    return {"id": credential.id, "kind": credential.kind, **ends}


def _described(one: SourceDescription, patterns: list[str]) -> dict[str, object]:
    ends = None if one.expires_at is None else timestamp(one.expires_at)
    return {"repositories": patterns, "id": one.id, "kind": one.kind, "expires_at": ends, "trouble": one.trouble}
