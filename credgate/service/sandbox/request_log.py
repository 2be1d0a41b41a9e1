"""What one request comes to, gathered while it runs, and the one audit line that is written when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.audit.event import MAX_REFS, Event, Happening, RefChange
from credgate.git.route import Kind
from credgate.lfs.target import LfsRequest
from credgate.service.credentials.sources import ANONYMOUS
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from credgate.git.authorize import Verdict
    from credgate.git.push_verdict import PushVerdict, RefVerdict
    from credgate.git.report import RefResult, ReportReader
    from credgate.git.route import GitRequest
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.gate import Gate

_UNDECIDED = Decision(allow=True, reason=Reason.ALLOWED)


class RequestLog:
    """One request's audit line in the making; ``bytes_up`` and ``bytes_down`` count bodies without their framing."""

    def __init__(self, gate: Gate, peer: str) -> None:
        self._gate, self._peer = gate, peer
        self._began = gate.reactor.seconds()
        self._session = self._forge = self._repo = self._moved_from = self._operation = ""
        self._decision = _UNDECIDED
        self._status: int | None = None
        self._closed = False
        self._credential = ANONYMOUS
        self._oid = ""
        self._size: int | None = None
        self._refs: tuple[RefChange, ...] = ()
        self._refs_more = 0
        self._upstream_status: int | None = None
        self._answered: float | None = None
        self.bytes_up = self.bytes_down = self._metered = 0

    def describe(self, verdict: Verdict) -> None:
        """Note who asks for what, as far as it is known."""
        session, request = verdict.session, getattr(verdict, "request", None)
        self._session = session.id if session is not None else ""
        self._operation = getattr(verdict, "page", "")
        if request is not None:
            self._forge, self._repo = request.repo.forge, request.repo.path
            self._moved_from = "" if request.moved_from is None else request.moved_from.path
            self._operation = _operation(request)

    def set_object(self, oid: str, size: int) -> None:
        """Note which LFS object it is about."""
        self._oid, self._size = oid, size

    def set_status(self, status: int) -> None:
        """Note the status that the sandbox is sent, which a refused push sees as 200."""
        self._status = status

    @property
    def upstream_status(self) -> int | None:
        """The status of the forge's answer, the last one if it was asked more than once."""
        return self._upstream_status

    @upstream_status.setter
    def upstream_status(self, status: int) -> None:
        self._upstream_status = status
        self._answered = self._gate.reactor.seconds() - self._began

    def set_credential(self, credential: Credential) -> None:
        """Note what the forge is shown, by its id."""
        self._credential = credential

    def set_decision(self, decision: Decision) -> RequestLog:
        """Note why it ends otherwise than well; the first reason is the one that counts."""
        if self._decision is _UNDECIDED:
            self._decision = decision
        return self

    def set_refs(self, verdict: PushVerdict, report: ReportReader | None) -> None:
        """Note what became of the refs of a push, as many as a line lists; ``report`` is the forge's own word."""
        results = {} if report is None else report.results
        shown = verdict.refs[:MAX_REFS]
        self._refs = tuple(_change(one, results.get(one.command.ref)) for one in shown)
        self._refs_more = len(verdict.refs) - len(shown)

    def snapshot(self) -> dict[str, object]:
        """Return what is known while it runs: for ``GET /v1/transfers``. ``seconds`` since it began."""
        seconds = round(self._gate.reactor.seconds() - self._began, 3)
        what = {"session": self._session, "forge": self._forge, "repo": self._repo, "operation": self._operation}
        moved = {"bytes_up": self.bytes_up, "bytes_down": self.bytes_down}
        return {**what, "peer": self._peer, "seconds": seconds, **moved}

    def meter(self) -> None:
        """Count what was moved since the last time towards what its session may move."""
        moved = self.bytes_up + self.bytes_down
        if self._session and moved > self._metered:
            self._gate.rates.moved(self._session, moved - self._metered, self._gate.reactor.seconds())
            self._metered = moved

    def close(self) -> None:
        """Write the line, once."""
        if self._closed:
            return
        self._closed = True
        self.meter()
        decision, credential = self._decision, self._credential
        event = Event(
            wall=self._gate.clock().wall,
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
            upstream_status=self.upstream_status,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            duration=self._gate.reactor.seconds() - self._began,
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
        self._gate.audit.write(event)


def _operation(request: GitRequest | LfsRequest) -> str:
    """``git-upload-pack``, ``git-receive-pack``, or either's ``-advertisement``; or an LFS call's name."""
    if isinstance(request, LfsRequest):
        return request.call.value
    return f"{request.service}-advertisement" if request.kind is Kind.ADVERTISEMENT else request.service


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
