"""The secrets that minting needs: an App's key, a client's secret, first tokens, keys for what is kept.

Each is a reference. What can be read is read once when the gateway starts, so that a bad one stops the start: a
variable is then held (it is removed from the environment), a file is read again whenever it is needed, so that it can
be replaced at any time. A command and a keyring are asked when the secret is first needed, and again when it is needed
some minutes later (or after the end that the command printed): they may ask a person, or a service that counts. All who
wait share one question, and a failure is the answer for a few seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from credgate.config.secrets import located, read_document, read_reference
from credgate.credentials import token_errors
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.single_flight import SingleFlight
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from credgate.config.references import Reference
    from credgate.service.credentials.fetched import Fetch

    Check = Callable[[str], None]

HELD_SECONDS = 300.0
"""How long what a command printed, or a keyring had, is used without asking again."""


class Secret(Protocol):
    """One of them."""

    async def read(self) -> str:
        """Return what it is now. Raises ``CredentialError``, without the secret and without a path's content."""
        ...


class WrittenSecret:
    """One in a variable or a file. ``lines``: it has any number of lines, as keys in PEM have."""

    def __init__(
        self,
        reference: Reference,
        environ: Mapping[str, str],
        in_thread: Callable[..., Deferred[Any]],
        check: Check,
        *,
        lines: bool = False,
    ) -> None:
        """Read it once. Blocks. Raises ``ConfigError`` without place; ``check`` does, too, for what is unfit."""
        self._in_thread, self._check = in_thread, check
        self._read = read_document if lines else read_reference
        self._first = self._read(reference, environ)
        check(self._first)
        self.variable = reference.target if reference.kind == "env" else ""
        self._file = located(reference, environ)

    async def read(self) -> str:
        """See :class:`Secret`."""
        if self.variable:
            return self._first
        try:
            found = cast("str", await self._in_thread(self._read, self._file, {}))
            self._check(found)
        except ConfigError as error:
            raise _unavailable(error.text) from None
        return found


class ReferencedSecret:
    """One that a command prints or a keyring has. ``seconds`` and ``wall`` read clocks."""

    def __init__(
        self, name: str, fetch: Fetch, check: Check, seconds: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._name, self._fetch, self._check, self._seconds, self._wall = name, fetch, check, seconds, wall
        self._flight = SingleFlight(self._asked)
        self._held = ""
        self._until = self._failed_until = float("-inf")
        self._failed: CredentialError | None = None

    async def read(self) -> str:
        """See :class:`Secret`."""
        now = self._seconds()
        if self._held and now < self._until:
            return self._held
        if self._failed is not None and now < self._failed_until and not self._flight.aloft:
            raise self._failed
        return await self._flight.join()

    async def _asked(self) -> str:
        self._held = ""
        try:
            printed = await self._fetch()
            self._check(printed.secret)
        except (ConfigError, CredentialError) as error:
            self._failed = _unavailable(f"{self._name}: {error.text}")
            self._failed_until = self._seconds() + token_errors.SOON
            raise self._failed from None
        life = HELD_SECONDS if printed.expires_at is None else printed.expires_at - self._wall()
        self._held, self._until, self._failed = printed.secret, self._seconds() + min(life, HELD_SECONDS), None
        return self._held


def _unavailable(text: str) -> CredentialError:
    said = f"no credential can be made: {text}; {token_errors.OPERATOR}"
    return CredentialError(said, reason=Reason.CREDENTIAL_UNAVAILABLE, retry_after=token_errors.SOON)
