"""Whether a forge accepts a credential, judged from one response of its API or of its git server.

There are three verdicts: ``accepted``, ``refused`` (the driver describes the status) and ``unknown`` for the rest. A
public repository proves nothing, so a 200 counts only if the same request without a credential did not get one. This
module sends nothing and holds no credential; the forge's own text is never repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from credgate.errors import InvalidValueError
from credgate.rules.parse import refuse_unknown_keys
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.errors import CredentialError
    from credgate.forges.driver import Driver

State = Literal["accepted", "refused", "unknown"]

# Below a repository: git's first request.
DISCOVERY = "info/refs?service=git-upload-pack"
NAME_ONE = "name a private repository to check with"
_OK = 200
_DENIED = frozenset({Reason.CREDENTIAL_DENIED, Reason.CREDENTIAL_NOT_COVERING})


@frozen(slots=True)
class CredentialVerdict:
    """The verdict, and one line with the reason."""

    state: State
    text: str


def parse_check(payload: object) -> str:
    """Return the repository in a check's request body, as spelled; "" for none. Raises ``InvalidValueError``."""
    if not isinstance(payload, dict):
        raise InvalidValueError("the request needs a JSON object as its body")
    refuse_unknown_keys(payload, ("repo",))
    repo = payload.get("repo")
    if repo is not None and (not isinstance(repo, str) or not repo):
        raise InvalidValueError("repo must be a repository's name")
    return repo or ""


def by_api(driver: Driver, status: int) -> CredentialVerdict:
    """Judge the response to ``driver.proof``."""
    if status == _OK:
        return CredentialVerdict("accepted", f"{driver.forge.name} answered its API's request")
    if driver.refuses_credential(status):
        return CredentialVerdict("refused", driver.sentence(status, Access.READ))
    # 403 is the response to tokens that may only use git: they are known, but may be barred.
    return CredentialVerdict(
        "unknown", f"{driver.forge.name}'s API answered {status}, which does not decide it; {NAME_ONE}"
    )


def by_repository(driver: Driver, path: str, status: int, anonymous: int | None) -> CredentialVerdict:
    """Judge the response to git's ref discovery of ``path``; ``anonymous`` is the status without a credential."""
    if driver.refuses_credential(status):
        return CredentialVerdict("refused", driver.sentence(status, Access.READ))
    if status != _OK:
        return CredentialVerdict("unknown", f"asked for {path}: {driver.sentence(status, Access.READ)}")
    if anonymous is None:
        return CredentialVerdict(
            "unknown", f"{path} can be read, but it may be public: the request without a credential got no response"
        )
    if anonymous == _OK:
        return CredentialVerdict("unknown", f"{path} is public, so its response proves nothing; {NAME_ONE}")
    return CredentialVerdict("accepted", f"{driver.forge.name} let credgate read {path}")


def not_asked(driver: Driver) -> CredentialVerdict:
    """Return the verdict for a kind of forge that can only be checked with a repository."""
    return CredentialVerdict(
        "unknown", f"a forge of kind {driver.forge.kind} cannot be checked without a repository; {NAME_ONE}"
    )


def not_answered(driver: Driver, why: str) -> CredentialVerdict:
    """Return the verdict for a request without a response; ``why`` is credgate's own text."""
    return CredentialVerdict("unknown", f"{driver.forge.name} could not be checked: {why}")


def not_available(error: CredentialError) -> CredentialVerdict:
    """Judge a credential that could not be fetched: where the forge makes it, the forge may have refused it."""
    return CredentialVerdict("refused" if error.reason in _DENIED else "unknown", error.text)
