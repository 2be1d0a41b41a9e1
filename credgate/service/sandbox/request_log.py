"""Collects what is known of one request while it runs, and writes its audit line when it ends: exactly one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.audit.event import MAX_REFS, Event, Happening, RefChange
from credgate.git.authorize import Serve
from credgate.git.route import Kind
from credgate.lfs.target import LfsRequest
from credgate.service.credentials.sources import ANONYMOUS
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from credgate.git.authorize import Verdict
    from credgate.git.push_verdict import PushVerdict, RefVerdict
    from credgate.git.report import RefResult, ReportReader
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.services import Services

_UNDECIDED = Decision(allow=True, reason=Reason.ALLOWED)


class RequestLog:
    """One request's audit line in the making; ``bytes_up`` and ``bytes_down`` count bodies without their framing."""

    def __init__(self, services: Services, peer: str, now: float | None = None) -> None:
        """``now``: the reactor's seconds, if they were read in this turn."""
        self._services, self._peer = services, peer
        self.began = services.reactor.seconds() if now is None else now
        self.ended: float | None = None
        """When the line was written."""
        self.bytes_up = self.bytes_down = self._metered = 0
        self._session = self._forge = self._repo = self._moved_from = self._operation = self._oid = ""
        self._decision, self._credential = _UNDECIDED, ANONYMOUS
        self._status: int | None = None
        self._size: int | None = None
        self._refs: tuple[RefChange, ...] = ()
        self._refs_more = 0
        self._upstream_status: int | None = None
        self._answered: float | None = None

    def describe(self, verdict: Verdict) -> None:
        """Record the session and what it asks for, as far as the verdict knows it."""
        if verdict.session is not None:
            self._session = verdict.session.id
        if type(verdict) is Serve:
            self._operation = verdict.page
            return
        request = verdict.request
        if request is None:
            return
        repo = request.repo
        self._forge, self._repo = repo.forge, repo.path
        if request.moved_from is not None:
            self._moved_from = request.moved_from.path
        # git-upload-pack, git-receive-pack, either with -advertisement, or an LFS call's name.
        if isinstance(request, LfsRequest):
            self._operation = request.call.value
        elif request.kind is Kind.ADVERTISEMENT:
            self._operation = f"{request.service}-advertisement"
        else:
            self._operation = request.service

    def set_object(self, oid: str, size: int) -> None:
        """Record which LFS object is transferred."""
        self._oid, self._size = oid, size

    def set_status(self, status: int) -> None:
        """Record the status that is sent to the sandbox."""
        # A refused push has 200, too: its refusal is in git's report.
        self._status = status

    @property
    def upstream_status(self) -> int | None:
        """The status of the forge's answer; of the last one if it was asked more than once."""
        return self._upstream_status

    @upstream_status.setter
    def upstream_status(self, status: int) -> None:
        self._upstream_status = status
        self._answered = self._services.reactor.seconds() - self.began

    def set_credential(self, credential: Credential) -> None:
        """Record, by its id, the credential that is sent to the forge."""
        self._credential = credential

    def set_decision(self, decision: Decision) -> RequestLog:
        """Record why the request did not succeed; the first decision counts."""
        if self._decision is _UNDECIDED:
            self._decision = decision
        return self

    def set_refs(self, verdict: PushVerdict, report: ReportReader | None) -> None:
        """Record the refs of a push, as many as a line lists; ``report`` is the forge's report-status."""
        results = {} if report is None else report.results
        shown = verdict.refs[:MAX_REFS]
        self._refs = tuple(_change(one, results.get(one.command.ref)) for one in shown)
        self._refs_more = len(verdict.refs) - len(shown)

    def snapshot(self) -> dict[str, object]:
        """Return what is known now, for ``GET /v1/transfers``; ``seconds`` since the request began."""
        return {
            "session": self._session,
            "forge": self._forge,
            "repo": self._repo,
            "operation": self._operation,
            "peer": self._peer,
            "seconds": round(self._services.reactor.seconds() - self.began, 3),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
        }

    def meter(self, now: float | None = None) -> None:
        """Count the bytes since the last call towards the session's ``bytes_per_minute``."""
        # Called once a second and at the end, so a long transfer counts while it runs.
        moved = self.bytes_up + self.bytes_down
        if moved > self._metered and self._session and self._services.limits.bytes_per_minute:
            now = self._services.reactor.seconds() if now is None else now
            self._services.rates.moved(self._session, moved - self._metered, now)
            self._metered = moved

    def close(self) -> None:
        """Write the line, unless it was written before."""
        if self.ended is not None:  # every end of an exchange calls this; a request has exactly one line
            return
        services = self._services
        self.ended = now = services.reactor.seconds()
        if services.limits.bytes_per_minute:
            self.meter(now)
        decision, credential = self._decision, self._credential
        event = Event(
            wall=services.clock().wall,
            event=Happening.REQUEST,
            session=self._session,
            peer=self._peer,
            forge=self._forge,
            repo=self._repo,
            moved_from=self._moved_from,
            operation=self._operation,
            allow=decision.allow,
            reason=decision.reason,
            rule=decision.rule,
            status=self._status,
            upstream_status=self._upstream_status,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            duration=now - self.began,
            answered=self._answered,
            text="" if decision.allow else decision.text,
            refs=self._refs,
            refs_more=self._refs_more,
            oid=self._oid,
            size=self._size,
            credential=credential.id,
            credential_kind=credential.kind if credential.id else "",
            expires=credential.expires_at,
        )
        services.audit.write(event)


def _change(one: RefVerdict, result: RefResult | None) -> RefChange:
    command, said = one.command, ""
    if result is not None:
        said = "ok" if result.ok else f"ng {result.text}"
    return RefChange(
        ref=command.ref.decode("utf-8", "backslashreplace"),
        old=command.old.decode(),
        new=command.new.decode(),
        verb=one.verb,
        reason=one.decision.reason,
        forge=said,
    )
