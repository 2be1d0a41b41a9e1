"""What a session is: identity, binding, grants and times. Values only; nothing here reads a clock.

A session is known by three things. ``id`` is public: logs, listings and URLs carry it. ``token`` and ``secret`` are
32 random bytes each (URL-safe base64, 43 characters), shown once at creation; only their SHA-256 digests are kept.
Times are seconds on the *lease clock* (see ``docs/architecture.md``, "Clocks"): it counts suspended time and ignores
steps of the wall clock; the wall clock is kept beside it for people only.
"""

from __future__ import annotations

import ipaddress

from attrs import Factory, field, frozen

from credgate.rules.parse import PushRule  # noqa: TC001 - cattrs resolves the annotations
from credgate.values import Access

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen(slots=True)
class Grant:
    """One repository pattern with its access and ref rules.

    ``repo`` is ``owner/repo`` in its writer's spelling but without ``.git``, ``owner/*`` (everything below ``owner``,
    at any depth: GitLab groups nest) or ``**`` (all of the forge).
    """

    repo: str
    forge: str
    access: Access = Access.WRITE
    push: tuple[PushRule, ...] | None = None
    """``None``: the default ref rules of a write grant; ``()``: no push at all."""
    normal: str = field(default=Factory(lambda self: self.repo, takes_self=True))
    """``repo`` in the forge's normal form, which its driver gives: what scope compares."""
    max_push_bytes: int | None = field(default=None, kw_only=True)
    """Bytes of one push's pack; ``None``: no limit of the grant's own. So for ``max_refs``."""
    max_refs: int | None = field(default=None, kw_only=True)
    max_lfs_object_bytes: int | None = field(default=None, kw_only=True)
    """Bytes of one LFS object, either way; ``None``: no limit."""
    push_options: tuple[str, ...] = field(default=(), kw_only=True)
    """Push options that may be sent; ``*`` stands for any run of characters."""
    protected_paths: tuple[str, ...] = field(default=(), kw_only=True)
    """Globs over repository paths that no push may change."""
    require_old_oid: bool = field(default=False, kw_only=True)
    """A ref must be, before the push, where the client says it is."""
    partial: bool = field(default=False, kw_only=True)
    """Whether the rest of a push goes on when some of its refs are refused."""
    workflows: bool = field(default=False, kw_only=True)
    """Whether a minted credential may change files that GitHub guards apart: those below ``.github/workflows``."""


@frozen(slots=True)
class Session:
    """A sandbox's rights, without its secrets. Immutable: a touch makes a new one."""

    id: str
    token_digest: bytes = field(repr=False)
    secret_digest: bytes = field(repr=False)
    grants: tuple[Grant, ...]
    created: float
    """Lease clock, seconds."""
    used: float
    """Lease clock, seconds: the last byte of a request that this session was authenticated for."""
    created_wall: float
    """Seconds since the epoch, for people."""
    idle_ttl: float
    absolute_ttl: float
    bound_to: Network | None = None
    """The network (a single address is a /32 or /128) that the session may be used from; IPv4-mapped is folded."""
    label: str = ""
    """``container_id`` of the ancestor: the operator's own name for the sandbox."""
    dns: tuple[str, ...] = ()
    """Names that this session may resolve; kept for the DNS server."""

    def expires(self) -> float:
        """Lease-clock second at which the session ends if it is not used again."""
        return min(self.created + self.absolute_ttl, self.used + self.idle_ttl)

    def live(self, now: float) -> bool:
        """Whether the session may still be used at ``now`` (lease clock)."""
        return now < self.expires()


@frozen(slots=True)
class SessionRequest:
    """What the control API asks for, judged and complete: ``body.parse_create`` makes it, the registry grants it.

    TTLs are seconds and never longer than the configured ones.
    """

    idle_ttl: float
    absolute_ttl: float
    grants: tuple[Grant, ...] = ()
    bound_to: Network | None = None
    label: str = ""
    dns: tuple[str, ...] = ()
