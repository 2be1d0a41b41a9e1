"""DNS: queries a second of credgate and dnsmasq, measured by dnsperf in the same run, and memory over ten million.

Both use the same upstream (a dnsmasq that has the name) for the allowed name and answer it from their cache. Both
refuse everything else with NXDOMAIN. credgate is the complete gateway without its rate limit, because dnsperf is one
client. Its refusals also have an extended error and an SOA, those of dnsmasq do not.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.table import Aim, Row
from benchmarks.targets import found
from tests.fakes.gateway import Gateway
from tests.fakes.resolvers import free_port
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = "allowed.bench.test"
NAMES = 5000
UNTIL_SETTLED = 1_000_000
"""Questions before the first look at memory: caches fill, the allocator's arenas grow."""


@frozen
class Server:
    """What is asked."""

    name: str
    port: int
    pid: int


def _questions(folder: Path) -> dict[str, Path]:
    names = [f"name{number}.refused.test A" for number in range(NAMES)]
    # Far more names than any cache holds, and some that only look like names.
    many = [f"n{number}.x{number % 7}.refused.test {'AAAA' if number % 3 else 'TXT'}" for number in range(50 * NAMES)]
    files = {"allowed": [f"{ALLOWED} A"], "refused": names, "many": [*many, f"{ALLOWED} A"]}
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return {name: folder / name for name in files}


def _dnsmasq(stack: contextlib.ExitStack, *words: str) -> tuple[int, int]:
    """Start one; its port and process id."""
    port = free_port()
    command = [
        found("dnsmasq"),
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--no-resolv",
        "--no-hosts",
    ]
    command += [
        f"--port={port}",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--user=root",
        "--cache-size=10000",
        *words,
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return port, process.pid


def _credgate(stack: contextlib.ExitStack, folder: Path, upstream: int) -> Server:
    folder.mkdir()
    port = free_port()
    dns = {"allow": [ALLOWED], "upstream": [f"127.0.0.1:{upstream}"], "rate": 0}
    settings = {"listen": {"dns": f"127.0.0.1:{port}"}, "dns": dns}
    gateway = Gateway(folder, "http://127.0.0.1:9", "unused-" + "x" * 30, settings)
    stack.callback(gateway.stop, signal.SIGKILL)
    gateway.start()
    return Server("credgate", port, gateway.pid)


@contextlib.contextmanager
def servers() -> Iterator[tuple[list[Server], dict[str, Path]]]:
    """Start both, and their upstream; end them."""
    folder = Path(tempfile.mkdtemp(prefix="cgb-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        upstream, _ = _dnsmasq(stack, f"--host-record={ALLOWED},93.184.216.34", "--local-ttl=3600")
        port, pid = _dnsmasq(stack, f"--server=/{ALLOWED}/127.0.0.1#{upstream}", "--local=/test/")
        started = [Server("dnsmasq", port, pid), _credgate(stack, folder / "gateway", upstream)]
        questions = _questions(folder)
        for server in started:
            wait_until(
                lambda s=server: "NOERROR" in _dnsperf(s, questions["allowed"], "-n", "1"), f"{server.name} answers"
            )
        yield started, questions


def _dnsperf(server: Server, questions: Path, *words: str) -> str:
    place = ["-s", "127.0.0.1", "-p", str(server.port), "-d", str(questions)]
    ran = subprocess.run([found("dnsperf"), *place, *words], capture_output=True, text=True, timeout=1200, check=False)
    return ran.stdout


def rate(server: Server, questions: Path, seconds: int, *, tcp: bool) -> float:
    """Return the questions answered a second."""
    said = _dnsperf(server, questions, "-l", str(seconds), "-c", "4", "-q", "100", *(("-m", "tcp") if tcp else ()))
    return float(re.findall(r"Queries per second: *([0-9.]+)", said)[0])


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    return int(re.findall(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def growth(server: Server, questions: Path, count: int) -> float:
    """Ask ``count`` questions over far more names than a cache holds; the MiB by which memory has grown."""
    _asked(server, questions, UNTIL_SETTLED)
    before = resident(server.pid)
    _asked(server, questions, count)
    return resident(server.pid) - before


def _asked(server: Server, questions: Path, count: int) -> None:
    rounds = -(-count // len(questions.read_text().splitlines()))
    _dnsperf(server, questions, "-n", str(rounds), "-c", "4", "-q", "100")


def rows(*, rounds: int, seconds: int, questions: int) -> list[Row]:
    """Measure all; ``questions`` is how many the look at memory asks (0: no look)."""
    kinds = [
        (Row("cached allowed name", "1/s", aims=(Aim("dnsmasq", 0.9),)), "allowed", False),
        (Row("5,000 refused names", "1/s", aims=(Aim("dnsmasq", 0.5),)), "refused", False),
        (Row("cached allowed name, TCP", "1/s"), "allowed", True),
    ]
    with servers() as (started, files):
        for number in range(rounds):
            for row, file, tcp in kinds:
                for server in started[:: 1 if number % 2 else -1]:
                    row.add(server.name, rate(server, files[file], seconds, tcp=tcp))
                shown = ", ".join(f"{name} {figures[-1]:,.0f}" for name, figures in row.figures.items())
                print(f"round {number + 1}: dns: {row.name}: {shown}", file=sys.stderr, flush=True)
        if questions:
            memory = Row(f"memory growth over {questions:,} questions", "MiB", 1, more_is_better=False)
            memory.add("credgate", growth(started[1], files["many"], questions))
            kinds.append((memory, "", False))
    return [row for row, *_ in kinds]


def markdown(measured: list[Row]) -> str:
    """Make the table: credgate and dnsmasq."""
    lines = ["| work | unit | dnsmasq | credgate | of dnsmasq | aim |", "|---|---|---|---|---|---|"]
    for row in measured:
        medians = [row.median(name) for name in ("dnsmasq", "credgate")]
        figures = ["-" if one is None else f"{one:,.{row.digits}f}" for one in medians]
        ratio = row.ratio("dnsmasq")
        cells = [row.name, row.unit, *figures, "-" if ratio is None else f"{ratio:.2f}", "; ".join(row.verdicts())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
