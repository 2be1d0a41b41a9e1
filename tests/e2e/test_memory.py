"""Memory stays flat: a gigabyte in each direction, and clients that stall.

The forge is benchmarks/origin.py (it makes and swallows bodies of any size), the gateway the real process. Memory is
what counts as resident; the bytes that stand in socket buffers meanwhile are the kernel's, and bounded by it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import select
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from attrs import define, field

from benchmarks import bulk
from benchmarks.targets import Place
from credgate.audit import log_files as kept
from tests.fakes.waiting import accepts, free_port, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Door, Forge, StartGateway

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
ALLOWED = 16 * MIB
WALKED = 96 * MIB
"""With what the walk remembers of 200,000 commits."""
GIB = 1024
"""In MiB."""
CLIENTS = 20


@pytest.fixture
def origin(forge: Forge) -> Iterator[int]:
    """Start the forge that makes and swallows bytes; its port."""
    forge.authority.server_context()
    port, tls_port, chain = free_port(), free_port(), forge.authority.folder / "localhost.pem"
    command = [sys.executable, "-m", "benchmarks.origin", str(port), str(tls_port), str(chain)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "the origin listens")
        yield port
    finally:
        process.kill()
        process.wait(20)


@pytest.fixture
def door(origin: int, start_gateway: StartGateway) -> Door:
    """Start a gateway before it, with nothing behind it yet that could have made it grow."""
    return start_gateway(f"http://127.0.0.1:{origin}", settings={"limits": {"max_transfers_per_session": 128}})


@pytest.fixture
def place(door: Door) -> Place:
    """Make a session; where and how its sandbox asks."""
    lease = door.gateway.grant(["bench/*"])
    login = base64.b64encode(f"x:{lease.line}".encode()).decode()
    place = Place("credgate", door.gateway.port, "/git", (f"Authorization: Basic {login}",))
    bulk.down(place, 1)  # what the first transfer loads is loaded
    bulk.up(place, 1, chunked=True)
    return place


@define(eq=False, slots=False)
class Watch:
    """Looks at a process all the time: how large it was at most, and which files it ever had open."""

    pid: int
    before: int = 0
    largest: int = 0
    looks: int = 0
    opened: set[str] = field(factory=set)
    _over: threading.Event = field(factory=threading.Event)

    def __enter__(self) -> Self:
        self.before = self._resident()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self.largest = max(self.largest, self._resident())
            self.opened |= self._files()
            self.looks += 1

    def _resident(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _files(self) -> set[str]:
        found = set()
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                found.add(str(entry.readlink()))
        return found

    def rest(self, looks: int = 20) -> None:
        """Wait until it has looked this often again."""
        until = self.looks + looks
        wait_until(lambda: self.looks >= until, "the watch looks on")

    @property
    def grown(self) -> int:
        """Bytes that it grew by."""
        return self.largest - self.before


def judge(watch: Watch, door: Door, allowed: int = ALLOWED) -> None:
    """Assert that it stayed small, and had no file open but its own."""
    assert watch.looks > 0
    assert watch.grown < allowed, f"{watch.grown / MIB:.1f} MiB"
    # Below /proc is what the recorder of the reactor's turns reads; nobody can write a file there.
    files = {name for name in watch.opened if name.startswith("/") and not name.startswith(("/dev/", "/proc/"))}
    own = {door.gateway.audit_file, door.gateway.log_file, door.gateway.control_socket.with_name("control.sock.lock")}
    own.add(kept.head_file(door.gateway.audit_file))
    own |= {Path(f"{door.gateway.store_file}{suffix}") for suffix in ("", "-wal", "-shm")}
    assert {Path(name) for name in files} <= own


@pytest.mark.parametrize(
    "transfer",
    [
        lambda place: bulk.down(place, GIB),
        lambda place: bulk.down(place, GIB, chunked=True),
        lambda place: bulk.up(place, GIB, chunked=False),
        lambda place: bulk.up(place, GIB, chunked=True),
    ],
    ids=["cloned", "cloned-in-chunks", "pushed-with-length", "pushed-in-chunks"],
)
def test_gibibyte_transfer_has_flat_memory(door: Door, place: Place, transfer: Callable[[Place], float]) -> None:
    """Nothing is buffered in memory or in a temporary file."""
    with Watch(door.gateway.pid) as watch:
        assert transfer(place) > 0
    judge(watch, door)


def test_gibibyte_inspection_has_flat_memory(door: Door, place: Place) -> None:
    """An update that must be a fast-forward: 200,000 commits down to the old one, then blobs, all of it read."""
    tip, commits = _chain(200_000)
    entry = b"\xb0\x80\x80\x04" + zlib.compress(os.urandom(MIB), 0)  # a blob of 1 MiB
    old = "1" * 40
    command = f"{old} {tip} refs/heads/main\0report-status side-band-64k\n".encode()
    start = b"%04x%b0000" % (len(command) + 4, command)
    head = b"PACK\0\0\0\2" + (200_000 + GIB).to_bytes(4, "big")
    digest = hashlib.sha1(head + commits)
    length = len(start) + len(head) + len(commits) + GIB * len(entry) + digest.digest_size
    with bulk.connect(place) as connection, Watch(door.gateway.pid) as watch:
        framing = b"Content-Length: %d" % length
        connection.sendall(bulk.request_head(place, "/bench/walked/git-receive-pack", "receive-pack", framing))
        connection.sendall(start + head + commits)
        for _ in range(GIB):
            digest.update(entry)
            connection.sendall(entry)
        connection.sendall(digest.digest())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")
    line = door.gateway.audited(repo="bench/walked", decision="allow")
    assert line["bytes_up"] == length
    assert line["refs"][0]["verb"] == "update"
    judge(watch, door, WALKED)


def _chain(count: int) -> tuple[str, bytes]:
    """Make this many commits on top of a made-up one, newest last; the newest, and their entries of a pack."""
    tip, entries = "1" * 40, []
    for _ in range(count):
        body = b"tree %b\nparent %b\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nx\n" % (
            b"4" * 40,
            tip.encode(),
        )
        tip = hashlib.sha1(b"commit %d\0" % len(body) + body).hexdigest()
        entries.append(bytes([0x90 | len(body) & 15, len(body) >> 4]) + zlib.compress(body, 1))
    return tip, b"".join(entries)


def test_stalled_clients_hold_no_memory(door: Door, place: Place) -> None:
    """Twenty of each kind at once: those that read, send or say no further, and those whose forge does not read."""
    with contextlib.ExitStack() as stack, Watch(door.gateway.pid) as watch:
        for start in (_reads_no_further, _sends_no_further, _sends_in_vain, _says_no_further, _idle):
            for _ in range(CLIENTS):
                stack.enter_context(start(place))
        watch.rest()
        assert watch.grown < ALLOWED, f"{watch.grown / MIB:.1f} MiB"
        assert bulk.down(place, 1) > 0, "the next client is served"
    judge(watch, door)


def _reads_no_further(place: Place) -> socket.socket:
    """Ask for a gigabyte, read some of it, then nothing."""
    connection = bulk.connect(place)
    fields = b"Content-Length: 4"
    connection.sendall(
        bulk.request_head(place, f"/bench/length-{GIB}/git-upload-pack", "upload-pack", fields) + b"0000"
    )
    got = 0
    while got < 8 * MIB:
        got += len(connection.recv(MIB))
    return connection


def _sends_no_further(place: Place) -> socket.socket:
    """Push some megabytes of a gigabyte, then nothing."""
    connection = _push(place, "/bench/upload")
    for _ in range(8 * 16):
        connection.sendall(bytes(65536))
    return connection


def _sends_in_vain(place: Place) -> socket.socket:
    """Push to a forge that does not read, until no byte more is taken."""
    connection = _push(place, "/bench/stalled")
    connection.settimeout(0)
    while select.select([], [connection], [], 0.2)[1]:
        with contextlib.suppress(BlockingIOError):
            connection.send(bytes(65536))
    return connection


def _push(place: Place, path: str) -> socket.socket:
    connection = bulk.connect(place)
    length = b"Content-Length: %d" % (GIB * MIB)
    connection.sendall(bulk.request_head(place, f"{path}/git-receive-pack", "receive-pack", length) + bulk.PUSH)
    return connection


def _says_no_further(place: Place) -> socket.socket:
    """Begin a request head."""
    connection = bulk.connect(place)
    connection.sendall(bulk.request_head(place, "/bench/upload/git-receive-pack", "receive-pack", b"X: ")[:-4])
    return connection


def _idle(place: Place) -> socket.socket:
    """Connect."""
    return bulk.connect(place)
