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
from credgate.config.schema import ForgeConfig
from credgate.config.short_lived import OAuthConfig, RotateConfig
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


def obtain(source: RotatingSource, refused: str = "") -> Deferred[Credential]:
    """Get a credential, with a deadline."""
    return Deferred.fromCoroutine(source.fetch(WANTED, refused)).addTimeout(20, reactor)


async def refusal(source: RotatingSource) -> CredentialError:
    """Get none."""
    with pytest.raises(CredentialError) as caught:
        await obtain(source)
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
    """Make each of them."""
    made: Place = request.getfixturevalue(str(request.param))
    return made


@ensureDeferred
async def test_the_forge_accepts_what_it_gave(place: Place) -> None:
    """By a credential of the right kind, with its end; the second request has it at hand."""
    source = place.start()
    first = await obtain(source)
    assert place.api.admits(first.secret)
    assert first.kind == source.kind
    assert first.expires_at is not None
    assert source.cached(WANTED) == first
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_all_who_wait_share_one_renewal(place: Place) -> None:
    """Two would use one token twice."""
    source = place.start()
    assert len({one.id for one in await gatherResults([obtain(source) for _ in range(5)])}) == 1
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_the_next_process_goes_on_where_the_last_one_was_killed(place: Place) -> None:
    """The first token is long used up: what was kept is asked with, whatever happened in between."""
    await obtain(place.start())
    place.lab.clock.slept = 5 * DAY
    place.api.ahead = 5 * DAY
    again = await obtain(place.start())
    assert place.api.admits(again.secret)


@ensureDeferred
async def test_nothing_is_used_that_was_not_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk refuses; what came is in memory and written once that can be, without asking again."""
    source = place.start()
    write, room = token_file.write, []

    def full(*args: Any) -> None:
        if not room:
            raise StoreError("no space left")
        write(*args)

    monkeypatch.setattr(token_file, "write", full)
    refused = await refusal(source)
    assert "a new one could not be kept in the state directory" in refused.text
    assert source.cached(WANTED) is None
    room.append(1)
    place.lab.clock.slept = 6
    assert place.api.admits((await obtain(source)).secret)
    assert len(place.api.asked) == 1


@ensureDeferred
async def test_what_is_kept_is_unreadable_without_the_key(place: Place) -> None:
    """By whom it belongs to, and in a copy of the directory."""
    credential = await obtain(place.start())
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert place.file.parent.stat().st_mode & 0o777 == 0o700
    held = place.file.read_bytes()
    for secret in (credential.secret, getattr(place.api, "refresh", credential.secret)):
        assert not traces(secret, held)
    assert [*place.file.parent.iterdir()] == [place.file]


@ensureDeferred
async def test_another_key_does_not_fall_back_to_the_first_token(place: Place) -> None:
    """A forge takes its second use for theft."""
    await obtain(place.start())
    place.lab.secret("key", Fernet.generate_key().decode())
    refused = await refusal(place.start())
    assert (refused.reason, len(place.api.asked)) == (Reason.CREDENTIAL_DENIED, 1)
    assert "what was kept of it cannot be read" in refused.text


@ensureDeferred
async def test_another_first_token_begins_anew(gitea: Place) -> None:
    """The operator authorised credgate again: what was kept is of the time before."""
    await obtain(gitea.start())
    gitea.api.refresh = "gtr_authorised-anew-by-the-operator"
    gitea.lab.secret("refresh", gitea.api.refresh)
    assert gitea.api.admits((await obtain(gitea.start())).secret)


@ensureDeferred
async def test_a_refresh_token_that_stays_in_force_is_asked_with_again(gitea: Place) -> None:
    """Bitbucket's do."""
    gitea.api.single_use = False
    source = gitea.start()
    first = await obtain(source)
    gitea.lab.clock.slept = 3400
    assert (await obtain(source)).id != first.id


@ensureDeferred
async def test_bitbucket_is_asked_under_its_own_path(gitea: Place) -> None:
    """The rest is the same."""
    gitea.forge = ForgeConfig(FORGE, "bitbucket", gitea.api.url, oauth=gitea.forge.oauth)
    await obtain(gitea.start())
    assert gitea.api.paths("POST") == ["/site/oauth2/access_token"]


@ensureDeferred
async def test_an_access_token_is_replaced_five_minutes_before_its_end(gitea: Place) -> None:
    """As those of an App are."""
    source = gitea.start()
    first = await obtain(source)
    gitea.lab.clock.slept = 3600 - 310
    assert source.cached(WANTED) == first
    gitea.lab.clock.slept = 3600 - 299
    assert source.cached(WANTED) is None
    assert (await obtain(source)).id != first.id


@ensureDeferred
async def test_a_token_is_rotated_when_half_of_its_life_is_over(gitlab: Place) -> None:
    """It is asked to live seven days; one that ends unrotated is lost."""
    source = gitlab.start()
    first = await obtain(source)
    gitlab.lab.clock.slept = gitlab.api.ahead = 3.4 * DAY
    assert source.cached(WANTED) == first
    gitlab.lab.clock.slept = gitlab.api.ahead = 4.6 * DAY
    assert (await obtain(source)).id != first.id


@ensureDeferred
async def test_a_restart_does_not_rotate_what_is_not_due(gitlab: Place) -> None:
    """The kept token is the credential."""
    first = await obtain(gitlab.start())
    again = await obtain(gitlab.start())
    assert (again.secret, len(gitlab.api.asked)) == (first.secret, 1)


@ensureDeferred
async def test_a_token_is_renewed_though_nobody_asks(gitlab: Place) -> None:
    """A gateway that nobody uses for a week still has its credential afterwards."""
    source = gitlab.start()
    source.start()
    try:
        while source.cached(WANTED) is None:
            await deferLater(reactor, 0.01)
        gitlab.lab.clock.slept = gitlab.api.ahead = 5 * DAY
        source._in_background()
        while source.cached(WANTED) is None:
            await deferLater(reactor, 0.01)
    finally:
        source.stop()
    assert [one.revoked for one in gitlab.api.family] == [True, True, False]


@ensureDeferred
async def test_a_refused_credential_is_renewed_once(place: Place) -> None:
    """And not ten times a second."""
    source = place.start()
    first = await obtain(source)
    second = await obtain(source, refused=first.id)
    assert second.id != first.id
    with pytest.raises(CredentialError, match="gave a moment ago"):
        await obtain(source, refused=second.id)


@ensureDeferred
async def test_a_refresh_token_that_is_no_longer_valid_is_told(gitea: Place) -> None:
    """Only a person can give consent again."""
    gitea.api.refresh = "gtr_another"
    refused = await refusal(gitea.start())
    assert refused.reason is Reason.CREDENTIAL_DENIED
    assert refused.text == (
        "no credential for github.com: it answered 400 to credgate's refresh token: it was used up, revoked or has "
        "expired; ask the operator of this gateway to authorise credgate anew"
    )


@ensureDeferred
async def test_a_wrong_client_is_told(gitea: Place) -> None:
    """It is another mistake than a token's."""
    gitea.lab.secret("client", "wrong")
    assert "client_id or client_secret is wrong" in (await refusal(gitea.start())).text


@pytest.mark.parametrize(
    ("scopes", "revoked", "text"),
    [
        (
            ("read_repository",),
            False,
            "the token may not do that; ask the operator of this gateway to give it",
        ),
        (("api",), True, "the token was revoked, has expired or was rotated elsewhere"),
    ],
)
@ensureDeferred
async def test_a_token_that_cannot_rotate_is_told(
    gitlab: Place,
    scopes: tuple[str, ...],
    revoked: bool,  # noqa: FBT001 - a table
    text: str,
) -> None:
    """With what to do."""
    gitlab.api.scopes = scopes
    gitlab.api.family[0].revoked = revoked
    refused = await refusal(gitlab.start())
    assert refused.reason is Reason.CREDENTIAL_DENIED
    assert text in refused.text


@ensureDeferred
async def test_trouble_is_told_and_what_is_good_is_used_meanwhile(gitea: Place) -> None:
    """Five minutes are long enough for most of it."""
    source = gitea.start()
    first = await obtain(source)
    gitea.lab.clock.slept = 3400
    gitea.api.faults = [Reply(503)] * 3
    assert (await obtain(source)).id == first.id
    assert (await obtain(source)).id == first.id
    (one,) = source.describe()
    assert "its API answered 503" in one.trouble
    assert [event.event for event in gitea.lab.audit.events] == [
        Happening.CREDENTIAL_MINTED,
        Happening.CREDENTIAL_FAILED,
    ]


@ensureDeferred
async def test_an_answer_that_is_none_is_told(place: Place) -> None:
    """A login page, most often."""
    place.api.faults = [Reply(200, b"<html>")]
    refused = await refusal(place.start())
    assert "its API answered with something else than a credential" in refused.text


def test_without_a_state_directory_there_is_nowhere_to_keep_it(place: Place) -> None:
    """A gateway with its sessions in memory cannot have such a forge."""
    with pytest.raises(Exception, match="the next token must outlive the process"):
        place.lab.source(place.forge, keep=False)
