"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.config.schema import Forge
from credgate.config.structure import KINDS
from credgate.forges.base import Base
from credgate.forges.registry import driver_for
from credgate.forges.sentences import COMMON
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reason_code_says_what_to_do() -> None:
    """An operator who meets a code in the audit log finds its row, and no row speaks of a code that is gone."""
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(Reason)


def _listed(section: str) -> Words:
    """Read the table of one kind's sentences."""
    rows = re.findall(r"^\| (\d+|5xx|other)(?:, (read|write))? \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
    statuses = {"5xx": 500, "other": 400}
    named = [(statuses.get(status) or int(status), access, words) for status, access, words in rows]
    return {(status, Access(access)) if access else status: words for status, access, words in named}


def test_every_sentence_of_every_driver_says_what_to_do() -> None:
    """Whoever reads a forge's refusal in git's output finds it word for word, and beside it what helps."""
    part = (DOCS / "operations.md").read_text().partition("\n## What a forge's refusal means\n")[2]
    sections = {
        name: _listed(text)
        for name, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^###|\Z)", part, re.MULTILINE | re.DOTALL)
    }
    kinds = {f"Kind `{kind}`": driver_for(Forge("x", kind, "https://x.example")) for kind in KINDS}
    spoken = {name: dict(driver.words) for name, driver in kinds.items() if isinstance(driver, Base) and driver.words}
    assert len(spoken) == len(KINDS) - 1  # generic has none of its own
    assert sections == {"Any forge": dict(COMMON)} | spoken


def test_every_kind_of_forge_is_described() -> None:
    """Each has its row of names and login, and a paragraph on the credential to make."""
    text = (DOCS / "configuration.md").read_text().partition("\n### Kinds of forges\n")[2].partition("\n### ")[0]
    shapes = {kind: driver_for(Forge("x", kind, "https://x.example")).shape for kind in KINDS}
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(KINDS)
    assert re.findall(r"^\*\*`([a-z-]+)`\*\*: ", text, re.MULTILINE) == list(KINDS)
    assert [kind for kind, shape in shapes.items() if shape.removeprefix("scm/") not in text] == ["generic"]
