"""The checks of ``GET /v1/ready``, run separately, so that one that fails or hangs is named and hides no other.

A check that raises or does not end within ``TIMEOUT`` seconds fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import CancelledError, FirstError, ensureDeferred, gatherResults
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

Check = Callable[[], bool | Awaitable[bool]]
TIMEOUT = 4.0
"""Seconds that a check may take; less than the time limit of the control API for all checks."""
_log = Logger()


@frozen
class Readiness:
    """The checks by name, in the order of the answer."""

    checks: Mapping[str, Check]
    reactor: IReactorTime

    async def __call__(self) -> dict[str, bool]:
        """Run all checks concurrently; cancelling ends them."""
        made = [ensureDeferred(self._check(name)) for name in self.checks]
        try:
            return dict(zip(self.checks, await gatherResults(made, consumeErrors=True), strict=True))
        except FirstError:  # a check raises only CancelledError
            raise CancelledError from None

    async def _check(self, name: str) -> bool:
        try:
            return await ensureDeferred(self._made(name)).addTimeout(TIMEOUT, self.reactor)
        except CancelledError:  # the client has left
            raise
        except Exception as failed:  # noqa: BLE001 - any failure fails the check
            _log.error("the readiness check {name} failed: {type}", name=name, type=type(failed).__name__)
            return False

    async def _made(self, name: str) -> bool:
        made = self.checks[name]()
        return made if isinstance(made, bool) else await made
