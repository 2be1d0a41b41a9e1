"""The page of metrics as a response, including the results of the checks of ``/v1/ready``.

If the checks time out or fail, the page is sent without them: the other metrics are needed most in that case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.logger import Logger

from credgate.metrics.exposition import CONTENT_TYPE
from credgate.service.control.json_reply import send_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IRequest

    from credgate.metrics.exposition import MetricsPage

CHECKS_TIMEOUT = 5.0
"""Seconds that the checks may take; Prometheus gives up after ten."""
_log = Logger()


class MetricsExposition(Protocol):
    """The part of ``Scrape`` that the routes use."""

    async def __call__(self) -> bytes:
        """Return the page of metrics."""
        ...


@define
class Scrape:
    """Renders the page with fresh results of the checks."""

    page: MetricsPage
    readiness: Callable[[], Awaitable[Mapping[str, bool]]]
    reactor: IReactorTime

    async def __call__(self) -> bytes:
        """Return the page of metrics."""
        return self.page(await self._checks())

    async def _checks(self) -> Mapping[str, bool]:
        try:
            return await ensureDeferred(self._asked()).addTimeout(CHECKS_TIMEOUT, self.reactor)
        except CancelledError:  # the client has left
            raise
        except Exception as failed:  # noqa: BLE001 - the page is sent without the checks
            _log.error("the readiness checks failed: {type}", type=type(failed).__name__)
            return {}

    async def _asked(self) -> Mapping[str, bool]:
        return await self.readiness()


def send_page(request: IRequest, page: bytes) -> bytes:
    """Set the header fields of a response with the page; return the bytes that Klein writes."""
    return send_bytes(request, 200, page, {b"Content-Type": CONTENT_TYPE.encode()})
