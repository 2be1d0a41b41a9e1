"""Parse the output of a ``cmd://`` command: a secret on one line, or JSON that also has its expiry.

    TOKEN
    {"token": "TOKEN", "expires_at": "2026-01-31T12:00:00Z"}      or seconds since the epoch, as a number
    {"token": "TOKEN", "expires_in": 3600}                        seconds from now

Other keys are ignored, so that the output of many vaults can be used directly. ``read_lines`` is for secrets of several
lines, such as a key in PEM. Any other output is an error. No error message contains the output, because it may be the
secret in another format.
"""

from __future__ import annotations

import json
import math
import unicodedata
from datetime import datetime

from attrs import field, frozen

from credgate.errors import ConfigError

# The last second of the year 9999, the latest time that ``datetime`` can represent.
_LATEST = 253402300799.0


@frozen(slots=True)
class CredentialOutput:
    """A secret and its expiry in seconds since the epoch; None if the output has no expiry."""

    secret: str = field(repr=False)
    expires_at: float | None = None


def read_credential(output: bytes, now: float) -> CredentialOutput:
    """Parse a secret of one line or a JSON object. ``now`` is in seconds since the epoch. Raises ConfigError."""
    text = _text(output)
    if not text.startswith("{"):
        return CredentialOutput(_one_line(text))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # No error repeats the output, because it may be the secret in another format.
        raise ConfigError("the output starts with { but is not valid JSON") from None
    token = document.get("token")
    if not isinstance(token, str) or not token.strip():
        raise ConfigError('the JSON output has no "token"')
    expiry = _expiry(document, now)
    if expiry is not None and expiry <= now:
        raise ConfigError("the credential in the output has expired")
    return CredentialOutput(_one_line(token.strip()), expiry)


def read_lines(output: bytes) -> CredentialOutput:
    """Return the whole output as a secret without an expiry. Raises ConfigError."""
    return CredentialOutput(_text(output) + "\n")


def _text(output: bytes) -> str:
    try:
        text = output.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError("the output is not UTF-8 text") from None
    if not text:
        raise ConfigError("the output is empty")
    return text


def _one_line(text: str) -> str:
    # Cs: JSON can contain surrogates, which cannot be encoded. A newline or another control character is not part of a
    # token, and would break the header that the token is sent in.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ConfigError('the output has more than one line; expected one line, or JSON with "token"')
    return text


def _expiry(document: dict[str, object], now: float) -> float | None:
    at, within = document.get("expires_at"), document.get("expires_in")
    if isinstance(at, str):
        return _parse_time(at)
    if at is not None:
        return _seconds(at, "expires_at")
    return None if within is None else _seconds(now + _seconds(within, "expires_in"), "expires_in")


def _parse_time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:  # a local time without a zone is ambiguous
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ConfigError('"expires_at" must be a time such as "2026-01-31T12:00:00Z", or seconds since the epoch')


def _seconds(value: object, key: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value <= _LATEST:
        return float(value)
    raise ConfigError(f'"{key}" must be a number of seconds')
