"""The driver of each kind of forge, and the last checks of a forge's table before anything starts.

To add a kind of forge, write its driver and add it to ``_KINDS``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credgate.errors import ConfigError
from credgate.forges.azure import Azure
from credgate.forges.bitbucket import Bitbucket, BitbucketDataCenter
from credgate.forges.generic import Generic
from credgate.forges.gitea import Gitea
from credgate.forges.github import GitHub
from credgate.forges.gitlab import GitLab
from credgate.forges.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import ForgeConfig
    from credgate.forges.driver import Driver

_KINDS: dict[str, Callable[[ForgeConfig, Origin], Driver]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "gitea": Gitea,
    "bitbucket": Bitbucket,
    "bitbucket-datacenter": BitbucketDataCenter,
    "azure": Azure,
    "generic": Generic,
}
# The names that the router accepts between ``/forge/`` and the repository path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
# Printable ASCII without the colon, which ends the name in Basic (RFC 7617 section 2).
_USERNAME = re.compile(r"[!-9;-~]*")


def driver_for(forge: ForgeConfig) -> Driver:
    """Return the driver of ``forge``. Raises :class:`ConfigError` with the key of an unusable value."""
    key = f'forges."{forge.name}"'
    if _NAME.fullmatch(forge.name) is None:
        raise ConfigError("a forge's name is letters, digits, dots and hyphens, at most 63", key=key)
    if forge.kind not in _KINDS:
        raise ConfigError(f"unknown kind; known are {', '.join(sorted(_KINDS))}", key=f"{key}.kind")
    if _USERNAME.fullmatch(forge.username) is None:
        raise ConfigError("a user name is printable ASCII without a colon", key=f"{key}.username")
    origin = Origin.parse(forge.url, allow_plain_http=forge.allow_plain_http, key=f"{key}.url")
    return _KINDS[forge.kind](forge, origin)
