"""The repositories that a short-lived credential is limited to: a type that cannot be empty.

GitHub makes a token for *all* repositories of an installation when a request names none, so an empty list must be
impossible: an empty ``Repositories`` is a ``ValueError``, and ``granted`` starts from the repository of the request. It
adds the session's other grants of the same owner that name a repository and allow the same access, so that a session
needs one credential an owner. A pattern (``owner/*``, ``**``) never becomes a list: where only a pattern grants the
request, the credential is for exactly this repository.

Names are in the forge's normal form. This module does not decide whether a request is allowed; that was decided before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.sessions import scope
from credgate.values import Access

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from attrs import Attribute

    from credgate.sessions.model import Grant
    from credgate.values import RepoPath

# Maximum of one credential. A session that names more of one owner gets one credential for each repository.
MAX_REPOSITORIES = 100


def _judge(_instance: Repositories, _attribute: Attribute[frozenset[str]], paths: frozenset[str]) -> None:
    if not paths:
        raise ValueError("a credential for no repository would be one for all of them")
    if len(paths) > MAX_REPOSITORIES:
        raise ValueError(f"a credential is for {MAX_REPOSITORIES} repositories at most")
    owners = {owner(path) for path in paths}
    if len(owners) != 1 or "" in owners or any("*" in path for path in paths):
        raise ValueError("a credential is for named repositories of one owner")


@frozen(slots=True)
class Repositories:
    """One or more repositories of one owner, by their normal paths (``owner/repo``)."""

    paths: frozenset[str] = field(validator=_judge)

    @classmethod
    def of(cls, *paths: str) -> Repositories:
        """Make one of these paths. Raises ``ValueError`` for none."""
        return cls(frozenset(paths))

    @property
    def owner(self) -> str:
        """The owner of all of them."""
        return owner(next(iter(self.paths)))

    @property
    def sorted(self) -> list[str]:
        """The paths in a fixed order."""
        return sorted(self.paths)

    @property
    def names(self) -> list[str]:
        """The names without their owner, in the order of ``sorted``."""
        return [path.partition("/")[2] for path in self.sorted]

    def __contains__(self, path: str) -> bool:
        return path in self.paths

    def __len__(self) -> int:
        return len(self.paths)


@frozen(slots=True)
class TokenScope:
    """The rights of a credential."""

    repositories: Repositories
    access: Access
    workflows: bool = False
    """Whether it may change files below ``.github/workflows``; never without write access."""

    def alone(self, path: str) -> TokenScope:
        """Return the same rights for one of the repositories."""
        if path not in self.repositories:
            raise ValueError("not one of these repositories")
        return TokenScope(Repositories.of(path), self.access, self.workflows)


def owner(path: str) -> str:
    """Return the owner of the repository ``path``; ``""``: it has none."""
    first, slash, _ = path.partition("/")
    return first if slash else ""


def granted(grants: Sequence[Grant], repo: RepoPath, access: Access) -> TokenScope:
    """Return the scope for ``access`` to ``repo`` by a session with ``grants``.

    ``workflows`` is that of the grant for ``repo``; only repositories with the same value are added. Raises
    ``ValueError`` for a repository that is not granted.
    """
    mine = scope.find(grants, repo, access).grant
    if mine is None:
        raise ValueError("the repository is not granted")
    workflows = access is Access.WRITE and mine.workflows
    paths = {repo.path}
    if not scope.is_pattern(mine):
        paths |= {*_alike(grants, repo, access, workflows=workflows)}
    # Too many for one credential: each repository gets its own.
    if len(paths) > MAX_REPOSITORIES:
        paths = {repo.path}
    return TokenScope(Repositories(frozenset(paths)), access, workflows)


def _alike(grants: Sequence[Grant], repo: RepoPath, access: Access, *, workflows: bool) -> Iterator[str]:
    """Find the repositories for one credential with ``repo``: named, of its owner, and with the same access."""
    best: dict[str, Grant] = {}  # of several grants of one repository the first decides, as in ``scope``
    for grant in grants:
        if grant.forge == repo.forge and grant.access.covers(access) and not scope.is_pattern(grant):
            best.setdefault(grant.normal, grant)
    for path, grant in best.items():
        # ``workflows`` is a right of the whole credential, so only repositories with the same value share one.
        if owner(path) == owner(repo.path) and (access is Access.READ or grant.workflows == workflows):
            yield path
