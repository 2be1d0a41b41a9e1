"""The control API over its UNIX socket, with treq: the one module of the command line that needs a reactor.

Imported when a command is about to ask, so that what asks nobody starts at once. Nothing is followed, kept or tried
again: a redirect, a cookie or a second create would be nobody's wish.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred  # noqa: A004 - Twisted's own
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseFailed
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from credgate.cli.output import CommandError, GatewayUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")

TIMEOUT = 30
"""Seconds in which the gateway must have answered; a store that syncs to a slow disk needs some."""
_JSON: dict[bytes | str, bytes | str] = {"Content-Type": "application/json"}
_ERROR = 400
_FOREIGN = 403


@implementer(IAgentEndpointFactory)
class _Socket:
    """Leads every request to one socket, whatever its URL says."""

    def __init__(self, path: str) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:  # noqa: ARG002 - all lead there
        """Return it."""
        return UNIXClientEndpoint(reactor, self._path, timeout=5)


@frozen
class ControlClient:
    """A gateway, by its control socket."""

    socket: Path

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the answer. Raises Failed with the gateway's own words, Unreachable when there is none."""
        status, answer = await self.answer(method, path, body)
        if status < _ERROR:
            return answer
        text = str(answer.get("error", f"the gateway answered {status}"))
        if status == _FOREIGN:
            text += ": run this as credgate's own user or root, or add your uid to [control] allow_uids"
        raise CommandError(text)

    async def answer(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Return status and answer, whatever the status. Raises Unreachable."""
        asking = Deferred.fromCoroutine(self._asked(method, path, body)).addTimeout(TIMEOUT, reactor)
        try:
            status, content = await asking
            answer = json.loads(content)
        except ConnectError as error:
            raise GatewayUnreachable(f"no gateway answers at {self.socket} ({_why(error)}); {HINT}") from None
        except (ResponseFailed, ConnectionClosed, CancelledError, TimeoutError) as error:
            how = f"did not answer in {TIMEOUT} s" if _left(error) else "closed the connection without an answer"
            raise GatewayUnreachable(f"the gateway at {self.socket} {how}") from None
        except ValueError:
            raise GatewayUnreachable(f"what answers at {self.socket} is no credgate") from None
        if not isinstance(answer, dict):
            raise GatewayUnreachable(f"what answers at {self.socket} is no credgate")
        return status, answer

    async def _asked(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        client = HTTPClient(Agent.usingEndpointFactory(reactor, _Socket(str(self.socket))))
        response = await client.request(
            method,
            f"http://localhost{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=_JSON if body is not None else None,
            allow_redirects=False,
        )
        return response.code, await response.content()

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(reactor, seconds, lambda: None)


HINT = "start one (twistd -n credgate), or name its socket (--socket, CREDGATE_SOCKET)"


def _why(error: ConnectError) -> str:
    code = error.osError
    return os.strerror(code) if isinstance(code, int) else str(code or "no connection")


def _left(error: Exception) -> bool:
    """Whether it was we who gave up; Twisted's client wraps that like any other end of a connection."""
    causes = error.reasons if isinstance(error, ResponseFailed) else [Failure(error)]
    return any(cause.check(CancelledError, TimeoutError) for cause in causes)


def drive(work: Callable[[], Awaitable[T]]) -> T:
    """Run the reactor until ``work`` is done; return or raise what it does. Once a process: a reactor ends for good.

    A signal that stops the reactor (Ctrl-C) cancels ``work`` and waits for what it then puts in order; raises Abort.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    stopped = False

    async def run() -> None:
        try:
            results.append(await work())
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the reactor
            errors.append(error)

    def start(_reactor: object) -> Deferred[None]:
        running = ensureDeferred(run())

        def stop() -> Deferred[None]:
            nonlocal stopped
            stopped = not running.called
            running.cancel()
            return running

        reactor.addSystemEventTrigger("before", "shutdown", stop)
        return running

    with suppress(SystemExit):
        react(start)
    if stopped or not (results or errors):
        raise click.Abort
    if errors:
        raise errors[0]
    return results[0]
