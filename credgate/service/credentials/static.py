"""Credentials in variables and files: read once before anything listens, files read again as they rotate.

A file that can no longer be read leaves the last value in place and is logged once; the rotation that follows may well
need the gateway to stay up. Looks are made in a thread, since a secret may lie on a network file system, and only at a
file's stamp until it changes. ``systemd://`` is a file that the service manager wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from attrs import define, field, frozen
from twisted.logger import Logger

from credgate.config.secrets import Stamp, located, read_file, read_reference, stamp
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.single_flight import SingleFlight
from credgate.service.credentials.sources import Credential, Ids, SourceDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from credgate.config.references import Reference
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.model import Session

# Of the module, not of the class: a class's logger would put the instance into every event.
_log = Logger()


@frozen(slots=True)
class FileOutcome:
    """What a look at a file found: no change (both ``None``), a value with its stamp, or what is wrong."""

    secret: str | None = field(default=None, repr=False)
    stamp: Stamp | None = None
    trouble: str = ""


def look(reference: Reference, known: Stamp | None) -> FileOutcome:
    """Read a file unless its stamp is the ``known`` one. Runs in a thread: touches nothing but the file."""
    if known is not None and stamp(reference) == known:
        return FileOutcome()
    try:
        secret, seen = read_file(reference)
    except ConfigError as error:
        return FileOutcome(trouble=error.text)
    return FileOutcome(secret, seen)


class EnvSource:
    """A variable: what it held at the start, for good."""

    kind: SourceKind = "env"

    def __init__(self, name: str, reference: Reference, environ: Mapping[str, str]) -> None:
        """Read it. Raises ``ConfigError`` without place."""
        self._name, self.variable = name, reference.target
        self._credential = Credential(Ids(name).another(), read_reference(reference, environ), self.kind)

    def cached(self, wanted: CredentialRequest) -> Credential:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        return self._credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """See :class:`~credgate.service.credentials.sources.Source`: there is one value, and no other."""
        if refused == self._credential.id:
            raise CredentialError(f"the variable that the credential of {self._name} was read from is read only once")
        return self._credential

    async def session_ended(self, session: Session) -> None:
        """Nothing was made for it."""

    def describe(self) -> list[SourceDescription]:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        return [SourceDescription(self._credential.id, self.kind)]


@define(slots=True)
class _Held:
    """A file's credential as last read."""

    credential: Credential
    stamp: Stamp
    trouble: str = ""


class FileSource:
    """A file of one line."""

    def __init__(
        self,
        name: str,
        reference: Reference,
        environ: Mapping[str, str],
        in_thread: Callable[..., Deferred[FileOutcome]],
    ) -> None:
        """Read it. Blocks. Raises ``ConfigError`` without place."""
        self.kind: SourceKind = "systemd" if reference.kind == "systemd" else "file"
        self._name, self._ids, self._in_thread = name, Ids(name), in_thread
        self._reference = located(reference, environ)
        self._held = _Held(*self._valued(*read_file(self._reference)))
        # Looks come one at a time: two at once could put the older value over the newer.
        self._looking, self._forced = SingleFlight(self._round), SingleFlight(self._read)

    def _valued(self, secret: str, seen: Stamp) -> tuple[Credential, Stamp]:
        return Credential(self._ids.another(), secret, self.kind), seen

    def cached(self, wanted: CredentialRequest) -> Credential:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        return self._held.credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Return what is held; if that was refused, read the file now, changed stamp or not."""
        if refused == self._held.credential.id:
            await self._forced.join()
        if refused == self._held.credential.id:
            raise CredentialError(f"the file of the credential of {self._name} holds no other")
        return self._held.credential

    async def session_ended(self, session: Session) -> None:
        """Nothing was made for it."""

    def describe(self) -> list[SourceDescription]:
        """See :class:`~credgate.service.credentials.sources.Source`."""
        return [SourceDescription(self._held.credential.id, self.kind, trouble=self._held.trouble)]

    def watch(self) -> None:
        """Look at the file, unless a look at it has not come back: one that hangs must not pile up threads."""
        if not (self._looking.aloft or self._forced.aloft):
            self._looking.join().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        # A defect of ours or a machine out of threads: what is held goes on serving, the next round tries again.
        _log.failure("Looking at the credential of {name} failed.", failure, name=self._name)

    async def _round(self) -> None:
        # A file in trouble is read again every time: its stamp is not that of a value.
        known = None if self._held.trouble else self._held.stamp
        self._take(await self._in_thread(look, self._reference, known))

    async def _read(self) -> None:
        if self._looking.aloft:
            await self._looking.join()
        self._take(await self._in_thread(look, self._reference, None))

    def _take(self, outcome: FileOutcome) -> None:
        """Take over what a look found."""
        held, name = self._held, self._name
        if outcome.trouble:
            if outcome.trouble != held.trouble:
                _log.error("The credential of {name} stays as it was: {trouble}", name=name, trouble=outcome.trouble)
            held.trouble = outcome.trouble
            return
        if outcome.secret is None:
            return
        if held.trouble:
            _log.info("The credential of {name} can be read again.", name=name)
        held.trouble, held.stamp = "", cast("Stamp", outcome.stamp)
        if outcome.secret != held.credential.secret:
            held.credential, held.stamp = self._valued(outcome.secret, held.stamp)
            _log.info("The credential of {name} was rotated: it is {id} now.", name=name, id=held.credential.id)
