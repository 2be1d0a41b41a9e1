"""The client for a forge's API: no redirects, no cookies, a time limit for a request and a size limit for an answer.

Failures are described by ``upstream.failures``; no text of a library or of the forge is passed on. A request is
repeated where that may help (``credentials.retry``), until the caller cancels.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred  # noqa: A004 - Twisted's name
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers

from credgate import __version__
from credgate.credentials import retry, token_errors
from credgate.credentials.token_response import MAX_ANSWER, TokenResponse
from credgate.service.upstream.failures import failure_text
from credgate.service.upstream.pool import cancellable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure
    from twisted.web.client import Agent

    from credgate.credentials.token_request import Request
    from credgate.forges.origin import Origin

TIME_LIMIT = 10.0
"""Seconds for one request, from connecting to the last byte of the answer."""


class NoResponseError(Exception):
    """There was no usable answer. The text continues the words "its API was asked, but"."""


class ApiClient:
    """The API of one forge, at ``origin``."""

    def __init__(  # noqa: PLR0913 - two of them are for tests
        self,
        forge: str,
        origin: Origin,
        agent: Agent,
        reactor: Any,  # noqa: ANN401 - time alone, but as many interfaces
        *,
        wall: Callable[[], float],
        limit: float = TIME_LIMIT,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._forge, self._agent, self._reactor = forge, agent, reactor
        scheme = "https" if origin.tls else "http"
        self._base = f"{scheme}://{origin.authority}{origin.prefix}"
        self._wall, self._limit, self._jitter = wall, limit, jitter

    async def ask(self, request: Request) -> TokenResponse:
        """Send the request, with repetitions. Raises ``CredentialError`` if there is no answer in the end."""
        for tried in range(1, retry.TRIES + 1):
            answer, why = None, ""
            try:
                answer = await self.once(request)
            except NoResponseError as error:
                why = str(error)
            pause = retry.wait(tried, answer, jitter=self._jitter(), now=self._wall())
            if pause is None:
                break
            await deferLater(self._reactor, pause)
        if answer is None:
            raise token_errors.unanswered(self._forge, why)
        return answer

    async def once(self, request: Request) -> TokenResponse:
        """Send the request once. Raises ``NoResponseError``."""
        asking = cancellable(ensureDeferred(self._answer(request))).addTimeout(self._limit, self._reactor)
        try:
            return await asking
        except (NoResponseError, CancelledError):
            raise
        except TimeoutError:
            raise NoResponseError("it did not answer in time") from None
        except ResponseFailed as error:
            # Twisted wraps the reasons of a failed response; the first one says why it failed.
            reasons = [failure.value for failure in error.reasons if failure.value is not None]
            raise NoResponseError(failure_text(next(iter(reasons), error))) from None
        except Exception as error:  # noqa: BLE001 - names, TLS, resets, malformed HTTP: there is no answer
            raise NoResponseError(failure_text(error)) from None

    async def _answer(self, request: Request) -> TokenResponse:
        headers = {"User-Agent": f"credgate/{__version__}", **request.headers}
        # A new client for each request: treq's keeps cookies.
        response = await HTTPClient(self._agent).request(
            request.method,
            self._base + request.path,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=request.body or None,
            # A redirect would send the credential to another place.
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        body = _Body()
        response.deliverBody(body)
        told = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return TokenResponse(response.code, told, await body.whole)


class _Body(Protocol):
    """Reads the body of an answer, with a size limit."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._leave())
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self._parts.append(data)
        elif not self.whole.called:  # the memory of a long answer is freed before the connection closes
            self._parts.clear()
            self._leave()
            self.whole.errback(NoResponseError("its answer is too long"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(NoResponseError("its answer was cut"))

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
