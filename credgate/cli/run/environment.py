"""The environment variables of a command that ``credgate run`` starts.

Two functions: ``inherited_variables`` selects variables of the caller, ``added_variables`` returns those that credgate
sets. The selection is an allowlist (``INHERITED`` and ``PROXIES``), because a credential may have any name.
``--keep-env NAME`` adds a name to it. Two kinds of variables are never inherited: those that the private gateway's
configuration names as credentials, and those whose value contains such a credential.

This is not a security boundary. The command runs as the caller's user and can read what that user can read. It keeps
well-behaved programs from finding the caller's credentials. ``isolate`` has the boundary.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credgate.cli.env import git_variables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from credgate.cli.env import GitSettings

INHERITED = (
    # Programs, the user, directories.
    *("PATH", "MANPATH", "INFOPATH", "SHELL", "SHLVL", "USER", "LOGNAME", "HOSTNAME", "PWD", "OLDPWD", "TMPDIR"),
    *("XDG_DATA_DIRS", "XDG_CONFIG_DIRS", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV", "JAVA_HOME"),
    # Language and time.
    *("LANG", "LANGUAGE", "TZ", "TZDIR", "SOURCE_DATE_EPOCH"),
    # No LC_* wildcard: ssh servers accept LC_*, so people send tokens through ssh in LC_ names of their own.
    *("LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT", "LC_MESSAGES"),
    *("LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME"),
    # The terminal.
    *("TERM", "TERMINFO", "TERMINFO_DIRS", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "COLORFGBG", "COLUMNS"),
    *("LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LS_COLORS"),
    # Editors and pagers, and whether the run is interactive.
    *("EDITOR", "VISUAL", "PAGER", "LESS", "LESSCHARSET", "CI", "DEBIAN_FRONTEND", "PYTHONUNBUFFERED"),
    # git's author, committer, editors and pager.
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE"),
    *("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE"),
    *("GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER"),
)
"""Names of the variables that are inherited, unless the value contains a login."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY")
"""Inherited in upper and lower case, unless the value contains ``@``, which ends a login."""
_HOME_VARIABLES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
_LOGIN = re.compile(r"://[^/?#\s]*@")
"""A URL with a user name, a password or a token."""
_MIN_SUBSTRING = 8
"""A credential of at least this many characters is also searched for inside longer values."""
# GIT_SSH_COMMAND. A new HOME does not keep ssh from the caller's keys: OpenSSH takes the home directory from passwd(5).
NO_SSH = "sh -c 'echo \"credgate: ssh is disabled; git reaches forges through the gateway only\" >&2; exit 1' --"
BLOCKED = ("https", "git", "ftp", "ftps", "ext")
"""git transports that would bypass the gateway. Plain http leads to the gateway; local paths are not changed."""


def inherited_variables(
    environ: Mapping[str, str],
    keep: Collection[str] = (),
    *,
    keep_home: bool = False,
    never: Collection[str] = (),
    secrets: Collection[str] = (),
) -> dict[str, str]:
    """Return the caller's variables that the command inherits.

    ``keep`` adds names to the allowlist. ``never`` (names) and ``secrets`` (values) take precedence over ``keep``.
    """
    return {
        name: value
        for name, value in environ.items()
        if (name in keep or _is_allowed(name, value, keep_home=keep_home))
        and name not in never
        and not any(value == secret or (len(secret) >= _MIN_SUBSTRING and secret in value) for secret in secrets)
    }


def _is_allowed(name: str, value: str, *, keep_home: bool) -> bool:
    if _LOGIN.search(value):
        return False
    if name.upper() in PROXIES:
        return "@" not in value
    return name in INHERITED or (keep_home and name in _HOME_VARIABLES)


def added_variables(
    gateway: GitSettings, identity: GitSettings, directory: str, url: str, session_id: str
) -> dict[str, str]:
    """Return the variables that credgate sets for the command.

    ``directory`` is the command's own directory, ``identity`` the caller's git identity, ``gateway`` git's settings for
    the gateway.
    """
    # git reads these settings after all configuration files, and an empty value clears the list that a file made.
    cleared = [("credential.helper", ""), ("http.extraHeader", "")]
    blocked = [(f"protocol.{name}.allow", "never") for name in BLOCKED]
    return git_variables([*identity, *cleared, *blocked, *gateway]) | {
        "GIT_CONFIG_GLOBAL": f"{directory}/gitconfig",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": NO_SSH,
        "CREDGATE_URL": url,
        "CREDGATE_TOKEN_FILE": f"{directory}/token",
        "CREDGATE_SESSION": session_id,
    }
