"""Converts the dictionaries of a TOML document to the schema's values, or lists everything that is wrong with them.

cattrs walks the document and applies the form of each key, which the schema declares. Its tree of exceptions is
flattened into ``Problem`` values: a path and one sentence; ``loading.load`` adds file and line. Every key is checked,
so that the first problem in the file can be reported rather than the first in the schema. Rules between keys are in
``loading.consistency``. Nothing is read from disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cattrs
from attrs import fields, frozen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from credgate.config import forms, netforms
from credgate.config.schema import FORGE_TABLES, KINDS, SECTIONS, Config, ForgeConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from credgate.config.toml_lines import Path

__all__ = ["KINDS", "Problem", "keys", "structure"]

# These fields are not keys: the name of a forge is that of its table, the others describe the file.
_UNWRITTEN = {"name", "source", "lines"}

# Names that other programs use for these keys.
_SYNONYMS = {"token": "credential", "password": "credential", "secret": "credential", "user": "username"}


@frozen(slots=True)
class Problem:
    """A mistake at ``path``; ``text`` says what was expected."""

    path: Path
    text: str


def keys(cls: type[Any]) -> list[str]:
    """Return the keys that a table of ``cls`` may have."""
    return [each.name for each in fields(cls) if each.name not in _UNWRITTEN and "fixed" not in each.metadata]


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    # Config last: cattrs looks up the hooks of its tables when it makes Config's own.
    for cls in (*SECTIONS.values(), *FORGE_TABLES.values(), ForgeConfig, Config):
        overrides: dict[str, Any] = {}
        for each in fields(cls):
            if "form" in each.metadata:
                overrides[each.name] = override(struct_hook=_hook(each.metadata["form"]))
            elif "fixed" in each.metadata or each.name in {"source", "lines"}:
                overrides[each.name] = override(omit=True)
        converter.register_structure_hook(cls, _table(make_dict_structure_fn(cls, converter, **overrides)))
    return converter


def _hook(form: Callable[[object], object]) -> Callable[[Any, Any], Any]:
    # A function of its own: a lambda in the loop above would apply the last form to every key.
    return lambda value, _: form(value)


def _table(structure: Callable[[Mapping[str, Any], Any], Any]) -> Callable[[Any, Any], Any]:
    def hook(value: object, cls: type) -> object:
        if not isinstance(value, dict):
            raise ValueError("expected a table, not a value")  # noqa: TRY004 - one error type for all forms
        return structure(value, cls)

    return hook


_CONVERTER = _converter()


def structure(written: Mapping[str, Any]) -> Config | list[Problem]:
    """Return the values of a document over the schema's defaults, or all problems.

    Each forge gets the name of its table. A forge without ``url`` is accepted here; ``loading.consistency``
    refuses it later.
    """
    document, problems = _named(written)
    try:
        config = _CONVERTER.structure(document, Config)
    except ClassValidationError as error:
        return problems + _flat(error, (), written)
    return problems or config


def _named(written: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Copy the name of each forge into its table, where the schema has it; ``name`` in the file itself is a problem."""
    document, problems = dict(written), []
    forges = written.get("forges")
    if not isinstance(forges, dict):
        if forges is not None:
            problems.append(Problem(("forges",), 'expected one table for each forge: [forges."NAME"]'))
            del document["forges"]
        return document, problems
    for name, table in forges.items():
        try:
            netforms.forge_name(name)
        except ValueError as error:
            problems.append(Problem(("forges", name), str(error)))
        if isinstance(table, dict) and "name" in table:
            text = f'unknown key; the name of the table is the name of the forge: "{name}"'
            problems.append(Problem(("forges", name, "name"), text))
    document["forges"] = {
        name: {**table, "name": name} if isinstance(table, dict) else table for name, table in forges.items()
    }
    return document, problems


def _flat(error: BaseException, path: Path, written: object) -> list[Problem]:
    """Flatten cattrs' tree: inner nodes have a key or an index, leaves have a form's text or a set of unknown keys."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        named, others = error.group_exceptions()
        inner = [(each, (*path, str(getattr(note, "name", getattr(note, "index", ""))))) for each, note in named]
        inner += [(each, path) for each in others]
        return [problem for each, place in inner for problem in _flat(each, place, written)]
    if isinstance(error, ForbiddenExtraKeysError):
        return [
            Problem((*path, key), _unknown(key, error.cl, _at(written, (*path, key)))) for key in error.extra_fields
        ]
    return [Problem(path, str(error))]


def _at(written: Any, path: Path) -> object:  # noqa: ANN401 - a document holds anything
    for part in path:
        written = written[part]
    return written


def _unknown(key: str, cls: type[Any], value: object = None) -> str:
    """Explain an unknown key: removed, misspelt, in the wrong table, or a forge name without quotes."""
    known = keys(cls)
    if cls is ForgeConfig and isinstance(value, dict):
        return 'unknown key; a name with dots needs quotes: [forges."git.example.com"]'
    removed = {each.name: each.default for each in fields(cls) if "fixed" in each.metadata}
    if key in removed:
        return f"removed: now fixed at {removed[key]:g}{' s' if key.endswith('_ttl') else ''}"
    if near := _SYNONYMS.get(key) if _SYNONYMS.get(key) in known else forms.nearest(key, known):
        return f'unknown key; did you mean "{near}"?'
    if home := next((section for section, other in SECTIONS.items() if key in keys(other)), ""):
        return f"unknown key; it belongs in [{home}]"
    return f"unknown key; known keys: {', '.join(known)}"
