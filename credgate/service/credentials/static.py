"""Credentials in variables and files: read once before anything listens; files are read again when they change.

A file that can no longer be read leaves the last value in use and is logged once. Files are checked in a thread, and
read only when their stamp has changed. ``systemd://`` is a file that the service manager wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from attrs import field, frozen
from twisted.logger import Logger

from credgate.config.secrets import Stamp, located, read_file, read_reference, stamp
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.renewal import SingleFlight
from credgate.service.credentials.sources import Credential, Ids, SourceDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from credgate.config.references import Reference
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.model import Session

# A module-level logger: a logger of the class would put the instance into every event.
_log = Logger()


@frozen(slots=True)
class FileOutcome:
    """The result of a check of a file: unchanged (both ``None``), a value with its stamp, or ``trouble``."""

    secret: str | None = field(default=None, repr=False)
    stamp: Stamp | None = None
    trouble: str = ""


def look(reference: Reference, known: Stamp | None) -> FileOutcome:
    """Read a file unless its stamp is ``known``. Runs in a thread and uses nothing but the file."""
    if known is not None and stamp(reference) == known:
        return FileOutcome()
    try:
        secret, seen = read_file(reference)
    except ConfigError as error:
        return FileOutcome(trouble=error.text)
    return FileOutcome(secret, seen)


class EnvSource:
    """A variable. Its value at the start is used until the process ends."""

    kind: SourceKind = "env"

    def __init__(self, name: str, reference: Reference, environ: Mapping[str, str]) -> None:
        """Read it. Raises ``ConfigError`` without a place."""
        self._name, self.variable = name, reference.target
        self._credential = Credential(Ids(name).another(), read_reference(reference, environ), self.kind)

    def cached(self, wanted: CredentialRequest) -> Credential:
        return self._credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        if refused == self._credential.id:
            raise CredentialError(f"the variable with the credential of {self._name} is read only once")
        return self._credential

    async def session_ended(self, session: Session) -> None:
        """Do nothing: the credential does not belong to a session."""

    def describe(self) -> list[SourceDescription]:
        return [SourceDescription(self._credential.id, self.kind)]


class FileSource:
    """A file of one line."""

    def __init__(
        self,
        name: str,
        reference: Reference,
        environ: Mapping[str, str],
        in_thread: Callable[..., Deferred[FileOutcome]],
    ) -> None:
        """Read it. Blocks. Raises ``ConfigError`` without a place."""
        self.kind: SourceKind = "systemd" if reference.kind == "systemd" else "file"
        self._name, self._ids, self._in_thread = name, Ids(name), in_thread
        self._reference = located(reference, environ)
        secret, self._stamp = read_file(self._reference)
        self._credential, self._trouble = Credential(self._ids.another(), secret, self.kind), ""
        # Checks run one at a time: two at once could replace a newer value with an older one.
        self._checking, self._forced = SingleFlight(self._check), SingleFlight(self._read)

    def cached(self, wanted: CredentialRequest) -> Credential:
        return self._credential

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Return the credential; if it was refused, read the file now, whether its stamp has changed or not."""
        if refused == self._credential.id:
            await self._forced.join()
        if refused == self._credential.id:
            raise CredentialError(f"the file with the credential of {self._name} has no other value")
        return self._credential

    async def session_ended(self, session: Session) -> None:
        """Do nothing: the credential does not belong to a session."""

    def describe(self) -> list[SourceDescription]:
        return [SourceDescription(self._credential.id, self.kind, trouble=self._trouble)]

    def watch(self) -> None:
        """Check the file, unless a check of it still runs."""
        # Checks of a file system that hangs must not use up the threads.
        if not (self._checking.running or self._forced.running):
            # A defect, or a machine without free threads: the value stays in use, the next round tries again.
            text, name = "Checking the credential of {name} failed.", self._name
            self._checking.join().addErrback(lambda failure: _log.failure(text, failure, name=name))

    async def _check(self) -> None:
        # After a failure the file is read each time: the stamp belongs to the last value.
        known = None if self._trouble else self._stamp
        # In a thread: the secret may be on a network file system.
        self._take(await self._in_thread(look, self._reference, known))

    async def _read(self) -> None:
        if self._checking.running:
            await self._checking.join()
        self._take(await self._in_thread(look, self._reference, None))

    def _take(self, outcome: FileOutcome) -> None:
        name = self._name
        if outcome.trouble:
            if outcome.trouble != self._trouble:  # one line for a failure that repeats
                _log.error("The credential of {name} stays as it was: {trouble}", name=name, trouble=outcome.trouble)
            # The last value stays in use: the gateway must keep working until the operator has replaced the file.
            self._trouble = outcome.trouble
            return
        if outcome.secret is None:
            return
        if self._trouble:
            _log.info("The credential of {name} can be read again.", name=name)
        self._trouble, self._stamp = "", cast("Stamp", outcome.stamp)
        if outcome.secret != self._credential.secret:
            self._credential = Credential(self._ids.another(), outcome.secret, self.kind)
            _log.info("The credential of {name} was rotated: it is {id} now.", name=name, id=self._credential.id)
