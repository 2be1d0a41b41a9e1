"""Stops the gateway in order: no new requests, time for running ones, refusals for waiting ones, then the cut.

It is stopped after the listener and before everything else, so that the control socket and the DNS server answer while
it lasts. Meanwhile a second SIGTERM or SIGINT ends the drain at once. ``listener.Sweep`` cuts the connections that are
left. Acknowledged changes need no time here: they were on disk before they were acknowledged.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from credgate.service.sandbox.connection import PARTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.service.sandbox.transfers import Transfers

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain(Service):
    """Ends the open connections; ``timeout`` is the seconds that running transfers get, 0 for none."""

    name = "drain"
    log = Logger()

    def __init__(self, transfers: Transfers, reactor: Any, timeout: float) -> None:  # noqa: ANN401 - time and threads at once
        self._transfers, self._reactor, self._timeout = transfers, reactor, timeout
        self._waiting: Deferred[None] | None = None
        self._hurried = False

    def stopService(self) -> Deferred[None]:
        """Start the drain; fires when every connection is closed, or its time is over."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    def hurry(self) -> None:
        """End the drain at once."""
        self._hurried = True
        self._wake()

    async def _drain(self) -> None:
        transfers = self._transfers
        transfers.drain(self._wake)
        with self._second_signal():
            if transfers.connections and self._timeout:
                self.log.info(
                    "stopping: {count} connections have {seconds:g} s to finish; a second signal ends them at once",
                    count=len(transfers.connections),
                    seconds=self._timeout,
                )
                await self._wait_vacant(self._timeout)
            if transfers.connections and not self._hurried:
                self.log.info("stopping: {count} connections are cut", count=len(transfers.connections))
                # After a refusal clients get some time to read it, and git-lfs to send its next request.
                transfers.refuse_pending()
                await self._wait_vacant(PARTING)

    async def _wait_vacant(self, seconds: float) -> None:
        """Wait until no connection is left, at most ``seconds`` or until ``hurry``."""
        if not self._transfers.connections or self._hurried:
            return
        self._waiting = Deferred()
        timer = self._reactor.callLater(seconds, self._wake)
        await self._waiting
        if timer.active():
            timer.cancel()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    @contextmanager
    def _second_signal(self) -> Iterator[None]:
        # Twisted waits for a stopping service with the reactor running, but answers a second signal with an error.
        # A signal handler may interrupt the reactor anywhere, so the call is made in a turn of its own.
        before = {
            number: signal.signal(number, lambda *_: self._reactor.callFromThread(self.hurry)) for number in _SIGNALS
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
