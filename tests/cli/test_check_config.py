"""``credgate check-config``: the line that the start would end with, without a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import pytest

from tests.fakes.cli import credgate
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\ncredential = "env://NOT_SET"\n'


def test_a_file_that_can_be_used_is_told_by_its_digests(tmp_path: Path) -> None:
    """No secret is read: CI has none."""
    file = tmp_path / "credgate.toml"
    file.write_text(GOOD)
    told = credgate("check-config", str(file))
    assert told.status == 0
    assert told.out.startswith(f"{file}: configuration ")
    assert told.out.endswith(", forges: github.com\n")
    told = credgate("check-config", str(file), "--json")
    jsonschema.validate(told.json, schema("check-config"))
    assert told.json["usable"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", ":1: not TOML"),
        ("[limits]\nmax_heads = 1\n", ":2: limits.max_heads: unknown key"),
        ('[dns]\nallow = ["*"]\n', ":2: dns.allow"),
        (GOOD.replace('"github"', '"cvs"'), ':2: forges."github.com".kind: "cvs" is unknown'),
        (GOOD.replace("env://NOT_SET", "ghp_0123"), "credential"),
    ],
)
def test_one_that_cannot_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    """File, line, key and what was meant."""
    file = tmp_path / "credgate.toml"
    file.write_text(text)
    told = credgate("check-config", str(file))
    assert told.status == 2
    assert said in told.line
    assert "ghp_0123" not in told.line
    told = credgate("--json", "check-config", str(file))
    jsonschema.validate(told.json, schema("check-config"))
    assert (told.status, told.json["usable"]) == (2, False)
