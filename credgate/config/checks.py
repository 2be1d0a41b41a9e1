"""Rules between keys, judged once every value has its form.

One generator a rule; each yields a ``Problem`` (path and sentence) for what cannot be served: a default forge that is
not there, a forge without a URL, a credential that would cross a network unencrypted, authorities that cannot be read,
no directory for the store. The file with a forge's authorities is the one thing read here: a typing error in its path
must stop the start, not the first request. Order between ``idle_ttl`` and ``absolute_ttl`` is no rule: either may be
the one that ends a session.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from credgate.config import forms, netforms
from credgate.config.structure import Problem
from credgate.dns import query_policy
from credgate.forges import project_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.config.schema import Config, ForgeConfig

_MINTING = {"app": ("github",), "oauth": ("gitea", "bitbucket"), "rotate": ("gitlab",)}
_NEEDED = {
    "app": ("app_id", "private_key"),
    "oauth": ("client_id", "client_secret", "refresh_token", "key"),
    "rotate": ("token", "key"),
}


def problems(config: Config) -> list[Problem]:
    """Return everything that keeps ``config`` from being served. Blocks for a small file a forge."""
    found = [*_places(config), *_default_forge(config)]
    for forge in config.forges.values():
        found += [*_url(forge), *_authorities(forge), *_short_lived(forge), *_check_path(forge)]
    return found + [Problem(("dns", key), text) for key, text in query_policy.faults(config.dns)]


def _check_path(forge: ForgeConfig) -> Iterator[Problem]:
    path = ("forges", forge.name, "check_path")
    if forge.check_path and forge.kind not in project_path.KINDS:
        yield Problem(path, f"only a forge of kind {' or '.join(project_path.KINDS)} can be asked for a project's path")
    elif forge.check_path and forge.username:
        yield Problem(path, "with username the credential is a deploy token, which the API does not take")


def _places(config: Config) -> Iterator[Problem]:
    meant = "no directory is known for it: write this key, or set HOME or CREDGATE_STATE_DIRECTORY"
    if not config.listen.control:
        yield Problem(("listen", "control"), meant)
    else:
        # A default path is as long as the home directory makes it.
        try:
            forms.socket_path(config.listen.control)
        except ValueError as error:
            yield Problem(("listen", "control"), f"{error}; write a shorter one")
    if not config.sessions.store:
        yield Problem(("sessions", "store"), meant)


def _default_forge(config: Config) -> Iterator[Problem]:
    if config.default_forge in config.forges:
        return
    if not config.forges:
        yield Problem(("forges",), 'no forge is configured; write a table [forges."github.com"], or leave out [forges]')
        return
    near = forms.nearest(config.default_forge, config.forges) or next(iter(config.forges))
    if ("default_forge",) in config.lines:
        yield Problem(("default_forge",), f'no forge "{config.default_forge}" is configured; did you mean "{near}"?')
    else:
        yield Problem(("forges",), f'"github.com" is not among them; write default_forge = "{near}" at the top')


def _url(forge: ForgeConfig) -> Iterator[Problem]:
    path = ("forges", forge.name, "url")
    if not forge.url:
        yield Problem(path, f'it is missing; did you mean url = "https://{forge.name}"?')
    elif forge.url.startswith("http:") and not (forge.allow_plain_http or netforms.is_loopback(forge.url)):
        yield Problem(path, "plain http shows the credential to the network; use https, or allow_plain_http = true")


def _short_lived(forge: ForgeConfig) -> Iterator[Problem]:
    """Each table is whole, of a kind that knows it, and the only one."""
    path = ("forges", forge.name)
    tables = [key for key, kinds in _MINTING.items() if getattr(forge, key) is not None]
    for key in tables:
        table = getattr(forge, key)
        if forge.kind not in _MINTING[key]:
            meant = " or ".join(f'"{kind}"' for kind in _MINTING[key])
            yield Problem((*path, key), f"only forges of kind {meant} have it")
        for name in _NEEDED[key]:
            if not getattr(table, name):
                yield Problem((*path, key, name), "it is missing")
    if len(tables) > 1:
        yield Problem((*path, tables[1]), f'"{tables[0]}" is there already; a forge has one of them')


def _authorities(forge: ForgeConfig) -> Iterator[Problem]:
    if not forge.ca_file:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(forge.ca_file)
    except ssl.SSLError:
        yield Problem(("forges", forge.name, "ca_file"), "the file holds no certificate (PEM) that can be used")
    except OSError as error:
        yield Problem(("forges", forge.name, "ca_file"), f"the file cannot be read: {error.strerror}")
