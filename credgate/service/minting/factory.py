"""From a forge's minting table to the source that carries it out; what cannot work stops the start."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import field, frozen
from twisted.internet.threads import deferToThreadPool

from credgate.config.credential_output import read_lines, read_printed
from credgate.config.references import parse_reference
from credgate.errors import ConfigError
from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.service import keyrings
from credgate.service.command import command
from credgate.service.minting import github, kept
from credgate.service.minting.api import Api
from credgate.service.minting.app import AppSource
from credgate.service.minting.connect import agent_for
from credgate.service.minting.github import GitHubApp
from credgate.service.minting.plans import OAuthPlan, RotatePlan
from credgate.service.minting.refreshing import Keeping, RefreshingSource
from credgate.service.minting.secret import AskedSecret, WrittenSecret
from credgate.service.minting.told import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.config.credential_output import Printed
    from credgate.config.references import Reference
    from credgate.config.schema import Config, Forge
    from credgate.config.short_lived import App, OAuth, Rotate
    from credgate.forges.driver import Driver
    from credgate.service.audit import AuditLog
    from credgate.service.fetched import Fetch
    from credgate.service.minting.plans import Plan
    from credgate.service.minting.secret import Secret
    from credgate.service.sources import Source, SourceKind
    from credgate.sessions.lease import LeaseReading

DIRECTORY = "minting"
"""Beside the session store: one file a forge."""


@frozen(slots=True)
class Minting:
    """The means to mint. ``variables`` gathers the variables that were read, to be removed from the environment."""

    reactor: Any
    endpoints: Callable[[Place], IStreamClientEndpoint]
    in_thread: Callable[..., Deferred[Any]]
    clock: Callable[[], LeaseReading]
    audit: AuditLog
    environ: Mapping[str, str]
    store: str
    """The session store's path; ``""``: in memory, so nothing can be kept."""
    variables: set[str] = field(factory=set, init=False)

    @classmethod
    def of(
        cls,
        config: Config,
        reactor: Any,  # noqa: ANN401 - every interface of a reactor
        endpoints: Callable[[Place], IStreamClientEndpoint],
        audit: AuditLog,
        clock: Callable[[], LeaseReading],
    ) -> Minting:
        """Make the means of a gateway: its reactor's threads, its environment, its store's directory."""
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        return cls(reactor, endpoints, in_thread, clock, audit, os.environ, config.sessions.store_path)

    def forget_variables(self) -> None:
        """Remove the variables that were read from the process's environment, so that no child inherits them."""
        for variable in self.variables:
            os.environ.pop(variable, None)

    def source(self, forge: Forge, driver: Driver) -> Source | None:
        """Make the source of a forge's table, if it has one. Blocks. Raises ``ConfigError`` with the table's key."""
        if forge.app is not None:
            return self._app(forge, driver, forge.app)
        if forge.oauth is not None:
            return self._oauth(forge, driver, forge.oauth)
        return None if forge.rotate is None else self._rotate(forge, driver, forge.rotate)

    def _app(self, forge: Forge, driver: Driver, app: App) -> Source:
        key = self._secret(app.private_key, "app.private_key", github.check_key, lines=True)
        api = self._api(driver, self._api_origin(driver))
        told = self._told(forge, "app")
        return AppSource(forge.name, GitHubApp(forge.name, app, key, api, self._wall), self.clock, told)

    def _oauth(self, forge: Forge, driver: Driver, oauth: OAuth) -> Source:
        secret = self._secret(oauth.client_secret, "oauth.client_secret")
        first = self._secret(oauth.refresh_token, "oauth.refresh_token")
        plan = OAuthPlan(forge.name, forge.kind, oauth.client_id, secret, first)
        origin = Origin.parse(forge.url, allow_plain_http=forge.allow_plain_http)
        return self._refreshing(forge, plan, oauth.key, self._api(driver, origin), "oauth")

    def _rotate(self, forge: Forge, driver: Driver, rotate: Rotate) -> Source:
        plan = RotatePlan(forge.name, rotate.lifetime, self._secret(rotate.token, "rotate.token"))
        return self._refreshing(forge, plan, rotate.key, self._api(driver, self._api_origin(driver)), "rotate")

    def _refreshing(self, forge: Forge, plan: Plan, key: str, api: Api, table: str) -> Source:
        if not self.store:
            meant = 'the next token must outlive the process: write [sessions] store = "sqlite:////path"'
            raise ConfigError(meant, key=table)
        path = Path(self.store).parent / DIRECTORY / f"{forge.name}.token"
        keeping = Keeping(path, self._secret(key, f"{table}.key", kept.check_key))
        return RefreshingSource(
            forge.name,
            plan,
            keeping,
            api,
            self._told(forge, plan.kind),
            clock=self.clock,
            reactor=self.reactor,
            in_thread=self.in_thread,
        )

    def _secret(
        self, reference: str, key: str, check: Callable[[str], None] = lambda _: None, *, lines: bool = False
    ) -> Secret:
        try:
            written = parse_reference(reference)
            if written.kind in ("cmd", "keyring"):
                return AskedSecret(key, self._asked(written, lines=lines), check, self.reactor.seconds, self._wall)
            secret = WrittenSecret(written, self.environ, self.in_thread, check, lines=lines)
        except ConfigError as error:
            raise ConfigError(error.text, key=key) from None
        if secret.variable:
            self.variables.add(secret.variable)
        return secret

    def _asked(self, reference: Reference, *, lines: bool) -> Fetch:
        """Return what asks a command or a keyring; raises ``ConfigError`` if it is not there."""
        if reference.kind == "cmd":
            printed = command(reference.words, self.environ, self.reactor)

            async def fetch() -> Printed:
                output = await printed()
                return read_lines(output) if lines else read_printed(output, self._wall())

            return fetch
        keyrings.check_installed()

        async def fetch_entry() -> Printed:
            read = keyrings.read_lines if lines else keyrings.read_entry
            return cast("Printed", await self.in_thread(read, *reference.entry))

        return fetch_entry

    def _api_origin(self, driver: Driver) -> Origin:
        url = driver.forge.api_url or driver.api
        if not url:
            raise ConfigError("it is not known where the forge's API is; write it", key="api_url")
        return Origin.parse(url, allow_plain_http=driver.forge.allow_plain_http, key="api_url")

    def _api(self, driver: Driver, origin: Origin) -> Api:
        agent = agent_for(self.reactor, Place.at(driver, origin), self.endpoints)
        return Api(driver.forge.name, origin, agent, self.reactor, wall=self._wall)

    def _told(self, forge: Forge, kind: SourceKind) -> Told:
        return Told(self.audit, forge.name, kind, self._wall)

    def _wall(self) -> float:
        return self.clock().wall
