"""What minting tells the audit log: which credential, for what, until when; never what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credgate.audit.event import Happening, line
from credgate.credentials.repositories import Repositories, TokenScope
from credgate.errors import CredentialError
from credgate.service.credentials.credential_audit import CredentialAudit
from credgate.service.credentials.sources import Credential
from credgate.values import Access, Reason
from tests.fakes.minting import Lines

if TYPE_CHECKING:
    from credgate.audit.event import Event

CREDENTIAL = Credential("0a1b2c3d4e5f", "ghs_CANARY", "app", 1_800_003_600.0)


SCOPE = TokenScope(Repositories.of("octo/hello"), Access.WRITE)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def told(lines: Lines) -> CredentialAudit:
    return CredentialAudit(lines, "github.com", "app", lambda: 1_800_000_000.0)  # type: ignore[arg-type]


def only(lines: Lines) -> Event:
    """Return the one line; it holds no value."""
    (event,) = lines.events
    assert "CANARY" not in line(event) + repr(event)
    assert (event.wall, event.forge, event.credential_kind) == (1_800_000_000.0, "github.com", "app")
    return event


def test_a_new_credential_is_audited_by_its_id(told: CredentialAudit, lines: Lines) -> None:
    """An audit can say of every request what its credential could have done."""
    told.minted(CREDENTIAL, SCOPE)
    event = only(lines)
    assert (event.event, event.credential, event.expires) == (
        Happening.CREDENTIAL_MINTED,
        CREDENTIAL.id,
        CREDENTIAL.expires_at,
    )
    assert (event.repositories, event.permissions) == (("octo/hello",), "contents: write, metadata: read")


def test_a_credential_for_everything_names_no_repository(told: CredentialAudit, lines: Lines) -> None:
    """A renewed token has no scope of its own: nothing is made up."""
    told.minted(CREDENTIAL)
    assert (only(lines).repositories, only(lines).permissions) == ((), "")


@pytest.mark.parametrize("done", [True, False])
def test_a_revocation_is_audited_with_its_result(told: CredentialAudit, lines: Lines, *, done: bool) -> None:
    """If it was not, it lives on to its end: whoever reads that can do something about it."""
    told.revoked(CREDENTIAL, SCOPE, done=done)
    event = only(lines)
    assert (event.event, event.allow, event.credential) == (Happening.CREDENTIAL_REVOKED, done, CREDENTIAL.id)
    assert bool(event.text) is not done


def test_a_failed_credential_is_audited_with_its_reason(told: CredentialAudit, lines: Lines) -> None:
    """The same code that the sandbox's refusal has, so that one search finds both."""
    told.failed(CredentialError("no credential for github.com: x", reason=Reason.CREDENTIAL_LIMITED), SCOPE)
    event = only(lines)
    assert (event.event, event.allow, event.reason) == (Happening.CREDENTIAL_FAILED, False, "credential-limited")
    assert (event.credential, event.expires, event.text) == ("", None, "no credential for github.com: x")
