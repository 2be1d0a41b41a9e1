"""What a sandbox presents: minting it, and reading it out of an ``Authorization`` field.

A session's token and secret are 32 random bytes each, URL-safe base64 without padding: 43 characters. Only their
SHA-256 digests are ever kept; they carry 256 bits, so nothing slower is needed. Reading is strict: exactly one field,
``Basic`` (RFC 7617) with any user and ``TOKEN:SECRET`` as the password, or ``Bearer`` (RFC 6750) with ``TOKEN:SECRET``.
Scheme names ignore case (RFC 9110 section 11.1), nothing else bends: one byte too many makes the whole field malformed,
which is answered exactly as a wrong credential of the same scheme is: 403 for ``Bearer``, else 401.

Never reads randomness itself (it is handed in) and never says in an error what was presented.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECRET_BYTES = 32
ID_BYTES = 8
MAX_FIELD = 1024
"""Bytes of a field value that are looked at: a user name of any sane length and twice 43 characters in base64."""

Scheme = Literal["basic", "bearer"]

# credentials = auth-scheme 1*SP ( token68 / ... ) (RFC 9110 section 11.4); here token68 is plain base64, padding last.
_BASIC = re.compile(rb"(?i:basic) +([A-Za-z0-9+/]+=*)")
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9_-]{1,128}):([A-Za-z0-9_-]{1,128})")
# userid = *<TEXT excluding ":"> (RFC 7617): any user, but no control bytes, which belong in no user name.
_USER_PASS = re.compile(rb"[^:\x00-\x1f\x7f]*:([A-Za-z0-9_-]{1,128}):([A-Za-z0-9_-]{1,128})")


@frozen(slots=True)
class NewToken:
    """A new session's three names; the secret two are shown once and never kept."""

    id: str
    token: str = field(repr=False)
    secret: str = field(repr=False)


@frozen(slots=True)
class PresentedToken:
    """A well-formed credential; whether it is a right one, the registry knows."""

    scheme: Scheme
    token: str = field(repr=False)
    secret: str = field(repr=False)


@frozen(slots=True)
class MalformedAuthorization:
    """An ``Authorization`` that cannot be a session's. ``scheme`` chooses the form of the refusal; "" is any other."""

    scheme: Scheme | Literal[""] = ""


def mint(entropy: Callable[[int], bytes]) -> NewToken:
    """Make a new session's id, token and secret; ``entropy`` is ``os.urandom`` or like it."""
    return NewToken(
        id="s-" + entropy(ID_BYTES).hex(),
        token=_text(entropy(SECRET_BYTES)),
        secret=_text(entropy(SECRET_BYTES)),
    )


def digest(text: str) -> bytes:
    """SHA-256 of a token or secret: what is kept of it. Defined for every ``str``, lone surrogates included."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def parse_authorization(values: Sequence[bytes]) -> PresentedToken | MalformedAuthorization | None:
    """Read the ``Authorization`` field values of one request; None: there was no such field."""
    if not values:
        return None
    value = values[0]
    scheme = _scheme(value)
    if len(values) > 1 or len(value) > MAX_FIELD:
        return MalformedAuthorization(scheme)
    match = _pair_of_basic(value) if scheme == "basic" else _BEARER.fullmatch(value)
    if match is None or scheme == "":
        return MalformedAuthorization(scheme)
    return PresentedToken(scheme, match[1].decode("ascii"), match[2].decode("ascii"))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _scheme(value: bytes) -> Scheme | Literal[""]:
    name = value.split(b" ", 1)[0].lower()
    return "basic" if name == b"basic" else "bearer" if name == b"bearer" else ""


def _pair_of_basic(value: bytes) -> re.Match[bytes] | None:
    outer = _BASIC.fullmatch(value)
    if outer is None:
        return None
    try:
        plain = binascii.a2b_base64(outer[1], strict_mode=True)
    except binascii.Error:
        return None
    # Several texts decode to the same bytes when the unused last bits are set; only the canonical one is ours.
    return _USER_PASS.fullmatch(plain) if binascii.b2a_base64(plain, newline=False) == outer[1] else None
