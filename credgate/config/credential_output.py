"""What a ``cmd://`` command printed: a secret of one line, or JSON that also says when it ends.

    TOKEN
    {"token": "TOKEN", "expires_at": "2026-01-31T12:00:00Z"}      or seconds since the epoch, as a number
    {"token": "TOKEN", "expires_in": 3600}                        seconds from now

Other keys are ignored, so that what a vault prints can often be used as it is. Where a secret of many lines is meant
(``read_lines``: a key in PEM), it is what was printed. Anything else is refused, and never repeated: it may be the
secret in another dress. Pure; ``now`` is wall seconds since the epoch.
"""

from __future__ import annotations

import json
import math
import unicodedata
from datetime import datetime

from attrs import field, frozen

from credgate.errors import ConfigError

_LATEST = 253402300799.0  # the last second of the year 9999: what every calendar can still write


@frozen(slots=True)
class Printed:
    """A secret and its end, in wall seconds; ``None``: it does not say."""

    secret: str = field(repr=False)
    expires_at: float | None = None


def read_printed(output: bytes, now: float) -> Printed:
    """Return what ``output`` holds; raise ``ConfigError`` (without place) with what was meant."""
    text = _text(output)
    if not text.startswith("{"):
        return Printed(_one_line(text))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("what it printed begins like JSON and is none") from None
    token = document.get("token")
    if not isinstance(token, str) or not token.strip():
        raise ConfigError('the JSON that it printed has no "token"')
    ends = _ends(document, now)
    if ends is not None and ends <= now:
        raise ConfigError("the credential that it printed has ended already")
    return Printed(_one_line(token.strip()), ends)


def read_lines(output: bytes) -> Printed:
    """Return the secret of any number of lines that ``output`` is. Raises as above."""
    return Printed(_text(output) + "\n")


def _text(output: bytes) -> str:
    try:
        text = output.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError("what it printed is not UTF-8 text") from None
    if not text:
        raise ConfigError("it printed nothing")
    return text


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ConfigError('it printed more than one line; one is meant, or JSON with "token"')
    return text


def _ends(document: dict[str, object], now: float) -> float | None:
    at, within = document.get("expires_at"), document.get("expires_in")
    if isinstance(at, str):
        return _moment(at)
    if at is not None:
        return _seconds(at, "expires_at")
    return None if within is None else _seconds(now + _seconds(within, "expires_in"), "expires_in")


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ConfigError('"expires_at" is meant as "2026-01-31T12:00:00Z", or as seconds since the epoch')


def _seconds(value: object, key: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value <= _LATEST:
        return float(value)
    raise ConfigError(f'"{key}" is meant as a number of seconds')
