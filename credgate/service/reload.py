"""Applies a changed configuration without a restart: on SIGHUP, and for ``POST /v1/reload``.

The file is read and checked as a whole; then each part applies its section, completely or not at all. Sections that no
part applies while running (listeners, store, forges, limits) are named in the answer and in the log. Reloads do not
overlap.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from credgate.config.environment import GITHUB, TOKEN_VARIABLES
from credgate.errors import ConfigError
from credgate.loading.load import config_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.failure import Failure

    from credgate.config.schema import Config

_TOKENS = {f"env://{variable}" for variable in TOKEN_VARIABLES}
_SECTIONS = ("default_forge", "listen", "sessions", "limits", "policy", "audit", "control", "dns", "forges")


def _comparable(config: Config, section: str) -> object:
    """Return a section in a form that is equal when it is read twice.

    The variable that held github.com's token was removed at the start, so a default credential of github.com cannot be
    compared. A reference that is written in the file can: another one is a change.
    """
    if section != "forges":
        return getattr(config, section)
    forges = dict(config.forges)
    own = forges.get(GITHUB.name)
    if own is not None and own.credential in _TOKENS:
        forges[GITHUB.name] = evolve(own, credential="")
    return forges


class Reload(Service):
    """``read`` reads the configuration (blocking); each of ``parts`` applies the section that it is named after."""

    name = "reload"
    log = Logger()

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        parts: Mapping[str, Callable[[Config], Awaitable[None]]],
        reactor: IReactorFromThreads,
    ) -> None:
        self._config, self._read, self._parts, self._reactor = config, read, parts, reactor
        self._turn = DeferredLock()
        self._before: Any = None

    def startService(self) -> None:
        super().startService()
        # By default SIGHUP ends the process. The handler may interrupt any code, so it only wakes the reactor.
        self._before = signal.signal(
            signal.SIGHUP, lambda *_: self._reactor.callFromThread(lambda: self.reload().addErrback(self._kept))
        )

    def stopService(self) -> None:
        super().stopService()
        signal.signal(signal.SIGHUP, self._before)

    @property
    def config(self) -> Config:
        """The configuration in force; of sections that need a restart, the one that was read at the start."""
        return self._config

    def reload(self) -> Deferred[dict[str, object]]:
        """Read and apply; fires with what changed. Fails with ``ConfigError`` if nothing was changed."""
        return self._turn.run(lambda: ensureDeferred(self._reload()))

    async def _reload(self) -> dict[str, object]:
        config: Config = await deferToThread(self._read)  # files may be on a slow disk
        # In this order: only the first part may refuse, so an unusable configuration changes nothing.
        for apply_config in self._parts.values():
            await apply_config(config)
        before, self._config = (
            self._config,
            evolve(self._config, **{part: getattr(config, part) for part in self._parts}),
        )
        # Named in answer and log, so that the operator does not expect them to be in force before a restart.
        waiting = [one for one in _SECTIONS if _comparable(config, one) != _comparable(self._config, one)]
        self.log.info(
            "configuration {before} replaced by {now}; a restart is needed for: {waiting}",
            before=config_hash(before),
            now=config_hash(self._config),
            waiting=", ".join(waiting) or "nothing",
        )
        return {"status": "reloaded", "configuration": config_hash(self._config), "restart_needed": waiting}

    def _kept(self, failure: Failure) -> None:
        failure.trap(ConfigError)
        self.log.error("the configuration was not reloaded, the old one stays: {text}", text=str(failure.value))
