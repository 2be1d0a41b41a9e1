"""Connects the listeners with the responder: passes messages on, resolves queries upstream, returns the replies.

It owns the clock, the session events and the audit log; the responder makes all decisions. While the audit log cannot
be written, no query is sent upstream, because its refusal or failure could not be recorded.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.logger import Logger

from credgate.audit.event import Event, Happening
from credgate.dns.codes import type_name
from credgate.dns.responder import Pending, QueryReport, Responder
from credgate.service.dns.resolver import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.config.schema import DnsConfig
    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.query_policy import QueryPolicy
    from credgate.service.audit.log import AuditLog
    from credgate.service.dns.resolver import UpstreamResolver
    from credgate.service.registry import SessionRegistry


class QueryHandler:
    """Shared by all listeners. ``upstream`` resolves the queries."""

    log = Logger()

    def __init__(  # noqa: PLR0913 - the parts that it connects
        self,
        dns: DnsConfig,
        policy: QueryPolicy,
        upstream: UpstreamResolver,
        registry: SessionRegistry,
        audit: AuditLog,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._upstream, self._audit = upstream, audit
        self.now, self._wall = clock, wall
        self.responder = Responder(dns, policy, self._write)
        # ``replace`` makes a new ``responder.clients``, so these callbacks must not keep a reference to it.
        registry.on_begin(lambda session: self.responder.clients.session_began(session))  # noqa: PLW0108 - see above
        registry.on_end(lambda session, _reason: self.responder.clients.session_ended(session))

    def replace(self, dns: DnsConfig, policy: QueryPolicy) -> None:
        """Apply a new configuration. Queries that wait for an upstream are judged again when it answers."""
        self.responder.replace(dns, policy)

    def take(self, message: bytes, host: str, answer: Callable[[bytes], None], *, udp: bool = True) -> bool:
        """Handle one message; ``answer`` is called with its reply, now or later. ``False``: there will be no reply."""
        reply = self.responder.receive(message, host, self.now(), udp=udp)
        if isinstance(reply, Pending):
            self.look_up(reply, answer)
        elif reply is not None:
            answer(reply)
        return reply is not None

    def look_up(self, pending: Pending, answer: Callable[[bytes], None]) -> None:
        """Resolve a query and answer it."""
        # A query that cannot be recorded could carry data out unnoticed.
        if not self._audit.writable:
            answer(self.responder.unaudited(pending))
            return
        found = self._upstream.resolve(pending.key)
        reply = found.addCallbacks(self._found, self._failed, (pending,), {}, (pending,), {})
        reply.addCallback(answer).addErrback(
            lambda failure: self.log.failure("dns: sending a reply failed", failure=failure)
        )

    def _found(self, found: CheckedAnswer, pending: Pending) -> bytes:
        return self.responder.found(pending, found, self.now())

    def _failed(self, failure: Failure, pending: Pending) -> bytes:
        if failure.check(UpstreamError) is None:
            self.log.failure("dns: unexpected error while resolving a name", failure=failure)
        return self.responder.failed(pending, self.now())

    def _write(self, report: QueryReport) -> None:
        """Write the audit line of a refusal or failure."""
        self._audit.write(
            Event(
                wall=self._wall(),
                event=Happening.DNS,
                session=report.session,
                peer=report.client,
                operation=type_name(report.qtype),
                allow=False,
                reason=report.decision.reason,
                rule=report.decision.rule,
                text=report.name,
            )
        )
