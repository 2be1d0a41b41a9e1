"""The two interfaces between a sandbox's connection and what serves its current request.

``Exchange`` is what the connection drives: the relay of a git request, an LFS exchange or a local answer. ``Client`` is
what an exchange may do with its connection. Both sides import this module and not each other, so each can be read, and
tested, alone. Nothing is implemented here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from credgate.git.authorize import Refuse
    from credgate.git.push_stream import PushStream, RefusedPush
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.sandbox.services import Services
    from credgate.service.upstream.flow import Valve
    from credgate.values import Decision, Reason


class Exchange(Protocol):
    """One request and its answer, as the connection sees them."""

    record: RequestLog

    def body(self, parts: list[bytes]) -> None:
        """Receive decoded body bytes: all that one read brought."""

    def body_end(self) -> None:
        """Receive the end of the request body."""

    def client_lost(self) -> None:
        """End, and write the audit line: the connection is closed."""

    def dropped(self, decision: Decision, status: int) -> bool:
        """End because the client broke the protocol; return whether an answer with ``status`` may still be sent."""

    def cut(self, reason: Reason) -> None:
        """End both sides at once; neither may look complete."""

    def refuse_pending(self, decision: Decision) -> None:
        """End because credgate stops: with a refusal if no answer has begun, otherwise by a cut."""

    def overdue(self, now: float) -> None:
        """End if a time limit has passed at ``now`` (the reactor's seconds); called once a second."""


class Client(Protocol):
    """The sandbox's connection, as an exchange sees it."""

    @property
    def services(self) -> Services:
        """What all connections share."""

    keeps: bool
    """Whether the connection stays open after this answer."""

    @property
    def tls(self) -> bool:
        """Whether the connection is TLS."""

    def write(self, parts: list[bytes]) -> None:
        """Send bytes to the sandbox."""

    def hold(self) -> None:
        """Stop reading the sandbox's bytes."""

    def release(self) -> None:
        """Continue reading the sandbox's bytes."""

    def feed(self, valve: Valve | None) -> None:
        """Close ``valve`` while the sandbox does not read; None removes it."""

    def refuse(self, refuse: Refuse, record: RequestLog, push: PushStream | RefusedPush | None, *, whole: bool) -> None:
        """Replace the current exchange by a refusal; ``whole``: the request body has been read to its end."""

    def finished(self) -> None:
        """Read the next request, or close: the answer is complete."""

    def abort(self) -> None:
        """Reset the connection, so that nothing that was sent can be taken for complete."""

    def broke(self) -> None:
        """Cut the exchange and reset the connection because of an internal error."""
