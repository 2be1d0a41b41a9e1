"""Attacks on memory, descriptors and time: one sandbox cannot starve another.

Deadlines are shortened by configuration. What each attack costs is printed at the end of the run (memory, descriptors,
what another sandbox waited); asserted are the promised bound on memory, that the other sandbox was never refused, that
the gateway let go of the attacker's connections by itself, and bounds on time that hold on a busy machine.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from credgate.git.pktline import DELIMITER, FLUSH, encode
from tests.attacks.conftest import CONTROL, OUTSIDE, REPO, Field, StartField, figures, good
from tests.attacks.rawclient import login
from tests.attacks.scripted import Asked, Said
from tests.attacks.siege import ATTACKER, MIB, RawClient, Siege, memory, siege
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.alone

ADVERTISED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"
RESULT = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n"
pause = threading.Event().wait
"""The attacker's own slowness; nothing is awaited by it."""


def rounds(seconds: float = 1.0) -> Iterator[int]:
    """Repeat the attack, long enough to affect the neighbour."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > end:
            return
        yield number


@pytest.fixture(scope="module")
def hasty(start_field: StartField) -> Field:
    """Start a gateway with short deadlines."""
    return start_field(
        head_timeout="2s",
        idle_timeout="1s",
        stall_timeout="1s",
        forge_timeout="6s",
        max_connections_per_address=64,
        wrong_credentials_per_minute=10,
    )


@pytest.fixture(scope="module")
def fortress(start_field: StartField) -> Field:
    """Start a gateway with all limits as they are by default, but fewer connections in all."""
    return start_field(max_connections=200, max_connections_per_address=64, wrong_credentials_per_minute=10)


def slow_heads(attack: Siege) -> None:
    """Send a byte at a time: an idle timer that every byte restarts is no deadline."""
    clients = attack.open(60)
    request = itertools.cycle(attack.field.discovery())

    def dribble() -> bool:
        byte = bytes([next(request)])
        return sum(client.send(byte) for client in clients) == 0

    wait_until(dribble, "the deadline is absolute: who goes on sending is cut as well")
    attack.wait_for_the_end()


def silent_connections(attack: Siege) -> None:
    """Open connections and send nothing."""
    attack.open(60)
    attack.wait_for_the_end()


def idle_connections(attack: Siege) -> None:
    """One good request each, then nothing."""
    for client in attack.open(60):
        client.send(attack.field.discovery())
        assert client.hear(answers=1).only.status == 200
    attack.wait_for_the_end()


def slow_bodies(attack: Siege) -> None:
    """Pushes and fetches that stop after their first bytes."""
    for service in ("git-upload-pack", "git-receive-pack"):
        start = attack.field.post(service, b"00a0", b"Content-Length: 1000000", framed=False)
        for client in attack.open(30):
            client.send(start)
    attack.wait_for_the_end()


def slow_strangers(attack: Siege) -> None:
    """Bodies of clients without a session, a byte at a time: progress does not extend their deadline."""
    start = b"POST /git/octo/hello.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    clients = attack.open(60)
    for client in clients:
        client.send(start)
    wait_until(lambda: sum(client.send(b"0") for client in clients) == 0, "no byte earns a stranger time")
    attack.wait_for_the_end()


def readers_that_never_read(attack: Siege) -> None:
    """Big advertisements for clients that take none of it."""
    piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n"

    def big(asked: Asked) -> Said:
        if CONTROL.encode() in asked.target:
            return good(asked)
        return Said(
            itertools.chain([ADVERTISED + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(piece, 1024))
        )

    attack.field.forge.script = big
    for client in attack.open(32, receive_buffer=4096):
        client.send(attack.field.discovery(REPO))
    attack.wait_for_the_end(seconds=60)


def answers_that_nobody_reads(attack: Siege) -> None:
    """Pages of the gateway, requested repeatedly and never read: they must not accumulate."""
    lease = attack.field.gateway.grant([f"octo/r{number:04d}" for number in range(800)])
    request = b"\r\n".join([b"GET /whoami HTTP/1.1", b"Host: x", login(lease.line)]) + b"\r\n\r\n"
    clients = attack.open(2, receive_buffer=4096)
    pid = attack.field.gateway.pid
    before = memory(pid, "VmRSS")
    for _ in range(200):
        for client in clients:
            _try_to_send(client, request)
        pause(0.01)  # one at a time: requests that arrive together are refused for another reason
    assert memory(pid, "VmRSS") - before < 4 * MIB, "it was asked for 20 MiB, of which kernels hold 8"
    attack.wait_for_the_end()


def _try_to_send(client: RawClient, request: bytes) -> None:
    with contextlib.suppress(OSError):
        client.socket.send(request, socket.MSG_DONTWAIT)


def floods_of_connections(attack: Siege) -> None:
    """Open four times what an address may have: the first are served, the others told why and closed."""
    clients = attack.open(256)
    for client in clients[64:]:
        heard = client.hear()
        # Of more than a hundred that come within one turn of the reactor some are closed without a word.
        assert ({one.status for one in heard.answers} <= {429}, heard.end) == (True, "closed")
    wait_until(lambda: attack.held == 64, "those that were refused are gone, and no other")
    clients[0].send(attack.field.discovery())
    assert clients[0].hear(answers=1).only.status == 200
    attack.leave()
    attack.wait_for_the_end()


def churn(attack: Siege) -> None:
    """Reset connections at every stage of a request."""
    request = attack.field.post("git-upload-pack", b"0000" * 8)
    for number in rounds():
        client = RawClient(attack.port, source=ATTACKER)
        client.send(request[: number % len(request)])
        client.reset()
    attack.wait_for_the_end()


def one_byte_chunks(attack: Siege) -> None:
    """One-byte chunks in request bodies."""
    body = b"1\r\nx\r\n" * 65536 + b"0\r\n\r\n"
    request = attack.field.post("git-upload-pack", body, b"Transfer-Encoding: chunked", framed=False)
    clients = attack.open(8)
    for _ in rounds():
        for client in clients:
            client.send(request)
        assert {client.hear(answers=1).only.status for client in clients} == {200}
    assert {len(asked.body) for asked in attack.field.forge.asked if asked.method == b"POST"} == {65536}
    attack.leave()
    attack.wait_for_the_end()


def one_byte_chunks_of_the_forge(attack: Siege) -> None:
    """One-byte chunks in answers of the forge."""
    body = b"1\r\nx\r\n" * 65536 + b"0\r\n\r\n"

    def crumbs(asked: Asked) -> Said:
        if CONTROL.encode() in asked.target:
            return good(asked)
        return Said([RESULT + b"Transfer-Encoding: chunked\r\n\r\n" + body])

    attack.field.forge.script = crumbs
    clients = attack.open(8)
    for number in rounds():
        client = clients[number % 8]
        client.send(attack.field.post("git-upload-pack", b"0000"))
        assert client.hear(answers=1).only.body == b"x" * 65536
    attack.leave()
    attack.wait_for_the_end()


def chunk_extensions(attack: Siege) -> None:
    """Refused at the first."""
    body = (b"1;" + b"a" * 20 + b"\r\nx\r\n") * 20000
    request = attack.field.post("git-upload-pack", body, b"Transfer-Encoding: chunked", framed=False)
    for _ in rounds():
        (client,) = attack.open(1)
        client.send(request)
        assert client.hear().only.status == 400
        client.socket.close()
    attack.wait_for_the_end()


def huge_heads(attack: Siege) -> None:
    """Sixteen megabytes of head, of names, of empty lines."""
    forms = (
        b"GET / HTTP/1.1\r\nX: " + b"a" * 16 * MIB,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3 * MIB,
        b"\r\n" * 8 * MIB,
    )
    for number in rounds():
        (client,) = attack.open(1)
        client.send(forms[number % 3])
        heard = client.hear()
        assert heard.end in {"closed", "reset"}
        assert not heard.data or heard.only.status in {400, 431}
        client.socket.close()
    attack.wait_for_the_end()


def pipelines(attack: Siege) -> None:
    """Twenty thousand requests at once on each connection: one is answered."""
    flood = attack.field.discovery() * 20000
    for _ in rounds():
        (client,) = attack.open(1)
        client.send(flood)
        heard = client.hear()
        assert heard.end in {"closed", "reset"}
        assert len(heard.answers) <= 1
        client.socket.close()
    attack.wait_for_the_end()


def _bomb(start: bytes) -> bytes:
    return gzip.compress(start + bytes(64 * MIB))


COMMAND = b"%b %b refs/heads/x\0 report-status side-band-64k" % (b"0" * 40, b"1" * 40)
BOMBS = [_bomb(b"%04x%b0000PACK" % (len(COMMAND) + 4, COMMAND)), _bomb(b"")]


def gzip_bombs(attack: Siege) -> None:
    """Push 64 MiB of zeros in 64 KiB: never inflated beyond a hundredfold, never relayed beyond it."""
    for number in rounds():
        (client,) = attack.open(1)
        client.send(attack.field.post("git-receive-pack", BOMBS[number % 2], b"Content-Encoding: gzip"))
        answer = client.hear(answers=1).answers[0]
        assert answer.status in {400, 413} or b"ng refs/heads/x credgate: " in answer.body
        client.socket.close()
    attack.wait_for_the_end()
    assert attack.field.forge.asked == [] or all(CONTROL.encode() in asked.target for asked in attack.field.forge.asked)


MANY_REFS = gzip.compress(
    b"".join(
        encode(b"%b %040x refs/heads/branch-%d%b" % (b"0" * 40, 7, at, b"" if at else b"\0 report-status"))
        for at in range(20_000)
    )
)
SHORT_PACKETS = gzip.compress(encode(b"command=fetch") + DELIMITER + b"0005x" * 200_000 + FLUSH)
WANTS = gzip.compress(
    encode(b"command=fetch") + DELIMITER + b"".join(encode(b"want %040x\n" % (at % 50)) for at in range(20_000)) + FLUSH
)


def lists_that_are_held(attack: Siege) -> None:
    """Push 20,000 refs each where nothing is granted, and stop before the end: names are kept, so many and no more."""
    start = attack.field.post("git-receive-pack", MANY_REFS, b"Content-Encoding: gzip", repo=OUTSIDE)[:-10]
    body = attack.field.post("git-receive-pack", MANY_REFS, b"Content-Encoding: gzip", repo=OUTSIDE)
    for client in attack.open(32):
        client.send(start)
    for _ in range(3):  # each is read after all those that were sent before it
        (client,) = attack.open(1)
        client.send(body)
        assert client.hear(answers=1).only.body.count(b"ng refs/heads/branch-") == 2_000
    attack.leave()
    attack.wait_for_the_end()


def lists_of_refs(attack: Siege) -> None:
    """Send the same to their end, one after the other."""
    body = attack.field.post("git-receive-pack", MANY_REFS, b"Content-Encoding: gzip", repo=OUTSIDE)
    for _ in rounds():
        (client,) = attack.open(1)
        client.send(body)
        assert client.hear(answers=1).only.body.count(b"ng refs/heads/branch-") == 2_000
        client.socket.close()
    attack.wait_for_the_end()


def fetches_of_many_lines(attack: Siege) -> None:
    """Eight at a time: packets of five bytes, which no fetch has, and lines that one may have."""
    v2 = (b"Content-Encoding: gzip", b"Git-Protocol: version=2")
    bodies = [attack.field.post("git-upload-pack", body, *v2) for body in (SHORT_PACKETS, WANTS)]
    for number in rounds():
        clients = attack.open(8)
        for client in clients:
            client.send(bodies[number % 2])
        for client in clients:
            refused = b"too many arguments" in client.hear(answers=1).only.body
            assert refused is (number % 2 == 0)
            client.socket.close()
    attack.wait_for_the_end()


def wrong_credentials(attack: Siege) -> None:
    """Guessing is throttled after ten tries a minute and address."""
    request = attack.field.discovery().replace(
        attack.field.authorization, b"Authorization: Bearer " + b"A" * 43 + b":" + b"B" * 43
    )
    statuses = []
    for client in attack.open(20):
        for _ in range(50):
            client.send(request)
            statuses.append(client.hear(answers=1).only.status)
    assert statuses == [403] * 10 + [429] * 990
    attack.leave()
    attack.wait_for_the_end()


def silent_forge(attack: Siege) -> None:
    """Send half a head as the forge: 504 after the deadline."""

    def dead(asked: Asked) -> Said:
        return good(asked) if CONTROL.encode() in asked.target else Said([b"HTTP/1.1 2"])

    attack.field.forge.script = dead
    clients = attack.open(40)
    for client in clients:
        client.send(attack.field.discovery(REPO))
    assert {client.hear(answers=1).answers[0].status for client in clients} == {504}
    attack.wait_for_the_end()


LATE = (
    slow_heads, silent_connections, idle_connections, slow_bodies, slow_strangers, readers_that_never_read,
    answers_that_nobody_reads, silent_forge,
)  # fmt: skip
"""Attacks by waiting: a deadline ends them."""
FLOODS = (
    floods_of_connections, churn, one_byte_chunks, one_byte_chunks_of_the_forge, chunk_extensions, huge_heads,
    pipelines, gzip_bombs, lists_that_are_held, lists_of_refs, fetches_of_many_lines, wrong_credentials,
)  # fmt: skip
"""Attacks by plenty."""


@pytest.mark.parametrize("attack", [*LATE, *FLOODS], ids=lambda attack: attack.__name__)
def test_one_sandbox_cannot_starve_another(hasty: Field, fortress: Field, attack: Callable[[Siege], None]) -> None:
    """Memory stays flat, descriptors are released, the attacker is disconnected, and the neighbour is served."""
    field = hasty if attack in LATE else fortress
    field.forge.script = good
    field.forge.clear()
    with siege(field, field.gateway.grant([CONTROL]), CONTROL) as this:
        attack(this)
    cost = this.cost
    figures.append(
        f"{attack.__name__:30} memory {cost['grew'] / MIB:+5.1f} MiB  descriptors {cost['descriptors']:+3d}  "
        f"longest turn {cost['turn']:4.1f} ms  "
        f"neighbour {cost['asked']:4.0f} asked {cost['failed']:.0f} failed  "
        f"page p50 {cost['page p50']:6.1f} p99 {cost['page p99']:6.1f} ms  "
        f"discovery p50 {cost['discovery p50']:6.1f} p99 {cost['discovery p99']:6.1f} ms"
    )
    assert cost["grew"] <= 64 * MIB
    assert cost["descriptors"] <= 40, "the pool keeps 16 to the forge; under load some are still on their way out"
    assert cost["failed"] == 0
    assert cost["page p99"] < 2000
    field.control()
    field.check_log()


@contextlib.contextmanager
def crowd(field: Field, count: int) -> Iterator[list[RawClient]]:
    """Connect from five addresses, none of which goes over its own limit."""
    with contextlib.ExitStack() as stack:
        sources = (f"127.0.1.{number % 5 + 1}" for number in range(count))
        yield [stack.enter_context(RawClient(field.gateway.port, source=source)) for source in sources]


def test_all_addresses_together_have_a_limit_too(fortress: Field) -> None:
    """Connections above the limit (200 here) get an answer; when some close, others are accepted."""
    with crowd(fortress, 230) as clients:
        assert {client.hear().only.status for client in clients[200:]} == {429}
        for client in clients[:100]:
            client.socket.close()
        fortress.control()


def test_the_control_socket_answers_under_a_flood(fortress: Field) -> None:
    """The host can revoke the attacker's session during the attack."""
    with crowd(fortress, 250):
        fortress.gateway.revoke(fortress.gateway.grant([REPO]))


def test_a_burst_of_connections_waits_in_the_kernel(fortress: Field) -> None:
    """A connection that the kernel drops is retried after one second, then three; the backlog avoids that."""
    os.kill(fortress.gateway.pid, signal.SIGSTOP)
    try:
        with crowd(fortress, 120) as clients:
            assert len(clients) == 120
    finally:
        os.kill(fortress.gateway.pid, signal.SIGCONT)
    fortress.control()
