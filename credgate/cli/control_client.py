"""Client of the control API over its UNIX socket, with treq. The only module of the commands that needs the reactor.

It does not follow redirects, does not keep cookies and does not repeat a request: a repeated create would make a second
session.
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

from credgate.cli.output import CommandError, GatewayUnreachableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")

# A store on a slow disk needs some seconds to sync a new session.
TIMEOUT = 30
"""Seconds for an answer."""
HINT = "start one (twistd -n credgate), or name its control socket (--socket, CREDGATE_SOCKET)"
_JSON: dict[bytes | str, bytes | str] = {"Content-Type": "application/json"}
_CLIENT_ERROR = 400
_FORBIDDEN = 403


@implementer(IAgentEndpointFactory)
class _SocketEndpoints:
    """Connects every request to one socket; the host in its URL is ignored."""

    def __init__(self, path: str) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:  # noqa: ARG002 - IAgentEndpointFactory
        return UNIXClientEndpoint(reactor, self._path, timeout=5)


@frozen
class ControlClient:
    """The control API of the gateway that listens on ``socket``."""

    socket: Path

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the result of a request. Raises CommandError with the gateway's message, GatewayUnreachableError."""
        status, result = await self.request(method, path, body)
        if status < _CLIENT_ERROR:
            return result
        text = str(result.get("error", f"the gateway answered with status {status}"))
        if status == _FORBIDDEN:
            text += ": run this command as credgate's user or as root, or add your uid to [control] allow_uids"
        raise CommandError(text)

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the JSON object of an answer. Raises GatewayUnreachableError."""
        try:
            status, content = await Deferred.fromCoroutine(self._send(method, path, body)).addTimeout(TIMEOUT, reactor)
            result = json.loads(content)
        except ConnectError as error:
            raise GatewayUnreachableError(f"no gateway answers at {self.socket} ({_reason(error)}); {HINT}") from None
        except (ResponseFailed, ConnectionClosed, CancelledError, TimeoutError) as error:
            # Twisted's client wraps our own cancellation in ResponseFailed, as it does for a connection that the peer
            # closed.
            causes = error.reasons if isinstance(error, ResponseFailed) else [Failure(error)]
            timed_out = any(cause.check(CancelledError, TimeoutError) for cause in causes)
            how = f"did not answer within {TIMEOUT} s" if timed_out else "closed the connection without an answer"
            raise GatewayUnreachableError(f"the gateway at {self.socket} {how}") from None
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise GatewayUnreachableError(f"the program that listens at {self.socket} is not credgate")
        return status, result

    async def _send(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        # A client for each request: no connection and no cookie is kept.
        client = HTTPClient(Agent.usingEndpointFactory(reactor, _SocketEndpoints(str(self.socket))))
        response = await client.request(
            method,
            f"http://localhost{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=_JSON if body is not None else None,
            # A redirect would send the body again, and to another path.
            allow_redirects=False,
        )
        return response.code, await response.content()

    async def wait(self, seconds: float) -> None:
        """Return after a delay, while the reactor runs."""
        await deferLater(reactor, seconds, lambda: None)


def _reason(error: ConnectError) -> str:
    code = error.osError
    return os.strerror(code) if isinstance(code, int) else str(code or "no connection")


def run_reactor(work: Callable[[], Awaitable[T]]) -> T:
    """Run the reactor until ``work`` is done; return its result or raise its error.

    This can be called once in a process. A signal that stops the reactor (Ctrl-C) cancels ``work`` and waits for its
    cleanup; then click.Abort is raised.
    """
    # Once in a process, because Twisted's reactor cannot be started again.
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

    # ``react`` ends with SystemExit; the outcome is in the two lists.
    with suppress(SystemExit):
        react(start)
    if stopped or not (results or errors):
        raise click.Abort
    if errors:
        raise errors[0]
    return results[0]
