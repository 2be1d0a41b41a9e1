"""The end of the gateway, in order: nothing new, time for what runs, a word to who waits, and then the cut.

Stopped after the listener and before everything else, so that the control socket and the DNS server answer while it
lasts. Twisted fires what stops services "before shutdown" and waits for it with the reactor running; it also answers
a second signal with an error, so while this lasts SIGTERM and SIGINT are its own, and mean: at once. What is
still there at the end is cut by ``gate.GateService``. What was acknowledged needs no time here: it was on disk before.
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

    from credgate.service.sandbox.gate import Gate

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain(Service):
    """Ends the gate's connections; ``timeout`` is seconds that running transfers get, 0 for none."""

    name = "drain"
    log = Logger()

    def __init__(self, gate: Gate, reactor: Any, timeout: float) -> None:  # noqa: ANN401 - time and threads at once
        self._gate, self._reactor, self._timeout = gate, reactor, timeout
        self._waiting: Deferred[None] | None = None
        self._hurried = False

    def stopService(self) -> Deferred[None]:
        """Begin the end; fires when every connection is gone, or none may stay any longer."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    def hurry(self) -> None:
        """Give nobody any more time."""
        self._hurried = True
        self._go_on()

    async def _drain(self) -> None:
        gate = self._gate
        gate.retire(self._go_on)
        with self._second_signal():
            if gate.channels and self._timeout:
                self.log.info(
                    "stopping: {count} connections have {seconds:g} s to finish; a second signal ends them at once",
                    count=len(gate.channels),
                    seconds=self._timeout,
                )
                await self._vacant(self._timeout)
            if gate.channels and not self._hurried:
                self.log.info("stopping: {count} connections are cut", count=len(gate.channels))
                gate.dismiss()
                await self._vacant(PARTING)

    async def _vacant(self, seconds: float) -> None:
        """Wait until no connection is left, for so many seconds, or until it is all over."""
        if not self._gate.channels or self._hurried:
            return
        self._waiting = Deferred()
        timer = self._reactor.callLater(seconds, self._go_on)
        await self._waiting
        if timer.active():
            timer.cancel()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    @contextmanager
    def _second_signal(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, lambda *_: self._reactor.callFromThread(self.hurry)) for number in _SIGNALS
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
