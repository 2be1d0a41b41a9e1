"""Credentials from commands (``cmd://``) and from the system's keyring (``keyring://``).

A credential is fetched when the gateway starts, renewed before its end if the command states one, and fetched again
when the forge refuses it, at most every 30 s: a command may ask a person, or a service that counts requests. While no
new one can be fetched, the last one is used until its end. A failure is repeated for 5 s without running the command
again. At most one fetch runs at a time; all requests that wait share it (``renewal``).

The keyring library is an optional dependency. It asks another process (Secret Service, KWallet), which may ask a
person, so it is called in a thread.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, cast

from twisted.logger import Logger

from credgate.config.credential_output import CredentialOutput, read_credential, read_lines
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.credential_command import command
from credgate.service.credentials.renewal import CachedCredential, Renewal, RenewalPolicy
from credgate.service.credentials.sources import Credential, Ids, SourceDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from credgate.config.references import Reference
    from credgate.service.credentials.sources import CredentialRequest, SourceKind
    from credgate.sessions.model import Session

    Fetch = Callable[[], Coroutine[Deferred[Any], Any, CredentialOutput]]

FAILED_SECONDS = 5
"""How long a failure is repeated without another attempt."""
EARLY_SECONDS = 300.0
"""Seconds before its end that a credential is renewed; a fifth of its lifetime if that is less."""
LEAST_SECONDS = 30.0
"""Seconds before its end that a credential is no longer used; a tenth of its lifetime if that is less."""

_log = Logger()


def fetcher(  # noqa: PLR0913 - what a command and a keyring need
    reference: Reference,
    environ: Mapping[str, str],
    reactor: Any,  # noqa: ANN401 - IReactorProcess and IReactorTime
    in_thread: Callable[..., Deferred[Any]],
    wall: Callable[[], float],
    *,
    lines: bool = False,
) -> Fetch:
    """Return a function that fetches the secret of a ``cmd://`` or ``keyring://`` reference.

    ``lines``: the secret has several lines, as a key in PEM has. Raises ``ConfigError`` (without a place) if the
    program or the keyring library does not exist. Runs nothing yet.
    """
    if reference.kind == "cmd":
        run = command(reference.words, environ, reactor)

        async def fetch_output() -> CredentialOutput:
            output = await run()
            return read_lines(output) if lines else read_credential(output, wall())

        return fetch_output
    if importlib.util.find_spec("keyring") is None:
        raise ConfigError("keyring:// needs the keyring library: pip install 'credgate[keyring]'")

    async def fetch_entry() -> CredentialOutput:
        secret = cast("str", await in_thread(read_entry, *reference.entry))
        if lines:
            return CredentialOutput(secret + "\n")
        if not secret.isprintable():
            raise ConfigError("the keyring entry contains several lines or control characters")
        return CredentialOutput(secret)

    return fetch_entry


def read_entry(service: str, user: str) -> str:
    """Return the secret of a keyring entry. Blocks. Raises ``ConfigError`` (without a place) if there is none."""
    import keyring  # noqa: PLC0415 - an optional dependency
    from keyring.errors import KeyringError  # noqa: PLC0415 - as above

    try:
        secret = keyring.get_password(service, user)
    except KeyringError as error:
        # The backend's text may contain anything; the name of its exception is enough.
        raise ConfigError(f"the keyring cannot be read ({type(error).__name__})") from None
    if not secret or not secret.strip():
        raise ConfigError("the keyring has no such entry")
    return str(secret).strip()


class FetchedSource:
    """The credential of one command or keyring entry.

    ``fetch`` returns its output, or raises ``CredentialError`` or ``ConfigError``.
    """

    def __init__(
        self, name: str, kind: SourceKind, fetch: Fetch, *, reactor: IReactorTime, wall: Callable[[], float]
    ) -> None:
        self.kind = kind
        self._name, self._fetch, self._wall, self._ids = name, fetch, wall, Ids(name)
        self._trouble = ""
        self._renewal = Renewal(
            name,
            RenewalPolicy.for_command(name),
            self._renew,
            seconds=reactor.seconds,
            lifetime_clock=wall,  # a command prints its credential's end in wall time
            reactor=reactor,
        )
        self.start, self.stop = self._renewal.start, self._renewal.stop

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        return self._renewal.cached()

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        fetched = await self._renewal.fetch(refused)
        if fetched.id == refused:
            raise CredentialError(f"the credential of {self._name} was fetched again, and it is the same")
        return fetched

    async def session_ended(self, session: Session) -> None:
        """Do nothing: the credential does not belong to a session."""

    def describe(self) -> list[SourceDescription]:
        held = self._renewal.held
        if held is None:
            return [SourceDescription("", self.kind, trouble=self._trouble or "it was not fetched yet")]
        return [SourceDescription(held.credential.id, self.kind, held.credential.expires_at, self._trouble)]

    async def _renew(self) -> CachedCredential:
        try:
            output = await self._fetch()
        except (CredentialError, ConfigError) as error:
            if error.text != self._trouble:  # one line for a failure that repeats
                _log.error("The credential of {name} cannot be fetched: {text}", name=self._name, text=error.text)
            self._trouble = error.text
            text = f"the credential of {self._name} cannot be fetched: {error.text}"
            raise CredentialError(text, retry_after=FAILED_SECONDS) from None
        if self._trouble:
            _log.info("The credential of {name} can be fetched again.", name=self._name)
        self._trouble = ""
        return self._cache(output)

    def _cache(self, output: CredentialOutput) -> CachedCredential:
        held = None if self._renewal.held is None else self._renewal.held.credential
        same = held is not None and held.secret == output.secret
        # Ids name values: some programs print one token for its whole lifetime.
        name = held.id if held is not None and same else self._ids.another()
        if held is not None and not same:
            _log.info("The credential of {name} was renewed: it is {id} now.", name=self._name, id=name)
        credential = Credential(name, output.secret, self.kind, output.expires_at)
        if output.expires_at is None:
            return CachedCredential(credential, math.inf, math.inf, math.inf)
        life = output.expires_at - self._wall()
        usable_until = output.expires_at - min(LEAST_SECONDS, life / 10)
        renew = output.expires_at - min(EARLY_SECONDS, life / 5)
        return CachedCredential(credential, usable_until, usable_until, renew)
