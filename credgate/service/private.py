"""The gateway of one command (``credgate run``): all files in one directory, ended with the process that started it.

``private`` turns any configuration into such a gateway's: the control socket in the directory, git on a loopback port
that the kernel chooses, sessions in memory, no DNS server, and no time for running transfers at the end, because their
client is gone. Forges, credentials, other limits, ``[policy]`` and the audit file stay as configured. ``ParentPipe``
ends the process when its standard input ends. That is a pipe whose other end the starting process holds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import Service
from twisted.logger import Logger

from credgate.config.schema import ControlConfig, ListenConfig
from credgate.service.descriptor import ReadDescriptor

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from credgate.config.schema import Config

_log = Logger()


def private(config: Config, directory: str) -> Config:
    """Return the configuration of a gateway that uses nothing outside ``directory``."""
    # Port 0: the kernel chooses. No DNS server, and no store outside memory.
    listen = ListenConfig(git="tcp:0:interface=127.0.0.1", control=f"{directory}/control.sock", dns="")
    # Running transfers get no time at the end, because their client is gone.
    sessions, limits = evolve(config.sessions, store="memory:"), evolve(config.limits, drain_timeout=0.0)
    return evolve(config, listen=listen, sessions=sessions, limits=limits, control=ControlConfig())


class ParentPipe(ReadDescriptor, Service):
    """Stops the reactor when the other end of ``fd`` is closed; what is written there is ignored."""

    name = "leash"

    def __init__(self, reactor: Any, fd: int = 0) -> None:  # noqa: ANN401 - readers and running at once
        self.reactor, self._fd = reactor, fd

    def startService(self) -> None:
        super().startService()
        os.set_blocking(self._fd, False)
        self.reactor.addReader(self)

    def stopService(self) -> None:
        super().stopService()
        self.reactor.removeReader(self)

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        # The kernel closes the other end however its process ends, kill -9 included (pipe(7)).
        try:
            ended = not os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self.reactor.removeReader(self)
            self._end()

    def lost(self, reason: Failure) -> None:
        self._end()

    def _end(self) -> None:
        if self.running:
            _log.info("the process that started this gateway has ended: stopping")
            self.reactor.stop()

    def logPrefix(self) -> str:
        return "leash"
