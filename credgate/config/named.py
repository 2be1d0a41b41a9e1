"""What a configuration names: the variables and files that hold credentials, and credgate's own files.

``credgate run`` keeps all of it from its command. Variables and files are taken from parsed references, in whatever
key they stand. Pure: no file is looked at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from credgate.config.references import Reference, parse_reference
from credgate.config.secrets import located
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from credgate.config.schema import Config


@frozen
class Named:
    """What a configuration names."""

    variables: frozenset[str] = frozenset()
    """Of ``env://``."""
    secrets: tuple[Path, ...] = ()
    """Files of ``file://`` and ``systemd://``: each holds a credential."""
    others: tuple[Path, ...] = ()
    """Files that may hold one: CA files, and those that a ``cmd://`` has among its arguments."""
    own: tuple[Path, ...] = ()
    """credgate's own: the configuration, the audit file, the session store. Files beside them whose names go on after
    theirs (``audit.log.1``, ``sessions.db-wal``) belong to them."""


_PROGRAMS = tuple(f"{place}/" for place in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"))
"""Arguments below these are programs that the command needs as well."""
_PATHS = re.compile(r"(?<![^\s'\"=:;|&<>()])/(?!/)[^\s'\"=:;|&<>()]+")
"""Absolute paths in a longer word: ``--file=/path``, or the script of ``sh -c``."""


def named(config: Config, environ: Mapping[str, str]) -> Named:
    """Return what ``config`` names. Raises ConfigError for a ``systemd://`` reference without its directory."""
    references = [located(one, environ) for one in dict.fromkeys(_references(asdict(config)))]
    words = [part for one in references for word in one.words[1:] for part in (word, *_PATHS.findall(word))]
    others = [one for one in words if one.startswith("/") and not one.startswith(_PROGRAMS)]
    others += [forge.ca_file for forge in config.forges.values()]
    own = [config.source, config.sessions.store_path, config.audit.to if config.audit.to != "stderr" else ""]
    return Named(
        frozenset(one.target for one in references if one.kind == "env"),
        _paths(one.target for one in references if one.kind == "file"),
        _paths(others),
        _paths(own),
    )


def _paths(found: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(one) for one in dict.fromkeys(found) if one)


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
