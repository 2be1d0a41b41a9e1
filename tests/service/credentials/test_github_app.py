"""Installation tokens: what is asked for, who shares them, when they are renewed and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from credgate.audit.event import Happening, line
from credgate.config.schema import ForgeConfig
from credgate.config.short_lived import AppConfig
from credgate.errors import CredentialError
from credgate.values import Access, Reason
from tests.fakes.api import Reply, Silence
from tests.fakes.authority import Authority
from tests.fakes.canary import traces
from tests.fakes.github_api import APP_ID, GitHubApi, make_key
from tests.fakes.minting import FORGE, Lab, grant, session, wanted

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from credgate.service.credentials.github_app import AppSource
    from credgate.service.credentials.sources import Credential

PEM, PUBLIC = make_key()
READ, WRITE = Access.READ, Access.WRITE


@define
class Place:
    """A lab, the fake and the source between them."""

    lab: Lab
    api: GitHubApi
    source: AppSource

    def fetch(self, *args: Any, refused: str = "") -> Deferred[Credential]:
        """Get a credential."""
        return ensured(self.source.fetch(wanted(*args), refused))

    async def refusal(self, *args: Any) -> CredentialError:
        """Get none."""
        with pytest.raises(CredentialError) as caught:
            await self.fetch(*args)
        return caught.value

    def told(self, event: Happening) -> list[Any]:
        """List the audit events of this kind."""
        return [one for one in self.lab.audit.events if one.event is event]


def ensured(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """Run it, with a deadline."""
    return Deferred.fromCoroutine(coroutine).addTimeout(20, reactor)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the API's certificate is from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def api(authority: Authority) -> Iterator[GitHubApi]:
    """Start GitHub's API."""
    fake = GitHubApi(PUBLIC, tls=authority.server_context())
    fake.install("Octo", "hello", "world")
    yield fake
    fake.close()


@pytest.fixture
def place(tmp_path: Path, authority: Authority, api: GitHubApi) -> Place:
    """Put the source before it."""
    lab = Lab(tmp_path)
    app = AppConfig(APP_ID, lab.secret("key.pem", PEM))
    forge = ForgeConfig(FORGE, "github", "https://github.com", api_url=api.url, ca_file=str(authority.ca_file), app=app)
    return Place(lab, api, lab.source(forge))  # type: ignore[arg-type]  # an app's source


HELLO = session(grant("octo/hello"))
BOTH = session(grant("octo/hello"), grant("octo/world"), grant("else/where"), name="s-both")


@ensureDeferred
async def test_a_token_is_for_exactly_what_was_granted(place: Place) -> None:
    """The repositories of the owner that the session names, and two permissions."""
    credential = await place.fetch(BOTH)
    (issued,) = place.api.issued
    assert (credential.secret, credential.kind) == (issued.token, "app")
    assert set(issued.repositories) == {"Octo/hello", "Octo/world"}
    assert issued.permissions == {"contents": "read", "metadata": "read"}
    assert place.api.asked[-1].json == {
        "repositories": ["hello", "world"],
        "permissions": {"contents": "read", "metadata": "read"},
    }


@ensureDeferred
async def test_a_push_gets_a_token_that_may_push_where_pushes_are_granted(place: Place) -> None:
    """Its repositories are fewer than those that may be read."""
    held = session(grant("octo/hello"), grant("octo/world", READ))
    await place.fetch(held, "octo/hello", WRITE)
    (issued,) = place.api.issued
    assert set(issued.repositories) == {"Octo/hello"}
    assert issued.permissions == {"contents": "write", "metadata": "read"}


@ensureDeferred
async def test_workflows_may_be_changed_only_where_the_grant_says_so(place: Place) -> None:
    """And a repository that did not say so is not in that token."""
    held = session(grant("octo/hello", workflows=True), grant("octo/world"))
    await place.fetch(held, "octo/hello", WRITE)
    await place.fetch(held, "octo/world", WRITE)
    await place.fetch(held, "octo/hello", READ)
    told = [(sorted(issued.repositories), "workflows" in issued.permissions) for issued in place.api.issued]
    assert told == [(["Octo/hello"], True), (["Octo/world"], False), (["Octo/hello", "Octo/world"], False)]


@pytest.mark.parametrize("pattern", ["octo/*", "**"])
@ensureDeferred
async def test_a_pattern_mints_for_the_repository_in_hand(place: Place, pattern: str) -> None:
    """Nothing says which others there are, and a list of none would be all of them."""
    held = session(grant(pattern))
    await place.fetch(held, "octo/hello")
    (issued,) = place.api.issued
    assert set(issued.repositories) == {"Octo/hello"}
    assert place.source.cached(wanted(held, pattern)) is None


@ensureDeferred
async def test_ids_are_asked_for_once_they_are_known(place: Place) -> None:
    """A repository that takes over a name gets nothing."""
    await place.fetch(HELLO)
    await place.fetch(HELLO, "octo/hello", WRITE)
    assert place.api.asked[-1].json["repository_ids"] == [1000000]
    assert "repositories" not in place.api.asked[-1].json


@ensureDeferred
async def test_ids_are_forgotten_with_the_last_session(place: Place) -> None:
    """The next session means what has the name then."""
    await place.fetch(HELLO)
    await ensured(place.source.session_ended(HELLO))
    await place.fetch(HELLO)
    assert place.api.asked[-1].json["repositories"] == ["hello"]


@ensureDeferred
async def test_one_token_serves_all_who_wait_and_all_who_come_later(place: Place) -> None:
    """A clone with submodules must not ask for one each."""
    first = await gatherResults([place.fetch(HELLO) for _ in range(10)])
    assert len({credential.id for credential in first}) == 1
    assert place.source.cached(wanted(HELLO)) == first[0]
    assert len(place.api.issued) == 1


@ensureDeferred
async def test_sessions_with_the_same_grants_share_and_others_do_not(place: Place) -> None:
    """The scope is the key."""
    twin = session(grant("octo/hello"), name="s-twin")
    assert (await place.fetch(HELLO)).id == (await place.fetch(twin)).id
    assert (await place.fetch(BOTH)).id != (await place.fetch(HELLO)).id
    assert len(place.api.issued) == 2


@ensureDeferred
async def test_a_token_is_replaced_five_minutes_before_its_end(place: Place) -> None:
    """An hour is too short for a session, and a request must not set out with a token that ends on its way."""
    first = await place.fetch(HELLO)
    place.lab.clock.slept = 3600 - 310
    assert place.source.cached(wanted(HELLO)) == first
    place.lab.clock.slept = 3600 - 300
    assert place.source.cached(wanted(HELLO)) is None
    second = await place.fetch(HELLO)
    assert second.id != first.id
    assert not place.api.issued[0].revoked  # what is under way goes on with it


@ensureDeferred
async def test_a_token_that_was_refused_is_replaced_once(place: Place) -> None:
    """It may have been revoked at the forge; a forge that refuses everything must not be asked without end."""
    first = await place.fetch(HELLO)
    second = await place.fetch(HELLO, refused=first.id)
    assert second.id != first.id
    with pytest.raises(CredentialError, match="refuses a credential that it gave a moment ago"):
        await place.fetch(HELLO, refused=second.id)


@ensureDeferred
async def test_the_last_sessions_end_revokes_its_tokens(place: Place) -> None:
    """Those that were replaced, too; another session's are left alone."""
    twin = session(grant("octo/hello"), name="s-twin")
    first = await place.fetch(HELLO)
    await place.fetch(HELLO, refused=first.id)
    await place.fetch(twin)
    await place.fetch(BOTH)
    await ensured(place.source.session_ended(twin))
    assert not any(issued.revoked for issued in place.api.issued)
    await ensured(place.source.session_ended(HELLO))
    assert [issued.revoked for issued in place.api.issued] == [True, True, False]
    assert [event.allow for event in place.told(Happening.CREDENTIAL_REVOKED)] == [True, True]


class Unwalked(dict[Any, Any]):
    """A dictionary that fails a test which walks it."""

    def _walked(self) -> Any:
        raise AssertionError("all scopes were walked")

    __iter__ = keys = values = items = _walked


@ensureDeferred
async def test_the_end_of_a_session_looks_at_its_own_scopes_alone(place: Place) -> None:
    """There may be ten thousand of others; 100,000 sessions may end at once. Nothing of it is left behind."""
    await place.fetch(HELLO)
    await place.fetch(BOTH)
    source = place.source
    source._users, source._scopes = Unwalked(source._users), Unwalked(source._scopes)
    await ensured(source.session_ended(HELLO))
    assert [issued.revoked for issued in place.api.issued] == [True, False]
    assert (len(source._users), len(source._scopes), len(source._used), source._remembered) == (1, 1, 1, 1)
    await ensured(source.session_ended(BOTH))
    assert (len(source._users), len(source._scopes), len(source._used), source._remembered) == (0, 0, 0, 0)


@ensureDeferred
async def test_a_session_that_ends_while_its_token_is_made_leaves_none(place: Place) -> None:
    """It is revoked as soon as it is there."""
    place.api.faults = [silence := Silence()]
    waiting = place.fetch(HELLO)
    await ensured(place.source.session_ended(HELLO))
    silence.over.set()
    await waiting
    assert [issued.revoked for issued in place.api.issued] == [True]


@ensureDeferred
async def test_a_revocation_that_fails_is_told(place: Place) -> None:
    """The token lives to its end; nothing else is to be done about it."""
    await place.fetch(HELLO)
    place.api.faults = [Reply(500)]
    await ensured(place.source.session_ended(HELLO))
    (event,) = place.told(Happening.CREDENTIAL_REVOKED)
    assert (event.allow, event.text) == (False, "the forge did not confirm it; it ends by itself")


@ensureDeferred
async def test_repositories_that_get_no_token_together_get_one_each(place: Place) -> None:
    """One repository outside the installation must not lock out the others."""
    held = session(grant("octo/hello"), grant("octo/elsewhere"))
    await place.fetch(held, "octo/hello")
    assert set(place.api.issued[-1].repositories) == {"Octo/hello"}
    refused = await place.refusal(held, "octo/elsewhere")
    assert refused.reason is Reason.CREDENTIAL_NOT_COVERING
    assert "octo/elsewhere is not among the repositories of the GitHub App's installation" in refused.text


@ensureDeferred
async def test_an_app_that_is_not_installed_is_told_with_what_to_do(place: Place) -> None:
    """It is the first mistake of everybody."""
    refused = await place.refusal(session(grant("none/such")), "none/such")
    assert (refused.reason, refused.retry_after) == (Reason.CREDENTIAL_NOT_COVERING, 5)
    assert refused.text == (
        "no credential for github.com: credgate's GitHub App is not installed on none/such, or there is no such "
        "repository; ask the operator of this gateway to add it to the App's installation"
    )


@ensureDeferred
async def test_a_permission_that_the_app_lacks_is_named(place: Place) -> None:
    """And a token that may do less still works."""
    place.api.installations["Octo"].permissions["contents"] = "read"
    refused = await place.refusal(HELLO, "octo/hello", WRITE)
    assert refused.reason is Reason.CREDENTIAL_NOT_COVERING
    assert "lacks a permission, it needs contents: write, metadata: read" in refused.text
    await place.fetch(HELLO, "octo/hello", READ)


@ensureDeferred
async def test_an_installation_that_was_made_anew_is_found_again(place: Place) -> None:
    """Its number is another then."""
    await place.fetch(HELLO)
    place.api.installations["Octo"].id = 77
    await place.fetch(HELLO, "octo/hello", WRITE)
    assert place.api.paths("POST")[-1] == "/app/installations/77/access_tokens"


@ensureDeferred
async def test_a_suspended_installation_is_told(place: Place) -> None:
    """Whoever suspended it knows why."""
    place.api.installations["Octo"].suspended = True
    refused = await place.refusal(HELLO)
    assert (refused.reason, "is suspended" in refused.text) == (Reason.CREDENTIAL_DENIED, True)


@pytest.mark.parametrize("ahead", [-3000.0, 3000.0, -500.0, 100.0])
@ensureDeferred
async def test_a_clock_that_is_wrong_is_found_out(place: Place, ahead: float) -> None:
    """A JWT is judged by the forge's clock; the token's end is counted from it, too."""
    place.api.ahead = ahead
    credential = await place.fetch(HELLO)
    assert credential.expires_at is not None
    assert abs(credential.expires_at - place.lab.clock().wall - 3600) < 10
    assert len(place.api.asked) == 2 + (abs(ahead) > 200)


@ensureDeferred
async def test_a_key_that_the_forge_does_not_know_is_told(place: Place) -> None:
    """The App's key was changed there, or belongs to another App."""
    place.lab.secret("key.pem", make_key()[0])
    refused = await place.refusal(HELLO)
    assert refused.reason is Reason.CREDENTIAL_DENIED
    assert "it refuses the App's id or private key" in refused.text
    place.lab.secret("key.pem", PEM)
    place.lab.clock.slept = 6
    await place.fetch(HELLO)


@ensureDeferred
async def test_trouble_that_passes_is_waited_out(place: Place) -> None:
    """One failure of the forge is no reason to fail a clone."""
    place.api.faults = [Reply(502, b"<html>"), Reply(429, headers={"Retry-After": "0"})]
    await place.fetch(HELLO)
    assert len(place.api.asked) == 4


@pytest.mark.parametrize(
    ("fault", "reason", "after", "text"),
    [
        (Reply(500), Reason.CREDENTIAL_UNAVAILABLE, 5, "its API answered 500; the forge has trouble of its own"),
        (Reply(429, headers={"Retry-After": "90"}), Reason.CREDENTIAL_LIMITED, 90, "try again in 90 s"),
        (Reply(403, headers={"Retry-After": "60"}), Reason.CREDENTIAL_LIMITED, 60, "credgate asked too often"),
        (Reply(200, b"{"), Reason.CREDENTIAL_UNAVAILABLE, 5, "it is not JSON"),
        (Reply(200, {"id": "7"}), Reason.CREDENTIAL_UNAVAILABLE, 5, "its id is no id"),
        (Reply(200, b"x" * 3_000_000), Reason.CREDENTIAL_UNAVAILABLE, 5, "what it answers is far too long"),
        (Reply(302, headers={"Location": "https://x.example/"}), Reason.CREDENTIAL_DENIED, 5, "a redirect, which"),
        (Reply(403), Reason.CREDENTIAL_DENIED, 5, "its API answered 403: it refuses what credgate asks with"),
    ],
)
@ensureDeferred
async def test_trouble_that_stays_is_told(place: Place, fault: Reply, reason: Reason, after: int, text: str) -> None:
    """In our own words, with how long to wait; and for a few seconds it is the answer without another request."""
    place.api.faults = [fault] * 3
    refused = await place.refusal(HELLO)
    assert (refused.reason, refused.retry_after) == (reason, after)
    assert text in refused.text
    asked = len(place.api.asked)
    assert (await place.refusal(HELLO)).text == refused.text
    assert len(place.api.asked) == asked


@ensureDeferred
async def test_what_failed_is_tried_again_when_its_time_has_come(place: Place) -> None:
    """Nothing here needs a restart."""
    place.api.faults = [Reply(403)]
    await place.refusal(HELLO)
    place.lab.clock.slept = 6
    assert await place.fetch(HELLO)


@ensureDeferred
async def test_a_token_that_is_still_good_is_used_while_no_other_can_be_had(place: Place) -> None:
    """Five minutes are long enough for most troubles."""
    first = await place.fetch(HELLO)
    place.lab.clock.slept = 3400
    place.api.faults = [Reply(403)]
    assert (await place.fetch(HELLO)).id == first.id
    place.lab.clock.slept = 3610
    assert (await place.fetch(HELLO)).id != first.id


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"repository_selection": "all"}, "it does not say what the token is for"),
        ({"repository_selection": "all", "repositories": "+"}, "it gave other repositories than were asked for"),
        ({"repositories": [{"id": 9, "full_name": "octo/secret"}]}, "it gave other repositories than were asked for"),
        ({"repositories": "+", "permissions": {"contents": "write"}}, "it gave more permissions than were asked for"),
        ({"repositories": "+", "permissions": {"administration": "read"}}, "it gave more permissions than were"),
        ({"repositories": "+", "permissions": {"metadata": "read"}}, "it gave fewer permissions than were asked for"),
        ({"repositories": "+", "expires_at": "2020-01-01T00:00:00Z"}, "it gave a token that has ended already"),
    ],
)
@ensureDeferred
async def test_a_token_that_is_not_what_was_asked_for_is_not_used(
    place: Place, said: dict[str, object], text: str
) -> None:
    """Names have no owner in a request: a wrong installation_id would give another owner's repositories."""
    whole = {
        "token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        "expires_at": "2099-01-01T00:00:00Z" if "expires_at" in said else "2027-01-01T00:00:00Z",
        "permissions": {"contents": "read", "metadata": "read"},
        "repository_selection": "selected",
    }
    if said.get("repositories") == "+":
        said = {**said, "repositories": [{"id": 9, "full_name": "octo/Hello"}]}
    await place.fetch(HELLO, "octo/hello", WRITE)
    place.source._app._ids.clear()
    place.api.faults = [Reply(201, whole | said)]
    refused = await place.refusal(HELLO)
    assert text in refused.text
    assert place.source.cached(wanted(HELLO)) is None


@ensureDeferred
async def test_minting_is_audited_without_a_value(place: Place) -> None:
    """By id, forge, repositories, permissions and end; no line, id or repr holds token, JWT or key."""
    credential = await place.fetch(BOTH)
    (event,) = place.told(Happening.CREDENTIAL_MINTED)
    assert (event.credential, event.credential_kind, event.forge) == (credential.id, "app", FORGE)
    assert (event.repositories, event.permissions) == (("octo/hello", "octo/world"), "contents: read, metadata: read")
    assert event.expires == credential.expires_at
    shown = line(event) + repr(credential) + repr(place.source.describe()) + repr(place.source._held)
    assert not traces(credential.secret, shown.encode())


@ensureDeferred
async def test_status_pages_see_ids_and_troubles(place: Place) -> None:
    """And nothing else."""
    assert [(one.id, one.trouble) for one in place.source.describe()] == [("", "")]
    credential = await place.fetch(HELLO)
    await place.refusal(session(grant("none/such")), "none/such")
    (one,) = place.source.describe()
    assert (one.id, one.kind, one.expires_at) == (credential.id, "app", credential.expires_at)
    assert "not installed on none/such" in one.trouble
