"""Many sessions: the cost of a create, a neighbour's request, a start, and memory with 100 to 100,000 sessions.

Each session has a repository of its own, a rule, and is bound to an address of its own. The store is written before the
gateway starts. While one host script creates sessions one after the other, a neighbour requests ``/whoami``, which
needs no forge, one request after the other. Finally all stored sessions end at once, while the neighbour continues.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import small
from benchmarks.dns import resident
from benchmarks.table import Row
from benchmarks.targets import Place, spent
from credgate.service.clock import read_lease_clock
from credgate.sessions import rows, sqlite, tokens
from credgate.sessions.model import Grant, PushRule, Session
from credgate.sessions.sqlite import SqliteStore
from tests.fakes.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.sessions.lease_clock import LeaseReading

COUNTS = (100, 10_000, 100_000)
LASTS = 3600.0
"""Seconds that a stored session would live on; those that end at once end after ``ENDS``."""
ENDS = 20.0
START = 2.0
"""Seconds within which 100,000 sessions are loaded and served."""
NEIGHBOUR = 20.0
"""Milliseconds within which a neighbour is answered, 99 of 100."""
WHOAMI = "/whoami"


def _session(number: int, now: LeaseReading, left: float) -> Session:
    minted = tokens.mint(os.urandom)
    rule = PushRule("refs/heads/agent/*", frozenset({"create", "update"}))
    return Session(
        id=minted.id,
        token_digest=tokens.digest(minted.token),
        secret_digest=tokens.digest(minted.secret),
        grants=(Grant(f"octo/project-{number}", "github.com", push=(rule,)),),
        created=now.boot,
        used=now.boot,
        created_wall=now.wall,
        idle_ttl=left,
        absolute_ttl=LASTS,
        bound_to=IPv4Network((int(IPv4Address("10.0.0.0")) + number, 32)),
        label=f"sandbox-{number}",
    )


def _write(path: Path, count: int, left: float) -> None:
    """Write a store as a gateway would leave it."""
    path.parent.mkdir(mode=0o700, parents=True)
    store, now = SqliteStore(path), read_lease_clock()
    store.open(now)
    # One transaction for all of them: through ``insert``, 100,000 would be as many synchronisations of the disk.
    with store._transaction() as db:  # noqa: SLF001 - as said above
        db.executemany(sqlite._INSERT, (rows.write(_session(number, now, left)) for number in range(count)))  # noqa: SLF001 - the same
    store.close()


@contextlib.contextmanager
def _gateway(count: int, left: float = LASTS) -> Iterator[tuple[Gateway, float]]:
    """Start a gateway beside ``count`` stored sessions; with the seconds that its start took."""
    folder = Path(tempfile.mkdtemp(prefix="cgn-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        settings = {"sessions": {"store": f"sqlite:///{folder}/state/sessions.db", "max_sessions": 1_000_000}}
        settings["sessions"]["gc_interval"] = "1s"
        gateway = Gateway(folder, "http://127.0.0.1:9", "unused-" + "x" * 30, settings)
        _write(gateway.store_file, count, left)
        stack.callback(gateway.stop, signal.SIGKILL)
        began = time.perf_counter()
        gateway.start()
        yield gateway, time.perf_counter() - began


def _neighbour(gateway: Gateway) -> Place:
    login = base64.b64encode(f"x:{gateway.grant(['octo/hello']).line}".encode()).decode()
    return Place("neighbour", gateway.port, "", (f"Authorization: Basic {login}",))


def _asked(place: Place, over: threading.Event) -> list[float]:
    """Ask one after the other until it is over; milliseconds of each."""
    asked: list[float] = []
    while not over.is_set():
        asked.extend(small.times(place, 20, WHOAMI))
    return asked


def _creates(gateway: Gateway, seconds: float) -> tuple[float, list[float]]:
    """Create sessions, one after the other, while a neighbour asks; creates a second, the neighbour's times."""
    place, over = _neighbour(gateway), threading.Event()
    asked: list[float] = []
    neighbour = threading.Thread(target=lambda: asked.extend(_asked(place, over)))
    neighbour.start()
    began, made = time.perf_counter(), 0
    try:
        while time.perf_counter() - began < seconds:
            gateway.grant([f"octo/new-{made}"])
            made += 1
    finally:
        took = time.perf_counter() - began
        over.set()
        neighbour.join()
    return made / took, asked


def _all_end(count: int) -> float:
    """Let all sessions end at once; the neighbour's longest wait meanwhile, in milliseconds."""
    with _gateway(count, ENDS + count / 10_000) as (gateway, _):
        place, over = _neighbour(gateway), threading.Event()
        asked: list[float] = []
        neighbour = threading.Thread(target=lambda: asked.extend(_asked(place, over)))
        neighbour.start()
        try:
            while gateway.control("GET", "/v1/status").json["sessions"]["live"] > 1:
                over.wait(0.5)
        finally:
            over.set()
            neighbour.join()
        return max(asked)


def measure(*, rounds: int, seconds: int, counts: tuple[int, ...] = COUNTS) -> list[Row]:
    """Measure all."""
    most = str(counts[-1])
    creates = Row("sessions created", "1/s")
    neighbour = Row(
        "a neighbour's small requests meanwhile, p99", "ms", 1, more_is_better=False, limit=(most, NEIGHBOUR)
    )
    start = Row("start, until ready", "s", 2, more_is_better=False, limit=(most, START))
    cost = Row("processor time of the start", "s", 2, more_is_better=False)
    memory = Row("resident memory a session", "B", more_is_better=False)
    ends = Row("all end at once: a neighbour's longest wait", "ms", 1, more_is_better=False)
    with _gateway(0) as (empty, _):
        before = resident(empty.pid)
    for number in range(rounds):
        for count in counts:
            name = str(count)
            with _gateway(count) as (gateway, took):
                start.add(name, took)
                cost.add(name, spent(gateway.pid))
                memory.add(name, max(0.0, resident(gateway.pid) - before) * 2**20 / count)
                made, asked = _creates(gateway, seconds)
                creates.add(name, made)
                neighbour.add(name, small.middle_and_worst(asked)[1])
            ends.add(name, _all_end(count))
            shown = ", ".join(
                f"{row.name} {row.figures[name][-1]:,.2f}" for row in (creates, neighbour, start, cost, ends)
            )
            print(f"round {number + 1}: {count:,} sessions: {shown}", file=sys.stderr, flush=True)
    return [creates, neighbour, start, cost, memory, ends]


def markdown(measured: list[Row]) -> str:
    """Make the table: a column for each number of sessions."""
    names = list(measured[0].figures)
    heads = [f"{int(name):,} sessions" for name in names]
    lines = [f"| work | unit | {' | '.join(heads)} | aim |", "|---" * (len(names) + 3) + "|"]
    for row in measured:
        figures = ["-" if (one := row.median(name)) is None else f"{one:,.{row.digits}f}" for name in names]
        lines.append("| " + " | ".join([row.name, row.unit, *figures, "; ".join(row.verdicts())]) + " |")
    return "\n".join(lines) + "\n"
