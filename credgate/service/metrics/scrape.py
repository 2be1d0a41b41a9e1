"""The page of metrics as an answer: with the checks of ``/v1/ready`` as they are now.

If the checks take too long, or break, the page comes without them: whoever watches must see the rest most of all then.
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
    """What the routes use of ``Scrape``."""

    async def __call__(self) -> bytes:
        """Return the page."""
        ...


@define
class Scrape:
    """One page, with the checks as they are now."""

    page: MetricsPage
    readiness: Callable[[], Awaitable[Mapping[str, bool]]]
    reactor: IReactorTime

    async def __call__(self) -> bytes:
        """Return the page."""
        return self.page(await self._checks())

    async def _checks(self) -> Mapping[str, bool]:
        try:
            return await ensureDeferred(self._asked()).addTimeout(CHECKS_TIMEOUT, self.reactor)
        except CancelledError:  # the client has left
            raise
        except Exception as failed:  # noqa: BLE001 - whatever it is, the page says nothing of the checks
            _log.error("readiness could not be told: {type}", type=type(failed).__name__)
            return {}

    async def _asked(self) -> Mapping[str, bool]:
        return await self.readiness()


def send_page(request: IRequest, page: bytes) -> bytes:
    """Set the fields of an answer that is a page of metrics; return the bytes that Klein writes."""
    return send_bytes(request, 200, page, {b"Content-Type": CONTENT_TYPE.encode()})
