"""The grammar of message heads, and the parsed heads.

Follows RFC 9110 section 5 and RFC 9112 sections 2-6, narrowed: forms that the grammar allows and git never sends are
refused, since the forge may understand them differently. A request head is printable ASCII. Its
names are letters, digits and hyphens: CGI-like servers turn ``-`` into ``_``, so ``Content_Length`` would be a second
spelling of a framing field. Its target holds no ``%``, so nothing decodes it, except for one query, LFS's list of
locks, which ``lfs.target`` decodes and encodes again. A forge's head may hold more (any token as a name, bytes above
127 in values) because none of it is relayed.

Only grammar is defined here: no rule about the meaning of a field, and no state.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from attrs import Factory, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = tuple[tuple[bytes, bytes], ...]
"""Name (lower-case) and value (no surrounding blanks) of each field line, in order."""

MAX_FIELDS: Final = 100
MAX_TARGET: Final = 1024

HEAD_END: Final = b"\r\n\r\n"

# A group is repeated in an atomic group, (?>(?:...)*), never possessively, (?:...)*+: Python before 3.11.5 keeps the
# input of a failed iteration of the latter, and so matches what the grammar forbids (python/cpython#106052).

# RFC 9110 section 5.6.2.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9112 section 3.2.1, origin-form, without pct-encoded, fragments, and the sub-delims that no forge path needs.
TARGET: Final = re.compile(rb"/[A-Za-z0-9._~/?=&+-]*+")
# The same with pct-encoded octets in one query: git-lfs looks a lock up by the path of a file.
LOCKS_TARGET: Final = re.compile(
    rb"/[A-Za-z0-9._~/+-]*+(?<=/info/lfs/locks)\?(?>(?:[A-Za-z0-9._~/=&+-]|%[0-9A-Fa-f]{2})*)"
)
# RFC 3986 section 5.2.4 removes these segments, so a server may read such a path in two ways.
AMBIGUOUS_SEGMENT: Final = re.compile(rb"//|/\.\.?(?:[/?]|\Z)")

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"})

REQUEST_HEAD: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) "
    rb"(/[A-Za-z0-9._~/?=&+-]{0,%d}+(?:%%[A-Za-z0-9._~/?=&+%%-]{0,%d}+)?) "
    rb"HTTP/(1\.[01])\r\n"
    rb"((?>(?:[A-Za-z][A-Za-z0-9-]*+:[\t\x20-\x7e]*+\r\n)*))\r\n" % (MAX_TARGET - 1, MAX_TARGET - 2)
)

RESPONSE_HEAD: Final = re.compile(
    rb"HTTP/(1\.[01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n"
    rb"((?>(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*))\r\n"
)

# Faults of an incomplete head: controls, and CR or LF that are not a pair (RFC 9112 section 2.2 lets a recipient accept
# a bare LF; two recipients that differ in this see two heads). A CR at the very end may still become a pair.
REQUEST_FAULT: Final = re.compile(rb"[^\t\r\n\x20-\x7e]|\r(?=[^\n])|(?<!\r)\n")
RESPONSE_FAULT: Final = re.compile(rb"[^\t\r\n\x20-\x7e\x80-\xff]|\r(?=[^\n])|(?<!\r)\n")

# RFC 9110 section 8.6, without leading zeros, and small enough for every 64-bit peer.
CONTENT_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,15}")

# RFC 9110 section 7.2: reg-name without userinfo, encodings and list separators, or an IPv6 literal without zone.
# "_" is allowed: container names have it.
HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

# RFC 9110 section 7.6.1, a list of tokens without empty members.
CONNECTION: Final = re.compile(TOKEN + rb"(?:[ \t]*,[ \t]*" + TOKEN + rb")*")


class End(Enum):
    """The type of ``END``."""

    END = "end"


END: Final[Literal[End.END]] = End.END
"""The event after the last byte of a message."""


class _Fields:
    """Access to the fields of a head."""

    __slots__ = ()

    fields: Fields
    by_name: dict[bytes, bytes]

    # Both methods are on the path of every request: they call no function.
    def get(self, name: bytes) -> bytes | None:
        """Return the value of ``name`` (lower-case), or None; several lines are joined as in RFC 9110 section 5.3."""
        return self.by_name[name] if name in self.by_name else None  # noqa: SIM401 - a call less

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Return the value of each line of ``name`` (lower-case), in order."""
        values: tuple[bytes, ...] = ()
        if name in self.by_name:
            for its_name, value in self.fields:
                if its_name == name:
                    values += (value,)
        return values


def joined(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the fields by name; several lines of one are joined as in RFC 9110 section 5.3."""
    single: dict[bytes, bytes] = {}
    for name, value in lines:
        single[name] = single[name] + b", " + value if name in single else value
    return single


def _by_name(head: _Fields) -> dict[bytes, bytes]:
    return joined(head.fields)


@frozen(slots=True)
class RequestHead(_Fields):
    """A request's head. Its syntax was checked; nothing in it is authenticated."""

    method: bytes
    target: bytes
    """Origin-form, as sent: ``[A-Za-z0-9._~/?=&+-]`` only (or ``LOCKS_TARGET``), without empty or dot segments."""
    version: bytes
    """``b"1.1"`` or ``b"1.0"``."""
    fields: Fields = field(repr=False)
    """Not in ``repr``: Authorization is one of them."""
    length: int | None
    """Bytes of the body; None if it is chunked."""
    chunked: bool
    keep_alive: bool
    """Whether the client may send another request on this connection. Never for HTTP/1.0."""
    expect_continue: bool
    """Whether the client waits for ``100 Continue`` before it sends its body."""
    by_name: dict[bytes, bytes] = field(default=Factory(_by_name, takes_self=True), repr=False, eq=False)
    """The fields by name, as :func:`joined` returns them; the reader has made them already."""


@frozen(slots=True)
class ResponseHead(_Fields):
    """A forge's final response head. No byte of it may be relayed unchanged: see ``header_policy``."""

    status: int
    version: bytes
    fields: Fields = field(repr=False)
    """Not in ``repr``: a hostile forge may echo the credential in any of them."""
    length: int | None
    """Bytes of the body that follow (0 for HEAD, 204 and 304, whatever Content-Length says); None is chunked."""
    chunked: bool
    keep_alive: bool
    by_name: dict[bytes, bytes] = field(default=Factory(_by_name, takes_self=True), repr=False, eq=False)
    """The fields by name, as :func:`joined` returns them."""


class _LowerCase(dict[bytes, bytes]):
    """Maps names to lower case; only those of git and of common forges are stored, others are computed each time."""

    def __missing__(self, name: bytes) -> bytes:
        return name.lower()


LOWER_CASE: Final = _LowerCase({
    name: name.lower()
    for name in (
        # Sent by git and git-lfs.
        b"Host", b"User-Agent", b"Accept", b"Accept-Encoding", b"Accept-Language", b"Authorization", b"Pragma",
        b"Content-Encoding", b"Content-Length", b"Content-Type", b"Git-Protocol", b"Transfer-Encoding", b"Expect",
        b"Connection",
        # Sent by forges.
        b"Server", b"Date", b"Cache-Control", b"Expires", b"Vary", b"Location", b"Retry-After", b"Set-Cookie",
        b"X-GitHub-Request-Id", b"X-Frame-Options", b"X-Request-Id", b"Strict-Transport-Security", b"Keep-Alive",
    )
})  # fmt: skip

# A field line of a head that matched. Trailing whitespace of the value is included.
_LINE: Final = re.compile(rb"([^:]++):[\t ]*+([^\r]*+)\r\n")
_WHITESPACE: Final = frozenset({b" ", b"\t"})


def split(block: bytes) -> list[tuple[bytes, bytes]]:
    """Split the field lines of a head that matched into lower-case names and values without outer whitespace."""
    return normal(raw_lines(block))


raw_lines: Final = _LINE.findall
"""Splits field lines that matched into names as sent and values without leading whitespace."""


def normal(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the lines with lower-case names and without trailing whitespace of the values."""
    # Every head comes here: no function is called for the names and values that git sends.
    return [(LOWER_CASE[name], value.strip() if value[-1:] in _WHITESPACE else value) for name, value in lines]


def repeats(lines: Iterable[tuple[bytes, bytes]], once: frozenset[bytes]) -> bool:
    """Whether a field of ``once`` has two lines."""
    names = [name for name, _ in lines if name in once]
    return len(set(names)) != len(names)


def options(value: bytes) -> set[bytes]:
    """Return the members of a Connection value, lower-case (RFC 9110 section 7.6.1)."""
    return {option.strip() for option in value.lower().split(b",")}
