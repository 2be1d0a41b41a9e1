"""No module of credgate imports itself through others, types that only mypy sees included."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import credgate

ROOT = Path(credgate.__file__).parent


def test_modules_form_no_import_circle() -> None:
    """A circle of files can only be understood, tested and changed as a whole."""
    modules = {_name(path): path for path in ROOT.rglob("*.py")}
    graph = {name: _imports(path) & set(modules) - {name} for name, path in modules.items()}
    assert len(graph) > 100  # the tree was found
    assert tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which lists the circle


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found
