"""No input of a megabyte stops the reactor for longer than 20 ms, or makes the process grow by more than 16 MiB.

The same cases are the table in docs/attacks.md, which ``tox run -e attacks-table`` writes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.attacks.siege import MIB
from tests.attacks.worst_inputs import ALLOWED_GROWTH, PROMISED, measured, staged
from tests.attacks.worst_table import BEGIN, CASES, END
from tests.fakes.gateway import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.attacks.worst_inputs import Case, Stage

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def stage(place: Path) -> Iterator[Stage]:
    """Start the gateway of all cases: each also shows that the ones before it did no harm."""
    with staged(place / "worst") as stage:
        yield stage
        stage.field.check_log()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_worst_input_does_not_stop_the_reactor(stage: Stage, case: Case) -> None:
    """It has the expected result, and a normal request is answered before and after it (``measured``)."""
    cost = measured(stage, case)
    assert re.match(case.ends, cost.result), cost.result
    assert cost.lag.turns > 0
    assert cost.lag.stopped <= PROMISED, f"{cost.lag}"
    assert cost.grew <= ALLOWED_GROWTH, f"{cost.grew / MIB:.1f} MiB"


def test_the_table_names_every_case() -> None:
    """A case that is added is measured and written down."""
    table = (ROOT / "docs" / "attacks.md").read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table.splitlines()[3:]]
    assert rows == [(case.parser, case.input) for case in CASES]
