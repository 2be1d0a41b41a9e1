"""References to secrets: the five kinds that may be written in place of a credential.

    env://NAME                 a variable, read once and removed
    file:///absolute/path      a file of one line, read again when it changes
    systemd://NAME             a file that the service manager put into ``$CREDENTIALS_DIRECTORY``
    cmd://PROGRAM ARGUMENTS    a program that prints the secret; split into words like a POSIX shell, without a shell
    keyring://SERVICE/USER     an entry of the system's keyring (``pip install credgate[keyring]``)

Nothing is looked up here. No error contains a value or an invalid reference, since people paste tokens where references
belong. The words of a command never appear in any text, not even in an error about running it.
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
# An absolute path, or a name for ``PATH``; a relative path would depend on the daemon's working directory.
_PROGRAM = re.compile(r"/.*[^/]|[^/]+")


@frozen(slots=True, repr=False)
class Reference:
    """The place of a secret; ``target`` is the part after ``kind://``."""

    kind: ReferenceKind
    target: str
    words: tuple[str, ...] = field(default=(), eq=False)
    """For a command: the program and its arguments."""

    def __str__(self) -> str:
        return "the command of cmd://" if self.kind == "cmd" else f"{self.kind}://{self.target}"

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    @property
    def entry(self) -> tuple[str, str]:
        """The service and the user of a keyring entry."""
        # The service may contain slashes, the user may not.
        service, _slash, user = self.target.rpartition("/")
        return service, user


def parse_reference(text: str) -> Reference:
    """Return the reference in ``text``. Raises ``ConfigError`` (without file and line) if it is not one."""
    scheme, separator, target = text.partition("://")
    for kind, form in _FORMS.items():
        if separator and scheme == kind and form.fullmatch(target):
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
