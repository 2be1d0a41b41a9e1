"""The environment of a command that ``credgate run`` runs: what is taken out of the caller's, and what is put in.

Taken out, by name and whatever the case: tokens, secrets, passwords and keys; the clouds' variables; agents (ssh, gpg,
D-Bus, which the keyring answers on); everything of git's but who the author is, the editor and the pager; and what
leads to a gateway's control socket. ``keep`` names exceptions. HOME becomes a directory of its own, so that neither
``.netrc`` nor ``.git-credentials`` nor a login of ``gh`` is found; ``keep_home`` leaves it.

Put in: git's configuration (``gitenv``), and a stand-in for ssh that says why it is none: OpenSSH finds its keys by the
password file's home directory, whatever HOME says. All this keeps honest tools from the caller's credentials. It is no
wall: the command is the caller's own user, and may read what that user may.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from credgate.cli.gitenv import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from credgate.cli.gitenv import Entries

TAKEN = (
    *("*TOKEN", "*TOKEN_*", "*SECRET", "*SECRET_*", "*SECRETS", "*PASSWORD", "*PASSWORD_*", "*PASSWD", "*_PASS"),
    *(
        "*PASSPHRASE",
        "*CREDENTIAL",
        "*CREDENTIALS",
        "*PRIVATE_KEY",
        "*ACCESS_KEY",
        "*ACCESS_KEY_ID",
        "*API_KEY",
        "*APIKEY",
    ),
    *("AWS_*", "AZURE_*", "ARM_*", "GOOGLE_*", "GCLOUD_*", "CLOUDSDK_*", "VAULT_*", "OP_*", "BW_*"),
    *("GIT_*", "SSH_*", "GPG_*", "GNOME_KEYRING_*", "DBUS_*", "KRB5*", "NETRC", "CURL_HOME", "PGPASSFILE"),
    *("DOCKER_*", "KUBECONFIG", "NPM_CONFIG_*", "CREDGATE_*", "GATEWAY_*", "XDG_RUNTIME_DIR"),
)
LEFT = ("GIT_AUTHOR_*", "GIT_COMMITTER_*", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER")
_OF_HOME = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
NO_SSH = "sh -c 'echo \"credgate: git goes through the gateway only; ssh is not available here\" >&2; exit 1' --"
BLOCKED = ("https", "git", "ftp", "ftps", "ext")
"""Transports that lead around the gateway. Local ones are as they were, plain http is the gateway's, ssh says why."""


def is_taken(name: str, keep: Collection[str] = ()) -> bool:
    """Whether a variable of the caller's is taken out."""
    folded = name.upper()
    if name in keep or any(fnmatchcase(folded, pattern) for pattern in LEFT):
        return False
    return any(fnmatchcase(folded, pattern) for pattern in TAKEN)


def cleaned(
    environ: Mapping[str, str], keep: Collection[str] = (), *, keep_home: bool = False, also: Collection[str] = ()
) -> dict[str, str]:
    """Return what is left of the caller's environment. ``also`` names more to take, which nothing keeps."""
    left = {name: value for name, value in environ.items() if not is_taken(name, keep) and name not in also}
    return left if keep_home else {name: value for name, value in left.items() if name not in _OF_HOME}


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
