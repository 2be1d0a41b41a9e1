"""The values of a session: identity, network binding, grants and times. Nothing here reads a clock.

A session has an ``id``, which is public (logs, listings and URLs contain it), and a ``token`` and a ``secret``: 32
random bytes each (URL-safe base64, 43 characters), returned once at creation; only their SHA-256 digests are stored.
Times are seconds on the *lease clock* (``docs/architecture.md``, "Clocks"), which counts suspended time and ignores
steps of the wall clock. Wall clock times are stored for display only.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from attrs import Factory, field, frozen

from credgate.rules.parse import PushRule
from credgate.values import Access

__all__ = ["Grant", "Lifetimes", "Network", "PushRule", "Session", "SessionRequest"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen(slots=True)
class Grant:
    """Access to the repositories that one pattern matches, with its ref rules.

    ``repo`` is ``owner/repo`` as the creator of the session wrote it but without ``.git``, ``owner/*`` (everything
    below ``owner`` at any depth, since GitLab groups nest) or ``**`` (the whole forge).
    """

    repo: str
    forge: str
    access: Access = Access.WRITE
    push: tuple[PushRule, ...] | None = None
    """``None``: the default ref rules of a write grant; ``()``: no push at all."""
    normal: str = field(default=Factory(lambda self: self.repo, takes_self=True))
    """``repo`` in the normal form of the forge (its driver computes it); ``scope`` compares this."""
    max_push_bytes: int | None = field(default=None, kw_only=True)
    """Size of the pack of one push; ``None``: this grant sets no limit. The same holds for ``max_refs``."""
    max_refs: int | None = field(default=None, kw_only=True)
    max_lfs_object_bytes: int | None = field(default=None, kw_only=True)
    """Size of one LFS object, in either direction; ``None``: no limit."""
    push_options: tuple[str, ...] = field(default=(), kw_only=True)
    """Push options that may be sent; ``*`` matches any run of characters."""
    protected_paths: tuple[str, ...] = field(default=(), kw_only=True)
    """Globs over repository paths that no push may change."""
    require_old_oid: bool = field(default=False, kw_only=True)
    """True: before a push, each ref must have the old object id that the client sends."""
    partial: bool = field(default=False, kw_only=True)
    """Whether the other refs of a push continue when some are refused."""
    workflows: bool = field(default=False, kw_only=True)
    """Whether a minted credential gets GitHub's separate permission for files below ``.github/workflows``."""


@frozen(slots=True)
class Session:
    """The rights of a sandbox, without its secrets. Immutable: recording a use makes a new value."""

    id: str
    token_digest: bytes = field(repr=False)
    secret_digest: bytes = field(repr=False)
    grants: tuple[Grant, ...]
    created: float
    """Lease clock, seconds."""
    used: float
    """Lease clock, seconds: the last byte of the last request that authenticated as this session."""
    created_wall: float
    """Seconds since the epoch, for display."""
    idle_ttl: float
    absolute_ttl: float
    bound_to: Network | None = None
    """The network (a single address is a /32 or /128) that the session may be used from; IPv4-mapped is folded."""
    label: str = ""
    """The operator's name for the sandbox; the ancestor's ``container_id``."""
    dns: tuple[str, ...] = ()
    """Names that the DNS server resolves for this session, in addition to ``[dns] allow``."""

    def expires(self) -> float:
        """Return the lease clock time at which the session ends if it is not used again."""
        return min(self.created + self.absolute_ttl, self.used + self.idle_ttl)

    def live(self, now: float) -> bool:
        """Return whether the session is valid at ``now`` (lease clock)."""
        return now < self.expires()


class Lifetimes(Protocol):
    """The longest lifetimes that a session may have, in seconds (the ``[sessions]`` table)."""

    @property
    def idle_ttl(self) -> float:
        """Time after the last use."""

    @property
    def absolute_ttl(self) -> float:
        """Time after the creation."""


@frozen(slots=True)
class SessionRequest:
    """A validated request to create a session: ``body.parse_create`` makes it, the registry creates the session.

    TTLs are seconds and never longer than the configured ones.
    """

    idle_ttl: float
    absolute_ttl: float
    grants: tuple[Grant, ...] = ()
    bound_to: Network | None = None
    label: str = ""
    dns: tuple[str, ...] = ()
