"""What becomes of the forge's answer on its way to the sandbox: rewritten, read for the audit log, or left alone.

Advertisements lose the capabilities that lead out of the gateway or hide commands (``advertisement``). The report on a
push is read, and refs that were refused here are put into it (``partial``). The pack of a fetch passes as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from credgate.git.advertisement import AdvertisementRewriter
from credgate.git.partial import Splicer
from credgate.git.report import ReportReader
from credgate.git.route import Kind

if TYPE_CHECKING:
    from credgate.git.push_rules import PushRules
    from credgate.git.push_stream import PushStream


class ResponseFilter(Protocol):
    """One answer's. What comes out may be longer or shorter than what went in."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes of the answer's body; return what the sandbox gets for them. Raises ResponseError."""

    def end(self) -> None:
        """Note the end of the body. Raises ResponseError if it is cut."""


class ReportFilter:
    """The forge's report on a push, with the refs in it that credgate refused."""

    def __init__(self, passage: PushStream) -> None:
        verdict, sideband = passage.verdict, passage.commands.sideband
        assert verdict is not None
        self._splicer = Splicer(verdict.refused, sideband=sideband) if verdict.refused and verdict.forwarded else None
        self.reader = ReportReader([command.ref for command in verdict.forwarded], sideband=sideband)

    def receive(self, data: bytes) -> list[bytes]:
        """See ``ResponseFilter``; an unreadable report passes, for git reads it itself."""
        self.reader.receive(data)
        return [data] if self._splicer is None else self._splicer.receive(data)

    def end(self) -> None:
        """See ``ResponseFilter``."""
        if self._splicer is not None:
            self._splicer.end()


def response_filter(
    kind: Kind, service: str, rules: PushRules | None, passage: PushStream | None
) -> ResponseFilter | None:
    """Return what the answer to a request of ``kind`` goes through; None: nothing. ``rules`` are the session's."""
    if kind is Kind.ADVERTISEMENT:
        options, no_thin = (rules.options, rules.inspects) if rules is not None else (False, False)
        return AdvertisementRewriter(service, push_options=options, no_thin=no_thin)
    if passage is not None and passage.verdict is not None and passage.commands.report:
        return ReportFilter(passage)
    return None
