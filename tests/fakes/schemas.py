"""The JSON Schemas of what ``--json`` prints, and of the control routes behind it: ``docs/cli.schema.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "docs" / "cli.schema.json"


def schema(name: str) -> dict[str, Any]:
    """Return the schema of one command's or route's answer, with all definitions."""
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    assert name in whole["$defs"], f"{FILE.name} has no {name}"
    return {"$schema": whole["$schema"], "$defs": whole["$defs"], "$ref": f"#/$defs/{name}"}


def names() -> list[str]:
    """Return the names that the file knows."""
    return list(json.loads(FILE.read_text(encoding="utf-8"))["$defs"])
