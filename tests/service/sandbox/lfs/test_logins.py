"""Which login goes to whom: the forge's to the forge, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import ensureDeferred

from credgate.errors import CredentialError
from credgate.lfs.refusals import LfsError
from credgate.service.credentials.sources import ANONYMOUS, Credential
from credgate.service.sandbox.lfs import logins
from credgate.sessions.model import Grant
from credgate.values import Access, Reason
from tests.fakes.lfshouse import OWN, batch, get, refused, target
from tests.fakes.relay import FORGE_SECRET, House
from tests.fakes.sessions import session


def test_no_login_is_no_field() -> None:
    """Anonymous is not an empty password: some forges refuse those even what is public."""
    driver = House().drivers["github.com"]
    assert logins.authorization(driver, None) is None
    assert logins.authorization(driver, ANONYMOUS) is None
    assert logins.authorization(driver, Credential("x", FORGE_SECRET)) == driver.login(FORGE_SECRET)


def test_a_handle_is_good_for_its_own_session_alone() -> None:
    """Whoever else finds it gets what an unknown one gets; its owner is served, as before."""
    house = House()
    place = target(house, "download")
    other = session(id="s-other", grants=(Grant("octo/*", "github.com"),))
    house.sessions.known["token", "secret"] = other
    status, text = refused(get(house, place))
    assert (status, "git-lfs asks for a new one by itself" in text) == (404, True)
    house.sessions.known["token", "secret"] = house.session
    get(house, place)
    assert house.forge.asked().start.method == b"GET"


def test_connections_that_carry_a_login_are_apart_from_all_others() -> None:
    """A storage at the forge's own host that wants no login gets none by a connection's past, either."""
    house = House()
    driver = house.drivers["github.com"]
    target(house, "download", href=OWN)
    (action,) = house.services.handles._actions.values()
    assert action.login
    keys = {logins.forge_key(driver, Credential("cred-1", "x")), logins.storage_key(driver, action)}
    keys.add(logins.storage_key(driver, evolve(action, session="s-other")))
    assert len(keys) == 3


class Sources:
    """Credentials of which one is at hand, and which note what they are asked for."""

    def __init__(self, held: Credential | None, got: Credential | CredentialError) -> None:
        self.held, self.got = held, got
        self.asked: list[tuple[Access, str]] = []

    def cached(self, wanted: Any) -> Credential | None:
        """Return it."""
        return self.held

    async def fetch(self, wanted: Any, refused: str) -> Credential:
        """Get another."""
        self.asked.append((wanted.access, refused))
        if isinstance(self.got, CredentialError):
            raise self.got
        return self.got


OLD, NEW = Credential("old", "o"), Credential("new", "n")


@pytest.mark.parametrize(
    ("held", "refused", "gives", "asked"),
    [
        (OLD, "", OLD, []),
        (None, "", NEW, [(Access.WRITE, "")]),
        (OLD, "old", NEW, [(Access.WRITE, "old")]),
    ],
)
def test_what_is_at_hand_is_used_unless_it_was_refused(
    held: Credential | None, refused: str, gives: Credential, asked: list[tuple[Access, str]]
) -> None:
    """With the access that the call needs, which for a batch is in its body: a read token would not do to upload."""
    house, sources, results = House(), Sources(held, NEW), []  # type: ignore[var-annotated]
    client = house.say(b"")
    verdict = _verdict(house)
    ensureDeferred(logins.credential_for(sources, verdict, Access.WRITE, refused)).addBoth(results.append)  # type: ignore[arg-type]
    assert (results, sources.asked) == ([gives], asked)
    assert client.received == b""


def test_none_to_be_had_is_told_with_how_long_to_wait() -> None:
    """503 and the source's own words: it may come."""
    error = CredentialError("none now", reason=Reason.CREDENTIAL_LIMITED, retry_after=90)
    results: list[Any] = []
    asking = logins.credential_for(Sources(None, error), _verdict(House()), Access.READ)  # type: ignore[arg-type]
    ensureDeferred(asking).addBoth(results.append)
    failed = results[0].value
    assert isinstance(failed, LfsError)
    assert (str(failed), failed.reason, failed.status, failed.retry_after) == (
        "none now",
        Reason.CREDENTIAL_LIMITED,
        503,
        90,
    )


def _verdict(house: House) -> Any:
    """Have a batch admitted."""
    return house.say(batch()).protocol._exchange.verdict
