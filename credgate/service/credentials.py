"""The forges' credentials, in memory, re-read as they rotate.

``read`` takes every credential once, before anything listens: one that cannot be read stops the start. From then on
``current`` answers from memory, and a timer looks at the files every second: in a thread, since a secret may lie on a
network file system, and only at their stamps until one changes. A file that can no longer be read leaves the last value
in place and is logged once; the rotation that follows may well need the gateway to stay up. Variables are read once and
then removed from the environment, so that no child inherits them (what the kernel shows of the environment a process
was started with stays: ``file://`` is the better reference).

No secret is logged, shown by ``repr`` or derivable from a credential's id: that is a keyed digest of the forge and a
generation counter, never of the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from credgate.config.environment import TOKEN_VARIABLES
from credgate.config.secrets import Reference, Stamp, parse_reference, read_file, read_reference, stamp
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from twisted.python.failure import Failure

    from credgate.config.schema import Config, Forge

# Of the module, not of the class: a class's logger would put the instance into every event.
_log = Logger()

ROUND_SECONDS = 1.0
"""How long a rotated file goes unseen, at most, while its file system answers."""


@frozen(slots=True)
class Credential:
    """What a forge accepts. ``id`` names one value of it: pools and logs use that, and it changes with the value."""

    id: str
    secret: str = field(repr=False)


@frozen(slots=True)
class _Outcome:
    """What a look at a file found: no change (both ``None``), a value with its stamp, or what is wrong."""

    secret: str | None = field(default=None, repr=False)
    stamp: Stamp | None = None
    trouble: str = ""


@define(slots=True)
class _Held:
    """One forge's credential as last read."""

    reference: Reference
    credential: Credential
    stamp: Stamp | None = None
    generation: int = 1
    trouble: str = ""
    # Looks at one file come one at a time: two at once could put the older value over the newer.
    looking: DeferredLock = field(factory=DeferredLock)


def _look(reference: Reference, known: Stamp | None) -> _Outcome:
    """Read a file unless its stamp is the ``known`` one. Runs in a thread: touches nothing but the file."""
    if known is not None and stamp(reference) == known:
        return _Outcome()
    try:
        secret, seen = read_file(reference)
    except ConfigError as error:
        return _Outcome(trouble=error.text)
    return _Outcome(secret, seen)


class Credentials(Service):
    """The credentials of all configured forges."""

    def __init__(
        self,
        config: Config,
        *,
        environ: MutableMapping[str, str] | None = None,
        reactor: Any = None,  # noqa: ANN401 - a reactor is IReactorTime, IReactorThreads and more at once
        in_thread: Callable[..., Deferred[_Outcome]] | None = None,
    ) -> None:
        """Hold nothing yet. ``in_thread(call, *args)`` stands in for the reactor's thread pool in tests."""
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one
        self._config = config
        self._environ = os.environ if environ is None else environ
        self._reactor = reactor
        self._in_thread = in_thread or self._in_pool
        self._key = os.urandom(32)
        self._held: dict[str, _Held] = {}
        self._loop = LoopingCall(self._round)
        self._loop.clock = reactor

    def read(self) -> None:
        """Read every credential. Blocks. Raises ``ConfigError`` with the key's place. Variables are removed after it.

        It may run before privileges are dropped; the files must stay readable for the user that credgate then runs as.
        """
        held = {name: self._first(forge) for name, forge in self._config.forges.items() if forge.credential}
        variables = {each.reference.target for each in held.values() if each.reference.kind == "env"}
        for variable in variables.union(TOKEN_VARIABLES):
            self._environ.pop(variable, None)
        self._held = held

    def current(self, forge_name: str) -> Credential | None:
        """Return a forge's credential, ``None`` where it is served anonymously. No I/O."""
        held = self._held.get(forge_name)
        return held.credential if held else None

    async def reread(self, forge_name: str) -> bool:
        """Read a forge's file now, changed stamp or not, as its refusal suggests; return whether the value changed."""
        held = self._held.get(forge_name)
        if held is None or held.reference.kind != "file":
            return False
        return await self._look_at(forge_name, held, known=None)

    def startService(self) -> None:
        """Begin to watch the files; ``read`` has been called."""
        super().startService()
        if any(held.reference.kind == "file" for held in self._held.values()):
            self._loop.start(ROUND_SECONDS, now=False)

    def stopService(self) -> None:
        """Stop watching. A look that is under way ends in its thread and changes nothing any more that matters."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def _round(self) -> None:
        """Look at every file, without waiting: one on a file system that hangs delays no other."""
        for name, held in self._held.items():
            if held.reference.kind == "file" and not held.looking.locked:
                # A file in trouble is read again every time: its stamp is not that of a value.
                look = self._look_at(name, held, known=None if held.trouble else held.stamp)
                ensureDeferred(look).addErrback(self._failed, name)

    def _failed(self, failure: Failure, name: str) -> None:
        # A defect of ours or a machine out of threads: what is held goes on serving, the next round tries again.
        _log.failure("Looking at the credential of {forge} failed.", failure, forge=name)

    async def _look_at(self, name: str, held: _Held, *, known: Stamp | None) -> bool:
        await held.looking.acquire()
        try:
            return self._take(name, held, await self._in_thread(_look, held.reference, known))
        finally:
            held.looking.release()

    def _take(self, name: str, held: _Held, outcome: _Outcome) -> bool:
        """Take over what a look found; return whether it is another value."""
        if outcome.trouble:
            if outcome.trouble != held.trouble:
                _log.error("The credential of {forge} stays as it was: {trouble}", forge=name, trouble=outcome.trouble)
            held.trouble = outcome.trouble
            return False
        if outcome.secret is None:
            return False
        if held.trouble:
            _log.info("The credential of {forge} can be read again.", forge=name)
        held.trouble, held.stamp = "", outcome.stamp
        if outcome.secret == held.credential.secret:
            return False
        held.generation += 1
        held.credential = self._credential(name, held.generation, outcome.secret)
        _log.info("The credential of {forge} was rotated: it is {id} now.", forge=name, id=held.credential.id)
        return True

    def _first(self, forge: Forge) -> _Held:
        try:
            reference = parse_reference(forge.credential)
            if reference.kind == "env":
                return _Held(reference, self._credential(forge.name, 1, read_reference(reference, self._environ)))
            secret, seen = read_file(reference)
        except ConfigError as error:
            raise self._config.error(error.text, "forges", forge.name, "credential") from None
        return _Held(reference, self._credential(forge.name, 1, secret), seen)

    def _credential(self, name: str, generation: int, secret: str) -> Credential:
        named = f"{name}\0{generation}".encode()
        return Credential(hmac.new(self._key, named, hashlib.sha256).hexdigest()[:8], secret)

    def _in_pool(self, call: Callable[..., _Outcome], *args: object) -> Deferred[_Outcome]:
        return cast("Deferred[_Outcome]", deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args))
