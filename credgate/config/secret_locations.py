"""Where a configuration's secrets are: environment variables and files that hold credentials, and credgate's own files.

``credgate run`` keeps all of these from its command. They are taken from the parsed references in the configuration,
under any key, so that a new key with a reference is covered without a change here. No file is opened.
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
class SecretLocations:
    """The environment variables and files that a configuration names."""

    variables: frozenset[str] = frozenset()
    """Of ``env://`` references."""
    secrets: tuple[Path, ...] = ()
    """Files of ``file://`` and ``systemd://`` references. Each contains a credential."""
    others: tuple[Path, ...] = ()
    """Files that may contain one: CA files, and paths among the arguments of ``cmd://`` references."""
    own: tuple[Path, ...] = ()
    """credgate's own files: the configuration, the audit log, the session store. Files whose name continues theirs
    (``audit.log.1``, ``sessions.db-wal``) belong to them."""


# Arguments below these directories are programs, which the command needs as well.
_PROGRAMS = tuple(f"{directory}/" for directory in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"))
# Absolute paths inside a longer argument: ``--file=/path``, or the script of ``sh -c``.
_PATHS = re.compile(r"(?<![^\s'\"=:;|&<>()])/(?!/)[^\s'\"=:;|&<>()]+")


def secret_locations(config: Config, environ: Mapping[str, str]) -> SecretLocations:
    """Return the locations in ``config``. Raises ConfigError for ``systemd://`` without $CREDENTIALS_DIRECTORY."""
    references = [located(one, environ) for one in dict.fromkeys(_references(asdict(config)))]
    words = [part for one in references for word in one.words[1:] for part in (word, *_PATHS.findall(word))]
    others = [word for word in words if word.startswith("/") and not word.startswith(_PROGRAMS)]
    others += [forge.ca_file for forge in config.forges.values()]
    own = [config.source, config.sessions.store_path, config.audit.to if config.audit.to != "stderr" else ""]
    return SecretLocations(
        frozenset(one.target for one in references if one.kind == "env"),
        _paths(one.target for one in references if one.kind == "file"),
        _paths(others),
        _paths(own),
    )


def _paths(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(name) for name in dict.fromkeys(names) if name)


def _references(value: object) -> Iterator[Reference]:
    """Yield the references among a configuration's values, at any depth."""
    if isinstance(value, str):
        try:
            yield parse_reference(value)
        except ConfigError:
            return  # another kind of value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)
