"""Tokens that are used up in asking: the next one is kept before anything is used, and renewed before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import define
from cryptography.fernet import Fernet
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from credgate.audit.event import Happening
from credgate.config.schema import ForgeConfig, OAuthConfig, RotateConfig
from credgate.errors import CredentialError, StoreError
from credgate.service.credentials import token_file
from credgate.values import Reason
from tests.fakes.api import Reply
from tests.fakes.canary import traces
from tests.fakes.gitea_api import CLIENT_ID, CLIENT_SECRET, GiteaApi
from tests.fakes.gitlab_api import GitLabApi
from tests.fakes.minting import FORGE, Lab, grant, session, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from credgate.service.credentials.rotating import RotatingSource
    from credgate.service.credentials.sources import Credential

KEY = Fernet.generate_key().decode()
WANTED = wanted(session(grant("octo/hello")))
DAY = 24 * 3600.0


@define
class Place:
    """A lab, a fake API and the forge's table."""

    lab: Lab
    api: Any
    forge: ForgeConfig

    def start(self) -> RotatingSource:
        """Make the source, as a process that starts does."""
        return self.lab.source(self.forge)  # type: ignore[return-value]  # this forge's is such a one

    @property
    def file(self) -> Path:
        """Where the token is kept."""
        return self.lab.folder / "minting" / f"{FORGE}.token"


def fetch(source: RotatingSource, refused: str = "") -> Deferred[Credential]:
    """Get a credential, with a deadline."""
    return Deferred.fromCoroutine(source.fetch(WANTED, refused)).addTimeout(20, reactor)


async def refusal(source: RotatingSource) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        await fetch(source)
    return caught.value


@pytest.fixture
def gitea(tmp_path: Path) -> Iterator[Place]:
    """Make a Gitea that takes each refresh token once."""
    lab, api = Lab(tmp_path), GiteaApi()
    table = OAuthConfig(
        CLIENT_ID,
        lab.secret("client", CLIENT_SECRET),
        lab.secret("refresh", api.refresh),
        lab.secret("key", KEY),
    )
    yield Place(lab, api, ForgeConfig(FORGE, "gitea", api.url, oauth=table))
    api.close()


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[Place]:
    """Make a GitLab whose token rotates itself."""
    lab, api = Lab(tmp_path), GitLabApi()
    table = RotateConfig(lab.secret("token", api.current), lab.secret("key", KEY), 7 * DAY)
    yield Place(lab, api, ForgeConfig(FORGE, "gitlab", api.url, api_url=f"{api.url}/api/v4", rotate=table))
    api.close()


@pytest.fixture(params=["gitea", "gitlab"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(str(request.param))
    return made


@ensureDeferred
async def test_the_forge_accepts_what_it_gave(place: Place) -> None:
    """By a credential of the right kind, with its end; the second request has it at hand."""
    source = place.start()
    first = await fetch(source)
    assert place.api.admits(first.secret)
    assert first.kind == source.kind
    assert first.expires_at is not None
    assert source.cached(WANTED) == first
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_all_who_wait_share_one_renewal(place: Place) -> None:
    """Two would use one token twice."""
    source = place.start()
    assert len({one.id for one in await gatherResults([fetch(source) for _ in range(5)])}) == 1
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_the_next_process_uses_the_saved_token(place: Place) -> None:
    """The first token is long used up: what was kept is asked with, whatever happened in between."""
    await fetch(place.start())
    place.lab.clock.slept = 5 * DAY
    place.api.ahead = 5 * DAY
    again = await fetch(place.start())
    assert place.api.admits(again.secret)


@ensureDeferred
async def test_an_unsaved_token_is_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk refuses; what came is in memory and written once that can be, without asking again."""
    source = place.start()
    write, room = token_file.write, []

    def full(*args: Any) -> None:
        if not room:
            raise StoreError("no space left")
        write(*args)

    monkeypatch.setattr(token_file, "write", full)
    refused = await refusal(source)
    assert "a new one could not be saved in the state directory" in refused.text
    assert source.cached(WANTED) is None
    room.append(1)
    place.lab.clock.slept = 6
    assert place.api.admits((await fetch(source)).secret)
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_a_saved_token_is_unreadable_without_the_key(place: Place) -> None:
    """By whom it belongs to, and in a copy of the directory."""
    credential = await fetch(place.start())
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert place.file.parent.stat().st_mode & 0o777 == 0o700
    held = place.file.read_bytes()
    for secret in (credential.secret, getattr(place.api, "refresh", credential.secret)):
        assert not traces(secret, held)
    assert [*place.file.parent.iterdir()] == [place.file]


@ensureDeferred
async def test_another_key_does_not_fall_back_to_the_first_token(place: Place) -> None:
    """A forge takes its second use for theft."""
    await fetch(place.start())
    place.lab.secret("key", Fernet.generate_key().decode())
    refused = await refusal(place.start())
    assert (refused.reason, len(place.api.asked)) == (Reason.CREDENTIAL_DENIED, 1)
    assert "its saved token cannot be read" in refused.text


@ensureDeferred
async def test_another_first_token_replaces_the_saved_one(gitea: Place) -> None:
    """The operator authorised credgate again: what was kept is of the time before."""
    await fetch(gitea.start())
    gitea.api.refresh = "gtr_authorised-anew-by-the-operator"
    gitea.lab.secret("refresh", gitea.api.refresh)
    assert gitea.api.admits((await fetch(gitea.start())).secret)


@ensureDeferred
async def test_a_refresh_token_that_is_not_replaced_is_used_again(gitea: Place) -> None:
    gitea.api.single_use = False
    source = gitea.start()
    first = await fetch(source)
    gitea.lab.clock.slept = 3400
    assert (await fetch(source)).id != first.id


@ensureDeferred
async def test_bitbucket_is_asked_under_its_own_path(gitea: Place) -> None:
    """The rest is the same."""
    gitea.forge = ForgeConfig(FORGE, "bitbucket", gitea.api.url, oauth=gitea.forge.oauth)
    await fetch(gitea.start())
    assert gitea.api.paths("POST") == ["/site/oauth2/access_token"]


@ensureDeferred
async def test_an_access_token_is_replaced_five_minutes_before_its_end(gitea: Place) -> None:
    """As those of an App are."""
    source = gitea.start()
    first = await fetch(source)
    gitea.lab.clock.slept = 3600 - 310
    assert source.cached(WANTED) == first
    gitea.lab.clock.slept = 3600 - 299
    assert source.cached(WANTED) is None
    assert (await fetch(source)).id != first.id


@ensureDeferred
async def test_a_token_is_rotated_when_half_of_its_life_is_over(gitlab: Place) -> None:
    """It is asked to live seven days; one that ends unrotated is lost."""
    source = gitlab.start()
    first = await fetch(source)
    gitlab.lab.clock.slept = gitlab.api.ahead = 3.4 * DAY
    assert source.cached(WANTED) == first
    gitlab.lab.clock.slept = gitlab.api.ahead = 4.6 * DAY
    assert (await fetch(source)).id != first.id


@ensureDeferred
async def test_a_restart_does_not_rotate_a_token_that_is_not_due(gitlab: Place) -> None:
    """The kept token is the credential."""
    first = await fetch(gitlab.start())
    again = await fetch(gitlab.start())
    assert (again.secret, len(gitlab.api.asked)) == (first.secret, 1)


@ensureDeferred
async def test_a_token_is_renewed_without_requests(gitlab: Place) -> None:
    """A gateway that nobody uses for a week still has its credential afterwards."""
    source = gitlab.start()
    source.start()
    try:
        while source.cached(WANTED) is None:
            await deferLater(reactor, 0.01)
        gitlab.lab.clock.slept = gitlab.api.ahead = 5 * DAY
        source.start()
        while source.cached(WANTED) is None:
            await deferLater(reactor, 0.01)
    finally:
        source.stop()
    assert [one.revoked for one in gitlab.api.family] == [True, True, False]


@ensureDeferred
async def test_a_refused_credential_is_renewed_once(place: Place) -> None:
    source = place.start()
    first = await fetch(source)
    second = await fetch(source, refused=first.id)
    assert second.id != first.id
    with pytest.raises(CredentialError, match="gave a moment ago"):
        await fetch(source, refused=second.id)


@ensureDeferred
async def test_an_invalid_refresh_token_is_an_error_with_advice(gitea: Place) -> None:
    """Only a person can give consent again."""
    gitea.api.refresh = "gtr_another"
    refused = await refusal(gitea.start())
    assert refused.reason is Reason.CREDENTIAL_DENIED
    assert refused.text == (
        "no credential for github.com: it answered 400 to credgate's refresh token: it was used before, was "
        "revoked or has expired; ask the operator of this gateway to authorise it again"
    )


@ensureDeferred
async def test_a_wrong_client_secret_is_reported(gitea: Place) -> None:
    """It is another mistake than a token's."""
    gitea.lab.secret("client", "wrong")
    assert "client_id or client_secret is wrong" in (await refusal(gitea.start())).text


@pytest.mark.parametrize(
    ("scopes", "revoked", "text"),
    [
        (
            ("read_repository",),
            False,
            "the token is not allowed to rotate itself; ask the operator of this gateway to give it",
        ),
        (("api",), True, "the token was revoked, has expired or was rotated elsewhere"),
    ],
)
@ensureDeferred
async def test_a_token_that_cannot_rotate_is_an_error_with_advice(
    gitlab: Place,
    scopes: tuple[str, ...],
    revoked: bool,  # noqa: FBT001 - a table
    text: str,
) -> None:
    gitlab.api.scopes = scopes
    gitlab.api.family[0].revoked = revoked
    refused = await refusal(gitlab.start())
    assert refused.reason is Reason.CREDENTIAL_DENIED
    assert text in refused.text


@ensureDeferred
async def test_a_failure_is_shown_and_a_valid_credential_used(gitea: Place) -> None:
    """Five minutes are long enough for most of it."""
    source = gitea.start()
    first = await fetch(source)
    gitea.lab.clock.slept = 3400
    gitea.api.faults = [Reply(503)] * 3
    assert (await fetch(source)).id == first.id
    assert (await fetch(source)).id == first.id
    (one,) = source.describe()
    assert "its API answered 503" in one.trouble
    assert [event.event for event in gitea.lab.audit.events] == [
        Happening.CREDENTIAL_MINTED,
        Happening.CREDENTIAL_FAILED,
    ]


@ensureDeferred
async def test_a_malformed_token_response_is_reported(place: Place) -> None:
    """A login page, most often."""
    place.api.faults = [Reply(200, b"<html>")]
    refused = await refusal(place.start())
    assert "its API answered with something that is not a credential" in refused.text


def test_a_store_in_memory_refuses_rotating_credentials(place: Place) -> None:
    """A gateway with its sessions in memory cannot have such a forge."""
    with pytest.raises(Exception, match="the next token must be kept across restarts"):
        place.lab.source(place.forge, keep=False)
