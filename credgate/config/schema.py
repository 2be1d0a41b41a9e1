"""The configuration as values: every key, with its form, its default and its meaning.

Each key is declared once, as a field made by ``option``: the form (``forms``, ``netforms``) checks what a file says,
the default holds where it says nothing, the text below explains the key. ``config.load`` makes these values; a
``Config`` that it returned has passed every check. Durations are seconds, sizes are bytes. No value is a secret:
credentials are references (``env://NAME``, ``file:///path``), which ``config.secrets`` resolves.

The defaults are those of a process of root without environment variables; see ``config.environment`` for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import NOTHING, field, frozen

from credgate.config import forms, netforms
from credgate.config.toml_lines import Path, dotted, line_of
from credgate.errors import ConfigError
from credgate.rules.parse import PushRule  # noqa: TC001 - cattrs resolves the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1024, 1024 * 1024
KINDS = ("github", "gitlab", "gitea", "bitbucket", "bitbucket-datacenter", "azure", "generic")

_count, _count_or_zero = forms.whole(1), forms.whole(0)


def option(form: Callable[[object], object], default: Any = NOTHING, **more: Any) -> Any:  # noqa: ANN401 - as attrs.field
    """Return the field of a key: ``form`` reads its value, ``default`` holds where the file does not have it."""
    return field(default=default, metadata={"form": form}, **more)


def fixed(value: object) -> Any:  # noqa: ANN401 - as above
    """Return a field that a file cannot set: once a key, now the same for everyone. Tests may pass another value."""
    return field(default=value, metadata={"fixed": True})


@frozen(slots=True)
class ListenConfig:
    """Addresses on which credgate listens."""

    git: str = option(forms.filled, "tcp:8080:interface=127.0.0.1")
    """A Twisted server endpoint string."""
    control: str = option(forms.socket_path, "/run/credgate/control.sock")
    """Path of the UNIX socket of the control API; its directory is created with mode 0700."""
    dns: str = option(netforms.address_port, "127.0.0.1:5353")
    """``address:port``; ``""``: off."""
    metrics: str = option(netforms.loopback_port, "")
    """``address:port`` on the loopback interface, for Prometheus; ``""``: off."""
    public_url: str = option(netforms.origin, "")
    """The gateway's URL behind a TLS terminator; ``""``: taken from each request's Host field."""


@frozen(slots=True)
class SessionsConfig:
    """Lifetime and storage of sessions."""

    store: str = option(forms.store_url, "sqlite:////var/lib/credgate/sessions.db")
    """``sqlite:////absolute/path`` (always four slashes once loaded) or ``memory:``; see ``store_path``."""
    idle_ttl: float = option(forms.duration, 24 * 3600.0)
    absolute_ttl: float = option(forms.duration, 7 * 24 * 3600.0)
    gc_interval: float = option(forms.duration, 60.0)
    max_sessions: int = option(_count, 100)

    @property
    def store_path(self) -> str:
        """The absolute path of the SQLite file, ``""`` for a store in memory."""
        return "" if self.store == "memory:" else "/" + self.store.removeprefix("sqlite:").lstrip("/")


@frozen(slots=True)
class Limits:
    """Limits on one peer: seconds, bytes, counts."""

    head_timeout: float = option(forms.duration, 10.0)
    """From the first byte of a request head (or the accept) to its end, whatever arrives in between."""
    idle_timeout: float = option(forms.duration, 30.0)
    """A persistent connection without a request is closed after this time."""
    stall_timeout: float = option(forms.duration, 120.0)
    """A transfer that moves no byte in either direction is cut after this time."""
    forge_timeout: float = option(forms.duration, 660.0)
    """Waiting for the forge: for its first byte, and between bytes once the whole request has been sent."""
    connect_timeout: float = option(forms.duration, 30.0)
    drain_timeout: float = option(forms.duration_or_none, 30.0)
    """Running transfers may continue this long when the gateway stops; 0: they are cut at once."""
    inquiry_timeout: float = option(forms.duration, 60.0)
    """One query to the forge about a waiting push: its history, trees or refs."""
    max_head: int = option(forms.whole(KIB, MIB), 16 * KIB)
    max_connections: int = option(_count, 1024)
    max_connections_per_address: int = option(_count, 64)
    max_transfers_per_session: int = option(_count, 64)
    requests_per_minute: int = option(_count_or_zero, 0)
    """Requests of one session; more are answered 429. 0: no limit."""
    requests_per_minute_per_address: int = option(_count_or_zero, 0)
    """Requests of all sessions of one address; 0: no limit."""
    bytes_per_minute: int = option(_count_or_zero, 0)
    """Bytes of one session, both directions together; running transfers are not cut. 0: no limit."""
    wrong_credentials_per_minute: int = option(_count, 10)
    """By address; then 429."""
    max_drain: int = option(_count_or_zero, 4 * 1024 * MIB)
    """Bytes of a refused request body that are read and discarded before the connection is cut instead."""


@frozen(slots=True)
class AppConfig:
    """``[forges."NAME".app]``: a GitHub App, whose private key signs requests for installation tokens."""

    app_id: str = option(forms.app_id, "")
    """The App's id or client id, as its settings page shows it."""
    private_key: str = option(forms.credential, "", repr=False)
    """Reference to the PEM file."""
    installation_id: int = option(_count_or_zero, 0)
    """0: looked up for each repository."""


@frozen(slots=True)
class OAuthConfig:
    """``[forges."NAME".oauth]``: an OAuth 2.0 client with a refresh token (RFC 6749 section 6)."""

    client_id: str = option(forms.filled, "")
    client_secret: str = option(forms.credential, "", repr=False)
    refresh_token: str = option(forms.credential, "", repr=False)
    """Reference to the first refresh token; the forge returns later ones, kept in the state directory."""
    key: str = option(forms.credential, "", repr=False)
    """Reference to the key that encrypts those."""


@frozen(slots=True)
class RotateConfig:
    """``[forges."NAME".rotate]``: a GitLab access token that rotates itself."""

    token: str = option(forms.credential, "", repr=False)
    """Reference to the first token; later ones are kept in the state directory."""
    key: str = option(forms.credential, "", repr=False)
    """Reference to the key that encrypts those."""
    lifetime: float = option(forms.duration, 7 * 24 * 3600.0)
    """Lifetime requested for each new token; it is rotated at half of it."""


@frozen(slots=True)
class ForgeConfig:
    """A server of repositories. ``name`` is the key of its table: ``[forges."github.com"]``."""

    name: str
    kind: str = option(forms.one_of(*KINDS), "generic")
    url: str = option(netforms.forge_url, "")
    """``https://host[:port][/prefix]``, without trailing slash."""
    username: str = option(forms.username, "")
    """User name of the login; ``""``: the default of the kind (such as ``x-access-token``)."""
    credential: str = option(forms.credential, "", repr=False)
    """A reference; ``""``: anonymous. Used for every repository that no pattern of ``credentials`` matches."""
    allow_plain_http: bool = option(forms.boolean, default=False)
    ca_file: str = option(forms.optional(forms.absolute_path), "")
    """PEM file with the certificate authorities of this forge; ``""``: those of the system."""
    internal: bool = option(forms.boolean, default=False)
    """True: the forge's names may resolve to private addresses."""
    proxy: str = option(netforms.proxy_url, "")
    """``http://host:port`` of a CONNECT proxy; ``""``: none. Environment variables are not consulted."""
    api_url: str = option(forms.optional(netforms.forge_url), "")
    """Base URL of the forge's API; ``""``: the default of the kind."""
    lfs_hosts: tuple[str, ...] = option(netforms.host_patterns, ())
    """Additional hosts of LFS objects: a name, or ``*.name`` for all names below it."""
    check_path: bool = option(forms.boolean, default=False)
    """True: query the API whether a project still has this path before each use (GitLab)."""
    credentials: dict[str, str] = option(forms.credentials, factory=dict, repr=False)  # noqa: RUF009 - makes a field
    """References by pattern (``owner/*``, ``owner/repo``, ``**``); the longest matching pattern is used."""
    app: AppConfig | None = None
    oauth: OAuthConfig | None = None
    rotate: RotateConfig | None = None


@frozen(slots=True)
class PushPolicy:
    """Rules for the pushes of every session. They narrow what grants allow and never widen it."""

    push: tuple[PushRule, ...] = option(forms.push_rules, ())
    """The first rule that matches a ref limits what a grant may allow there; a ref without a match is not limited."""
    max_push_bytes: int = option(_count_or_zero, 0)
    """Size of the pack of one push; 0: no limit."""
    max_refs: int = option(forms.whole(1, 20_000), 2_000)
    """Refs in one push."""
    push_options: tuple[str, ...] = option(forms.push_options, ("*",))
    """Push options that grants may allow; ``*`` matches any run of characters."""
    protected_paths: tuple[str, ...] = option(forms.path_globs, ())
    """Added to those of each grant."""
    require_old_oid: bool = option(forms.boolean, default=False)
    """True: for every grant."""


@frozen(slots=True)
class AuditConfig:
    """Destination and rotation of the audit log."""

    to: str = option(forms.audit_target, "stderr")
    """``stderr`` or the path of a file that is appended to."""
    max_bytes: int = option(_count_or_zero, 64 * MIB)
    """The file is rotated at this size; 0: credgate does not rotate. Rotation by other programs is detected."""
    keep: int = option(_count_or_zero, 16)
    """Rotated files to keep; 0: all."""
    sync: str = option(forms.one_of("always", "second", "never"), "second")
    """When lines are synchronised to the disk: ``always`` (each batch), ``second`` (a second later), ``never``."""


@frozen(slots=True)
class ControlConfig:
    """Access to the control socket."""

    allow_uids: tuple[int, ...] = option(forms.uids, ())
    """User ids admitted in addition to root and credgate's own."""


@frozen(slots=True)
class DnsConfig:
    """The DNS server for sandboxes; ``[listen] dns`` has its address. ``dns.allowlist`` reads the entries."""

    allow: tuple[str, ...] = option(forms.strings, ())
    """``name``, ``*.name`` (only names below it), ``!name`` (denied, wins); more types follow: ``name TXT,MX``."""
    allowlist_file: str = option(forms.optional(forms.absolute_path), "")
    """A file of such lines, or the ancestor's ``allowlist.conf``."""
    static: dict[str, tuple[str, ...]] = option(netforms.static_names, factory=dict)  # noqa: RUF009 - makes a field
    """The gateway's own names with their addresses, answered locally in both directions."""
    clients: str = option(forms.one_of("any", "sessions"), "any")
    """``any``; ``sessions``: only addresses that a session is bound to."""
    upstream: tuple[str, ...] = option(netforms.upstreams, ())
    """``address`` or ``address:port``, tried in order; empty: the system's resolvers."""
    allow_private: tuple[str, ...] = option(netforms.networks, ())
    """Private or special networks whose addresses answers may contain."""
    aaaa: bool = option(forms.boolean, default=True)
    """Whether IPv6 addresses are answered."""
    refused: str = option(forms.one_of("nxdomain", "refused"), "nxdomain")
    """Answer for a name that is not allowed: ``nxdomain`` or ``refused``."""
    cname: str = option(forms.one_of("hide", "check"), "hide")
    """``hide``: answers hold only the queried name and its addresses; ``check``: chains too, every name allowed."""
    rate: float = option(forms.number(0), 100.0)
    """UDP queries a second and client address (IPv6: /64); 0: no limit."""
    burst: float = option(forms.number(1), 200.0)
    names_per_minute: int = option(_count, 30)
    """Distinct names below wildcards that one client may query in a minute."""

    max_ttl: float = fixed(300.0)
    negative_ttl: float = fixed(30.0)
    stale_ttl: float = fixed(3600.0)
    """How long an expired answer may be served while upstream is down (RFC 8767); 0: never."""
    cache_size: int = fixed(1000)
    """Answers in the cache: enough for every name that a sandbox's tools use, about a megabyte."""
    # Data can leave a sandbox in the labels of names below a wildcard, so these are bounded well below the RFC's 255
    # octets. Names that are allowed exactly carry no data and are not bounded.
    max_name: int = fixed(128)
    max_labels: int = fixed(10)
    max_label: int = fixed(40)
    audit_per_minute: int = fixed(30)
    """Audit lines of one client in a minute."""
    tcp_connections: int = fixed(128)
    tcp_connections_per_address: int = fixed(8)


def _github() -> dict[str, ForgeConfig]:
    return {"github.com": ForgeConfig(name="github.com", kind="github", url="https://github.com")}


@frozen(slots=True)
class Config:
    """The whole configuration. ``source`` is the file that it was read from, ``""`` if there is none."""

    default_forge: str = option(forms.filled, "github.com")
    listen: ListenConfig = field(factory=ListenConfig)
    sessions: SessionsConfig = field(factory=SessionsConfig)
    limits: Limits = field(factory=Limits)
    policy: PushPolicy = field(factory=PushPolicy)
    audit: AuditConfig = field(factory=AuditConfig)
    control: ControlConfig = field(factory=ControlConfig)
    dns: DnsConfig = field(factory=DnsConfig)
    forges: dict[str, ForgeConfig] = field(factory=_github)
    source: str = ""
    lines: dict[Path, int] = field(factory=dict, repr=False, eq=False)
    """The line of each key in ``source``."""

    def error(self, text: str, *path: str) -> ConfigError:
        """Return an error for the key at ``path`` (``"forges", "github.com", "url"``), with file and line.

        For what only a service can find out: an endpoint that does not parse, a directory that is open to others.
        """
        return ConfigError(text, file=self.source, line=line_of(self.lines, path), key=dotted(path))


SECTIONS: dict[str, type[Any]] = {
    "listen": ListenConfig,
    "sessions": SessionsConfig,
    "limits": Limits,
    "policy": PushPolicy,
    "audit": AuditConfig,
    "control": ControlConfig,
    "dns": DnsConfig,
}
FORGE_TABLES: dict[str, type[Any]] = {"app": AppConfig, "oauth": OAuthConfig, "rotate": RotateConfig}
