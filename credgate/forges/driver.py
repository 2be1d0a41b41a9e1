"""What credgate needs to know about a forge: names, URLs, login, LFS hosts and the meaning of its responses.

A driver decides which spellings are legal repository names on its kind of forge, and which one is their normal form.
It builds every upstream path, so no byte of a client's target reaches a forge. The checks are here, once: only a legal
name becomes a path, a redirect is matched as a whole, a pattern is a group or all of the forge. A kind overrides what
differs: ``normal``, ``group``, ``spelled``, its login, its API, its LFS hosts and its error sentences.

A driver opens no connection, holds no credential and reads no clock. The paths are those of git's
``gitprotocol-http``: ``<repository>/info/refs?service=...`` and ``<repository>/git-*-pack``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from base64 import b64encode
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import hosts
from credgate.forges.sentences import Words, sentence

if TYPE_CHECKING:
    from credgate.config.schema import ForgeConfig
    from credgate.forges.origin import Origin
    from credgate.values import Access

EVERYTHING = "**"
BELOW = "/*"
_TOKEN = re.compile(r"[!-~]+")


def basic(user: str, secret: str) -> bytes:
    """Return the ``Authorization`` value of HTTP Basic (RFC 7617). ``user`` has no colon; both are sent as UTF-8."""
    return b"Basic " + b64encode(f"{user}:{secret}".encode())


def bearer(secret: str) -> bytes:
    """Return the ``Authorization`` value of a bearer token (RFC 6750).

    Raises ``ValueError`` unless the token is visible ASCII: unlike in Basic it is not encoded.
    """
    if _TOKEN.fullmatch(secret) is None:
        raise ValueError("not a token that a header field can hold")
    return b"Bearer " + secret.encode("ascii")


@frozen(slots=True)
class Driver(ABC):
    """One configured forge. Immutable; shared by all requests."""

    forge: ForgeConfig
    """The table of the configuration that this driver was made from."""
    origin: Origin

    user: ClassVar[str] = "x-access-token"
    """The user name of the login, unless one is configured."""
    shape: ClassVar[str] = "OWNER/REPO"
    """The form of a repository's path, for error messages."""
    words: ClassVar[Words] = {}
    """The meaning of this kind's statuses, where it differs from :data:`~credgate.forges.sentences.COMMON`."""
    rejections: ClassVar[frozenset[int]] = frozenset({401})
    """The statuses that reject the credential itself."""

    # The connection.

    @property
    def host(self) -> str:
        """The name or address to connect to; an IPv6 address has no brackets."""
        return self.origin.host

    @property
    def port(self) -> int:
        """The TCP port to connect to."""
        return self.origin.port

    @property
    def tls(self) -> bool:
        """Whether the connection is TLS, verified against :attr:`host`."""
        return self.origin.tls

    @property
    def authority(self) -> str:
        """The value of the upstream ``Host`` field: brackets for IPv6, the port only if it is not the default."""
        return self.origin.authority

    # Names.

    @abstractmethod
    def normal(self, path: str) -> str | None:
        """Return the form in which ``path`` (``owner/repo``, any spelling) is compared; ``None``: not a legal name.

        One trailing ``.git`` is removed, and letters are folded where the forge folds them. The result has no leading
        or trailing slash.
        """

    @abstractmethod
    def group(self, path: str) -> str | None:
        """Return the normal form of what a grant may have before ``/*``; ``None``: not a group."""

    def normal_pattern(self, text: str) -> str | None:
        """Return the normal form of a grant: a repository, ``owner/*`` or ``**``; ``None``: not a legal grant."""
        if text == EVERYTHING:
            return text
        above = text.removesuffix(BELOW)
        if above == text:
            return self.normal(text)
        group = self.group(above)
        return None if group is None else group + BELOW

    # URLs.

    def path(self, repo_path: str, tail: str, *, dot_git: bool = False) -> str:
        """Build the upstream request target, e.g. ``/prefix/owner/repo.git/info/refs?service=git-upload-pack``.

        ``repo_path`` is a grant's own spelling or a normal form; ``tail`` is one of the route's constants; ``dot_git``
        is whether the client wrote ``.git``, for forges where that may matter. Raises ``ValueError`` for a path that
        :meth:`normal` does not accept: nothing but a legal name is ever sent.
        """
        if self.normal(repo_path) is None:
            raise ValueError("not a repository path on this forge")
        return f"{self.origin.prefix}/{self.spelled(repo_path, dot_git=dot_git)}/{tail}"

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:  # noqa: ARG002 - only Generic needs it
        """Return the spelling of the legal ``repo_path`` in the forge's URL; most kinds always send ``.git``."""
        return repo_path.removesuffix(".git") + ".git"

    def moved(self, location: bytes) -> str | None:
        """Return the normal path in a redirect's ``Location``; ``None`` unless it is an ``info/refs`` URL here.

        The bytes are matched as a whole by one pattern and never parsed as a URL: parsers disagree about hosts.
        """
        path = self.origin.repository_in(location)
        return None if path is None else self.normal(path)

    @property
    def api(self) -> str | None:
        """The base URL of the forge's API, without a trailing slash; ``None``: not known."""
        return self.forge.api_url.rstrip("/") or self.usual_api()

    def usual_api(self) -> str | None:
        """Return the usual base URL of the API of this kind; ``None``: not known."""
        return None

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - few kinds need it
        """Return the path below :attr:`api` that answers 200 to an accepted credential and never to a wrong one.

        ``kind`` is the source's (``sources.SourceKind``). ``None``: there is no such path for this credential.
        """
        return None

    def api_login(self, secret: str) -> bytes:
        """Return the ``Authorization`` value for the API. Raises ``ValueError`` for what a header field cannot hold."""
        return bearer(secret)

    @property
    def lfs_hosts(self) -> tuple[str, ...]:
        """The hosts that URLs in an LFS response of this forge may name; ``*.name`` is every name below one."""
        return (self.host, *self.storage(), *self.forge.lfs_hosts)

    def storage(self) -> tuple[str, ...]:
        """Return the hosts, besides its own, where this kind of forge stores LFS objects."""
        return ()

    def lfs_host(self, host: str) -> bool:
        """Whether ``host`` (no port; IPv6 without brackets) is one of them. Scheme, port and path are not checked."""
        return hosts.among(self.lfs_hosts, host)

    # Responses.

    def login(self, secret: str) -> bytes:
        """Return the value of the upstream ``Authorization`` field for the forge's ``secret``.

        It is sent with every request, also the first: a forge never has to ask for it.
        """
        return basic(self.forge.username or self.user, secret)

    def sentence(self, status: int, access: Access) -> str:
        """Return one line about the forge's 4xx or 5xx to a request that needed ``access``.

        Also about a success or redirect that is not a response to git, where a forge refuses in this way.
        """
        return sentence(self.forge.name, status, access, self.words)

    def refuses_credential(self, status: int) -> bool:
        """Whether ``status`` rejects the credential itself, so that another one might be accepted.

        False for a credential that is known and lacks a permission. A redirect that :meth:`moved` knows comes first.
        """
        return status in self.rejections
