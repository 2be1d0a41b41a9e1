"""A flood of DNS queries does not delay git in the same reactor.

The stock UDP port gives one socket 256 KiB a turn: with it, HTTP beside a flood waited seconds. Here a load tool sends
at full rate while real git lists the refs of a repository through the gateway.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import flood
from tests.fakes.needs import demand
from tests.fakes.resolvers import free_port
from tests.fakes.sandbox import Sandbox, address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Forge, StartGateway
    from tests.fakes.repositories import Repositories

pytestmark = pytest.mark.alone

ROUNDS = 9
MOST = 5.0
"""How many times its idle latency ``git ls-remote`` may take."""

ALLOWED, REFUSED = ["gateway A"], [f"name{number}.example A" for number in range(5000)]


def latency(box: Sandbox, path: str) -> float:
    """Return the median seconds of ``git ls-remote``."""
    taken = []
    for _ in range(ROUNDS):
        before = time.monotonic()
        box.git("ls-remote", address(path)).fine()
        taken.append(time.monotonic() - before)
    return statistics.median(taken)


def datagrams() -> int:
    """Return how many datagrams this machine has taken in or dropped so far: proof of a flood."""
    values = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp: ")]
    counts = dict(zip(values[0], values[1], strict=True))
    return int(counts["InDatagrams"]) + int(counts["InErrors"])


def dnsperf(port: int, questions: Path) -> list[str]:
    """Ask as fast as answers come, two thousand questions on the way."""
    place = ["-s", "127.0.0.1", "-p", str(port), "-d", str(questions)]
    return ["dnsperf", *place, "-l", "60", "-c", "4", "-q", "2000", "-t", "1"]


def raw(port: int, _questions: Path) -> list[str]:
    """Send as fast as the kernel takes, and wait for nobody."""
    return [sys.executable, str(Path(flood.__file__)), "127.0.0.1", str(port), "name.example"]


@pytest.mark.parametrize(
    ("tool", "load", "rate"),
    [(dnsperf, ALLOWED, 0), (dnsperf, REFUSED, 0), (raw, REFUSED, 0), (raw, REFUSED, 100)],
    ids=["dnsperf allowed", "dnsperf refused", "raw", "raw at the default rate"],
)
def test_git_beside_a_flood_stays_near_its_idle_latency(
    start_gateway: StartGateway,
    forge: Forge,
    repos: Repositories,
    tmp_path: Path,
    tool: Any,
    load: list[str],
    rate: int,
) -> None:
    """Within five times, at full rate, without a rate limit (the harder case) and with the default one."""
    if tool is dnsperf:
        demand("dnsperf")
    port, path, questions = free_port(), repos.seeded(), tmp_path / "questions"
    dns = {"dns": {"rate": rate, "upstream": ["127.0.0.1:9"]}, "dns.static": {"gateway": "10.0.0.2"}}
    # Not through the recorders: they are threads of this process, and what is measured must be the gateway alone.
    straight = f"http://127.0.0.1:{forge.server.port}"
    gateway = start_gateway(url=straight, settings={"listen": {"dns": f"127.0.0.1:{port}"}} | dns).gateway
    box = Sandbox(tmp_path / "sandbox", f"http://127.0.0.1:{gateway.port}", "helper").enable()
    box.show(gateway.grant([path]).line)
    latency(box, path)
    idle = latency(box, path)
    questions.write_text("\n".join(load) + "\n")
    before = datagrams()
    # Nice, for it stands for another machine: it takes what is left of this one's processors, and floods all the same.
    flooder = ["nice", "-n", "19", *tool(port, questions)]
    with subprocess.Popen(flooder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as flooding:
        try:
            wait_until(lambda: datagrams() - before > 2000, "the flood has begun")
            begun = datagrams()
            flooded = latency(box, path)
            assert flooding.poll() is None
            assert datagrams() - begun > 4000, "the flood went on beside git"
        finally:
            flooding.terminate()
    assert flooded < MOST * idle, f"{flooded * 1000:.0f} ms beside the flood, {idle * 1000:.0f} ms without"
