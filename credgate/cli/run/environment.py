"""The environment of a command that ``credgate run`` runs: what is passed on of the caller's, and what is put in.

Passed on are variables whose meaning is known and is not a credential: ``PASSED`` and, unless they hold a login,
``PROXIES``. Any other variable may hold a credential under a name that no list has, so it takes ``--keep-env NAME``.
Variables that the private gateway's configuration names as credentials, and those that hold such a credential's value,
are never passed on. HOME becomes a directory of its own, so that neither ``.netrc`` nor ``.git-credentials`` nor a
login of ``gh`` is found; ``keep_home`` leaves it, with the XDG directories that belong to it.

Put in: git's configuration (``gitenv``), and a stand-in for ssh that says why it is none: OpenSSH finds its keys by the
password file's home directory, whatever HOME says. All this keeps honest tools from the caller's credentials. It is no
wall: the command is the caller's own user, and may read what that user may.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credgate.cli.gitenv import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from credgate.cli.gitenv import Entries

PASSED = (
    # Programs, the user, places.
    *("PATH", "MANPATH", "INFOPATH", "SHELL", "SHLVL", "USER", "LOGNAME", "HOSTNAME", "PWD", "OLDPWD", "TMPDIR"),
    *("XDG_DATA_DIRS", "XDG_CONFIG_DIRS", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV", "JAVA_HOME"),
    # Language and time.
    *("LANG", "LANGUAGE", "TZ", "TZDIR", "SOURCE_DATE_EPOCH"),
    # One by one: LC_ names of people's own carry tokens through ssh, whose servers accept LC_*.
    *("LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT", "LC_MESSAGES"),
    *("LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME"),
    # The terminal.
    *("TERM", "TERMINFO", "TERMINFO_DIRS", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "COLORFGBG", "COLUMNS"),
    *("LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LS_COLORS"),
    # What programs are started, and whether anybody is there to use them.
    *("EDITOR", "VISUAL", "PAGER", "LESS", "LESSCHARSET", "CI", "DEBIAN_FRONTEND", "PYTHONUNBUFFERED"),
    # Who the author is to git, and git's editors and pager.
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE"),
    *("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE"),
    *("GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER"),
)
"""Names of variables that are passed on."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY")
"""Passed on, in either case, where no ``@`` in the value can end a login."""
_OF_HOME = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
_LOGIN = re.compile(r"://[^/?#\s]*@")
"""A URL with a user, a password or a token in it."""
_SHORTEST = 8
"""Characters of a credential that is looked for inside other values; a shorter one must be the whole value."""
NO_SSH = "sh -c 'echo \"credgate: git goes through the gateway only; ssh is not available here\" >&2; exit 1' --"
BLOCKED = ("https", "git", "ftp", "ftps", "ext")
"""Transports that lead around the gateway. Local ones are as they were, plain http is the gateway's, ssh says why."""


def is_passed(name: str, value: str, *, keep_home: bool = False) -> bool:
    """Whether a variable of the caller's is passed on without being asked for."""
    if _LOGIN.search(value):
        return False
    if name.upper() in PROXIES:
        return "@" not in value
    return name in PASSED or (keep_home and name in _OF_HOME)


def cleaned(
    environ: Mapping[str, str],
    keep: Collection[str] = (),
    *,
    keep_home: bool = False,
    never: Collection[str] = (),
    secrets: Collection[str] = (),
) -> dict[str, str]:
    """Return what is passed on of the caller's environment.

    ``keep`` names more variables; ``never`` names variables, and ``secrets`` are values, that nothing keeps.
    """
    return {
        name: value
        for name, value in environ.items()
        if (name in keep or is_passed(name, value, keep_home=keep_home))
        and name not in never
        and not any(value == one or (len(one) >= _SHORTEST and one in value) for one in secrets)
    }


def given(entries: Entries, identity: Entries, box: str, url: str, session_id: str) -> dict[str, str]:
    """Return what is put in. ``box`` is the command's directory, ``identity`` who the caller is to git."""
    # Last wins, and these come after every file: an empty value forgets what files list.
    forgotten = [("credential.helper", ""), ("http.extraHeader", "")]
    blocked = [(f"protocol.{name}.allow", "never") for name in BLOCKED]
    return counted([*identity, *forgotten, *blocked, *entries]) | {
        "GIT_CONFIG_GLOBAL": f"{box}/gitconfig",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": NO_SSH,
        "CREDGATE_URL": url,
        "CREDGATE_TOKEN_FILE": f"{box}/token",
        "CREDGATE_SESSION": session_id,
    }
