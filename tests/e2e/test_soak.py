"""Half a minute of cut connections with DNS queries, readiness checks and pushes that need the forge's history.

The reactor reports events by descriptor number, in batches; pooled connections go from request to request. Both make
faults that no single request shows: what one request leaves behind meets the next. Here clients cut pushes and fetches
in the middle, by reset and by close, while others are served, and at the end no log may hold a traceback.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import re
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import dnslib
import dnslib.server
import pytest
from attrs import define, field

from credgate.git.pktline import DELIMITER, FLUSH, encode
from tests.fakes import pushing, repositories
from tests.fakes.pushing import EMPTY, ZERO, commands
from tests.fakes.repositories import noise
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Door, Enter, StartGateway
    from tests.fakes.gateway import Lease
    from tests.fakes.repositories import Repositories

pytestmark = pytest.mark.alone

SECONDS = 30.0
PATIENCE = 20.0
"""Seconds that no answer may take: well under ``inquiry_timeout``, which a push that hangs would wait for."""
NAMES = 2000
AT_ONCE, ROUNDS = 3, 60
"""Threads that push, and pushes of each. A push occupies two of the eight processes of the forge's git."""
RESET = struct.pack("ii", 1, 0)
_LATE = re.compile(r"in time|took too long")
"""What a push is told whose question was lost."""
PUSH, FETCH = "git-receive-pack", "git-upload-pack"


class Resolver(dnslib.server.BaseResolver):  # type: ignore[misc]  # dnslib has no types
    """Answers every name with one address, for one second."""

    def resolve(self, request: Any, handler: Any) -> Any:
        """Answer."""
        reply = request.reply()
        reply.add_answer(dnslib.RR(request.q.qname, rdata=dnslib.A("93.184.216.34"), ttl=1))
        return reply


@pytest.fixture
def resolver() -> Iterator[int]:
    """Start an upstream resolver; its port."""
    port = free_port()
    quiet = dnslib.server.DNSLogger(log="-request,-reply,-truncated,-error", prefix=False)
    server = dnslib.server.DNSServer(Resolver(), port=port, address="127.0.0.1", logger=quiet)
    server.start_thread()
    yield port
    server.stop()
    server.server.server_close()
    server.thread.join(10)


@define(eq=False)
class Soak:
    """A gateway, what works on it, and what went wrong."""

    door: Door
    dns_port: int
    end: float = 0.0
    done: dict[str, int] = field(factory=dict)
    wrong: list[str] = field(factory=list)

    def work(self, name: str, once: Callable[[random.Random], None], seed: int) -> None:
        """Do ``once`` again and again until the time is over; what fails ends it and is noted."""
        chance = random.Random(seed)
        while time.monotonic() < self.end and not self.wrong:
            try:
                once(chance)
            except Exception as failed:  # noqa: BLE001 - whatever it is, it is told at the end
                self.wrong.append(f"{name}: {type(failed).__name__}: {failed}"[:800])
            self.done[name] = self.done.get(name, 0) + 1

    def run(self, works: list[tuple[str, Callable[[random.Random], None]]]) -> None:
        """Do all of them at once."""
        self.end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self.work, args=(*work, seed)) for seed, work in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 3 * PATIENCE)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def cut(self, lease: Lease, path: str, service: str, body: bytes, chance: random.Random) -> None:
        """Send a part of a request, read a little of its answer, and leave: by reset or by close."""
        head = (
            f"POST /git/{path}.git/{service} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lease.line}\r\n"
            f"Content-Type: application/x-{service}-request\r\nGit-Protocol: version=2\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        if service == PUSH:
            head = head.replace(b"Git-Protocol: version=2\r\n", b"")
        with socket.socket() as client, contextlib.suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", self.door.gateway.port))
            client.sendall(head + body[: len(body) if service == FETCH else chance.randrange(len(body))])
            if service == FETCH:
                client.recv(chance.randrange(1, 8192))
            threading.Event().wait(chance.random() * 0.1)
            if chance.random() < 0.7:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def ready(self, _chance: random.Random) -> None:
        """Ask whether the gateway is ready: it always is."""
        reply = self.door.gateway.control("GET", "/v1/ready")
        assert (reply.status, set(reply.json["checks"].values())) == (http.HTTPStatus.OK, {True}), reply
        threading.Event().wait(0.05)

    def ask(self, numbers: Iterator[int]) -> None:
        """Ask for one allowed name, which goes upstream."""
        question = dnslib.DNSRecord.question(f"n{next(numbers) % NAMES}.soak.test")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", self.dns_port))
            client.send(question.pack())
            reply = dnslib.DNSRecord.parse(client.recv(4096))
        assert [str(one.rdata) for one in reply.rr] == ["93.184.216.34"], reply


def test_cut_connections_leave_no_trace(
    start_gateway: StartGateway, repos: Repositories, enter: Enter, resolver: int
) -> None:
    """Every name resolves, every readiness check succeeds, every push is answered in time, no error is logged."""
    port = free_port()
    allow = [f"n{number}.soak.test" for number in range(NAMES)]
    dns = {"allow": allow, "upstream": [f"127.0.0.1:{resolver}"], "rate": 0}
    limits = {"max_connections_per_address": 512, "max_transfers_per_session": 512}
    policy = {"protected_paths": [".github/**"]}
    door = start_gateway(
        settings={"listen": {"dns": f"127.0.0.1:{port}"}, "dns": dns, "limits": limits, "policy": policy}
    )
    path = repos.seeded(files=[{"noise": noise(1)}])
    visit = enter([path], login="bearer", door=door)
    desk = pushing.Desk(visit.box, visit.lease, door.gateway, repos, path)
    tip = desk.local("rev-parse", "main")
    large = desk.commit("main", files={"more": noise(2, seed=2)})
    push = commands((ZERO, large, "refs/heads/large")) + desk.pack(large, f"^{tip}")
    arguments = [b"no-progress", b"ofs-delta", b"want " + tip.encode(), b"done"]
    fetch = b"".join([encode(b"command=fetch"), DELIMITER, *map(encode, arguments), FLUSH])
    soak, numbers = Soak(door, port), itertools.count()

    def unknown(chance: random.Random) -> None:
        """Push a commit that neither the pack nor the forge has: it is refused, and not late.

        A real forge under this load also closes connections: that is one more way to be refused.
        """
        made = f"{chance.getrandbits(160):040x}"
        told = pushing.post(door.gateway, visit.lease, path, commands((tip, made, "refs/heads/main")) + EMPTY)
        text = told.refs.get("refs/heads/main", "")
        assert text.startswith("credgate: "), told
        assert not _LATE.search(text), told

    lease = door.gateway.grant([path])  # of its own: a session has only so many transfers at one time
    soak.run(
        [
            *[("cut pushes", lambda chance: soak.cut(lease, path, PUSH, push, chance))] * 3,
            *[("cut fetches", lambda chance: soak.cut(lease, path, FETCH, fetch, chance))] * 3,
            *[("names", lambda _: soak.ask(numbers))] * 8,
            *[("pushes of unknown commits", unknown)] * 4,
            ("looks", soak.ready),
        ]
    )
    log = door.gateway.log()
    for word in ("Traceback", "Unhandled error", "failed and is cut", "readiness"):
        assert word not in log, log[log.index(word) - 500 :][:4000]
    assert soak.wrong == []
    assert door.gateway.control("GET", "/v1/ready").status == http.HTTPStatus.OK
    assert repositories.git("-C", repos.folder(path), "rev-parse", "main").decode().strip() == tip
    desk.push("origin", f"{large}:refs/heads/large").fine()
    assert min(soak.done.values()) > 0, soak.done


def test_pushes_that_ask_the_forge_at_once_are_all_answered(
    start_gateway: StartGateway, repos: Repositories, enter: Enter
) -> None:
    """Their requests share pooled connections; a later request on a connection does not affect an earlier push."""
    door = start_gateway(settings={"limits": {"inquiry_timeout": "15s"}})
    path = repos.seeded()
    lease = enter([path], login="bearer", door=door).lease
    tip = repos.head(path)
    told: list[str] = []

    def push(thread: int) -> None:
        for number in range(ROUNDS):
            if told and "not our ref" not in told[-1]:
                return  # one that was late is enough
            body = commands((tip, f"{thread:08x}{number:032x}", "refs/heads/main")) + EMPTY
            try:
                told.append(pushing.post(door.gateway, lease, path, body).refs.get("refs/heads/main", ""))
            except (OSError, http.client.HTTPException) as failed:
                told.append(f"{type(failed).__name__}: {failed}")

    threads = [threading.Thread(target=push, args=(number,)) for number in range(1, AT_ONCE + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [text for text in told if "not our ref" not in text] == []
    assert len(told) == AT_ONCE * ROUNDS
