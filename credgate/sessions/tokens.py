"""Session tokens: generates them, and reads them from an ``Authorization`` field.

The token and the secret of a session are 32 random bytes each, URL-safe base64 without padding: 43 characters. Only
their SHA-256 digests are stored; with 256 bits of entropy no slower hash is needed. Reading is strict: exactly one
field, ``Basic`` (RFC 7617) with any user and ``TOKEN:SECRET`` as the password, or ``Bearer`` (RFC 6750) with
``TOKEN:SECRET``. Scheme names are case-insensitive (RFC 9110 section 11.1). Any other deviation makes the whole field
malformed, which is answered like a wrong credential of the same scheme: 403 for ``Bearer``, else 401.

Random bytes are an argument. No error contains what a client sent.
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
# Longest field value that is read: enough for a long user name and twice 43 characters, in base64.
MAX_FIELD = 1024

Scheme = Literal["basic", "bearer"]

# credentials = auth-scheme 1*SP ( token68 / ... ) (RFC 9110 section 11.4); here token68 is plain base64, padding last.
_BASIC = re.compile(rb"(?i:basic) +([A-Za-z0-9+/]+=*)")
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9_-]{1,128}):([A-Za-z0-9_-]{1,128})")
# userid = *<TEXT excluding ":"> (RFC 7617): any user name without control bytes.
_USER_PASS = re.compile(rb"[^:\x00-\x1f\x7f]*:([A-Za-z0-9_-]{1,128}):([A-Za-z0-9_-]{1,128})")


@frozen(slots=True)
class NewToken:
    """The id of a new session, and its token and secret, which are returned once and never stored."""

    id: str
    token: str = field(repr=False)
    secret: str = field(repr=False)


@frozen(slots=True)
class PresentedToken:
    """A well-formed credential, not verified yet; the registry compares it with the stored digests."""

    scheme: Scheme
    token: str = field(repr=False)
    secret: str = field(repr=False)


@frozen(slots=True)
class MalformedAuthorization:
    """A malformed ``Authorization`` field. ``scheme`` determines the form of the refusal; "": another scheme."""

    scheme: Scheme | Literal[""] = ""


def mint(entropy: Callable[[int], bytes]) -> NewToken:
    """Return a new id, token and secret. ``entropy`` is ``os.urandom`` or a replacement in tests."""
    return NewToken(
        id="s-" + entropy(ID_BYTES).hex(),
        token=_text(entropy(SECRET_BYTES)),
        secret=_text(entropy(SECRET_BYTES)),
    )


def digest(text: str) -> bytes:
    """Return the SHA-256 digest that is stored of a token or secret. Accepts every ``str``, even lone surrogates."""
    # Tokens have 256 bits of entropy, so no slower hash is needed.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def parse_authorization(values: Sequence[bytes]) -> PresentedToken | MalformedAuthorization | None:
    """Read the ``Authorization`` field values of one request; None if there is no such field."""
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
    # RFC 9110 section 11.1: scheme names are case-insensitive.
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
    # Several base64 texts decode to the same bytes if unused final bits are set; only the canonical one is accepted.
    return _USER_PASS.fullmatch(plain) if binascii.b2a_base64(plain, newline=False) == outer[1] else None
