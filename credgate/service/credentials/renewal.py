"""One policy for credentials that are renewed: cache, single flight, failure memory, forced renewal and a timer.

``Renewal`` keeps one credential for a source. It decides when the credential is used from memory, when a new one is
fetched, and when a failure is repeated to the caller without another attempt. How a credential is fetched is the
source's business: it passes a coroutine function that returns a ``CachedCredential`` or raises ``CredentialError``.

``Renewal`` never runs two fetches of one credential at the same time, and never logs or shows a secret. Two clocks are
used. ``seconds`` measures intervals between attempts. ``lifetime_clock`` is the clock of a credential's deadlines: the
boot clock for tokens with a lifetime (it counts time in suspend and ignores changes of the wall clock), the wall clock
for credentials that state an end in wall time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from credgate.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from credgate.service.credentials.sources import Credential
    from credgate.sessions.lease_clock import LeaseReading

LONGEST_HOLD = 300.0
"""Maximum seconds that a failure is repeated without another attempt, whatever the forge asks for."""
FORCED_SECONDS = 30.0
"""Minimum seconds between two renewals that a refusal by the forge causes."""
LONGEST_TIMER = 6 * 3600.0
"""Maximum seconds of one timer."""
MARGIN = 300.0
"""Seconds before its end that a token is replaced; a quarter of its lifetime if that is less."""

T = TypeVar("T")
# A module-level logger: a logger of the class would put the instance into every event.
_log = Logger()


def early(lifetime: float) -> float:
    """Return how many seconds before its end a token with ``lifetime`` is replaced."""
    # A request that starts now may need the token for this long.
    return min(MARGIN, lifetime / 4)


class SingleFlight(Generic[T]):
    """Run a coroutine once for all callers that wait for its result. ``run`` makes the coroutine.

    A caller that is cancelled stops waiting; the run continues.
    """

    def __init__(self, run: Callable[[], Coroutine[Deferred[object], object, T]]) -> None:
        self._run = run
        self._waiting: list[Deferred[T]] = []
        self.running = False

    def join(self) -> Deferred[T]:
        """Wait for the current run, or start one."""
        # Cancelling this Deferred does not cancel the run, whose result can serve the next request.
        waiter: Deferred[T] = Deferred()
        self._waiting.append(waiter)
        if not self.running:
            self.running = True
            Deferred.fromCoroutine(self._run()).addBoth(self._finish)
        return waiter

    def _finish(self, result: T | Failure) -> None:
        self.running = False
        waiting, self._waiting = self._waiting, []
        waiting = [waiter for waiter in waiting if not waiter.called]  # a cancelled waiter has its result already
        if isinstance(result, Failure) and not waiting and result.check(CredentialError) is None:
            _log.failure("A credential fetch that no caller waited for failed.", result)
        for waiter in waiting:
            if waiter.called:  # cancelled by a callback of an earlier waiter
                continue
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)


@frozen(slots=True)
class CachedCredential:
    """A credential with its deadlines, in seconds of the lifetime clock."""

    credential: Credential
    due: float
    """From here on, requests fetch another one."""
    ends: float
    """Until here it is still used when no other can be fetched."""
    renew: float
    """When the timer renews it; infinity: never."""

    @classmethod
    def of(cls, credential: Credential, lifetime: float, margin: float, asked: LeaseReading) -> CachedCredential:
        """Make one with ``lifetime`` from the request at ``asked`` on. It is replaced ``margin`` before its end."""
        # Part of the lifetime has passed when the response arrives, so the time of the response is not used.
        ends = asked.boot + lifetime
        return cls(credential, ends - margin, ends, ends - margin)


@frozen(slots=True)
class FailedFetch:
    """A failure, and until when it is repeated without another attempt."""

    error: CredentialError
    until: float

    @classmethod
    def at(cls, now: float, error: CredentialError) -> FailedFetch:
        """Remember ``error`` for its ``retry_after`` seconds, within bounds."""
        return cls(error, now + min(max(error.retry_after, 1), LONGEST_HOLD))


@frozen(slots=True)
class RenewalPolicy:
    """The differences between kinds of sources."""

    too_soon: str
    """The error text for a renewal because of a refusal that comes within ``FORCED_SECONDS`` of another."""
    count_every_fetch: bool
    """Whether that interval is counted from any fetch, not only from the last one that a refusal caused."""
    use_refused: bool
    """Whether a credential that the forge refused is still used for other requests until another is fetched."""
    retry: float
    """Seconds between two attempts of the timer."""
    retry_without_end: bool
    """Whether the timer also tries again when no cached credential is about to end."""

    @classmethod
    def for_command(cls, name: str) -> RenewalPolicy:
        """Return the policy for a command or keyring, which may ask a person or a service that counts requests."""
        # It runs only when a request needs it, or when the cached credential ends. Its credential may be refused for
        # one repository and accepted for others, so a refusal does not discard it.
        return cls(
            f"the credential of {name} was fetched a moment ago",
            count_every_fetch=True,
            use_refused=True,
            retry=30.0,
            retry_without_end=False,
        )

    @classmethod
    def for_token(cls, forge: str, advice: str) -> RenewalPolicy:
        """Return the policy for tokens that the forge makes."""
        # One renewal helps against a token that ended early. More do not help against a forge that refuses everything.
        # A token that ends before it is renewed may be lost, so the timer does not give up.
        return cls(
            f"{forge} refuses a credential that it gave a moment ago; {advice}",
            count_every_fetch=False,
            use_refused=False,
            retry=60.0,
            retry_without_end=True,
        )


class Renewal:
    """The cached credential of one source or scope, and its renewal."""

    def __init__(  # noqa: PLR0913 - one policy, its clocks and its hooks
        self,
        name: str,
        policy: RenewalPolicy,
        fetch: Callable[[], Coroutine[Deferred[Any], Any, CachedCredential]],
        *,
        seconds: Callable[[], float],
        lifetime_clock: Callable[[], float],
        reactor: IReactorTime | None = None,
        on_failed: Callable[[CredentialError], None] = lambda _: None,
        on_renewed: Callable[[CachedCredential | None, CachedCredential], Awaitable[None]] | None = None,
    ) -> None:
        """``reactor`` runs the timer; without it the credential is renewed only on request.

        ``on_renewed(old, new)`` is awaited before the waiting requests continue.
        """
        self._name, self._policy, self._fetch = name, policy, fetch
        self._seconds, self._now, self._reactor = seconds, lifetime_clock, reactor
        self._on_failed, self._on_renewed = on_failed, on_renewed
        self._flight = SingleFlight(self._run)
        self.held: CachedCredential | None = None
        """The last credential, which may have ended."""
        self._failed: FailedFetch | None = None
        self._last_forced = -math.inf
        self._refused = False
        self._timer: IDelayedCall | None = None
        self._started = False

    @property
    def running(self) -> bool:
        """Whether a fetch runs now."""
        return self._flight.running

    @property
    def trouble(self) -> str:
        """The text of the last failure; ``""`` after a success."""
        return "" if self._failed is None else self._failed.error.text

    def cached(self) -> Credential | None:
        """Return the credential if it can be used without a fetch. Does no I/O."""
        held = self.held
        return None if held is None or self._refused or self._now() >= held.due else held.credential

    async def fetch(self, refused: str = "") -> Credential:
        """Return a usable credential; ``refused`` is the id of one that the forge refused, so another is needed.

        Raises ``CredentialError``.
        """
        held = self.held
        if held is not None and held.credential.id == refused:
            self._mark_refused()
        elif (cached := self.cached()) is not None:
            return cached
        try:
            failed = self._failed
            if failed is not None and self._seconds() < failed.until and not self.running:
                raise failed.error
            return (await self._flight.join()).credential
        except CredentialError:
            held = self.held
            usable = held is not None and not self._refused and held.credential.id != refused
            if held is not None and usable and self._now() < held.ends:
                return held.credential
            raise

    def clear(self) -> CachedCredential | None:
        """Forget the credential and its failures. Return the credential that was held."""
        held, self.held = self.held, None
        self._failed, self._refused, self._last_forced = None, False, -math.inf
        return held

    def start(self) -> None:
        """Fetch the first credential now, so that no request has to wait for it; then renew by the timer."""
        self._started = True
        self._renew_in_background()

    def stop(self) -> None:
        self._started = False
        self._schedule(None)

    def _mark_refused(self) -> None:
        if self.running or self._refused:  # the renewal that is needed has begun, or has failed and is retried
            self._refused = not self._policy.use_refused
            return
        now = self._seconds()
        if now - self._last_forced < FORCED_SECONDS:
            raise CredentialError(self._policy.too_soon, retry_after=round(FORCED_SECONDS))
        self._last_forced = now
        self._refused = not self._policy.use_refused

    async def _run(self) -> CachedCredential:
        if self._policy.count_every_fetch:
            self._last_forced = self._seconds()
        try:
            new = await self._fetch()
        except CredentialError as error:
            self._failed = FailedFetch.at(self._seconds(), error)
            ending = self.held is not None and self.held.renew != math.inf
            self._schedule(self._policy.retry if ending or self._policy.retry_without_end else None)
            self._on_failed(error)
            raise
        old, self.held = self.held, new
        self._failed, self._refused = None, False
        self._schedule(None if new.renew == math.inf else new.renew - self._now())
        if self._on_renewed is not None:
            await self._on_renewed(old, new)
        return new

    def _schedule(self, seconds: float | None) -> None:
        """Set the timer; ``None``: renew on request only."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds is not None and self._started and self._reactor is not None:
            # A machine that was suspended compares its clock at least after ``LONGEST_TIMER``.
            wait = min(max(seconds, 1.0), LONGEST_TIMER)
            self._timer = self._reactor.callLater(wait, self._renew_in_background)

    def _renew_in_background(self) -> None:
        held = self.held
        if held is not None and self._now() < held.renew and not self._refused:
            self._schedule(None if held.renew == math.inf else held.renew - self._now())
        else:
            self._flight.join().addErrback(self._background_failed)

    def _background_failed(self, failure: Failure) -> None:
        if failure.check(CredentialError) is None:  # ``on_failed`` has reported a CredentialError
            _log.failure("Renewing the credential of {name} failed.", failure, name=self._name)
