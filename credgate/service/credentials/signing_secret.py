"""The secrets that make short-lived credentials: an App's private key, a client secret, first tokens, file keys.

Each one is a reference. Variables and files are read once at the start. A variable is kept in memory; a file is read
again on each use. Commands and keyrings run on first use, and again after some minutes or after the end that the
command printed. Callers share one run, and a failure is repeated for a few seconds (``renewal``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from credgate.config.secrets import located, read_document, read_reference
from credgate.credentials import token_errors
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.renewal import CachedCredential, Renewal, RenewalPolicy
from credgate.service.credentials.sources import Credential
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from credgate.config.references import Reference
    from credgate.service.credentials.fetched import Fetch

    Check = Callable[[str], None]

HELD_SECONDS = 300.0
"""Maximum seconds that the output of a command or keyring is used before it is fetched again."""


class Secret(Protocol):
    """A secret that can be read."""

    async def read(self) -> str:
        """Return the current value. Raises ``CredentialError``, whose text never contains the secret."""
        ...


class WrittenSecret:
    """A secret in a variable or file. ``lines``: it may have several lines, as a key in PEM has."""

    def __init__(
        self,
        reference: Reference,
        environ: Mapping[str, str],
        in_thread: Callable[..., Deferred[Any]],
        check: Check,
        *,
        lines: bool = False,
    ) -> None:
        """Read it once. Blocks. Raises ``ConfigError`` without a place, as does ``check`` for an unsuitable value."""
        self._in_thread, self._check = in_thread, check
        self._read = read_document if lines else read_reference
        # At the start, so that an unusable secret stops it.
        self._first = self._read(reference, environ)
        check(self._first)
        self.variable = reference.target if reference.kind == "env" else ""
        self._file = located(reference, environ)

    async def read(self) -> str:
        if self.variable:  # it was removed from the environment after the start
            return self._first
        # A file is read on each use, so that the operator can replace it at any time.
        try:
            found = cast("str", await self._in_thread(self._read, self._file, {}))
            self._check(found)
        except ConfigError as error:
            raise _unavailable(error.text) from None
        return found


class ReferencedSecret:
    """A secret that a command prints or a keyring holds. ``seconds`` and ``wall`` read clocks."""

    def __init__(
        self, name: str, fetch: Fetch, check: Check, seconds: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._name, self._fetch, self._check, self._seconds, self._wall = name, fetch, check, seconds, wall
        policy = RenewalPolicy.for_command(name)
        self._renewal = Renewal(name, policy, self._renew, seconds=seconds, lifetime_clock=seconds)

    async def read(self) -> str:
        return (await self._renewal.fetch()).secret

    async def _renew(self) -> CachedCredential:
        try:
            output = await self._fetch()
            self._check(output.secret)
        except (ConfigError, CredentialError) as error:
            raise _unavailable(f"{self._name}: {error.text}") from None
        # Kept for some minutes: the command may ask a person, or a service that counts requests.
        life = HELD_SECONDS if output.expires_at is None else min(output.expires_at - self._wall(), HELD_SECONDS)
        until = self._seconds() + life
        return CachedCredential(Credential(self._name, output.secret), until, until, until)


def _unavailable(text: str) -> CredentialError:
    text = f"no credential can be made: {text}; {token_errors.OPERATOR}"
    return CredentialError(text, reason=Reason.CREDENTIAL_UNAVAILABLE, retry_after=token_errors.SOON)
