"""``python -m benchmarks``: measures credgate, nginx, mitmproxy and dnsmasq in one run on one machine.

Prints a table and, with ``--write``, writes it to docs/benchmarks.md. Needs nginx, fcgiwrap, git, git-lfs, giftless,
wrk, dnsmasq and dnsperf; mitmproxy is installed into a virtual environment of its own on the first run. The exit status
is 1 if an aim is missed, otherwise 0.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import evolve, frozen

from benchmarks import bulk, calls, dns, lfs, sessions, small, soak, walk
from benchmarks.gitwork import GitWork
from benchmarks.page import Found
from benchmarks.table import Aim, Row, machine, versions
from benchmarks.targets import MissingError, Target, World, world

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MITMPROXY = ROOT / ".tox" / "mitmproxy"


@frozen
class Size:
    """How much of everything."""

    rounds: int
    mib: int
    seconds: int
    requests: int
    git_mib: int
    git_rounds: int
    walk_mib: int
    lfs_mib: int
    sessions: tuple[int, ...]
    questions: int
    """DNS questions while memory is watched; 0: it is not."""


FULL = Size(
    rounds=7,
    mib=1024,
    seconds=5,
    requests=3000,
    git_mib=300,
    git_rounds=7,
    walk_mib=1024,
    lfs_mib=1024,
    sessions=sessions.COUNTS,
    questions=10_000_000,
)
QUICK = Size(
    rounds=3,
    mib=256,
    seconds=1,
    requests=500,
    git_mib=40,
    git_rounds=1,
    walk_mib=128,
    lfs_mib=128,
    sessions=sessions.COUNTS[:2],
    questions=0,
)

MIB = 1024 * 1024
OTHERS = {"dns", "walk", "lfs", "sessions"}
"""Groups with a table of their own."""
Measure = Callable[[Target], float]


def _rows(size: Size) -> list[tuple[str, Row, Measure, int]]:
    """Each kind of work: its group, its row, how it is measured and how often."""
    fast = (Aim("nginx", 0.8),)
    bulk_rows = [
        ("down", "bulk", lambda p: bulk.down(p, size.mib)),
        ("down, chunked", "bulk", lambda p: bulk.down(p, size.mib, chunked=True)),
        ("up, with length", "bulk", lambda p: bulk.up(p, size.mib, chunked=False)),
        ("up, chunked", "bulk", lambda p: bulk.up(p, size.mib, chunked=True)),
        ("down from TLS", "tls", lambda p: bulk.down(p, size.mib)),
        ("up to TLS, with length", "tls", lambda p: bulk.up(p, size.mib, chunked=False)),
        ("up to TLS, chunked", "tls", lambda p: bulk.up(p, size.mib, chunked=True)),
    ]
    rows: list[tuple[str, Row, Measure, int]] = []
    for name, upstream, work in bulk_rows:
        row = Row(name, "MB/s", aims=fast)
        rows.append(("bulk", row, lambda t, w=work, u=upstream: w(t.places[u]), size.rounds))
    requests = Row("small requests, 16 connections", "1/s", aims=(Aim("nginx", 0.3), Aim("mitmproxy", 20)))
    rows.append(("small", requests, lambda t: small.rate(t.places["small"], size.seconds), size.rounds))
    return rows


def _measure(rows: list[tuple[str, Row, Measure, int]], targets: list[Target], size: Size) -> list[Row]:
    """Go round: every kind of work, every target, in an order that turns with each round; rows of processor time.

    What a proxy itself takes of the processor says most on a machine that others use too.
    """
    costs = [_cost(row) for _, row, *_ in rows]
    for number in range(max(rounds for *_, rounds in rows)):
        for (_, row, work, rounds), cost in zip(rows, costs, strict=True):
            if number >= rounds:
                continue
            turn = number % len(targets)
            for target in targets[turn:] + targets[:turn]:
                before, figure = target.spent(), work(target)
                row.add(target.name, figure)
                if target.pid and cost.unit:
                    done = size.mib * MIB / 1e9 if row.unit == "MB/s" else figure * size.seconds / 1000
                    cost.add(target.name, (target.spent() - before) / done)
            print(f"round {number + 1}: {row.name}: {_latest(row)}", file=sys.stderr, flush=True)
    return [cost for cost in costs if cost.figures]


def _cost(row: Row) -> Row:
    unit = {"MB/s": "s/GB", "1/s": "s/1,000"}.get(row.unit, "")
    return Row(f"processor time: {row.name}", unit, 3, more_is_better=False)


def _latest(row: Row) -> str:
    return ", ".join(f"{name} {figures[-1]:,.{row.digits}f}" for name, figures in row.figures.items())


def _latency(targets: list[Target], size: Size) -> list[Row]:
    """Latency of one request at a time, as it is and as what each target adds to going direct."""
    rows = [Row(f"latency {name}", "ms", 2, more_is_better=False) for name in ("p50", "p99")]
    added = [Row(f"added latency {name}", "ms", 2, compares=False) for name in ("p50", "p99")]
    for _ in range(size.rounds):
        found = {target.name: small.latencies(target.places["small"], size.requests) for target in targets}
        for name, pair in found.items():
            for index, figure in enumerate(pair):
                rows[index].add(name, figure)
                if name != "direct":
                    added[index].add(name, figure - found["direct"][index])
    return rows + added


def _git(place: World, size: Size) -> list[tuple[str, Row, Measure, int]]:
    work = GitWork(place, size.git_mib)
    within = (Aim("direct", 1.03),)
    clone = Row(f"git clone, {size.git_mib} MB", "s", 2, more_is_better=False, aims=within)
    push = Row(f"git push, {size.git_mib} MB", "s", 2, more_is_better=False)
    return [
        ("git", clone, lambda t: work.clone(t.places["git"]), size.git_rounds),
        ("git", push, lambda t: work.push(t.places["git"]), size.git_rounds),
    ]


def _mitmdump() -> str:
    """Find mitmproxy in its own environment, making that on the first run: its pins are not ours."""
    program = MITMPROXY / "bin" / "mitmdump"
    if not program.exists():
        venv.create(MITMPROXY, with_pip=True, clear=True)
        subprocess.run([MITMPROXY / "bin" / "pip", "install", "--quiet", "mitmproxy"], check=True)
    return str(program)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes instead of half an hour")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument(
        "--only", default="bulk,small,latency,git,walk,lfs,dns,sessions", help="groups of rows, by comma"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each row")
    parser.add_argument("--minutes", type=float, default=15, help="of --only soak, which is in no default group")
    parser.add_argument("--without-mitmproxy", action="store_true")
    parser.add_argument("--mitmdump", default="", help="the program; default: installed under .tox")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> Found:
    """Measure."""
    size = QUICK if arguments.quick else FULL
    if arguments.rounds:
        size = evolve(size, rounds=arguments.rounds, git_rounds=arguments.rounds)
    groups = set(arguments.only.split(","))
    without = arguments.without_mitmproxy or groups <= OTHERS
    mitmdump = None if without else arguments.mitmdump or _mitmdump()
    where, what = machine(), versions(mitmdump)
    what += f"; {size.rounds} rounds of {size.mib} MiB" + (", a quick run" if arguments.quick else "")
    print(f"{where}; {what}", file=sys.stderr)
    found = Found(_relayed(size, groups - OTHERS, mitmdump))
    for _ in _others(found, groups, size):
        # After each table: what takes a quarter of an hour is not lost to what comes after it.
        if arguments.write:
            PAGE.write_text(found.page(where, what), encoding="utf-8")
    return found


def _others(found: Found, groups: set[str], size: Size) -> Iterator[Found]:
    """Measure what has a table of its own, one after the other."""
    yield found
    if "walk" in groups:
        found.walked = walk.rows(rounds=min(size.git_rounds, 5), mib=size.walk_mib)
        yield found
    if "lfs" in groups:
        found.stored = lfs.rows(rounds=min(size.git_rounds, 5), mib=size.lfs_mib)
        yield found
    if "dns" in groups:
        found.asked = dns.rows(rounds=size.rounds, seconds=size.seconds, questions=size.questions)
        yield found
    if "sessions" in groups:
        found.many = sessions.measure(rounds=min(size.rounds, 3), seconds=size.seconds, counts=size.sessions)
        yield found


def _relayed(size: Size, groups: set[str], mitmdump: str | None) -> list[Row]:
    if not groups:
        return []
    with world(mitmdump) as place:
        rows = [row for row in _rows(size) if row[0] in groups]
        if "git" in groups:
            rows += _git(place, size)
        costs: list[Row] = []
        if rows:
            costs = _measure(rows, place.targets, size)
        found = [row for _, row, *_ in rows]
        if "latency" in groups:
            found += _latency(place.targets, size)
    return found + costs


def main() -> int:
    """Run; the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process that was started is ended
    arguments = _arguments()
    if arguments.only == "soak":
        soaked = soak.run(arguments.minutes)
        print(soaked.markdown())
        return int(not soaked.flat)
    try:
        found = run(arguments)
    except MissingError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(found.markdown())
    if "small" in arguments.only.split(","):
        calls.main(most=0)
    return int(any("MISSED" in said for row in found.all for said in row.verdicts()))


if __name__ == "__main__":
    sys.exit(main())
