"""Whether a forge accepts a credential, judged from one answer of its API or of its git server.

Three verdicts: ``accepted``, ``refused`` (the driver says in words what the status means) and ``unknown``, which is all
that is left. A repository that anybody may read proves nothing, so its 200 counts only if the same question without a
credential was not answered so. Asks nobody and holds no credential; a forge's own words are never repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from credgate.errors import InvalidValueError
from credgate.sessions.grants import refuse_unknown_keys
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.errors import CredentialError
    from credgate.forges.driver import Driver

State = Literal["accepted", "refused", "unknown"]

DISCOVERY = "info/refs?service=git-upload-pack"
"""Below a repository: what git asks first."""
NAME_ONE = "name a private repository to check with"
_OK = 200
_DENIED = frozenset({Reason.CREDENTIAL_DENIED, Reason.CREDENTIAL_NOT_COVERING})


@frozen(slots=True)
class CredentialVerdict:
    """What is known, and one line for people that says from what."""

    state: State
    text: str


def parse_check(payload: object) -> str:
    """Return the repository that a forge's check names, as it was spelled; "" for none. Raises InvalidValueError."""
    if not isinstance(payload, dict):
        raise InvalidValueError("the request needs a JSON object as its body")
    refuse_unknown_keys(payload, ("repo",))
    repo = payload.get("repo")
    if repo is not None and (not isinstance(repo, str) or not repo):
        raise InvalidValueError("repo must be a repository's name")
    return repo or ""


def by_api(driver: Driver, status: int) -> CredentialVerdict:
    """Judge the answer to the question that ``driver.proof`` names."""
    if status == _OK:
        return CredentialVerdict("accepted", f"{driver.forge.name} answered its API's request")
    if driver.refuses_credential(status):
        return CredentialVerdict("refused", driver.sentence(status, Access.READ))
    # 403 is how tokens are answered that may do git and nothing else: known, but perhaps barred.
    return CredentialVerdict("unknown", f"{driver.forge.name}'s API answered {status}, which does not decide it; {NAME_ONE}")


def by_repository(driver: Driver, path: str, status: int, anonymous: int | None) -> CredentialVerdict:
    """Judge the answer to git's discovery of ``path``; ``anonymous`` is that to nobody, if one was got."""
    if driver.refuses_credential(status):
        return CredentialVerdict("refused", driver.sentence(status, Access.READ))
    if status != _OK:
        return CredentialVerdict("unknown", f"asked for {path}: {driver.sentence(status, Access.READ)}")
    if anonymous is None:
        return CredentialVerdict(
            "unknown", f"{path} was answered, but perhaps to anybody: without a credential, no answer came"
        )
    if anonymous == _OK:
        return CredentialVerdict("unknown", f"anybody may read {path}, so its answer proves nothing; {NAME_ONE}")
    return CredentialVerdict("accepted", f"{driver.forge.name} let credgate read {path}")


def not_asked(driver: Driver) -> CredentialVerdict:
    """Say that this kind of forge cannot be asked without a repository."""
    return CredentialVerdict("unknown", f"a forge of kind {driver.forge.kind} cannot be asked in general; {NAME_ONE}")


def not_answered(driver: Driver, why: str) -> CredentialVerdict:
    """Say that the forge could not be asked; ``why`` is in our own words."""
    return CredentialVerdict("unknown", f"{driver.forge.name} could not be asked: {why}")


def not_available(error: CredentialError) -> CredentialVerdict:
    """Judge by a credential that is not to be had: where the forge mints it, that may be the forge's refusal."""
    return CredentialVerdict("refused" if error.reason in _DENIED else "unknown", error.text)
