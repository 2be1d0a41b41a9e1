"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from credgate.values import Reason

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reason_code_says_what_to_do() -> None:
    """An operator who meets a code in the audit log finds its row, and no row speaks of a code that is gone."""
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(Reason)
