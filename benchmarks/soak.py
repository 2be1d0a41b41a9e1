"""Soak: mixed work on the real process for a quarter of an hour, to find leaks.

Clones, pushes, refused pushes, small requests, DNS queries, and sessions that begin and end, all at the same time.
Every two seconds the gateway's open descriptors, resident memory, threads and reactor timers are read (``/proc`` and
``GET /v1/metrics``). During the first quarter caches fill and the allocator settles.

A curve is *flat* if the median of the last quarter is at most that of the second quarter, plus a tenth, plus what one
more of every running operation may take (``SLACK``). At rest, after pooled connections to the forge were closed, there
are no more descriptors and timers than before the work began, plus ``AT_REST``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dnslib
from attrs import define, field, frozen

from benchmarks import small
from benchmarks.dns import resident
from benchmarks.targets import Place
from tests.fakes.gateway import Gateway
from tests.fakes.nginx import NginxForge
from tests.fakes.repositories import Repositories, noise
from tests.fakes.sandbox import Sandbox, address
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERY = 2.0
"""Seconds between two looks."""
REST = 25.0
"""Seconds after which kept connections to the forge are closed (15 s), and all that git opened."""
SLACK = {"descriptors": 16.0, "resident MiB": 8.0, "threads": 2.0, "timers": 8.0}
AT_REST = 4.0
"""The look itself has a connection, and a timer for it."""


@frozen
class Curve:
    """What one figure did."""

    name: str
    values: tuple[float, ...]
    before: float
    """At rest, before the work."""
    after: float
    """At rest, after it."""

    def quarter(self, number: int) -> float:
        """Return the median of the 0th to 3rd quarter."""
        size = max(1, len(self.values) // 4)
        return statistics.median(self.values[number * size : (number + 1) * size])

    @property
    def flat(self) -> bool:
        """Whether it obeys the rule."""
        level = self.quarter(3) <= self.quarter(1) * 1.1 + SLACK[self.name]
        returns = self.name in {"descriptors", "timers"}
        return level and (not returns or self.after <= self.before + AT_REST)


@define
class Outcome:
    """A whole run."""

    curves: list[Curve]
    done: dict[str, int]
    failed: list[str]

    @property
    def flat(self) -> bool:
        """Whether nothing grew and nothing failed."""
        return all(curve.flat for curve in self.curves) and not self.failed

    def markdown(self) -> str:
        """Write it as a table and two lines."""
        lines = ["| figure | at rest | first | last | most | 2nd quarter | 4th quarter | at rest again | |"]
        lines.append("|---|---|---|---|---|---|---|---|---|")
        for one in self.curves:
            figures = [one.before, one.values[0], one.values[-1], max(one.values), one.quarter(1), one.quarter(3)]
            cells = [one.name, *(f"{figure:,.1f}" for figure in [*figures, one.after])]
            lines.append("| " + " | ".join([*cells, "flat" if one.flat else "GROWS: MISSED"]) + " |")
        lines += ["", "Done: " + ", ".join(f"{count:,} {name}" for name, count in self.done.items()) + "."]
        lines.append(f"Failed: {len(self.failed)}. " + "; ".join(self.failed[:3]))
        return "\n".join(lines) + "\n"


@define(eq=False)
class Stand:
    """The gateway, a forge behind it and the work on both."""

    gateway: Gateway
    repositories: Repositories
    folder: Path
    dns_port: int
    done: dict[str, int] = field(factory=dict)
    failed: list[str] = field(factory=list)
    over: threading.Event = field(factory=threading.Event)
    _numbers: Iterator[int] = field(factory=itertools.count)

    def box(self, path: str) -> Sandbox:
        """Make a sandbox with a session for one repository."""
        lease = self.gateway.grant([path])
        made = Sandbox(self.folder / f"box{next(self._numbers)}", self.gateway.url, "bearer")
        return made.enable().show(lease.line)

    def works(self) -> list[tuple[str, Callable[[], int]]]:
        """Return each kind of work: what it is called, and one round of it, which tells how many it did."""
        large = self.repositories.seeded(files=[{"noise": noise(4)}])
        mine, theirs = self.repositories.seeded(), self.repositories.seeded()
        cloning, pushing, refused = self.box(large), self.box(mine), self.box(theirs)
        pushing.git("clone", address(mine), "work").fine()
        refused.git("clone", address(theirs), "work").fine()
        lease = self.gateway.grant([large])
        place = Place("credgate", self.gateway.port, "/git", (f"Authorization: Bearer {lease.line}",))

        def clone() -> int:
            cloning.git("clone", "-q", address(large), "copy").fine()
            shutil.rmtree(cloning.home / "copy")
            return 1

        def push() -> int:
            pushing.commit("work", "file", os.urandom(1000))
            pushing.git("push", "-q", "origin", "HEAD:main", cwd="work").fine()
            return 1

        def refuse() -> int:
            said = refused.git("push", "origin", "HEAD:refs/notes/no", cwd="work").refused()
            assert "credgate" in said, said
            return 1

        def ask() -> int:
            return len(small.times(place, 200, f"/{large}/info/refs?service=git-upload-pack"))

        def come_and_go() -> int:
            for _ in range(20):
                self.gateway.revoke(self.gateway.grant([large], label="soak"))
            self.gateway.replies.clear()
            return 20

        return [
            ("clones", clone),
            ("pushes", push),
            ("refused pushes", refuse),
            ("small requests", ask),
            ("DNS questions", self._names),
            ("sessions", come_and_go),
        ]

    def _names(self) -> int:
        """Ask for the static name, and for names that are refused."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.connect(("127.0.0.1", self.dns_port))
            for _ in range(100):
                number = next(self._numbers)
                name = "gateway" if number % 2 else f"n{number}.refused.test"
                question = dnslib.DNSRecord.question(name)
                asking.send(question.pack())
                assert dnslib.DNSRecord.parse(asking.recv(4096)).header.id == question.header.id
        self.over.wait(0.05)
        return 100

    def go_on(self, name: str, work: Callable[[], int]) -> None:
        """Do one kind of work until all is over; what fails is noted."""
        while not self.over.is_set():
            try:
                self.done[name] = self.done.get(name, 0) + work()
            except Exception as failed:  # noqa: BLE001 - whatever it is, it is told at the end
                self.failed.append(f"{name}: {failed}"[:300])
                self.over.wait(1)

    def look(self) -> dict[str, float]:
        """Read every figure."""
        text = self.gateway.control("GET", "/v1/metrics").text
        self.gateway.replies.clear()
        told = {name: float(value) for name, value in re.findall(r"^credgate_(\w+) ([0-9.e+]+)$", text, re.MULTILINE)}
        descriptors = len(list(Path(f"/proc/{self.gateway.pid}/fd").iterdir()))
        memory = resident(self.gateway.pid)
        named = [float(descriptors), memory, told["threads"], told["reactor_timers"]]
        return dict(zip(SLACK, named, strict=True))


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    """Start everything; end everything."""
    folder = Path(tempfile.mkdtemp(prefix="cgs-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for name in ("repositories", "forge", "gateway"):
            (folder / name).mkdir(mode=0o700)
        secret = "soak-" + os.urandom(16).hex()
        forge = NginxForge(folder / "repositories", secret, folder / "forge")
        stack.callback(forge.close)
        port = free_port()
        settings = {
            "listen": {"dns": f"127.0.0.1:{port}"},
            "dns": {"static": {"gateway": "10.0.0.2"}, "upstream": ["127.0.0.1:9"], "rate": 0},
        }
        gateway = Gateway(folder / "gateway", f"http://127.0.0.1:{forge.port}", secret, settings)
        stack.callback(gateway.stop, signal.SIGKILL)
        gateway.start()
        yield Stand(gateway, Repositories(folder / "repositories"), folder, port)


def run(minutes: float) -> Outcome:
    """Work and look."""
    with stand() as place:
        works, before = place.works(), place.look()
        looks: list[dict[str, float]] = []
        threads = [threading.Thread(target=place.go_on, args=work) for work in works]
        for thread in threads:
            thread.start()
        end = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < end:
                place.over.wait(EVERY)
                looks.append(place.look())
                if len(looks) % 15 == 1:
                    shown = ", ".join(f"{name} {value:,.0f}" for name, value in looks[-1].items())
                    print(f"soak: {shown}; {place.done}", file=sys.stderr, flush=True)
        finally:
            place.over.set()
            for thread in threads:
                thread.join(120)
        threading.Event().wait(REST)
        after = place.look()
        if "Traceback" in place.gateway.log():
            place.failed.append("the gateway's log has a traceback")
    curves = [Curve(name, tuple(look[name] for look in looks), before[name], after[name]) for name in SLACK]
    return Outcome(curves, place.done, place.failed)
