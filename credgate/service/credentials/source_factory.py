"""Make the credential sources of a forge from its configuration.

One source a reference, however many patterns name it, and one for a table of short-lived credentials (``app``,
``oauth``, ``rotate``). Every mistake stops the start with the place of its key: an invalid pattern, a file that cannot
be read, a program that does not exist, two credentials for every repository. Commands and keyrings do not run yet.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from twisted.internet.threads import deferToThreadPool

from credgate.config.references import parse_reference
from credgate.errors import ConfigError
from credgate.forges.choice import Choice, normal_patterns
from credgate.forges.origin import Origin
from credgate.forges.place import Place
from credgate.service.credentials import token_file
from credgate.service.credentials.api_client import ApiClient
from credgate.service.credentials.api_connection import agent_for
from credgate.service.credentials.credential_audit import CredentialAudit
from credgate.service.credentials.fetched import FetchedSource, fetcher
from credgate.service.credentials.github_app import AppSource, GitHubApp, check_key
from credgate.service.credentials.rotating import OAuthRefresh, RotatingSource, TokenKeeping, TokenRotation
from credgate.service.credentials.signing_secret import ReferencedSecret, WrittenSecret
from credgate.service.credentials.static import EnvSource, FileSource
from credgate.sessions.scope import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IStreamClientEndpoint

    from credgate.config.references import Reference
    from credgate.config.schema import AppConfig, Config, ForgeConfig, OAuthConfig, RotateConfig
    from credgate.forges.driver import Driver
    from credgate.service.audit.log import AuditLog
    from credgate.service.credentials.rotating import RenewalMethod
    from credgate.service.credentials.signing_secret import Secret
    from credgate.service.credentials.sources import Source
    from credgate.sessions.lease_clock import LeaseReading

    Mint = Callable[[ForgeConfig, Driver], Source | None]

TABLES = ("app", "oauth", "rotate")
"""A forge's tables of short-lived credentials."""
DIRECTORY = "minting"
"""Of the saved tokens, beside the session store: one file a forge."""


@frozen(slots=True)
class SourceFactory:
    """Makes the sources of all forges. ``mint`` makes the source of a table of short-lived credentials."""

    config: Config
    mint: Mint
    environ: Mapping[str, str]
    reactor: Any
    in_thread: Callable[..., Deferred[Any]]
    wall: Callable[[], float]

    def choice(self, forge: ForgeConfig, driver: Driver) -> Choice[Source]:
        """Make a forge's sources, by the patterns that they are for. Blocks. Raises ``ConfigError``."""
        try:
            written = normal_patterns(forge.credentials, driver)
        except ConfigError as error:
            raise self.config.error(error.text, "forges", forge.name, "credentials", error.key) from None
        by_reference: dict[str, Source] = {}
        found: dict[str, Source] = {}
        for pattern, text in written.items():
            # As it was written, to find its line.
            spelled = next(one for one in forge.credentials if driver.normal_pattern(one) == pattern)
            place = ("credentials", spelled)
            found[pattern] = self._source(forge, text, f"{forge.name} for {pattern}", by_reference, place)
        if forge.credential:
            self._check_only_one(found, forge, "credential")
            found[EVERYTHING] = self._source(forge, forge.credential, forge.name, by_reference, ("credential",))
        try:
            minted = self.mint(forge, driver)
        except ConfigError as error:
            raise self.config.error(error.text, "forges", forge.name, *error.key.split(".")) from None
        if minted is not None:
            key = next((key for key in TABLES if getattr(forge, key) is not None), "credential")
            self._check_only_one(found, forge, key)
            found[EVERYTHING] = minted
        return Choice(found)

    def _check_only_one(self, found: dict[str, Source], forge: ForgeConfig, key: str) -> None:
        if EVERYTHING in found:
            text = 'there is already a credential for every repository; use patterns in "credentials" instead'
            raise self.config.error(text, "forges", forge.name, key)

    def _source(
        self, forge: ForgeConfig, text: str, name: str, made: dict[str, Source], place: tuple[str, ...]
    ) -> Source:
        if text not in made:
            try:
                made[text] = self._make(parse_reference(text), name)
            except ConfigError as error:
                raise self.config.error(error.text, "forges", forge.name, *place) from None
        return made[text]

    def _make(self, reference: Reference, name: str) -> Source:
        if reference.kind == "env":
            return EnvSource(name, reference, self.environ)
        if reference.kind in ("file", "systemd"):
            return FileSource(name, reference, self.environ, self.in_thread)
        fetch = fetcher(reference, self.environ, self.reactor, self.in_thread, self.wall)
        return FetchedSource(name, reference.kind, fetch, reactor=self.reactor, wall=self.wall)


@frozen(slots=True)
class ShortLivedFactory:
    """Makes the source of a forge's table of short-lived credentials."""

    reactor: Any
    endpoints: Callable[[Place], IStreamClientEndpoint]
    in_thread: Callable[..., Deferred[Any]]
    clock: Callable[[], LeaseReading]
    audit: AuditLog
    environ: Mapping[str, str]
    store: str
    """The session store's path; ``""``: in memory, so no token can be saved."""
    variables: set[str] = field(factory=set, init=False)
    """The variables that were read, to be removed from the environment."""

    @classmethod
    def of(
        cls,
        config: Config,
        reactor: Any,  # noqa: ANN401 - every interface of a reactor
        endpoints: Callable[[Place], IStreamClientEndpoint],
        audit: AuditLog,
        clock: Callable[[], LeaseReading],
    ) -> ShortLivedFactory:
        """Make the factory of a gateway: its reactor's threads, its environment, its store's directory."""
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        return cls(reactor, endpoints, in_thread, clock, audit, os.environ, config.sessions.store_path)

    def forget_variables(self) -> None:
        """Remove the variables that were read from the process's environment, so that no child inherits them."""
        for variable in self.variables:
            os.environ.pop(variable, None)

    def source(self, forge: ForgeConfig, driver: Driver) -> Source | None:
        """Make the source of a forge's table, if it has one. Blocks. Raises ``ConfigError`` with the table's key."""
        if forge.app is not None:
            return self._app(forge, driver, forge.app)
        if forge.oauth is not None:
            return self._oauth(forge, driver, forge.oauth)
        return None if forge.rotate is None else self._rotate(forge, driver, forge.rotate)

    def _app(self, forge: ForgeConfig, driver: Driver, app: AppConfig) -> Source:
        # A PEM file has several lines, unlike every other secret.
        key = self._secret(app.private_key, "app.private_key", check_key, lines=True)
        api = self._api(driver, self._api_origin(driver))
        audit = CredentialAudit(self.audit, forge.name, "app", self._wall)
        return AppSource(forge.name, GitHubApp(forge.name, app, key, api, self._wall), self.clock, audit)

    def _oauth(self, forge: ForgeConfig, driver: Driver, oauth: OAuthConfig) -> Source:
        secret = self._secret(oauth.client_secret, "oauth.client_secret")
        first = self._secret(oauth.refresh_token, "oauth.refresh_token")
        method = OAuthRefresh(forge.name, forge.kind, oauth.client_id, secret, first)
        origin = Origin.parse(forge.url, allow_plain_http=forge.allow_plain_http)
        return self._rotating(forge, method, oauth.key, self._api(driver, origin), "oauth")

    def _rotate(self, forge: ForgeConfig, driver: Driver, rotate: RotateConfig) -> Source:
        method = TokenRotation(forge.name, rotate.lifetime, self._secret(rotate.token, "rotate.token"))
        return self._rotating(forge, method, rotate.key, self._api(driver, self._api_origin(driver)), "rotate")

    def _rotating(self, forge: ForgeConfig, method: RenewalMethod, key: str, api: ApiClient, table: str) -> Source:
        # The saved tokens are beside the session store: without a store on disk a restart would lose them.
        if not self.store:
            text = 'the next token must be kept across restarts: write [sessions] store = "sqlite:////path"'
            raise ConfigError(text, key=table)
        path = Path(self.store).parent / DIRECTORY / f"{forge.name}.token"
        return RotatingSource(
            forge.name,
            method,
            TokenKeeping(path, self._secret(key, f"{table}.key", token_file.check_key)),
            api,
            CredentialAudit(self.audit, forge.name, method.kind, self._wall),
            clock=self.clock,
            reactor=self.reactor,
            in_thread=self.in_thread,
        )

    def _secret(
        self, reference: str, key: str, check: Callable[[str], None] = lambda _: None, *, lines: bool = False
    ) -> Secret:
        try:
            written = parse_reference(reference)
            # Commands and keyrings do not run at the start: they may ask a person.
            if written.kind in ("cmd", "keyring"):
                fetch = fetcher(written, self.environ, self.reactor, self.in_thread, self._wall, lines=lines)
                return ReferencedSecret(key, fetch, check, self.reactor.seconds, self._wall)
            secret = WrittenSecret(written, self.environ, self.in_thread, check, lines=lines)
        except ConfigError as error:
            raise ConfigError(error.text, key=key) from None
        if secret.variable:
            self.variables.add(secret.variable)
        return secret

    def _api_origin(self, driver: Driver) -> Origin:
        url = driver.forge.api_url or driver.api
        if not url:
            raise ConfigError("the address of the forge's API is not known; write api_url", key="api_url")
        return Origin.parse(url, allow_plain_http=driver.forge.allow_plain_http, key="api_url")

    def _api(self, driver: Driver, origin: Origin) -> ApiClient:
        agent = agent_for(self.reactor, Place.at(driver, origin), self.endpoints)
        return ApiClient(driver.forge.name, origin, agent, self.reactor, wall=self._wall)

    def _wall(self) -> float:
        return self.clock().wall
