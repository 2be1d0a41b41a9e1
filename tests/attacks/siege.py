"""The cost of an attack for the gateway: memory, descriptors, its longest turn, and the wait of another sandbox.

Memory and descriptors are read from ``/proc``; the peak is the kernel's own high-water mark, reset before the attack.
A connection counts as ended when the gateway's process holds no descriptor for it any more, while the attacker still
holds his: who waits for the attacker to leave proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

from tests.attacks.rawclient import RawClient
from tests.fakes.gateway import ROOT
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attacks.conftest import Field
    from tests.fakes.gateway import Lease

ATTACKER = "127.0.0.66"
MIB = 1024 * 1024
ESTABLISHED, CLOSE_WAIT = "01", "08"
"""States of a connection in ``/proc/net/tcp``; one that the process closed itself is in another."""


def memory(pid: int, key: str) -> int:
    """Read ``VmRSS`` or ``VmHWM``, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(key)


def descriptors(pid: int) -> set[str]:
    """List what the process's descriptors point to."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def held(pid: int, port: int, addresses: set[str]) -> int:
    """Count the process's connections to its ``port`` from ``addresses``, those that wait to be accepted included."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    own = descriptors(pid)  # in this order: what is accepted in between is still seen waiting
    count = 0
    for line in lines:
        fields = line.split()
        address = ".".join(str(byte) for byte in reversed(bytes.fromhex(fields[2][:8])))
        local = int(fields[1][9:], 16)
        if local == port and address in addresses:
            waits = fields[9] == "0" and fields[3] in {ESTABLISHED, CLOSE_WAIT}  # no inode yet
            count += waits or f"socket:[{fields[9]}]" in own
    return count


@define(eq=False)
class Neighbour:
    """The other sandbox, asking all the while."""

    port: int
    repo: str
    lease: Lease
    result: dict[str, float] = field(factory=dict)
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.attacks.neighbour", str(self.port), self.repo]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self.lease.line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        out, _err = self._process.communicate(timeout=60)
        self.result = json.loads(out)


@define(eq=False)
class Siege:
    """One attack on one gateway: who attacks, from where, and what it cost."""

    field: Field
    clients: list[RawClient] = field(factory=list)
    addresses: set[str] = field(factory=lambda: {ATTACKER})
    cost: dict[str, Any] = field(factory=dict)

    @property
    def port(self) -> int:
        """The gateway's."""
        return self.field.gateway.port

    def open(self, count: int, *, source: str = ATTACKER, receive_buffer: int = 0) -> list[RawClient]:
        """Open connections; they stay open until the attack is over."""
        opened = [RawClient(self.port, source=source, receive_buffer=receive_buffer) for _ in range(count)]
        self.clients += opened
        self.addresses.add(source)
        return opened

    def leave(self) -> None:
        """Close the attacker's connections."""
        for client in self.clients:
            client.socket.close()

    @property
    def held(self) -> int:
        """How many of the attacker's connections the gateway still holds."""
        return held(self.field.gateway.pid, self.port, self.addresses)

    def wait_for_the_end(self, *, seconds: float = 30.0) -> None:
        """Wait until the gateway has let go of every connection of the attacker's, who lets go of none."""
        wait_until(lambda: self.held == 0, "the gateway lets the attacker's connections go", seconds=seconds)


@contextlib.contextmanager
def siege(field: Field, lease: Lease, repo: str) -> Iterator[Siege]:
    """Measure what happens inside; the attacker's connections are closed at the end."""
    pid = field.gateway.pid
    before = len(descriptors(pid))
    resident = memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    field.gateway.lag.reset()
    with contextlib.ExitStack() as stack:
        this = Siege(field)
        stack.callback(this.leave)
        with Neighbour(field.gateway.port, repo, lease) as neighbour:
            yield this
        this.cost = {
            "grew": memory(pid, "VmHWM") - resident,
            "descriptors": len(descriptors(pid)) - before,
            "turn": field.gateway.lag.check().stopped,
            **neighbour.result,
        }
