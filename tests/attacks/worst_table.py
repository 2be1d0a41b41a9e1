"""Measures every worst input and writes the table into docs/attacks.md: ``python -m tests.attacks.worst_table``.

With words as arguments: only the cases whose names hold one of them, printed and not written. The exit status is 1 if a
case was over a bound or did not end as it should.
"""

from __future__ import annotations

import re
import sys

from tests.attacks.siege import MIB
from tests.attacks.worst_dns import DNS
from tests.attacks.worst_git import GIT
from tests.attacks.worst_inputs import Case, Cost, measured, staged
from tests.attacks.worst_requests import API, CONTROL_CASES, HTTP, LFS
from tests.fakes.gateway import ROOT
from tests.fakes.scratch import make, remove

CASES: tuple[Case, ...] = (*HTTP, *GIT, *LFS, *API, *DNS, *CONTROL_CASES)
BEGIN, END = "<!-- worst inputs: begin -->", "<!-- worst inputs: end -->"
HEAD = "| parser | input | longest turn | growth | result |\n|---|---|---|---|---|\n"


def row(case: Case, cost: Cost) -> str:
    """Write one line of the table."""
    over = "" if cost.within else " **over**"
    grew = max(0, cost.grew) / MIB
    return f"| {case.parser} | {case.input} | {cost.lag.stopped:.1f} ms | {grew:.1f} MiB | {cost.result}{over} |"


def replaced(text: str, table: str) -> str:
    """Put the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"docs/attacks.md has no {END}"
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(words: list[str]) -> int:
    """Measure, print, and write unless ``words`` choose."""
    chosen = [case for case in CASES if not words or any(word in case.name for word in words)]
    lines, failed = [], False
    folder = make()
    try:
        with staged(folder / "worst") as stage:
            for case in chosen:
                cost = measured(stage, case)
                failed = failed or not cost.within or re.match(case.ends, cost.result) is None
                lines.append(row(case, cost))
                details = f"wall {cost.lag.wall:.1f} ms, processor {cost.lag.cpu:.1f} ms, {cost.lag.turns} turns"
                sys.stdout.write(f"{lines[-1]} {details}\n")
                sys.stdout.flush()
    finally:
        remove(folder)
    if not words:
        page = ROOT / "docs" / "attacks.md"
        page.write_text(replaced(page.read_text(), HEAD + "".join(f"{line}\n" for line in lines)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
