"""Threads that run when the test says so: the hand that decides when costly work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable


@define
class Threads:
    """Keeps calls until they are run, in order; ``eager`` runs each at once."""

    eager: bool = False
    waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = field(factory=list)

    def __call__(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Take a call, as a lane of ``Walkers`` does."""
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, call, args))
        if self.eager:
            self.run()
        return done

    def run(self) -> bool:
        """Run the first call that waits; whether there was one."""
        if not self.waiting:
            return False
        done, call, args = self.waiting.pop(0)
        try:
            result = call(*args)
        except Exception:  # noqa: BLE001 - whatever it is, the caller is told
            done.errback(Failure())
        else:
            done.callback(result)
        return True

    def run_all(self) -> None:
        """Run until nothing waits."""
        while self.run():
            pass
