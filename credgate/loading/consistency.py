"""Rules between keys, checked once every value has its form.

Each generator checks one rule and yields a ``Problem`` (path and sentence) if the configuration cannot be served: a
default forge that does not exist, a forge without a URL, a credential that would cross the network unencrypted,
certificate authorities that cannot be read, no directory for the session store. There is no rule between ``idle_ttl``
and ``absolute_ttl``: either may be the one that ends a session first.
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

# The kinds of forges that have each table of short-lived credentials.
_KINDS = {"app": ("github",), "oauth": ("gitea", "bitbucket"), "rotate": ("gitlab",)}
_REQUIRED = {
    "app": ("app_id", "private_key"),
    "oauth": ("client_id", "client_secret", "refresh_token", "key"),
    "rotate": ("token", "key"),
}


def problems(config: Config) -> list[Problem]:
    """Return everything that prevents ``config`` from being served. Reads ``ca_file`` of each forge (blocking)."""
    found = [*_places(config), *_default_forge(config)]
    for forge in config.forges.values():
        found += [*_url(forge), *_authorities(forge), *_short_lived(forge), *_check_path(forge)]
    return found + [Problem(("dns", key), text) for key, text in query_policy.faults(config.dns)]


def _check_path(forge: ForgeConfig) -> Iterator[Problem]:
    path = ("forges", forge.name, "check_path")
    if forge.check_path and forge.kind not in project_path.KINDS:
        yield Problem(path, f"supported only for forges of kind {' or '.join(project_path.KINDS)}")
    elif forge.check_path and forge.username:
        yield Problem(path, "cannot be combined with username: the API does not accept deploy tokens")


def _places(config: Config) -> Iterator[Problem]:
    text = "no default directory is known: set this key, HOME or CREDGATE_STATE_DIRECTORY"
    if not config.listen.control:
        yield Problem(("listen", "control"), text)
    else:
        # A path in the file was checked already, but a default path contains the home directory, which may be long.
        try:
            forms.socket_path(config.listen.control)
        except ValueError as error:
            yield Problem(("listen", "control"), f"{error}; set a shorter path")
    if not config.sessions.store:
        yield Problem(("sessions", "store"), text)


def _default_forge(config: Config) -> Iterator[Problem]:
    if config.default_forge in config.forges:
        return
    if not config.forges:
        yield Problem(("forges",), 'no forge is configured; add a table [forges."github.com"] or remove [forges]')
        return
    near = forms.nearest(config.default_forge, config.forges) or next(iter(config.forges))
    if ("default_forge",) in config.lines:
        yield Problem(("default_forge",), f'no forge "{config.default_forge}" is configured; did you mean "{near}"?')
    else:
        text = f'default_forge is "github.com", which is not configured; set default_forge = "{near}" at the top'
        yield Problem(("forges",), text)


def _url(forge: ForgeConfig) -> Iterator[Problem]:
    path = ("forges", forge.name, "url")
    if not forge.url:
        yield Problem(path, f'required key is missing; did you mean url = "https://{forge.name}"?')
    elif forge.url.startswith("http:") and not (forge.allow_plain_http or netforms.is_loopback(forge.url)):
        yield Problem(path, "http sends the credential in clear text; use https or set allow_plain_http = true")


def _short_lived(forge: ForgeConfig) -> Iterator[Problem]:
    """Check that the table is complete, that the forge's kind supports it, and that there is only one."""
    path = ("forges", forge.name)
    tables = [key for key, kinds in _KINDS.items() if getattr(forge, key) is not None]
    for key in tables:
        table = getattr(forge, key)
        if forge.kind not in _KINDS[key]:
            kinds = " or ".join(f'"{kind}"' for kind in _KINDS[key])
            yield Problem((*path, key), f"supported only for forges of kind {kinds}")
        for name in _REQUIRED[key]:
            if not getattr(table, name):
                yield Problem((*path, key, name), "required key is missing")
    if len(tables) > 1:
        yield Problem((*path, tables[1]), f'conflicts with "{tables[0]}": a forge has at most one of these tables')


def _authorities(forge: ForgeConfig) -> Iterator[Problem]:
    if not forge.ca_file:
        return
    # Read now, so that a mistyped path stops the start and not the first request.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(forge.ca_file)
    except ssl.SSLError:
        yield Problem(("forges", forge.name, "ca_file"), "the file contains no usable PEM certificate")
    except OSError as error:
        yield Problem(("forges", forge.name, "ca_file"), f"the file cannot be read: {error.strerror}")
