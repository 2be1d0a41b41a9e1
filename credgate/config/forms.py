"""The form of each kind of value: what may stand there, in what normal form it is kept.

One function a kind; each takes what TOML (or an environment variable) gave and returns the value, or raises
``ValueError`` with what was meant. No function reads anything, and none knows its key. ``ValueError`` stands for wrong
types too, so that one kind of error comes out. Texts never repeat a credential: people paste secrets where references
belong. What names something on a network is in ``netforms``.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from credgate.config.duration import LONGEST, MEANT, parse_duration
from credgate.config.references import parse_reference
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_SOCKET_PATH = 107
"""Bytes: ``sun_path`` of Linux's unix(7) holds 108, the ending NUL among them."""

_NO_LIMIT = 2**53  # what a float holds exactly, and more than anything here counts
_MAX_UID = 2**32 - 2  # (uid_t)-1 means "no user"
_STORE = re.compile(r"sqlite://(/[^?#]*[^/?#])")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, ``""`` if none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def string(value: object) -> str:
    """Accept any text without control characters."""
    if not isinstance(value, str):
        raise ValueError("a text in quotes is meant")  # noqa: TRY004 - one error type for all forms
    if not value.isprintable():
        raise ValueError("control and invisible characters cannot stand here")
    return value


def strings(value: object) -> tuple[str, ...]:
    """Accept a list of texts."""
    if not isinstance(value, list | tuple):
        raise ValueError('a list of texts is meant, such as ["one", "two"]')  # noqa: TRY004 - as above
    return tuple(string(each) for each in value)


def optional(form: Callable[[object], str]) -> Callable[[object], str]:
    """Return ``form`` with ``""`` added for none."""
    return lambda value: form(value) if value != "" else ""


def boolean(value: object) -> bool:
    """Accept true and false, not 1 nor "yes"."""
    if not isinstance(value, bool):
        raise ValueError("true or false is meant, without quotes")  # noqa: TRY004 - as above
    return value


def whole(low: int, high: int = _NO_LIMIT) -> Callable[[object], int]:
    """Return the form of a whole number from ``low`` to ``high``."""

    def form(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("a whole number is meant, without quotes")  # noqa: TRY004 - as above
        if not low <= value <= high:
            limits = f"at least {low}" if high == _NO_LIMIT else f"{low} to {high}"
            raise ValueError(f"it is out of range: {limits}")
        return value

    return form


def number(low: float) -> Callable[[object], float]:
    """Return the form of a number, whole or not, of at least ``low``."""

    def form(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError("a number is meant, without quotes")  # noqa: TRY004 - as above
        if not low <= value <= _NO_LIMIT:
            raise ValueError(f"it is out of range: at least {low:g}")
        return float(value)

    return form


def duration(value: object) -> float:
    """Accept a duration longer than zero; return seconds."""
    if (seconds := duration_or_none(value)) <= 0:
        raise ValueError("a duration here is longer than zero")
    return seconds


def duration_or_none(value: object) -> float:
    """Accept a duration, zero for none; return seconds."""
    if not isinstance(value, str):
        bare = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LONGEST
        hint = f' (did you mean "{value}s"?)' if bare else ""
        raise ValueError(MEANT + hint)  # noqa: TRY004 - as above
    return parse_duration(value)


def one_of(*words: str) -> Callable[[object], str]:
    """Return the form of a word out of ``words``."""

    def form(value: object) -> str:
        if (text := string(value)) in words:
            return text
        near = nearest(text, words)
        *others, last = [f'"{word}"' for word in words]
        choice = f"{', '.join(others)} or {last}"
        raise ValueError(f'"{text[:40]}" is unknown; ' + (f'did you mean "{near}"?' if near else f"{choice} is meant"))

    return form


def filled(value: object) -> str:
    """Accept any text but the empty one."""
    if not (text := string(value)):
        raise ValueError("it is empty")
    return text


def absolute_path(value: object) -> str:
    """Accept an absolute path: a daemon's working directory is nobody's choice."""
    text = string(value)
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError("the absolute path of a file is meant")
    return text


def socket_path(value: object) -> str:
    """Accept an absolute path that a UNIX socket can be bound to."""
    path = absolute_path(value)
    if (length := len(path.encode())) > MAX_SOCKET_PATH:
        raise ValueError(f"the path is {length} bytes long; a UNIX socket's is at most {MAX_SOCKET_PATH}")
    return path


def audit_target(value: object) -> str:
    """Accept ``stderr`` or an absolute path."""
    if (text := string(value)) == "stderr":
        return text
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError('"stderr" or the absolute path of a file is meant')
    return text


def store_url(value: object) -> str:
    """Accept ``memory:`` or ``sqlite:///path``; return the path in the four-slash form.

    Three slashes or four, the path is absolute, as in ``file:///path``: a daemon has no directory to be relative to.
    """
    if (text := string(value)) == "memory:":
        return text
    if (form := _STORE.fullmatch(text)) is None:
        raise ValueError('"sqlite:///absolute/path" or "memory:" is meant')
    return "sqlite:////" + form[1].lstrip("/")


def username(value: object) -> str:
    """Accept what can stand before the colon of Basic credentials (RFC 7617), or ``""``."""
    text = string(value)
    if ":" in text or not text.isascii():
        raise ValueError('a user name is ASCII without ":"')
    return text


def credential(value: object) -> str:
    """Accept a reference to a secret, or ``""`` for none."""
    if text := value if isinstance(value, str) else string(value):
        try:
            parse_reference(text)
        except ConfigError as error:
            raise ValueError(error.text) from None
    return text


def credentials(value: object) -> dict[str, str]:
    """Accept a table of references by pattern. The patterns are the forge's driver's to judge."""
    if not isinstance(value, dict):
        raise ValueError('a table is meant, such as "octo/*" = "file:///run/secrets/octo"')  # noqa: TRY004 - as above
    return {string(pattern): filled(credential(reference)) for pattern, reference in value.items()}


def app_id(value: object) -> str:
    """Accept a GitHub App's number or its client id."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    text = filled(value)
    if not re.fullmatch(r"[A-Za-z0-9.]{1,64}", text):
        raise ValueError("an App's id is its number, or the client id of letters and digits")
    return text


def uids(value: object) -> tuple[int, ...]:
    """Accept a list of user ids."""
    if not isinstance(value, list | tuple):
        raise ValueError("a list of user ids is meant, such as [1000]")  # noqa: TRY004 - as above
    uid = whole(0, _MAX_UID)
    return tuple(uid(each) for each in value)
