"""Which login goes to whom: the only place of LFS that sees a forge's credential.

The forge's own LFS server is asked with the credential that the session's requests to this repository use. A place
where an object lies is shown it only if it is the forge itself (same host, port and TLS) and the forge expects it there
(``Action.login``); what else a storage is shown, the forge wrote into the action. Connections are filed apart: those
that carry the forge's login with git's, all others by session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from credgate.errors import CredentialError
from credgate.lfs.refusals import LfsError, no_handle
from credgate.service.upstream.pool import Key
from credgate.service.upstream.request import credential_request

if TYPE_CHECKING:
    from credgate.forges.driver import Driver
    from credgate.git.authorize import LfsRelay
    from credgate.lfs.handles import Action
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.services import Services
    from credgate.values import Access


async def credential_for(credentials: Credentials, verdict: LfsRelay, access: Access, refused: str = "") -> Credential:
    """Return what the forge is asked with; ``refused`` is the id of one that it rejected. Raises LfsError."""
    wanted = evolve(credential_request(verdict), access=access)
    held = None if refused else credentials.cached(wanted)
    if held is not None:
        return held
    try:
        return await credentials.fetch(wanted, refused)
    except CredentialError as error:
        raise LfsError(
            error.text, reason=error.reason, status=503, rule="forge", retry_after=error.retry_after
        ) from None


def action_for(gate: Services, verdict: LfsRelay) -> Action:
    """Return what the request's handle stands for. Raises LfsError (404), which git-lfs answers with a new batch."""
    request = verdict.request
    action = gate.handles.find(request.handle, verdict.session.id, request.asked, request.call, gate.reactor.seconds())
    if action is None:
        raise no_handle()
    return action


def authorization(driver: Driver, credential: Credential | None) -> bytes | None:
    """Return the ``Authorization`` value for the forge; None where it is asked anonymously."""
    return driver.login(credential.secret) if credential is not None and credential.secret else None


def forge_key(driver: Driver, credential: Credential) -> Key:
    """Return what connections to the forge's LFS server are filed under: the same as git's."""
    return Key(driver.forge.name, credential.id)


def storage_key(driver: Driver, action: Action) -> Key:
    """Return what connections to where an object lies are filed under."""
    place = action.href.place
    scheme = "https" if place.tls else "http"
    return Key(f"{driver.forge.name} lfs {scheme}://{place.authority}", action.session)
