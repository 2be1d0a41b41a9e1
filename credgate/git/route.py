"""Routes a request: one exact match of the raw target against the few paths that credgate serves.

The operation is decided by method and target alone, never by a header or a body. The target is matched as bytes, as a
whole, by anchored patterns over a closed alphabet. Nothing is decoded, collapsed or repaired, so what is judged is what
was sent. Paths below ``info/lfs`` are left to ``lfs.target``, which decodes one query. A target that does not match is
refused with the most helpful reason. Never decides whether a session may do it, and never repeats a byte of the target.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.lfs.target import Endpoint, LfsRequest, endpoint
from credgate.values import Access, Decision, Reason, RepoPath, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.forges.driver import Driver


class Kind(StrEnum):
    """What a git request is."""

    ADVERTISEMENT = "advertisement"
    UPLOAD_PACK = "upload-pack"
    RECEIVE_PACK = "receive-pack"


@frozen(slots=True)
class Local:
    """A request for a local page: ``health`` or ``whoami``."""

    name: str


@frozen(slots=True)
class GitRequest:
    """A request for a forge. It holds no raw bytes: the path is in normal form, the rest are constants."""

    forge: str
    repo: RepoPath
    service: str
    """``git-upload-pack`` or ``git-receive-pack``."""
    kind: Kind
    needed: Access
    tail: str
    """What follows the repository path upstream, without its slash, query included."""
    dot_git: bool
    """Whether the client wrote ``.git``; see ``Driver.path``."""
    moved_from: RepoPath | None = None
    """The name in the request, where the forge redirected it and ``repo`` is the repository's new name."""

    @property
    def asked(self) -> RepoPath:
        """The name in the request."""
        return self.moved_from or self.repo

    @property
    def request_type(self) -> bytes:
        """The one ``Content-Type`` that a POST of this request may have."""
        return f"application/x-{self.service}-request".encode("ascii")


@frozen(slots=True)
class Refused:
    """A request that no session may make; ``status`` is the HTTP status of its refusal."""

    decision: Decision
    status: int
    sessions_only: bool = False
    """Whether the text names forges or their kinds: it may be shown to clients with a valid session only."""
    lfs: bool = False
    """Whether the client is git-lfs, which reads JSON."""


Route = Local | GitRequest | LfsRequest | Refused

MAX_LISTED = 100
"""Characters of configured names that the refusal of an unknown forge lists."""

_LOCAL = {b"/health": "health", b"/whoami": "whoami"}
_PLACE = rb"/(?:git|forge/(?P<forge>[A-Za-z0-9][A-Za-z0-9.-]{0,62}))/"
_PATH = rb"(?P<path>[A-Za-z0-9._~+-]+(?:/[A-Za-z0-9._~+-]+)*)"
_SERVED = re.compile(
    _PLACE + _PATH + rb"/(?P<tail>info/refs\?service=git-(?:upload|receive)-pack|git-(?:upload|receive)-pack)"
)
_ENDPOINTS = {
    b"info/refs?service=git-upload-pack": (b"GET", "git-upload-pack", Kind.ADVERTISEMENT, Access.READ),
    b"info/refs?service=git-receive-pack": (b"GET", "git-receive-pack", Kind.ADVERTISEMENT, Access.WRITE),
    b"git-upload-pack": (b"POST", "git-upload-pack", Kind.UPLOAD_PACK, Access.READ),
    b"git-receive-pack": (b"POST", "git-receive-pack", Kind.RECEIVE_PACK, Access.WRITE),
}

_DUMB = re.compile(_PLACE + _PATH + rb"/(?:info/refs|HEAD|objects/[A-Za-z0-9./-]+)")
_LFS = re.compile(
    rb"(?P<place>" + _PLACE + _PATH + rb"/info/lfs)(?P<rest>(?:[/?][A-Za-z0-9._~/=&+-]*+(?:\?[A-Za-z0-9._~/=&+%-]*)?)?)"
)
# Methods of git and browsers; others are WebDAV's or unknown, and refused for any path.
_METHODS = frozenset({b"GET", b"POST", b"HEAD"})


def route(method: bytes, target: bytes, drivers: Mapping[str, Driver], default_forge: str) -> Route:
    """Return what ``method`` on the raw ``target`` asks for. Total: every input has a result, none raises."""
    # Exact matches first: nothing is parsed for the local pages.
    if target in _LOCAL:
        return Local(_LOCAL[target]) if method == b"GET" else _METHOD
    served = _SERVED.fullmatch(target)
    if served is None:
        lfs = _LFS.fullmatch(target)
        return _unserved(method, target) if lfs is None else _lfs(method, lfs, drivers, default_forge)
    # The needed access follows from the path; a second method would be a second meaning.
    wanted, service, kind, needed = _ENDPOINTS[served["tail"]]
    if method != wanted:
        return _METHOD
    repo = _repo(served, drivers, default_forge)
    if isinstance(repo, Refused):
        return repo
    tail = served["tail"].decode("ascii")
    return GitRequest(repo.forge, repo, service, kind, needed, tail, served["path"].endswith(b".git"))


def _lfs(method: bytes, lfs: re.Match[bytes], drivers: Mapping[str, Driver], default_forge: str) -> Route:
    found = endpoint(method, lfs["rest"])
    if not isinstance(found, Endpoint):
        return _LFS_METHOD if found else _LFS_PATH
    repo = _repo(lfs, drivers, default_forge)
    if isinstance(repo, Refused):
        return repo
    place, dot_git = lfs["place"].decode("ascii"), lfs["path"].endswith(b".git")
    return LfsRequest(repo, found.call, found.needed, found.tail, dot_git, place, found.handle)


def _repo(served: re.Match[bytes], drivers: Mapping[str, Driver], default_forge: str) -> RepoPath | Refused:
    """Return the target's repository, in normal form."""
    forge = default_forge if served["forge"] is None else served["forge"].decode("ascii")
    if forge not in drivers:
        return _no_forge(drivers)
    path = drivers[forge].normal(served["path"].decode("ascii"))
    return _no_name(drivers[forge]) if path is None else RepoPath(forge, path)


def _unserved(method: bytes, target: bytes) -> Refused:
    """Return the most helpful refusal of an unknown target."""
    if method not in _METHODS:
        return _METHOD
    return _DUMB_PATH if _DUMB.fullmatch(target) else _UNKNOWN


def _no_forge(drivers: Mapping[str, Driver]) -> Refused:
    """Refuse and list the configured forges, as many as fit into ``MAX_LISTED`` characters."""
    # The names come from the configuration, never from the target.
    names, shown = sorted(drivers), list[str]()
    for name in names:
        if len(", ".join([*shown, name])) > MAX_LISTED:
            shown.append(f"{len(names) - len(shown)} more")
            break
        shown.append(name)
    text = f"no forge of this name is configured in this gateway; configured: {', '.join(shown) or 'none'}"
    return _refused(Reason.UNKNOWN_FORGE, 404, text, sessions_only=True)


def _no_name(driver: Driver) -> Refused:
    text = f"not a repository name on this forge; write {driver.shape}, with or without .git"
    return _refused(Reason.NOT_FOUND, 404, text, sessions_only=True)


def _refused(reason: Reason, status: int, text: str, *, sessions_only: bool = False, lfs: bool = False) -> Refused:
    return Refused(refuse(reason, "route", text), status, sessions_only, lfs)


_UNKNOWN = _refused(
    Reason.NOT_FOUND, 404, "no such page; repositories are at /git/<owner>/<repo> and /forge/<name>/<path>"
)
_METHOD = _refused(Reason.METHOD_NOT_ALLOWED, 405, "method not allowed; git uses GET and POST only")
_DUMB_PATH = _refused(Reason.DUMB_PROTOCOL, 404, "only git's smart HTTP protocol is served; use git 1.6.6 or newer")
_LFS_PATH = _refused(Reason.LFS_NOT_SERVED, 501, "this part of the Git LFS API is not served", lfs=True)
_LFS_METHOD = _refused(Reason.METHOD_NOT_ALLOWED, 405, "method not allowed; git-lfs uses another one here", lfs=True)
