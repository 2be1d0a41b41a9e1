"""The requests and responses of a GitHub App: its JWT claims, its installations and its installation tokens.

An App signs a short JWT with its private key, asks which of its installations contains a repository, and asks for a
token of that installation. Every token is limited to named repositories and to ``contents`` and ``metadata``, with
``workflows`` only where the grant allows it. Repositories are named by id once their ids are known, so that a
repository that takes over a name is not included.

A token with anything other than the requested rights is not used: GitHub resolves names without an owner in the
installation of the request, which may be another owner's. See GitHub's REST documentation, "Apps" (API version
2022-11-28), the same on GitHub Enterprise Server. This module does not sign, send or read a clock: ``now`` is in wall
seconds of the forge's clock.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import field, frozen

from credgate.credentials import token_errors
from credgate.credentials.token_request import Request, with_json
from credgate.credentials.token_response import MalformedResponse, message, moment, read_object, skew, token
from credgate.errors import CredentialError
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.credentials.repositories import Repositories, TokenScope
    from credgate.credentials.token_response import Object, TokenResponse

# Seconds that a JWT is backdated, for a forge whose clock is slow.
BACKDATED = 60
# Seconds from now to its end; GitHub accepts at most 600, by its own clock.
JWT_LIFETIME = 480
# Seconds by which the clocks must differ for a refused JWT to be sent again.
SKEWED = 30.0
MAX_ID = 2**53

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_LEVELS = {"read": 1, "write": 2, "admin": 3}


@frozen(slots=True)
class InstallationToken:
    """A token as GitHub describes it, not yet compared with the request."""

    token: str = field(repr=False)
    expires_at: float
    """Seconds since the epoch, by the forge's clock."""
    ids: Mapping[str, int]
    """The repositories that it is for: ids by normal path."""
    permissions: Mapping[str, str]
    selection: str


def claims(app_id: str, now: float) -> dict[str, object]:
    """Return the claims of the App's JWT; ``now`` is our estimate of the forge's clock."""
    return {"iat": int(now) - BACKDATED, "exp": int(now) + JWT_LIFETIME, "iss": app_id}


def permissions(scope: TokenScope) -> dict[str, str]:
    """Return the permissions to request."""
    wanted = {"contents": "write" if scope.access is Access.WRITE else "read", "metadata": "read"}
    return wanted | ({"workflows": "write"} if scope.workflows else {})


def find_installation(path: str, jwt: str) -> Request:
    """Ask which installation contains the repository ``path``."""
    owner, _, name = path.partition("/")
    return Request("GET", f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}/installation", _as(jwt))


def itself(installation: int, jwt: str) -> Request:
    """Ask about the App of the signature, or about the installation if one is given. Makes no token."""
    return Request("GET", f"/app/installations/{installation}" if installation else "/app", _as(jwt))


def mint(installation: int, scope: TokenScope, ids: Mapping[str, int], jwt: str) -> Request:
    """Ask for a token with the rights of ``scope``."""
    wanted: dict[str, object] = {"permissions": permissions(scope)}
    # By ids if all of them are known, so that a repository that takes over a name is not included. The list cannot be
    # empty, which would ask for all repositories (``Repositories``).
    if known := known_ids(scope.repositories, ids):
        wanted["repository_ids"] = known
    else:
        wanted["repositories"] = scope.repositories.names
    return with_json("POST", f"/app/installations/{installation}/access_tokens", _as(jwt), wanted)


def revoke(minted: str) -> Request:
    """Revoke a token, as its bearer."""
    return Request("DELETE", "/installation/token", _as(minted))


def known_ids(repositories: Repositories, ids: Mapping[str, int]) -> list[int]:
    """Return the ids in the order of the paths; an empty list unless all are known."""
    if not all(path in ids for path in repositories.sorted):
        return []
    return [ids[path] for path in repositories.sorted]


def read_installation(answer: TokenResponse) -> int:
    """Return the installation's id; raise ``MalformedResponse``."""
    return _id(read_object(answer.body))


def read_minted(answer: TokenResponse) -> InstallationToken:
    """Return the token; raise ``MalformedResponse``."""
    found = read_object(answer.body)
    listed, granted = found.get("repositories"), found.get("permissions")
    if not isinstance(listed, list) or not isinstance(granted, dict):
        raise MalformedResponse("it does not name the token's repositories and permissions")
    if not all(isinstance(each, str) for each in granted.values()):
        raise MalformedResponse("its permissions cannot be read")
    ids = dict(_repository(each) for each in listed)
    selection = found.get("repository_selection", "selected")
    return InstallationToken(token(found, "token"), moment(found, "expires_at"), ids, granted, str(selection))


def excess(minted: InstallationToken, scope: TokenScope, ids: Mapping[str, int]) -> str:
    """Return how the token differs from the request; ``""``: it does not, and can be used."""
    asked = known_ids(scope.repositories, ids)
    same = set(minted.ids.values()) == set(asked) if asked else set(minted.ids) == scope.repositories.paths
    if minted.selection != "selected" or not same:
        return "other repositories than were asked for"
    wanted = permissions(scope)
    for name, level in minted.permissions.items():
        # A level that is not known here counts as more than any that was asked for.
        if _LEVELS.get(level, 9) > _LEVELS.get(wanted.get(name, ""), 0):
            return "more permissions than were asked for"
    if minted.permissions.get("contents") != wanted["contents"]:
        return "fewer permissions than were asked for"
    return ""


def clock_refused(answer: TokenResponse, now: float) -> bool:
    """Whether a JWT was refused because our clock, which reads ``now``, and the forge's differ."""
    if answer.status != HTTPStatus.UNAUTHORIZED:
        return False
    about = message(answer)
    return abs(skew(answer, now)) > SKEWED or "('exp')" in about or "('iat')" in about


def not_found(forge: str, path: str) -> CredentialError:
    """Return the error for a repository that no installation contains (404 to the look-up)."""
    text = (
        f"no credential for {forge}: credgate's GitHub App is not installed on {path}, or there is no such repository; "
        f"{token_errors.OPERATOR} to add it to the App's installation"
    )
    return CredentialError(text, reason=Reason.CREDENTIAL_NOT_COVERING, retry_after=token_errors.SOON)


def refused(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Return the error for a refused App, or for a status with one meaning for every kind of credential."""
    text = ""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        text = (
            f"no credential for {forge}: it refuses the App's id or private key; {token_errors.OPERATOR} to check them"
        )
    elif answer.status == HTTPStatus.FORBIDDEN and "suspended" in message(answer):
        text = f"no credential for {forge}: the GitHub App's installation is suspended; {token_errors.OPERATOR}"
    if text:
        return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON)
    return token_errors.general(forge, answer, now)


def mint_error(forge: str, scope: TokenScope, answer: TokenResponse, now: float) -> CredentialError:
    """Return the error for a refused token request."""
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and "permissions" in message(answer):
        asked = ", ".join(f"{name}: {level}" for name, level in permissions(scope).items())
        lacks = f"credgate's GitHub App lacks a permission, it needs {asked}"
        text = f"no credential for {forge}: {lacks}; {token_errors.OPERATOR}"
        return CredentialError(text, reason=Reason.CREDENTIAL_NOT_COVERING, retry_after=token_errors.SOON)
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        shown = scope.repositories.sorted[0] if len(scope.repositories) == 1 else "one of the session's repositories"
        text = (
            f"no credential for {forge}: {shown} is not among the repositories of the GitHub App's installation; "
            f"{token_errors.OPERATOR} to add it"
        )
        return CredentialError(text, reason=Reason.CREDENTIAL_NOT_COVERING, retry_after=token_errors.SOON)
    return refused(forge, answer, now)


def _as(bearer: str) -> dict[str, str]:
    return {**_HEADERS, "Authorization": f"Bearer {bearer}"}


def _id(found: Object) -> int:
    value = found.get("id")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_ID:
        raise MalformedResponse("its id is not valid")
    return value


def _repository(listed: object) -> tuple[str, int]:
    name = listed.get("full_name") if isinstance(listed, dict) else None
    if not isinstance(name, str) or not isinstance(listed, dict):
        raise MalformedResponse("it does not name the token's repositories and permissions")
    return name.lower(), _id(listed)
