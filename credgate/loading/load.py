"""Reads ``credgate.toml`` and the environment into a ``Config``, or raises an error of one line that says why not.

The environment's defaults come first, then each key that the file sets overrides its default. ``[forges]`` in a file
replaces the built-in table of github.com: the file then lists all forges. Of several mistakes the first in the file is
reported, with file, line, key and what was expected. TOML 1.0 (toml.io/en/v1.0.0).

Reading the file blocks. No secret is read here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from credgate.config import environment, toml_lines
from credgate.config.schema import SECTIONS, Config, ForgeConfig, PushPolicy
from credgate.config.structure import Problem, structure
from credgate.errors import ConfigError
from credgate.loading import consistency

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load(path: Path, environ: Mapping[str, str], *, uid: int | None = None) -> Config:
    """Return the configuration in the file at ``path``. Blocks. Raises ``ConfigError``.

    ``uid`` chooses root's or a user's default directories; left out, it is this process's.
    """
    host = _environment(environ, uid)
    text = _text(path)
    written = _toml(text, path)
    blank = Config(source=str(path), lines=toml_lines.lines(text))
    values = structure(written)
    if isinstance(values, list):
        raise _first(values, blank)
    config = _over(environment.defaults(host), values, written)
    # The table replaces the built-in one of github.com: the file then lists all forges.
    if "forges" in written:
        forges = {name: _filled(forge, written["forges"][name], host) for name, forge in values.forges.items()}
        config = evolve(config, forges=forges)
    return _checked(evolve(config, source=blank.source, lines=blank.lines))


def from_environment(environ: Mapping[str, str], *, uid: int | None = None) -> Config:
    """Return the configuration of a process without a file. Raises ``ConfigError`` that names the variable."""
    return _checked(environment.defaults(_environment(environ, uid)))


def config_hash(config: Config) -> str:
    """Return 12 hex digits that change with any value, but not with comments, order or the name of the file."""
    return _digest(config)


def policy_hash(policy: PushPolicy) -> str:
    """Return 12 hex digits that change with any rule on pushes."""
    return _digest(policy)


def _digest(section: Config | PushPolicy) -> str:
    values = asdict(
        section,
        filter=lambda attribute, _: attribute.name not in {"source", "lines"},
        value_serializer=lambda _instance, _attribute, value: sorted(value) if isinstance(value, frozenset) else value,
    )
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _environment(environ: Mapping[str, str], uid: int | None) -> environment.Environment:
    return environment.Environment(environ, os.geteuid() if uid is None else uid)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", file=str(path)) from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError("the file is too large: at most 1 MiB is read", file=str(path))
    try:
        # TOML's line ends are LF and CRLF; tomllib folds them the same way.
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", file=str(path), line=line) from None


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        # TOMLDecodeError, or int()'s own for a number of thousands of digits. The line is in the text only.
        place = _TOML_PLACE.search(str(error))
        line = int(place[1] or len(text.splitlines())) if place else 0
        raise ConfigError(f"not TOML: {_TOML_PLACE.sub('', str(error))}", file=str(path), line=line) from None
    except RecursionError:
        raise ConfigError("not TOML: nested too deeply", file=str(path)) from None


def _over(base: Config, values: Config, written: Mapping[str, Any]) -> Config:
    """Override ``base`` with each key that the file sets."""
    sections = {
        section: evolve(getattr(base, section), **{key: getattr(getattr(values, section), key) for key in table})
        for section, table in written.items()
        if section in SECTIONS
    }
    if "default_forge" in written:
        return evolve(base, default_forge=values.default_forge, **sections)
    return evolve(base, **sections)


def _filled(forge: ForgeConfig, table: Mapping[str, Any], host: environment.Environment) -> ForgeConfig:
    """Add what a table ``[forges."github.com"]`` leaves out."""
    if forge.name != environment.GITHUB.name:
        return forge
    built_in = evolve(environment.GITHUB, credential=environment.github_credential(host))
    own = {"kind", "url"} - set(table)
    forge = evolve(forge, **{key: getattr(built_in, key) for key in own})
    # The token of the environment is used for https://github.com only: the table may name another URL, as tests do.
    if "credential" not in table and forge.url == built_in.url:
        return evolve(forge, credential=built_in.credential)
    return forge


def _checked(config: Config) -> Config:
    if found := consistency.problems(config):
        raise _first(found, config)
    return config


def _first(problems: list[Problem], config: Config) -> ConfigError:
    """Return the first problem in the file; problems without a line come last."""
    first = min(problems, key=lambda problem: toml_lines.line_of(config.lines, problem.path) or 2**31)
    return config.error(first.text, *first.path)
