"""Sends a relayed request's body to the forge as the sandbox's reads bring it.

The sandbox is not read while there is no connection or the forge takes no more. It is read again once its request is
complete: from then on reading only notices that the client leaves. A fetch is checked while it passes
(``git.push_stream.FetchStream``); pushes go through ``push_relay``, which has the same methods.

The end of the body is sent only if the sandbox sent it. ``leave`` sends nothing: an unfinished body stays unfinished.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from credgate.errors import RequestError
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.service.upstream.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.git.push_stream import FetchStream
    from credgate.service.sandbox.ports import Client
    from credgate.service.upstream.pool import ForgeConnection, ResponseHandler
    from credgate.service.upstream.request import UpstreamRequest
    from credgate.values import Decision


class UploadOwner(Protocol):
    """What a body does with the exchange that it belongs to."""

    def run_in_turns(self, steps: Iterator[None]) -> None:
        """Run ``steps`` in turns of the reactor."""

    def malformed(self, error: RequestError) -> None:
        """Refuse a body that breaks git's protocol."""

    def refuse_fetch(self, decision: Decision) -> None:
        """Refuse a fetch that requests what is not allowed."""


class BodySender:
    """One body. A compressed fetch is checked in turns of the reactor, and the sandbox is not read meanwhile."""

    refused_push = None
    """Only pushes name refs that a refusal repeats."""

    def __init__(
        self,
        client: Client,
        request: UpstreamRequest,
        fetch: FetchStream | None,
        owner: UploadOwner,
        *,
        bodyless: bool = False,
    ) -> None:
        """``bodyless``: the request is complete with its head, as discoveries are."""
        self._client, self._request, self._fetch, self._owner = client, request, fetch, owner
        self._inflow: deque[tuple[bytes, Iterator[Decision | None]]] = deque()
        self._waiting: list[bytes] = []
        """Framed bytes that are sent as soon as there is a connection."""
        self._forge: ForgeConnection | None = None
        self._reading = self._left = False
        self.asked = bodyless
        """The body is complete for the forge: sent, or waiting for a connection."""
        self.whole = bodyless
        """The sandbox has sent the whole body."""
        self.full = False
        """The buffer of the connection to the forge is full."""

    def hold(self) -> None:
        """Stop reading the sandbox while there is no connection."""
        if not self.whole:
            self._client.hold()

    def connected(self, handler: ResponseHandler, forge: ForgeConnection) -> None:
        """Send the request on ``forge``, which is to answer ``handler``: the head and what has waited."""
        self._forge, self.full, self._left = forge, False, False
        request = self._request
        forge.ask(handler, request.method, request.lines, Valve(self._forge_fills, self._forge_drains))
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            forge.send(waiting)
        if self.asked:
            forge.sent()
        elif not self.full:
            self._forge_drains()
        if self._inflow and not self._reading:
            self._read_in_turns()

    def repeat(self) -> bool:
        """Have all that was sent wait for another connection; False if it was too much to keep."""
        # ``UpstreamRequest`` keeps what was sent, up to a limit.
        sent = self._request.replay_body()
        self._waiting = sent or []
        return sent is not None

    def body(self, parts: list[bytes]) -> None:
        """Receive body bytes: check them, then send them to the forge."""
        # A compressed piece may hold far more than its size, so it is checked in turns of the reactor.
        if self._fetch is not None and self._fetch.coded:
            self._inflow.extend((part, self._fetch.receive(part)) for part in parts)
            if not (self._reading or self._left):
                self._read_in_turns()
        elif self._check(parts):
            self._send(parts)

    def end(self) -> None:
        """End the body, once all of it has been checked."""
        if self.asked:
            return
        self.whole = True
        # The client is read again: from here on reading only notices that it leaves.
        self._client.release()
        if not (self._reading or self._inflow):
            self._end_read()

    def _end_read(self) -> None:
        try:
            if self._fetch is not None:
                self._fetch.end()
        except RequestError as error:
            self._owner.malformed(error)
        else:
            self._end()

    def leave(self) -> None:
        """Send nothing more on this connection. A later ``connected`` continues on another one."""
        # An unfinished body stays unfinished: no last chunk and no padding make it look complete to the forge.
        self._forge, self.full, self._left = None, False, True

    def _check(self, parts: list[bytes]) -> bool:
        """Return whether these bytes may be sent; if not, the exchange has been refused."""
        return self._fetch is None or all(self._checked(self._fetch.receive(part)) is not None for part in parts)

    def _checked(self, pieces: Iterator[Decision | None], most: int = 0) -> bool | None:
        """Check ``most`` pieces (0: all); return whether more may follow, None if the exchange has been refused."""
        try:
            for count, refused in enumerate(pieces, 1):
                if refused is not None:
                    self._owner.refuse_fetch(refused)
                    return None
                if count == most:
                    return True
        except RequestError as error:
            self._owner.malformed(error)
            return None
        return False

    def _read_in_turns(self) -> None:
        self._reading = True
        if not self.whole:
            self._client.hold()
        self._owner.run_in_turns(self._read())

    def _read(self) -> Iterator[None]:
        """Check what came, a piece at a time. What remains after ``leave`` is checked for the next connection."""
        while self._inflow and not self._left:
            part, pieces = self._inflow[0]
            more = self._checked(pieces, 1)
            if more is None:
                self._inflow.clear()
                self._left = True
                break
            if not more:
                self._inflow.popleft()
                self._send([part])
            yield
        self._reading = False
        if self._left:
            return
        if self.whole:
            self._end_read()
        elif self._forge is not None and not self.full:
            self._client.release()

    def _send(self, parts: list[bytes]) -> None:
        if self._request.chunked:
            parts = frame(parts)
        self._request.record_sent(parts)
        if self._forge is None:
            self._waiting += parts
        elif parts:
            self._forge.send(parts)

    def _end(self) -> None:
        # Reached only if the sandbox sent the end of the body, and all of it was checked.
        self.asked, self.full = True, False
        end = [LAST_CHUNK] if self._request.chunked else []
        self._request.record_sent(end)
        if self._forge is None:
            self._waiting += end
        else:
            if end:
                self._forge.send(end)
            self._forge.sent()

    def _forge_fills(self) -> None:
        if not self.asked:
            self.full = True
        if not self.whole:
            self._client.hold()

    def _forge_drains(self) -> None:
        self.full = False
        if not self._reading:
            self._client.release()
