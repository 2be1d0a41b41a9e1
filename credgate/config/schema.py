"""The configuration as values: every key that exists, its type and its default.

Made by ``config.load``; checked there, so whoever holds a ``Config`` that it returned holds one that can be used.
Durations are seconds, sizes are bytes. No value here is a secret: credentials are references (``env://NAME``,
``file:///path``), resolved by ``config.secrets``. The defaults below are those of a process of root without an
environment; ``config.environment`` has everybody else's.
"""

from __future__ import annotations

from attrs import field, frozen

from credgate.config.position import Path, dotted, line_of
from credgate.config.short_lived import AppConfig, OAuthConfig, RotateConfig  # noqa: TC001 - as PushRule below
from credgate.errors import ConfigError
from credgate.rules.parse import PushRule  # noqa: TC001 - cattrs resolves the annotations

MIB = 1024 * 1024


@frozen(slots=True)
class ListenConfig:
    """Where credgate listens."""

    git: str = "tcp:8080:interface=127.0.0.1"
    """A Twisted server endpoint string."""
    control: str = "/run/credgate/control.sock"
    """Path of the UNIX socket of the control API; its directory is made 0700."""
    dns: str = "127.0.0.1:5353"
    """``address:port``; ``""`` is off."""
    metrics: str = ""
    """``address:port`` of this machine alone, for Prometheus; ``""`` is off."""
    public_url: str = ""
    """How sandboxes call the gateway where something before it speaks TLS; ``""``: as they say themselves."""


@frozen(slots=True)
class SessionsConfig:
    """How long sessions live and where they are kept."""

    store: str = "sqlite:////var/lib/credgate/sessions.db"
    """``sqlite:////absolute/path`` (always four slashes once loaded) or ``memory:``; see ``store_path``."""
    idle_ttl: float = 24 * 3600.0
    absolute_ttl: float = 7 * 24 * 3600.0
    gc_interval: float = 60.0
    max_sessions: int = 100

    @property
    def store_path(self) -> str:
        """The absolute path of the SQLite file, ``""`` for a store in memory."""
        return "" if self.store == "memory:" else "/" + self.store.removeprefix("sqlite:").lstrip("/")


@frozen(slots=True)
class Limits:
    """What one peer may take; seconds, bytes, counts."""

    head_timeout: float = 10.0
    """A request head is complete this long after its first byte (or after accept), however it dribbles."""
    idle_timeout: float = 30.0
    """A kept connection without a request is closed."""
    stall_timeout: float = 120.0
    """A transfer that moves no byte, either way, is cut."""
    forge_timeout: float = 660.0
    """How long the forge may think before its first byte, and between bytes once the request is whole."""
    connect_timeout: float = 30.0
    drain_timeout: float = 30.0
    """How long running transfers may go on when the gateway is told to stop; 0: not at all."""
    inquiry_timeout: float = 60.0
    """How long one question to the forge about a waiting push may take: history, trees, refs."""
    max_head: int = 16 * 1024
    max_connections: int = 1024
    max_connections_per_address: int = 64
    max_transfers_per_session: int = 64
    requests_per_minute: int = 0
    """Of one session; then 429. 0: no limit."""
    requests_per_minute_per_address: int = 0
    """Of one address, all its sessions together; 0: no limit."""
    bytes_per_minute: int = 0
    """That one session moves, both ways together; cuts nothing that runs. 0: no limit."""
    wrong_credentials_per_minute: int = 10
    """By address; then 429."""
    max_drain: int = 4 * 1024 * MIB
    """Bytes of a refused body that are read and thrown away before the connection is cut instead."""


@frozen(slots=True)
class ForgeConfig:
    """One place where repositories live. ``name`` is the table's key: ``[forges."github.com"]``."""

    name: str
    kind: str = "generic"
    url: str = ""
    """``https://host[:port][/prefix]``, no trailing slash."""
    username: str = ""
    """The login's user name; ``""``: the driver's own (``x-access-token``)."""
    credential: str = field(default="", repr=False)
    """A reference, never the secret; ``""``: anonymous. Stands for every repository that ``credentials`` leaves out."""
    allow_plain_http: bool = False
    ca_file: str = ""
    """PEM file of the authorities trusted for this forge; ``""``: the system's."""
    internal: bool = False
    """True: its names may resolve to private addresses."""
    proxy: str = ""
    """``http://host:port`` that tunnels to the forge (CONNECT); ``""``: none, whatever the environment says."""
    api_url: str = ""
    """Where the forge's API is; ``""``: where forges of its kind have it."""
    lfs_hosts: tuple[str, ...] = ()
    """Hosts that LFS objects may be fetched from beside those of the kind: a name, or ``*.name`` for all below it."""
    check_path: bool = False
    """True: ask the API, before a repository is used, whether the project still has this path (GitLab)."""
    credentials: dict[str, str] = field(factory=dict, repr=False)
    """References by pattern (``owner/*``, ``owner/repo``, ``**``); the longest that matches is used."""
    app: AppConfig | None = None
    """A GitHub App that mints credentials."""
    oauth: OAuthConfig | None = None
    """An OAuth application whose refresh token yields credentials."""
    rotate: RotateConfig | None = None
    """A token that is rotated through the forge's API before it ends."""


@frozen(slots=True)
class PushPolicy:
    """What holds for every session's pushes, whatever its grants say: it narrows them and never widens them."""

    push: tuple[PushRule, ...] = ()
    """The first rule that matches a ref bounds what any grant allows there; a ref that none matches is not bounded."""
    max_push_bytes: int = 0
    """Of one push's pack; 0: no limit."""
    max_refs: int = 2_000
    """Refs in one push."""
    push_options: tuple[str, ...] = ("*",)
    """Those that grants may allow; ``*`` stands for any run of characters."""
    protected_paths: tuple[str, ...] = ()
    """Added to each grant's own."""
    require_old_oid: bool = False
    """True: for every grant."""


@frozen(slots=True)
class AuditConfig:
    """Where audit lines go."""

    to: str = "stderr"
    """``stderr`` or the path of a file that is appended to."""
    max_bytes: int = 64 * MIB
    """A file is rotated when it has grown so large; 0: never by credgate. Somebody else's rotation is followed."""
    keep: int = 16
    """Rotated files that stay; 0: all."""
    sync: str = "second"
    """When lines are synchronised: ``always`` (each batch), ``second`` (a second later), ``never``."""


@frozen(slots=True)
class ControlConfig:
    """Who may use the control socket."""

    allow_uids: tuple[int, ...] = ()
    """User ids admitted beside credgate's own and root."""


@frozen(slots=True)
class DnsConfig:
    """The sandbox's DNS server; ``[listen] dns`` says where. Entries are read by ``dns.allowlist``."""

    allow: tuple[str, ...] = ()
    """``name``, ``*.name`` (below it only), ``!name`` (denied, wins); more types behind it: ``name TXT,MX``."""
    allowlist_file: str = ""
    """A file of such lines, or the ancestor's ``allowlist.conf``."""
    static: dict[str, tuple[str, ...]] = field(factory=dict)
    """The gateway's own names and their addresses; answered, and looked up backwards, without asking anyone."""
    clients: str = "any"
    """``any``; ``sessions``: only addresses that a session is bound to."""
    upstream: tuple[str, ...] = ()
    """``address`` or ``address:port``, tried in order; none: the system's."""
    allow_private: tuple[str, ...] = ()
    """Networks that answers may point into although they are private or special."""
    aaaa: bool = True
    """Whether IPv6 addresses are answered."""
    refused: str = "nxdomain"
    """How a name that is not allowed is answered: ``nxdomain`` or ``refused``."""
    cname: str = "hide"
    """``hide``: answers hold the asked name and its addresses only; ``check``: chains too, every name allowed."""
    max_ttl: float = 300.0
    negative_ttl: float = 30.0
    stale_ttl: float = 3600.0
    """How long after its end an answer may be served while upstream is down; 0: never."""
    cache_size: int = 1000
    """Answers kept."""
    rate: float = 100.0
    """UDP queries a second and client address (IPv6: /64); 0: no limit."""
    burst: float = 200.0
    max_name: int = 128
    """Octets of a name that only a wildcard allows; exact entries carry nothing out, so they are not limited."""
    max_labels: int = 10
    max_label: int = 40
    names_per_minute: int = 30
    """Distinct names that one client may have asked upstream under wildcards, a minute."""
    audit_per_minute: int = 30
    """Audit lines a client and minute."""
    tcp_connections: int = 128
    tcp_connections_per_address: int = 8


def _github() -> dict[str, ForgeConfig]:
    return {"github.com": ForgeConfig(name="github.com", kind="github", url="https://github.com")}


@frozen(slots=True)
class Config:
    """All of it. ``source`` is the file it came from, ``""`` for none."""

    default_forge: str = "github.com"
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
    """Where in ``source`` each written key stands."""

    def error(self, text: str, *path: str) -> ConfigError:
        """Return the error to raise for the key at ``path`` (``"forges", "github.com", "url"``), with its place.

        For what only a shell can find out: an endpoint that does not parse, a directory that is open to others.
        """
        return ConfigError(text, file=self.source, line=line_of(self.lines, path), key=dotted(path))
