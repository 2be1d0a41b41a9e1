"""What the rest of credgate may ask about a forge: names, URLs, login form, LFS hosts and what its answers mean.

A driver decides which spellings are legal repository names on its kind of forge and what their one normal form is;
it builds every upstream path, so no byte of a client's target ever reaches a forge. It never opens a connection,
holds no credential and reads no clock. The login forms follow ``docs/architecture.md``; the paths are those of git's
``gitprotocol-http``: ``<repository>/info/refs?service=...`` and ``<repository>/git-*-pack``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from credgate.config.schema import ForgeConfig
    from credgate.values import Access


class Driver(Protocol):
    """One configured forge. Immutable; shared by all requests."""

    @property
    def forge(self) -> ForgeConfig:
        """The table of the configuration that this driver was made from."""
        ...

    @property
    def host(self) -> str:
        """The name or address to connect to; an IPv6 address stands without brackets."""
        ...

    @property
    def port(self) -> int:
        """The TCP port to connect to."""
        ...

    @property
    def tls(self) -> bool:
        """Whether the connection is TLS, verified against :attr:`host`."""
        ...

    @property
    def authority(self) -> str:
        """The value of the upstream ``Host`` field: brackets for IPv6, the port only when it is not the default."""
        ...

    @property
    def shape(self) -> str:
        """How people write a repository's path here, with capitals for what they fill in: ``OWNER/REPO``."""
        ...

    @property
    def api(self) -> str | None:
        """The base URL of the forge's API, without a trailing slash; ``None``: it has none that credgate knows."""
        ...

    def proof(self, kind: str) -> str | None:
        """Return the path below :attr:`api` that is answered 200 to an accepted credential and never to a wrong one.

        ``kind`` is the source's (``sources.SourceKind``). ``None``: there is none, or none that this one may ask.
        """
        ...

    def api_login(self, secret: str) -> bytes:
        """Return the ``Authorization`` value for the API. Raises ``ValueError`` for what no head can hold."""
        ...

    @property
    def lfs_hosts(self) -> tuple[str, ...]:
        """The hosts whose URLs an LFS answer of this forge may hold: names, and ``*.name`` for all below one."""
        ...

    def lfs_host(self, host: str) -> bool:
        """Whether ``host`` (no port; IPv6 without brackets) is one of them. Says nothing of scheme, port or path."""
        ...

    def normal(self, path: str) -> str | None:
        """Return the one form under which ``path`` (``owner/repo``, any spelling) is compared; ``None``: no legal name.

        One trailing ``.git`` is dropped, letters are folded where the forge folds. No leading or trailing slash.
        """
        ...

    def normal_pattern(self, text: str) -> str | None:
        """Return the same for a grant, which may also be ``owner/*`` or ``**``; ``None``: no legal grant."""
        ...

    def login(self, secret: str) -> bytes:
        """Return the value of the upstream ``Authorization`` field for the forge's ``secret``."""
        ...

    def path(self, repo_path: str, tail: str, *, dot_git: bool = False) -> str:
        """Build the upstream request target, e.g. ``/prefix/owner/repo.git/info/refs?service=git-upload-pack``.

        ``repo_path`` is a grant's own spelling or a normal form; ``tail`` one of the route's constants; ``dot_git``
        whether the client wrote ``.git``, for forges where that may matter. Raises ``ValueError`` for a path that
        :meth:`normal` does not know: nothing but a legal name is ever sent.
        """
        ...

    def moved(self, location: bytes) -> str | None:
        """Return the normal path that a redirect's ``Location`` names; ``None`` unless it is an ``info/refs`` URL here.

        The bytes are matched whole against one pattern and never parsed as a URL: parsers disagree about hosts.
        """
        ...

    def sentence(self, status: int, access: Access) -> str:
        """Say what the forge's 4xx or 5xx to a request that needed ``access`` means; one line, without our name.

        Also what a success or redirect means that is no answer to git, where a forge tells a refusal by one.
        """
        ...

    def refuses_credential(self, status: int) -> bool:
        """Whether ``status`` says that the credential itself is not accepted: another one might be.

        False for a credential that is known and may not do this. A redirect that :meth:`moved` knows comes first.
        """
        ...
