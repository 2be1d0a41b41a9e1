"""Forms: one function for each kind of configuration value.

A form takes what TOML (or an environment variable) gave and returns the value in its normal form, or raises
``ValueError`` with what was expected. Wrong types raise ``ValueError`` too, so that callers handle one kind of error.
No form does I/O or knows which key it reads. An error text never repeats a credential: people paste secrets where
references belong. URLs, hosts and addresses are in ``netforms``.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, TypeVar

from credgate.config.references import parse_reference
from credgate.errors import ConfigError, InvalidValueError
from credgate.rules import parse
from credgate.rules.duration import LONGEST, MEANT, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from credgate.rules.parse import PushRule

T = TypeVar("T")

# Bytes: ``sun_path`` holds 108 on Linux, including the final NUL (unix(7)).
MAX_SOCKET_PATH = 107

_NO_LIMIT = 2**53  # the largest range that a float holds exactly; larger than any real value
_MAX_UID = 2**32 - 2  # (uid_t)-1 means "no user"
_STORE = re.compile(r"sqlite://(/[^?#]*[^/?#])")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word closest to ``word``, ``""`` if none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def string(value: object) -> str:
    """Accept any string without control characters."""
    if not isinstance(value, str):
        raise ValueError("expected a string in quotes")  # noqa: TRY004 - one error type for all forms
    if not value.isprintable():
        raise ValueError("control and invisible characters are not allowed")
    return value


def strings(value: object) -> tuple[str, ...]:
    """Accept a list of strings."""
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of strings, such as ["one", "two"]')  # noqa: TRY004 - as above
    return tuple(string(each) for each in value)


def optional(form: Callable[[object], str]) -> Callable[[object], str]:
    """Return a form that accepts ``""`` (not set) as well as what ``form`` accepts."""
    return lambda value: form(value) if value != "" else ""


def boolean(value: object) -> bool:
    """Accept only TOML's booleans; 1 and "yes" are refused."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")  # noqa: TRY004 - as above
    return value


def whole(low: int, high: int = _NO_LIMIT) -> Callable[[object], int]:
    """Return the form of a whole number from ``low`` to ``high``."""

    def form(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("expected a whole number, without quotes")  # noqa: TRY004 - as above
        if not low <= value <= high:
            limits = f"at least {low}" if high == _NO_LIMIT else f"{low} to {high}"
            raise ValueError(f"out of range: must be {limits}")
        return value

    return form


def number(low: float) -> Callable[[object], float]:
    """Return the form of a number, whole or not, of at least ``low``."""

    def form(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError("expected a number, without quotes")  # noqa: TRY004 - as above
        if not low <= value <= _NO_LIMIT:
            raise ValueError(f"out of range: must be at least {low:g}")
        return float(value)

    return form


def duration(value: object) -> float:
    """Accept a duration longer than zero; return seconds."""
    if (seconds := duration_or_none(value)) <= 0:
        raise ValueError("the duration must be longer than zero")
    return seconds


def duration_or_none(value: object) -> float:
    """Accept a duration or zero; return seconds."""
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
        raise ValueError(f'"{text[:40]}" is unknown; ' + (f'did you mean "{near}"?' if near else f"expected {choice}"))

    return form


def filled(value: object) -> str:
    """Accept any string that is not empty."""
    if not (text := string(value)):
        raise ValueError("must not be empty")
    return text


def absolute_path(value: object) -> str:
    """Accept the absolute path of a file."""
    text = string(value)
    # A relative path would depend on the daemon's working directory, which no operator chooses.
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError("expected the absolute path of a file")
    return text


def socket_path(value: object) -> str:
    """Accept an absolute path that a UNIX socket can be bound to."""
    path = absolute_path(value)
    if (length := len(path.encode())) > MAX_SOCKET_PATH:
        raise ValueError(f"the path is {length} bytes long; a UNIX socket path has at most {MAX_SOCKET_PATH}")
    return path


def audit_target(value: object) -> str:
    """Accept ``stderr`` or an absolute path."""
    if (text := string(value)) == "stderr":
        return text
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError('expected "stderr" or the absolute path of a file')
    return text


def store_url(value: object) -> str:
    """Accept ``memory:`` or ``sqlite:///path``; return the path in the four-slash form."""
    if (text := string(value)) == "memory:":
        return text
    if (form := _STORE.fullmatch(text)) is None:
        raise ValueError('expected "sqlite:///absolute/path" or "memory:"')
    # With three slashes or four the path is absolute, as in ``file:///path``.
    return "sqlite:////" + form[1].lstrip("/")


def username(value: object) -> str:
    """Accept a user name for Basic credentials (RFC 7617 section 2), or ``""``."""
    text = string(value)
    if ":" in text or not text.isascii():
        raise ValueError('a user name must be ASCII without ":"')
    return text


def credential(value: object) -> str:
    """Accept a reference to a secret, or ``""`` for no credential."""
    if text := value if isinstance(value, str) else string(value):
        try:
            parse_reference(text)
        except ConfigError as error:
            raise ValueError(error.text) from None
    return text


def credentials(value: object) -> dict[str, str]:
    """Accept a table of references by pattern. The driver of the forge checks the patterns later."""
    if not isinstance(value, dict):
        raise ValueError('expected a table, such as "octo/*" = "file:///run/secrets/octo"')  # noqa: TRY004 - as above
    return {string(pattern): filled(credential(reference)) for pattern, reference in value.items()}


def app_id(value: object) -> str:
    """Accept the number or the client id of a GitHub App."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    text = filled(value)
    if not re.fullmatch(r"[A-Za-z0-9.]{1,64}", text):
        raise ValueError("expected the App's number, or its client id of letters, digits and dots")
    return text


def uids(value: object) -> tuple[int, ...]:
    """Accept a list of user ids."""
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of user ids, such as [1000]")  # noqa: TRY004 - as above
    uid = whole(0, _MAX_UID)
    return tuple(uid(each) for each in value)


def push_rules(value: object) -> tuple[PushRule, ...]:
    """Accept a list of ref rules, written as in a grant."""
    return _as_in_a_grant(parse.parse_push, value)


def push_options(value: object) -> tuple[str, ...]:
    """Accept an allow-list of push options, written as in a grant."""
    return _as_in_a_grant(parse.parse_options, value)


def path_globs(value: object) -> tuple[str, ...]:
    """Accept a list of path globs, written as in a grant."""
    return _as_in_a_grant(parse.parse_globs, value)


def _as_in_a_grant(parse: Callable[[object], T], value: object) -> T:
    try:
        # The schema's defaults are tuples; the parser accepts lists only.
        return parse(list(value) if isinstance(value, tuple) else value)
    except InvalidValueError as error:
        raise ValueError(str(error)) from None
