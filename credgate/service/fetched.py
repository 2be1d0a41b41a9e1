"""Credentials that are fetched: printed by a command, or asked of a keyring.

One is fetched when the gateway starts, renewed before it ends if it says when that is, and fetched again when the forge
refuses it, but not more often than every 30 s: a command may ask a person, or a service that counts. While one cannot
be fetched, the last is used until its end; what failed is not tried again for 5 s, whoever asks. At most one fetch runs
at a time, and all who wait share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from credgate.errors import ConfigError, CredentialError
from credgate.service.flight import Flight
from credgate.service.sources import Credential, Described, Ids

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from credgate.config.credential_output import Printed
    from credgate.service.sources import SourceKind, Wanted
    from credgate.sessions.model import Session

    Fetch = Callable[[], Coroutine[Deferred[Any], Any, Printed]]

AGAIN_SECONDS = 30.0
"""Between two fetches because of refusals, and between tries to renew."""
FAILED_SECONDS = 5.0
"""How long a failure is the answer without another try."""
EARLY_SECONDS = 300.0
"""How long before its end a credential is renewed; a fifth of its life if that is less."""
LEAST_SECONDS = 30.0
"""What is left of a credential's life when it is no longer handed out; a tenth of it if that is less."""
LONGEST_SECONDS = 7 * 24 * 3600.0
"""What a timer waits at most."""

# Of the module, not of the class: a class's logger would put the instance into every event.
_log = Logger()


class FetchedSource:
    """One such credential. ``fetch`` gets it, or raises ``CredentialError`` or ``ConfigError``."""

    def __init__(
        self, name: str, kind: SourceKind, fetch: Fetch, *, reactor: IReactorTime, wall: Callable[[], float]
    ) -> None:
        self.kind = kind
        self._name, self._fetch, self._reactor, self._wall = name, fetch, reactor, wall
        self._ids, self._flight = Ids(name), Flight(self._renew)
        self._held: Credential | None = None
        self._usable_until = self._life = 0.0
        self._began: float | None = None
        self._failed_at: float | None = None
        self._trouble = ""
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def at_hand(self, wanted: Wanted) -> Credential | None:
        """See :class:`~credgate.service.sources.Source`."""
        held = self._held
        if held is None or (held.expires_at is not None and self._wall() >= self._usable_until):
            return None
        return held

    async def obtain(self, wanted: Wanted, refused: str = "") -> Credential:
        """See :class:`~credgate.service.sources.Source`."""
        held = self.at_hand(wanted)
        if held is not None and held.id != refused:
            return held
        if held is not None:
            self._not_too_often()
        fetched = await self._join()
        if fetched.id == refused:
            raise CredentialError(f"the credential of {self._name} was fetched again, and it is the same")
        return fetched

    async def session_ended(self, session: Session) -> None:
        """Nothing was made for it."""

    def describe(self) -> list[Described]:
        """See :class:`~credgate.service.sources.Source`."""
        held = self._held
        if held is None:
            return [Described("", self.kind, trouble=self._trouble or "it was not fetched yet")]
        return [Described(held.id, self.kind, held.expires_at, self._trouble)]

    def start(self) -> None:
        """Fetch the first one: no request shall have to wait for it."""
        self._stopped = False
        self._in_background()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _not_too_often(self) -> None:
        if self._flight.aloft or self._began is None:
            return
        if self._reactor.seconds() - self._began < AGAIN_SECONDS:
            raise CredentialError(f"the credential of {self._name} was fetched a moment ago", retry_after=30)

    def _join(self) -> Deferred[Credential]:
        recently = self._failed_at is not None and self._reactor.seconds() - self._failed_at < FAILED_SECONDS
        if recently and not self._flight.aloft:
            raise self._unavailable()
        return self._flight.join()

    def _unavailable(self) -> CredentialError:
        return CredentialError(f"the credential of {self._name} cannot be fetched: {self._trouble}", retry_after=5)

    async def _renew(self) -> Credential:
        self._began = self._reactor.seconds()
        try:
            printed = await self._fetch()
        except (CredentialError, ConfigError) as error:
            self._fails(error.text)
            raise self._unavailable() from None
        self._failed_at = None
        if self._trouble:
            _log.info("The credential of {name} can be fetched again.", name=self._name)
        self._trouble = ""
        return self._takes(printed)

    def _fails(self, text: str) -> None:
        if text != self._trouble:
            _log.error("The credential of {name} cannot be fetched: {text}", name=self._name, text=text)
        self._trouble, self._failed_at = text, self._reactor.seconds()
        self._later(AGAIN_SECONDS if self._held is not None and self._held.expires_at is not None else None)

    def _takes(self, printed: Printed) -> Credential:
        held = self._held
        same = held is not None and held.secret == printed.secret
        name = held.id if held is not None and same else self._ids.another()
        taken = self._held = Credential(name, printed.secret, self.kind, printed.expires_at)
        if held is not None and not same:
            _log.info("The credential of {name} was renewed: it is {id} now.", name=self._name, id=name)
        if printed.expires_at is None:
            self._later(None)
        else:
            life = printed.expires_at - self._wall()
            self._usable_until = printed.expires_at - min(LEAST_SECONDS, life / 10)
            self._later(life - min(EARLY_SECONDS, life / 5))
        return taken

    def _later(self, seconds: float | None) -> None:
        """Fetch again in so many seconds; ``None``: when asked."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds is not None and not self._stopped:
            self._timer = self._reactor.callLater(min(max(seconds, 1.0), LONGEST_SECONDS), self._in_background)

    def _in_background(self) -> None:
        self._flight.join().addErrback(self._not_fetched)

    def _not_fetched(self, failure: Failure) -> None:
        if failure.check(CredentialError) is None:  # which is told already
            _log.failure("Fetching the credential of {name} failed.", failure, name=self._name)
