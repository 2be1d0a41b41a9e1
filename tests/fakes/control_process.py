"""A process that serves the control API on the socket named by its first argument, until it is killed.

Prints ``listening`` once it does; prints the error and exits 1 when it cannot.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.defer import succeed

from credgate.errors import ConfigError
from credgate.service.clock import read_lease_clock
from credgate.service.control.service import control_service
from credgate.service.gateway import Gateway
from tests.fakes.control import Auditor, FakeRegistry, config, drivers


def main(path: str) -> int:
    """Serve."""
    settings = config(path)
    gateway = Gateway(
        config=settings,
        registry=FakeRegistry(),
        readiness=lambda: succeed({"git": True}),
        drivers=drivers(settings),
        clock=read_lease_clock,
    )
    service = control_service(gateway, Auditor(), reactor)  # type: ignore[arg-type]
    try:
        service.startService()
    except ConfigError as error:
        print(error, flush=True)  # noqa: T201 - this is what its parent reads
        return 1
    print("listening", flush=True)  # noqa: T201
    reactor.run()  # type: ignore[attr-defined]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
