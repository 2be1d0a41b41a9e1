"""A gateway's session registry in processes of its own, to be killed at any moment.

``python acknowledging.py STORE`` reads lines: for each it forks a child that starts a registry on STORE and creates and
revokes sessions as fast as it can, and writes ``+ID`` for each acknowledged create and ``-ID`` for each acknowledged
revoke, once the Deferred has fired. It says ``pid N`` first, and ``dead`` when the child is. The imports are shared by
all children; the reactor is each child's own.
"""

from __future__ import annotations

import os
import sys

from twisted.internet import defer

from credgate.config import schema
from credgate.service.clock import read_lease_clock
from credgate.service.registry import SessionRegistry
from credgate.sessions.stores import store_for
from tests.fakes.sessions import request


def say(text: str) -> None:
    """Write a line with one system call: it is there or not, whenever the kill comes."""
    os.write(1, f"{text}\n".encode())


async def work(registry: SessionRegistry) -> None:
    """Create sessions without end, and revoke two of three; several at once."""
    while True:
        made = await defer.gatherResults([registry.create(request()) for _ in range(3)])
        for session, _ in made:
            say(f"+{session.id}")
        for session, _ in made[:2]:
            assert await registry.revoke(session.id)
            say(f"-{session.id}")
        registry.touch(made[2][0].id)
        await registry.flush()


def child(store: str) -> None:
    """Be the gateway until killed."""
    from twisted.internet import reactor  # noqa: PLC0415 - made after the fork: an epoll set cannot be shared

    registry = SessionRegistry(
        store_for(f"sqlite:///{store}"),
        schema.SessionsConfig(max_sessions=1_000_000),
        clock=read_lease_clock,
        reactor=reactor,  # type: ignore[arg-type]
    )
    registry.startService()
    reactor.callWhenRunning(lambda: defer.ensureDeferred(work(registry)).addErrback(lambda f: say(f"! {f}")))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def main() -> None:
    """Fork one child for each line of input."""
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            child(sys.argv[1])
            os._exit(1)
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("dead")


if __name__ == "__main__":
    main()
