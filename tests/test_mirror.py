"""The tests lie as the sources do."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "credgate"


def test_each_source_file_has_a_test_file_of_its_name() -> None:
    """Whoever changes one finds at once what holds of it; and what has no test of its own is seen."""
    sources = [path.relative_to(SOURCES) for path in SOURCES.rglob("*.py") if path.name != "__init__.py"]
    missing = [str(one) for one in sources if not (TESTS / one.parent / f"test_{one.name}").is_file()]
    assert len(sources) > 200
    assert missing == []
