"""Pushes that are inspected: seconds with and without inspection, directly, and of ``git index-pack``.

One commit that adds files which do not compress is pushed on top of the forge's history. A grant that allows ``force``
needs no inspection. With a grant that does not, every commit is found, the history is walked and the last bytes are
held back. ``git index-pack`` on the same pack is what the forge does with it. While the inspected push runs, small
requests of another session are timed, one after the other, and the memory is recorded.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import small
from benchmarks.dns import resident
from benchmarks.gitwork import FILE_MIB, environ
from benchmarks.table import Row
from benchmarks.targets import Place, spent
from tests.fakes.gateway import Gateway
from tests.fakes.nginx import NginxForge
from tests.fakes.repositories import Repositories, git, noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATH = "bench/walked"
NEIGHBOURS_PATH = f"/{PATH}/info/refs?service=git-upload-pack"
VERBS = {"unwalked": ["create", "update", "force"], "walked": ["create", "update"]}
GROWTH = 96
"""MiB that a walked push may take."""
NEIGHBOUR = 250
"""Milliseconds within which another client's small requests are answered, 99 of 100, while a push is walked."""


class Walk:
    """The forge, the gateway before it, and what is pushed."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, mib: int) -> None:
        self._folder, self.mib = folder, mib
        self._repositories = Repositories(folder / "repositories")
        self._seed(mib)
        secret = secrets.token_hex(16)
        for name in ("forge", "gateway"):
            (folder / name).mkdir(mode=0o700)
        forge = NginxForge(self._repositories.root, secret, folder / "forge")
        stack.callback(forge.close)
        gateway = Gateway(folder / "gateway", f"http://127.0.0.1:{forge.port}", secret)
        stack.callback(gateway.stop, signal.SIGKILL)
        self.gateway = gateway.start()
        login = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
        self.places = {"direct": Place("direct", forge.port, "", (f"Authorization: Basic {login}",))}
        self.places |= {name: self._place(name, verbs) for name, verbs in VERBS.items()}
        self.places["neighbour"] = self._place("neighbour", [])

    def _seed(self, mib: int) -> None:
        """Give the forge one commit, and a copy of it all the others."""
        files = {f"f{number:04d}": noise(FILE_MIB, number) for number in range(max(1, mib // FILE_MIB))}
        self._repositories.seeded(PATH, files=[{"README": b"first\n"}])
        self.first = self._repositories.head(PATH)
        self._source = self._folder / "source"
        git("clone", "-q", self._repositories.folder(PATH), self._source)
        for name, content in files.items():
            (self._source / name).write_bytes(content)
        git("-C", self._source, "-c", "core.compression=0", "add", ".")
        git("-C", self._source, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "large")
        self.head = git("-C", self._source, "rev-parse", "HEAD").decode()
        bare = self._repositories.folder(PATH)
        git("-C", bare, "config", "http.receivepack", "true")
        git("-C", bare, "config", "receive.unpackLimit", "1")
        git("-C", self._source, "-c", "pack.window=0", "repack", "-adq")
        self._pack = next((self._source / ".git" / "objects" / "pack").glob("*.pack"))

    def _place(self, name: str, verbs: list[str]) -> Place:
        """Make a session that may push so; with no verbs, one that only reads."""
        grant = {"repo": PATH, "access": "write", "push": [{"refs": "refs/heads/*", "allow": verbs}]}
        grant = grant if verbs else {"repo": PATH, "access": "read"}
        lease = self.gateway.grant([grant])
        login = base64.b64encode(f"x:{lease.line}".encode()).decode()
        return Place(name, self.gateway.port, "/git", (f"Authorization: Basic {login}",))

    def push(self, name: str) -> float:
        """Push through one place and take it back; seconds."""
        place = self.places[name]
        url = f"http://127.0.0.1:{place.port}{place.prefix}/{PATH}.git"
        began = time.perf_counter()
        ran = subprocess.run(
            ["git", "-C", self._source, "push", "-q", url, "HEAD:refs/heads/main"],
            env=environ(self._folder, place),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        took = time.perf_counter() - began
        assert ran.returncode == 0, f"{name}: {ran.stderr}"
        assert self._repositories.head(PATH) == self.head
        bare = self._repositories.folder(PATH)
        git("-C", bare, "update-ref", "refs/heads/main", self.first)
        git("-C", bare, "-c", "gc.pruneExpire=now", "prune", "--expire=now")
        git("-C", bare, "repack", "-adq")
        return took

    def index_pack(self) -> float:
        """Read the same pack with git; seconds."""
        scratch = self._folder / "scratch.git"
        git("init", "-q", "--bare", scratch)
        began = time.perf_counter()
        with self._pack.open("rb") as pack:
            subprocess.run(
                ["git", "-C", scratch, "index-pack", "--stdin"],
                stdin=pack,
                check=True,
                capture_output=True,
                timeout=600,
            )
        took = time.perf_counter() - began
        shutil.rmtree(scratch)
        return took


def _watched(walk: Walk, work: Callable[[], float]) -> tuple[float, float, float]:
    """Do ``work`` while another session asks; seconds, the questions' p99 (ms), memory growth (MiB)."""
    asked: list[float] = []
    over = threading.Event()
    before = most = resident(walk.gateway.pid)

    def ask() -> None:
        nonlocal most
        while not over.is_set():
            asked.extend(small.times(walk.places["neighbour"], 20, NEIGHBOURS_PATH))
            most = max(most, resident(walk.gateway.pid))

    neighbour = threading.Thread(target=ask)
    neighbour.start()
    try:
        took = work()
    finally:
        over.set()
        neighbour.join()
    return took, small.middle_and_worst(asked)[1], most - before


@contextlib.contextmanager
def _walk(mib: int) -> Iterator[Walk]:
    folder = Path(tempfile.mkdtemp(prefix="cgw-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        yield Walk(stack, folder, mib)


def rows(*, rounds: int, mib: int) -> list[Row]:
    """Measure all."""
    push = Row(f"push of {mib} MiB", "s", 2, more_is_better=False)
    cost = Row("processor time of the gateway", "s/GB", 2, more_is_better=False)
    neighbour = Row("another client's small requests, p99", "ms", 1, limit=("walked", NEIGHBOUR), more_is_better=False)
    memory = Row("memory growth", "MiB", 1, limit=("walked", GROWTH), more_is_better=False)
    with _walk(mib) as walk:
        walk.push("walked")  # what the first one loads is loaded
        for number in range(rounds):
            push.add("index-pack", walk.index_pack())
            push.add("direct", walk.push("direct"))
            for name in VERBS:
                before = spent(walk.gateway.pid)
                push.add(name, walk.push(name))
                cost.add(name, (spent(walk.gateway.pid) - before) / (mib * 2**20 / 1e9))
            for name in VERBS:
                _, p99, growth = _watched(walk, lambda n=name: walk.push(n))
                neighbour.add(name, p99)
                memory.add(name, growth)
            shown = ", ".join(f"{name} {figures[-1]:.2f}" for name, figures in push.figures.items())
            print(f"round {number + 1}: walk: {shown}", file=sys.stderr, flush=True)
    return [push, cost, neighbour, memory]


NAMES = ("index-pack", "direct", *VERBS)


def markdown(measured: list[Row]) -> str:
    """Make the table: the push direct, without the walk and with it, beside git reading the pack."""
    lines = [
        "| work | unit | git index-pack | direct | without the walk | with the walk | aim |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured:
        medians = [row.median(name) for name in NAMES]
        figures = ["-" if one is None else f"{one:,.{row.digits}f}" for one in medians]
        lines.append("| " + " | ".join([row.name, row.unit, *figures, "; ".join(row.verdicts())]) + " |")
    return "\n".join(lines) + "\n"
