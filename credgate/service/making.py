"""From what the operator wrote of a forge's credentials to the sources that they come from.

One source a reference, however many patterns name it, and one for a minting table. Whatever is wrong with what was
written stops the start, with the place of its key: a pattern that is none here, a file that cannot be read, a program
that is not there, two credentials that both stand for every repository. Commands and keyrings are not asked yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from credgate.config.credential_output import Printed, read_printed
from credgate.config.references import parse_reference
from credgate.errors import ConfigError
from credgate.forges.choice import Choice, normal_patterns
from credgate.service import keyrings
from credgate.service.command import command
from credgate.service.fetched import FetchedSource
from credgate.service.files import EnvSource, FileSource
from credgate.sessions.scope import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from credgate.config.references import Reference
    from credgate.config.schema import Config, Forge
    from credgate.forges.driver import Driver
    from credgate.service.fetched import Fetch
    from credgate.service.sources import Source

    Mint = Callable[[Forge, Driver], Source | None]

MINTING = ("app", "oauth", "rotate")
"""A forge's tables that say how credentials are made."""


@frozen(slots=True)
class Making:
    """The means to make sources."""

    config: Config
    mint: Mint
    environ: Mapping[str, str]
    reactor: Any
    in_thread: Callable[..., Deferred[Any]]
    wall: Callable[[], float]

    def choice(self, forge: Forge, driver: Driver) -> Choice[Source]:
        """Make a forge's sources, one a reference, by the patterns that they stand for. Blocks. Raises ConfigError."""
        sources: dict[str, Source] = {}
        try:
            written = normal_patterns(forge.credentials, driver)
        except ConfigError as error:
            raise self.config.error(error.text, "forges", forge.name, "credentials", error.key) from None
        found: dict[str, Source] = {}
        for pattern, text in written.items():
            place = ("credentials", _spelled(forge, pattern, driver))
            found[pattern] = self._source(forge, text, f"{forge.name} for {pattern}", sources, place)
        if forge.credential:
            self._once(found, forge, "credential")
            found[EVERYTHING] = self._source(forge, forge.credential, forge.name, sources, ("credential",))
        minted = self._minted(forge, driver)
        if minted is not None:
            self._once(found, forge, next((key for key in MINTING if getattr(forge, key) is not None), "credential"))
            found[EVERYTHING] = minted
        return Choice(found)

    def _minted(self, forge: Forge, driver: Driver) -> Source | None:
        try:
            return self.mint(forge, driver)
        except ConfigError as error:
            raise self.config.error(error.text, "forges", forge.name, *error.key.split(".")) from None

    def _once(self, found: dict[str, Source], forge: Forge, key: str) -> None:
        if EVERYTHING in found:
            text = 'another credential stands for every repository already; write patterns in "credentials" instead'
            raise self.config.error(text, "forges", forge.name, key)

    def _source(self, forge: Forge, text: str, name: str, made: dict[str, Source], place: tuple[str, ...]) -> Source:
        if text not in made:
            try:
                made[text] = self._made(parse_reference(text), name)
            except ConfigError as error:
                raise self.config.error(error.text, "forges", forge.name, *place) from None
        return made[text]

    def _made(self, reference: Reference, name: str) -> Source:
        if reference.kind == "env":
            return EnvSource(name, reference, self.environ)
        if reference.kind in ("file", "systemd"):
            return FileSource(name, reference, self.environ, self.in_thread)
        fetch = self._command(reference) if reference.kind == "cmd" else self._keyring(reference)
        return FetchedSource(name, reference.kind, fetch, reactor=self.reactor, wall=self.wall)

    def _command(self, reference: Reference) -> Fetch:
        printed = command(reference.words, self.environ, self.reactor)

        async def fetch() -> Printed:
            return read_printed(await printed(), self.wall())

        return fetch

    def _keyring(self, reference: Reference) -> Fetch:
        keyrings.check_installed()

        async def fetch() -> Printed:
            return cast("Printed", await self.in_thread(keyrings.read_entry, *reference.entry))

        return fetch


def _spelled(forge: Forge, normal: str, driver: Driver) -> str:
    """Return a pattern as it was written, to find its line."""
    return next(one for one in forge.credentials if driver.normal_pattern(one) == normal)
