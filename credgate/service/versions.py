"""Whether the libraries that are installed are as new as credgate asks for, judged when the gateway starts.

An installer heeds the lower bounds once; what somebody puts there afterwards (another package's pin, a restored image)
is looked at by nobody, and the bounds are where known holes are closed. A checkout on the path that was never installed
says nothing of its bounds, and is not judged.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def check_installed() -> None:
    """Raise ConfigError, which names them, if a library is older than credgate asks for, or is not there."""
    try:
        asked = metadata.requires("credgate") or []
    except metadata.PackageNotFoundError:
        return
    unfit = list(unfit_for(asked))
    if unfit:
        raise ConfigError(f"{'; '.join(unfit)}: install credgate anew, with what it asks for")


def unfit_for(asked: Iterable[str]) -> Iterator[str]:
    """Say of each requirement (PEP 508) that is not met what is installed instead; those of extras are left out."""
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is not installed, and credgate needs {requirement.name}{requirement.specifier}"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} {found} is installed, and credgate needs {requirement.specifier}"
