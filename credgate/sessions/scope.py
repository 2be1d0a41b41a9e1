"""Scope: decides which grant, if any, allows a session to access a repository.

Only normal forms are compared (the driver of the forge made both), segment by segment: ``owner/*`` matches everything
below ``owner`` at any depth, but neither ``owner`` nor ``owner-two``; ``**`` matches everything on one forge. One grant
with sufficient access is enough; an exact grant is preferred to a pattern, then the order in the session decides.

The path for the forge's URL comes from the grant as it was written, or, for a pattern, from the normal form; never from
the text that the client sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.values import Access, Decision, Reason, RepoPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credgate.sessions.model import Grant

EVERYTHING = "**"
BELOW = "/*"
MAX_LISTED = 200
"""Characters of the list of granted names in a refusal."""


@frozen(slots=True)
class GrantMatch:
    """The decision, the grant that allowed it, and the path for the URL on the forge ("" if refused)."""

    decision: Decision
    grant: Grant | None
    path: str


def find(grants: Sequence[Grant], repo: RepoPath, needed: Access) -> GrantMatch:
    """Decide whether ``grants`` allow ``needed`` access to ``repo``."""
    near = [grant for grant in grants if _matches(grant, repo)]
    enough = [grant for grant in near if grant.access.covers(needed)]
    if not enough:
        return GrantMatch(_read_only(grants, repo) if near else _outside(grants, repo), None, "")
    grant = min(enough, key=is_pattern)
    path = repo.path if is_pattern(grant) else grant.repo
    return GrantMatch(Decision(allow=True, reason=Reason.ALLOWED, rule=_name(grant, repo)), grant, path)


def is_pattern(grant: Grant) -> bool:
    """Return whether the grant matches more than one repository."""
    return grant.normal == EVERYTHING or grant.normal.endswith(BELOW)


def _matches(grant: Grant, repo: RepoPath) -> bool:
    if grant.forge != repo.forge:
        return False
    if grant.normal.endswith(BELOW):
        above = grant.normal.removesuffix("*")
        return repo.path.startswith(above) and len(repo.path) > len(above)
    return grant.normal in (EVERYTHING, repo.path)


def _outside(grants: Sequence[Grant], repo: RepoPath) -> Decision:
    text = f"{repo} is outside this session, which may use {_listed(grants, repo)}"
    return Decision(allow=False, reason=Reason.OUTSIDE_SESSION, rule="grants", text=text)


def _read_only(grants: Sequence[Grant], repo: RepoPath) -> Decision:
    writable = [grant for grant in grants if grant.access is Access.WRITE]
    text = f"this session may only read {repo}; it may write {_listed(writable, repo)}"
    return Decision(allow=False, reason=Reason.READ_ONLY, rule="grants", text=text)


def _listed(grants: Iterable[Grant], repo: RepoPath) -> str:
    """Return the names of ``grants``, as many as fit into ``MAX_LISTED`` characters."""
    names = [f"{_name(grant, repo)} ({grant.access})" for grant in grants]
    shown = ""
    for count, name in enumerate(names):
        longer = f"{shown}, {name}" if shown else name
        if len(longer) > MAX_LISTED:
            return f"{shown} and {len(names) - count} more" if shown else f"{len(names)} others"
        shown = longer
    return shown or "nothing"


def _name(grant: Grant, repo: RepoPath) -> str:
    return grant.repo if grant.forge == repo.forge else f"{grant.forge}/{grant.repo}"
