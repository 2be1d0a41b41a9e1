"""References to secrets: the five forms that may stand where a credential belongs, and what each names.

    env://NAME                 a variable, read once and removed
    file:///absolute/path      a file of one line, read again when it changes
    systemd://NAME             a file that the service manager laid into ``$CREDENTIALS_DIRECTORY``
    cmd://PROGRAM ARGUMENTS    a program that prints the secret; parted into words by POSIX shell rules, without a shell
    keyring://SERVICE/USER     an entry of the system's keyring (``pip install credgate[keyring]``)

Pure: nothing is looked up here. No error carries a value, nor a reference that did not parse: people paste tokens
where references belong. A command's words are never shown at all, not even in an error about running it.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

from attrs import field, frozen

from credgate.errors import ConfigError

ReferenceKind = Literal["env", "file", "systemd", "cmd", "keyring"]

MEANT = (
    'expected a reference: "env://NAME", "file:///absolute/path", "systemd://NAME", "cmd://program arguments" '
    'or "keyring://service/user", never the secret itself'
)
_FORMS: dict[ReferenceKind, re.Pattern[str]] = {
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    "file": re.compile(r"/[^\x00-\x1f\x7f]+"),
    "systemd": re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,254}"),
    "cmd": re.compile(r"[^\x00-\x1f\x7f]+"),
    "keyring": re.compile(r"[^\x00-\x1f\x7f]+/[^\x00-\x1f\x7f/]+"),
}
_PROGRAM = re.compile(r"/.*[^/]|[^/]+")
"""An absolute path, or a name for ``PATH``: a daemon's working directory is nobody's choice."""


@frozen(slots=True, repr=False)
class Reference:
    """Where a secret is: ``target`` is what follows ``kind://``."""

    kind: ReferenceKind
    target: str
    words: tuple[str, ...] = field(default=(), eq=False)
    """Of a command: the program and its arguments."""

    def __str__(self) -> str:
        return "the command of cmd://" if self.kind == "cmd" else f"{self.kind}://{self.target}"

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    @property
    def entry(self) -> tuple[str, str]:
        """Service and user of a keyring's entry; a service may hold slashes, a user may not."""
        service, _slash, user = self.target.rpartition("/")
        return service, user


def parse_reference(text: str) -> Reference:
    """Return the reference that ``text`` spells; raise ``ConfigError`` (without place) for anything else."""
    scheme, parted, target = text.partition("://")
    for kind, form in _FORMS.items():
        if parted and scheme == kind and form.fullmatch(target):
            return Reference(kind, target, _words(target) if kind == "cmd" else ())
    raise ConfigError(MEANT)


def _words(target: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(target))
    except ValueError:
        raise ConfigError("cmd:// cannot be split into words: unclosed quotation") from None
    if not words or _PROGRAM.fullmatch(words[0]) is None:
        raise ConfigError("cmd:// must start with a program: an absolute path, or a name that is found in PATH")
    return words
