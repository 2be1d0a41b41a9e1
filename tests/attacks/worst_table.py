"""Measures every worst input and writes the table into docs/attacks.md: ``python -m tests.attacks.worst_table``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.attacks.siege import MIB
from tests.attacks.worst_inputs import Case, Cost, measured, staged
from tests.attacks.worst_git import GIT
from tests.attacks.worst_requests import API, CONTROL_CASES, DNS, HTTP, LFS
from tests.fakes.gateway import ROOT
from tests.fakes.scratch import make, remove

CASES: tuple[Case, ...] = (*HTTP, *GIT, *LFS, *DNS, *CONTROL_CASES, *API)
BEGIN, END = "<!-- worst inputs: begin -->", "<!-- worst inputs: end -->"
HEAD = "| parser | input | longest turn | growth | result |\n|---|---|---|---|---|\n"


def row(case: Case, cost: Cost) -> str:
    """Write one line of the table."""
    over = "" if cost.within else " (over)"
    grew = max(0, cost.grew) / MIB
    return f"| {case.parser} | {case.input} | {cost.lag.stopped:.1f} ms | {grew:.1f} MiB | {cost.result}{over} |"


def replaced(text: str, table: str) -> str:
    """Put the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"docs/attacks.md has no {END}"
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(words: list[str]) -> int:
    """Measure the cases whose names hold any of ``words`` (none: all, which are written); how many were over."""
    chosen = [case for case in CASES if not words or any(word in case.name for word in words)]
    lines, over = [], 0
    folder = make()
    try:
        with staged(folder / "worst") as stage:
            for case in chosen:
                try:
                    cost = measured(stage, case)
                except Exception as e:
                    print(case.name, "FAILED", repr(e)[:500])
                    continue
                over += not cost.within
                lines.append(row(case, cost))
                sys.stdout.write(
                    f"{lines[-1]} [wall {cost.lag.wall:.1f} cpu {cost.lag.cpu:.1f} turns {cost.lag.turns}]\n"
                )
                sys.stdout.flush()
    finally:
        remove(folder)
    if not words:
        page = ROOT / "docs" / "attacks.md"
        page.write_text(replaced(page.read_text(), HEAD + "".join(f"{line}\n" for line in lines)))
    return over


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
