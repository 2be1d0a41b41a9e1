"""Between the listeners and the decisions: asks the responder, waits for upstream, hands the reply back.

Listeners know sockets, the responder knows rules; the desk knows the clock, the sessions that there are, the audit log
and who waits for what. "Unaudited means unserved": while the audit cannot be written, no question goes upstream. It
never decides and never parses.
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
    from credgate.dns.policy import QueryPolicy
    from credgate.service.audit.log import AuditLog
    from credgate.service.dns.resolver import UpstreamResolver
    from credgate.service.registry import SessionRegistry
    from credgate.sessions.model import Session


class QueryHandler:
    """One for all listeners. ``upstream`` is what questions are looked up with."""

    log = Logger()

    def __init__(  # noqa: PLR0913 - what it stands between
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
        registry.on_begin(self._session_began)
        registry.on_end(self._session_ended)

    # A new configuration replaces ``responder.clients``, so each call looks it up.

    def _session_began(self, session: Session) -> None:
        self.responder.clients.session_began(session)

    def _session_ended(self, session: Session, _reason: str) -> None:
        self.responder.clients.session_ended(session)

    def replace(self, dns: DnsConfig, policy: QueryPolicy) -> None:
        """Take up a new configuration. What is in flight is judged again when it lands."""
        self.responder.replace(dns, policy)

    def take(self, message: bytes, host: str, answer: Callable[[bytes], None], *, udp: bool = True) -> bool:
        """Take one message; ``answer`` is called with its reply, now or later. ``False``: there will be none."""
        reply = self.responder.receive(message, host, self.now(), udp=udp)
        if isinstance(reply, Pending):
            self.look_up(reply, answer)
        elif reply is not None:
            answer(reply)
        return reply is not None

    def look_up(self, pending: Pending, answer: Callable[[bytes], None]) -> None:
        """Look a question up and answer it."""
        if not self._audit.writable:
            answer(self.responder.unaudited(pending))
            return
        found = self._upstream.resolve(pending.key)
        reply = found.addCallbacks(self._found, self._failed, (pending,), {}, (pending,), {})
        reply.addCallback(answer).addErrback(lambda failure: self.log.failure("a reply was lost", failure=failure))

    def _found(self, found: CheckedAnswer, pending: Pending) -> bytes:
        return self.responder.found(pending, found, self.now())

    def _failed(self, failure: Failure, pending: Pending) -> bytes:
        if failure.check(UpstreamError) is None:
            self.log.failure("looking up a name failed in a way that was not foreseen", failure=failure)
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
