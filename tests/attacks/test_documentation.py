"""docs/attacks.md names a test for every row of the threats it covers, and every test it names exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fakes.gateway import ROOT
from tests.http.hostile_requests import HOSTILE_REQUESTS
from tests.http.hostile_responses import HOSTILE_RESPONSES

TEXT = (ROOT / "docs" / "attacks.md").read_text()
COVERED = list(range(1, 132))
"""Up to 100 the project's list of threats, every row of it; what came later has the numbers behind, with gaps."""
ROWS = dict(re.findall(r"^\| (\d+) \|(.*)\|$", TEXT, re.MULTILINE))
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", TEXT)))


def test_every_threat_has_a_row_and_every_row_a_test() -> None:
    """Rows are numbered without gaps up to the end of the list."""
    numbers = [int(number) for number in ROWS]
    assert numbers[: len(COVERED)] == COVERED
    assert numbers == sorted(set(numbers))
    for number, row in ROWS.items():
        assert re.search(r"`(tests/[\w/.]+\.py::\w+|WHOLE|SIEGE)`", row.rpartition("|")[2]), number


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_every_named_test_exists(file: str, name: str) -> None:
    """A renamed test is renamed in the document, too."""
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in tree.body if isinstance(node, functions)}


def test_stated_table_sizes_are_true() -> None:
    """The sizes in the text are those of the tables."""
    assert len(HOSTILE_REQUESTS) > int(re.findall(r"over (\d+)\) and of hostile", TEXT)[0])
    assert len(HOSTILE_RESPONSES) > int(re.findall(r"over (\d+), each to", TEXT)[0])


def test_document_lists_what_is_not_promised() -> None:
    """The last section names each limit."""
    said = TEXT.partition("## What is not promised")[2]
    for word in ("Host root", "CAP_NET_RAW", "old database", "full disk", "write-ahead log", "floor rate", "Covert"):
        assert word in said
