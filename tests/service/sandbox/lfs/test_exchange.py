"""LFS exchanges: which class serves which request, handles, credentials, and how an exchange ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from twisted.internet.defer import ensureDeferred

from credgate.errors import CredentialError
from credgate.lfs.refusals import LfsError
from credgate.lfs.target import Call
from credgate.service.credentials.sources import ANONYMOUS, Credential
from credgate.service.sandbox.lfs.batch_exchange import LfsApiExchange
from credgate.service.sandbox.lfs.exchange import authorization, forge_key, storage_key
from credgate.service.sandbox.lfs.object_download import ObjectDownload
from credgate.service.sandbox.lfs.object_upload import ObjectUpload
from credgate.sessions.model import Grant
from credgate.values import Access, Decision, Reason
from tests.fakes.lfshouse import CONTENT, OWN, batch, call, get, offered, put, refused, say, sent, target
from tests.fakes.relay import FORGE_SECRET, House
from tests.fakes.sessions import session

if TYPE_CHECKING:
    from twisted.python.failure import Failure

OLD, NEW = Credential("old", "o"), Credential("new", "n")
STOPPING = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text="the gateway stops")


# The kinds of exchange.


@pytest.mark.parametrize(("name", "kind"), [("download", ObjectDownload), ("upload", ObjectUpload)])
def test_objects_are_streamed(name: str, kind: type) -> None:
    """Their bytes are not held in memory."""
    house = House()
    place = target(house, name)
    client = get(house, place) if name == "download" else house.say(put(place)[:-1])
    assert type(client.protocol._exchange) is kind


@pytest.mark.parametrize("request_", [batch(), call("/locks", {"path": "a"}), call("/locks", method="GET")])
def test_batches_and_locks_are_read_whole(request_: bytes) -> None:
    """They are small JSON."""
    assert type(House().say(request_).protocol._exchange) is LfsApiExchange


def test_list_of_calls_that_are_read_whole_is_complete() -> None:
    """A new call must be added here on purpose."""
    streamed = {Call.DOWNLOAD, Call.UPLOAD}
    assert {one.name for one in set(Call) - streamed} == {
        "BATCH", "VERIFY", "LOCK", "LOCKS", "UNLOCK", "VERIFY_LOCKS",
    }  # fmt: skip


# Handles and credentials.


def test_handle_is_refused_and_audited_for_another_session() -> None:
    """Like an unknown handle; its own session is served as before."""
    house = House()
    place = target(house, "download")
    other = session(id="s-other", grants=(Grant("octo/*", "github.com"),))
    house.sessions.known["token", "secret"] = other
    asked = len(house.forge.wires)
    status, text = refused(get(house, place))
    assert (status, "git-lfs asks for a new one" in text) == (404, True)
    assert len(house.forge.wires) == asked
    event = house.audit.events[-1]
    assert (event.session, event.operation, event.reason) == ("s-other", "lfs-download", Reason.LFS_HANDLE)
    house.sessions.known["token", "secret"] = house.session
    get(house, place)
    assert house.forge.asked().start.method == b"GET"


def test_anonymous_request_has_no_authorization_field() -> None:
    """Some forges answer 401 to an empty password, even for public repositories."""
    driver = House().drivers["github.com"]
    assert authorization(driver, None) is None
    assert authorization(driver, ANONYMOUS) is None
    assert authorization(driver, Credential("x", FORGE_SECRET)) == driver.login(FORGE_SECRET)


def test_connections_with_a_login_are_apart_from_all_others() -> None:
    """Also from those to a storage at the forge's own host that needs no login."""
    house = House()
    driver = house.drivers["github.com"]
    target(house, "download", href=OWN)
    (action,) = house.services.handles._actions.values()
    assert action.login
    keys = {forge_key(driver, Credential("cred-1", "x")), storage_key(driver, action)}
    keys.add(storage_key(driver, evolve(action, session="s-other")))
    assert len(keys) == 3


class Sources:
    """Credentials, one of them cached; notes what is fetched."""

    def __init__(self, held: Credential | None, got: Credential | CredentialError) -> None:
        self.held, self.got = held, got
        self.asked: list[tuple[Access, str]] = []

    def cached(self, wanted: Any) -> Credential | None:
        """Return the cached one."""
        return self.held

    async def fetch(self, wanted: Any, refused: str) -> Credential:
        """Fetch another."""
        self.asked.append((wanted.access, refused))
        if isinstance(self.got, CredentialError):
            raise self.got
        return self.got


def credential(sources: Sources, access: Access, refused: str = "") -> Any:
    """Ask an exchange for its credential; return the result."""
    exchange: Any = House().say(batch()).protocol._exchange
    exchange.services = evolve(exchange.services, credentials=sources)
    results: list[Any] = []
    ensureDeferred(exchange.credential(access, refused)).addBoth(results.append)
    (result,) = results
    return result


@pytest.mark.parametrize(
    ("held", "refused", "gives", "asked"),
    [
        (OLD, "", OLD, []),
        (None, "", NEW, [(Access.WRITE, "")]),
        (OLD, "old", NEW, [(Access.WRITE, "old")]),
    ],
)
def test_cached_credential_is_used_unless_it_was_refused(
    held: Credential | None, refused: str, gives: Credential, asked: list[tuple[Access, str]]
) -> None:
    """With the access that a batch's body needs: a token for reading cannot upload."""
    sources = Sources(held, NEW)
    assert credential(sources, Access.WRITE, refused) == gives
    assert sources.asked == asked


def test_missing_credential_is_refused_with_retry_after() -> None:
    """503 with the text of its source."""
    error = CredentialError("none now", reason=Reason.CREDENTIAL_LIMITED, retry_after=90)
    failed = credential(Sources(None, error), Access.READ).value
    assert isinstance(failed, LfsError)
    assert (str(failed), failed.reason, failed.status) == ("none now", Reason.CREDENTIAL_LIMITED, 503)
    assert failed.retry_after == 90


# The end.


def test_exchange_ends_once() -> None:
    """A later end has no effect: no second answer, no second audit line."""
    house = House()
    client = house.say(batch())
    exchange = client.protocol._exchange
    exchange.refuse(LfsError("first", reason=Reason.FORGE_TIMEOUT, status=504))
    exchange.refuse(LfsError("second", reason=Reason.LFS_STORAGE, status=502))
    house.settle()
    assert refused(client, b"POST") == (504, "credgate: first")
    assert house.reasons == [Reason.FORGE_TIMEOUT]
    house.nothing_left()


def test_defect_is_logged_and_resets_the_connection(clean_reactor: list[Failure]) -> None:
    """The operator gets the traceback, the sandbox no text."""
    house = House()
    client = house.say(batch())

    async def broken() -> None:
        raise ZeroDivisionError

    client.protocol._exchange.do(broken())
    house.settle()
    assert (client.ended, client.received) == ("reset", b"")
    assert house.reasons == [Reason.INTERNAL]
    assert clean_reactor.pop().check(ZeroDivisionError)


def test_stopping_gateway_refuses_a_request_without_an_answer() -> None:
    """Upon 429 git-lfs tries again by itself."""
    house = House()
    client = house.say(batch())
    client.protocol._exchange.refuse_pending(STOPPING)
    house.settle()
    assert refused(client, b"POST") == (429, "credgate: the gateway stops")
    assert house.reasons == [Reason.SHUTDOWN]


def test_stopping_gateway_resets_a_transfer() -> None:
    """A text after bytes of an object would be taken for bytes of the object."""
    house = House()
    client = get(house, target(house, "download"))
    house.forge.wire.deliver(sent(CONTENT)[:-10])
    house.settle()
    before = client.received
    client.protocol._exchange.refuse_pending(STOPPING)
    house.settle()
    assert (client.ended, client.received) == ("reset", before)
    assert house.reasons[-1] == Reason.SHUTDOWN
    house.nothing_left()


@pytest.mark.parametrize("who", ["client", "storage"])
def test_stalled_client_and_stalled_storage_have_their_own_time_limits(who: str) -> None:
    """``stall_timeout`` and ``forge_timeout``."""
    house = House(stall_timeout=10, forge_timeout=30)
    whole = put(target(house, "upload"))
    client = house.say(whole[:-5] if who == "client" else whole)
    house.wait(12)
    assert client.ended == ("reset" if who == "client" else "")
    if who == "storage":
        house.wait(20)
        assert refused(client, b"PUT")[0] == 504
    assert house.reasons[-1] == (Reason.STALLED if who == "client" else Reason.FORGE_TIMEOUT)
    house.nothing_left()


def test_progress_extends_the_time_limit_and_touches_the_session() -> None:
    """A transfer of hours counts as use of the session."""
    house = House(stall_timeout=10, forge_timeout=30)
    client = get(house, target(house, "download"))
    whole = sent(CONTENT)
    head = len(whole) - len(CONTENT)
    house.sessions.touched.clear()
    house.forge.wire.deliver(whole[: head + 1])
    for at in range(head + 1, head + 9):
        house.wait(28)
        house.forge.wire.deliver(whole[at : at + 1])
        house.settle()
    assert (client.ended, bool(house.sessions.touched)) == ("", True)
    house.forge.wire.deliver(whole[head + 9 :])
    house.settle()
    assert house.reasons[-1] == Reason.ALLOWED


def test_protocol_error_after_the_begin_of_an_answer_is_not_answered() -> None:
    """A text would be taken for bytes of the object. Before an answer the error is answered."""
    house = House()
    client = get(house, target(house, "download"))
    exchange: Any = client.protocol._exchange
    assert not exchange.answering
    house.forge.wire.deliver(sent(CONTENT)[:-10])
    house.settle()
    assert exchange.answering
    assert exchange.dropped(Decision(allow=False, reason=Reason.MALFORMED_REQUEST), 400) is False
    assert house.audit.events[-1].status == 200
    other = say(house, batch(), offered("download")[:20])
    assert other.protocol._exchange.dropped(Decision(allow=False, reason=Reason.MALFORMED_REQUEST), 400) is True
    assert house.audit.events[-1].status == 400
