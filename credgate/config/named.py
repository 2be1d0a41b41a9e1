"""What a configuration names: the variables and files that hold credentials, and credgate's own files.

``credgate run`` keeps all of it from its command. Variables and files are taken from parsed references, in whatever
key they stand. Pure: no file is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from credgate.config.references import Reference, parse_reference
from credgate.config.secrets import located
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.config.schema import Config


@frozen
class Named:
    """What a configuration names."""

    variables: frozenset[str] = frozenset()
    """Of ``env://``."""
    secrets: tuple[Path, ...] = ()
    """Files of ``file://`` and ``systemd://``: each holds a credential."""
    others: tuple[Path, ...] = ()
    """Files that may hold one: the configuration, the audit file, the session store, CA files, files that a ``cmd://``
    is given as arguments."""


def named(config: Config, environ: Mapping[str, str]) -> Named:
    """Return what ``config`` names. Raises ConfigError for a ``systemd://`` reference without its directory."""
    references = [located(one, environ) for one in dict.fromkeys(_references(asdict(config)))]
    others = [config.source, config.sessions.store_path, *(forge.ca_file for forge in config.forges.values())]
    others += [config.audit.to] if config.audit.to != "stderr" else []
    # A word may be an option with its value: --file=/path.
    words = [word for one in references for word in one.words[1:]]
    others += [path for word in words for path in (word, word.partition("=")[2]) if path.startswith("/")]
    return Named(
        frozenset(one.target for one in references if one.kind == "env"),
        tuple(Path(one.target) for one in references if one.kind == "file"),
        tuple(Path(one) for one in dict.fromkeys(others) if one),
    )


def _references(value: object) -> Iterator[Reference]:
    """Yield the references in a configuration's values, however deep."""
    if isinstance(value, str):
        try:
            yield parse_reference(value)
        except ConfigError:
            return
    elif isinstance(value, dict):
        for below in value.values():
            yield from _references(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _references(below)
