"""What all drivers have in common, so that a driver is only what its kind of forge does differently.

A kind says how its repositories and groups are named (``normal``, ``group``), how a path is spelled in its URLs
(``spelled``), its login's user name, where its API and its LFS objects are, and in which words its refusals are told.
Everything that guards is here, once: only a legal name becomes a path, a redirect is matched whole, a pattern is a
group or all of the forge. Opens nothing, holds no secret.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import hosts
from credgate.forges.login import basic, bearer
from credgate.forges.sentences import Words, sentence

if TYPE_CHECKING:
    from credgate.config.schema import ForgeConfig
    from credgate.forges.origin import Origin
    from credgate.values import Access

EVERYTHING = "**"
BELOW = "/*"


@frozen(slots=True)
class Base(ABC):
    """The part of :class:`~credgate.forges.driver.Driver` that no kind does differently, or most do alike."""

    forge: ForgeConfig
    origin: Origin

    user: ClassVar[str] = "x-access-token"
    """The login's user name, unless one is configured."""
    shape: ClassVar[str] = "OWNER/REPO"
    words: ClassVar[Words] = {}
    """What this kind's statuses mean, where it differs from :data:`~credgate.forges.sentences.COMMON`."""
    rejections: ClassVar[frozenset[int]] = frozenset({401})
    """The statuses that speak of the credential itself."""

    @property
    def host(self) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.host

    @property
    def port(self) -> int:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.port

    @property
    def tls(self) -> bool:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.tls

    @property
    def authority(self) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.authority

    # Names.

    @abstractmethod
    def normal(self, path: str) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""

    @abstractmethod
    def group(self, path: str) -> str | None:
        """Return the normal form of what may stand before ``/*`` in a grant; ``None``: nothing there is a group."""

    def normal_pattern(self, text: str) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""
        if text == EVERYTHING:
            return text
        above = text.removesuffix(BELOW)
        if above == text:
            return self.normal(text)
        group = self.group(above)
        return None if group is None else group + BELOW

    # URLs.

    def path(self, repo_path: str, tail: str, *, dot_git: bool = False) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        if self.normal(repo_path) is None:
            raise ValueError("not a repository path on this forge")
        return f"{self.origin.prefix}/{self.spelled(repo_path, dot_git=dot_git)}/{tail}"

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:  # noqa: ARG002 - where both forms are one, one is sent
        """Return how the forge's URL spells the legal ``repo_path``; ``.git`` is always sent, unless a kind says so."""
        return repo_path.removesuffix(".git") + ".git"

    def moved(self, location: bytes) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""
        path = self.origin.repository_in(location)
        return None if path is None else self.normal(path)

    @property
    def api(self) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.forge.api_url.rstrip("/") or self.usual_api()

    def usual_api(self) -> str | None:
        """Return where forges of this kind have their API; ``None``: none that credgate knows."""
        return None

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - most kinds ask the same for any, or nothing
        """See :class:`~credgate.forges.driver.Driver`."""
        return None

    def api_login(self, secret: str) -> bytes:
        """See :class:`~credgate.forges.driver.Driver`."""
        return bearer(secret)

    @property
    def lfs_hosts(self) -> tuple[str, ...]:
        """See :class:`~credgate.forges.driver.Driver`."""
        return (self.host, *self.storage(), *self.forge.lfs_hosts)

    def storage(self) -> tuple[str, ...]:
        """Return the hosts where forges of this kind keep LFS objects, beside their own."""
        return ()

    def lfs_host(self, host: str) -> bool:
        """See :class:`~credgate.forges.driver.Driver`."""
        return hosts.among(self.lfs_hosts, host)

    # Answers.

    def login(self, secret: str) -> bytes:
        """See :class:`~credgate.forges.driver.Driver`."""
        return basic(self.forge.username or self.user, secret)

    def sentence(self, status: int, access: Access) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return sentence(self.forge.name, status, access, self.words)

    def refuses_credential(self, status: int) -> bool:
        """See :class:`~credgate.forges.driver.Driver`."""
        return status in self.rejections
