"""Forges asked over real HTTP whether they accept a credential: what they answer, and that it goes nowhere else."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from credgate.config.schema import AppConfig, Config, ForgeConfig
from credgate.errors import InvalidValueError
from credgate.forges.registry import driver_for
from credgate.service.credentials import acceptance_check
from credgate.service.credentials.acceptance_check import CredentialCheck
from credgate.service.credentials.forge_credentials import Credentials
from credgate.service.credentials.source_factory import ShortLivedFactory
from credgate.service.upstream.endpoints import forge_endpoints
from tests.fakes.api import Asked, FakeApi, Reply, Silence
from tests.fakes.canary import traces
from tests.fakes.files import write_secret
from tests.fakes.forge import PythonForge
from tests.fakes.github_api import APP_ID, GitHubApi, make_key
from tests.fakes.minting import Lines, TurnedClock, at_once
from tests.fakes.names import Names
from tests.fakes.repositories import Repositories
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "ghp_CANARY0123456789"
PEM, PUBLIC = make_key()


class UserApi(FakeApi):
    """An API that knows one token, in the form that the kind's API takes it."""

    def answer(self, asked: Asked) -> Reply:
        known = asked.headers.get("authorization") == f"Bearer {CANARY}"
        return Reply(200 if known else 401, {"echo": asked.headers.get("authorization", "")})


@define
class Clinic:
    """The means to ask, for forges that a test configures."""

    folder: Path
    said: list[Any] = field(factory=list)

    def asking(self, names: Any = reactor, **forges: Any) -> CredentialCheck:
        """Configure ``forges``, by name, and read their credentials."""
        config = Config(forges={name: ForgeConfig(name, **table) for name, table in forges.items()})
        drivers = {name: driver_for(forge) for name, forge in config.forges.items()}
        endpoints = forge_endpoints(names, 5)
        minting = ShortLivedFactory(reactor, endpoints, at_once, TurnedClock(), Lines(), {}, "")  # type: ignore[arg-type]
        credentials = Credentials(config, drivers, mint=minting.source, environ={}, in_thread=at_once)
        credentials.read()
        return CredentialCheck(drivers, credentials, reactor, endpoints, time.time)

    def secret(self, text: str = CANARY, name: str = "token") -> str:
        """Write a credential; its reference."""
        return f"file://{write_secret(self.folder / name, text)}"

    def asked(self, asking: CredentialCheck, forge: str = "lab", repo: str = "") -> Deferred[list[Any]]:
        """Ask, with a deadline, and keep what is told."""
        told = Deferred.fromCoroutine(asking(forge, repo)).addTimeout(20, reactor)
        return told.addCallback(self._keep)

    def _keep(self, told: list[Any]) -> list[Any]:
        self.said.append(told)
        return told


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    """Lend one; nothing that was told or logged holds the credential, in any coding."""
    made, events = Clinic(tmp_path), []  # type: ignore[var-annotated]
    globalLogPublisher.addObserver(events.append)
    yield made
    globalLogPublisher.removeObserver(events.append)
    assert traces(CANARY, (json.dumps(made.said) + repr(events)).encode()) == set()


@pytest.fixture
def api() -> Iterator[UserApi]:
    fake = UserApi()
    yield fake
    fake.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PythonForge]:
    """Start a git server with ``octo/hello``."""
    for name in ("forge", "repositories"):
        (tmp_path / name).mkdir()
    Repositories(tmp_path / "repositories").seeded("octo/hello")
    fake = PythonForge(tmp_path / "repositories", CANARY, tmp_path / "forge")
    yield fake
    fake.close()


def states(told: list[Any]) -> list[str]:
    return [one["state"] for one in told]


@pytest.mark.parametrize(
    ("kind", "path"), [("github", "/api/v3/meta"), ("gitlab", "/api/v4/personal_access_tokens/self")]
)
@ensureDeferred
async def test_an_api_is_asked_with_the_credential(clinic: Clinic, api: UserApi, kind: str, path: str) -> None:
    """One request; a right one is accepted, a wrong one refused in the driver's words."""
    asking = clinic.asking(lab={"kind": kind, "url": api.url, "credential": clinic.secret()})
    (told,) = await clinic.asked(asking)
    assert (told["state"], told["repositories"], told["kind"]) == ("accepted", ["**"], "file")
    assert api.paths("GET") == [path]
    asking = clinic.asking(lab={"kind": kind, "url": api.url, "credential": clinic.secret("wrong", "other")})
    (told,) = await clinic.asked(asking)
    assert told["state"] == "refused"
    assert told["text"].startswith("lab answered 401: credgate's token is wrong, expired or revoked")


@ensureDeferred
async def test_a_redirect_is_not_followed(clinic: Clinic, api: UserApi) -> None:
    """Whoever names another place would be handed the credential."""
    asking = clinic.asking(lab={"kind": "github", "url": api.url, "credential": clinic.secret()})
    api.faults.append(Reply(302, None, {"Location": f"{api.url}/elsewhere"}))
    (told,) = await clinic.asked(asking)
    assert (told["state"], len(api.asked)) == ("unknown", 1)
    assert "answered 302, which does not decide it" in told["text"]


@ensureDeferred
async def test_a_private_address_is_not_dialled(clinic: Clinic, api: UserApi) -> None:
    """A name that leads home is refused as the relay refuses it, unless its operator calls it internal."""
    url, names = f"http://git.example:{api.port}", Names(reactor, ["127.0.0.1"])
    table = {"kind": "github", "url": url, "allow_plain_http": True, "credential": clinic.secret()}
    (told,) = await clinic.asked(clinic.asking(names, lab=table))
    assert (told["state"], api.asked, names.dialled) == ("unknown", [], [])
    assert "its name resolves only to non-public addresses (loopback)" in told["text"]
    assert states(await clinic.asked(clinic.asking(names, lab=table | {"internal": True}))) == ["accepted"]


@ensureDeferred
async def test_a_forge_without_a_response_is_unknown(
    clinic: Clinic, api: UserApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit ends the question; a port where nobody listens is told as that."""
    monkeypatch.setattr(acceptance_check, "TIME_LIMIT", 0.2)
    asking = clinic.asking(lab={"kind": "github", "url": api.url, "credential": clinic.secret()})
    api.faults.append(silence := Silence())
    (told,) = await clinic.asked(asking)
    silence.over.set()
    monkeypatch.undo()
    assert (told["state"], told["text"]) == ("unknown", "lab could not be checked: the time limit was reached")
    away = f"http://127.0.0.1:{free_port()}"
    (told,) = await clinic.asked(clinic.asking(lab={"kind": "github", "url": away, "credential": clinic.secret()}))
    assert told["text"] == "lab could not be checked: it refuses connections"


@ensureDeferred
async def test_a_generic_forge_is_asked_for_a_repository(clinic: Clinic, server: PythonForge) -> None:
    """With none named it cannot be told; with one, git's own discovery tells, in either spelling."""
    url = f"http://127.0.0.1:{server.port}"
    table = {"kind": "generic", "url": url, "credential": clinic.secret()}
    asking = clinic.asking(lab=table)
    assert states(await clinic.asked(asking)) == ["unknown"]
    for repo in ("octo/hello.git", "octo/hello"):
        (told,) = await clinic.asked(asking, repo=repo)
        assert told["state"] == ("accepted" if repo.endswith(".git") else told["state"])
    server.rotate("ghp_another")
    (told,) = await clinic.asked(asking, repo="octo/hello.git")
    assert (told["state"], told["text"].startswith("lab answered 401: ")) == ("refused", True)
    public = {**table, "url": f"http://127.0.0.1:{server.public_port}"}
    (told,) = await clinic.asked(clinic.asking(lab=public), repo="octo/hello.git")
    assert (told["state"], told["text"].startswith("octo/hello.git is public")) == ("unknown", True)


@ensureDeferred
async def test_a_failed_anonymous_request_proves_nothing(clinic: Clinic, api: UserApi) -> None:
    """It may be public: then a wrong credential would have been answered, too."""
    asking = clinic.asking(lab={"kind": "generic", "url": api.url, "credential": clinic.secret()})
    api.faults += [Reply(200), Reply(200, b"x" * 3_000_000)]
    (told,) = await clinic.asked(asking, repo="octo/hello")
    assert (told["state"], "it may be public" in told["text"]) == ("unknown", True)
    assert ["authorization" in one.headers for one in api.asked] == [True, False]


@ensureDeferred
async def test_each_credential_is_checked_with_its_own_repository(clinic: Clinic, server: PythonForge) -> None:
    """Each credential of a forge has a verdict of its own; a repository's name narrows it to the one it would get."""
    right, wrong = clinic.secret(), clinic.secret("ghp_wrong", "other")
    url = f"http://127.0.0.1:{server.port}"
    table = {"kind": "bitbucket-datacenter", "url": url, "credentials": {"octo/hello": right, "octo/*": wrong}}
    asking = clinic.asking(lab=table | {"username": "x-access-token"})
    server.pages["/scm/octo/hello.git/info/refs"] = lambda asked: Reply(
        200 if "authorization" in asked.headers else 401
    )
    told = {one["repositories"][0]: one["state"] for one in await clinic.asked(asking)}
    assert told == {"octo/hello": "accepted", "octo/*": "unknown"}
    (told_one,) = await clinic.asked(asking, repo="scm/octo/hello")
    assert told_one["repositories"] == ["octo/hello"]
    assert await clinic.asked(asking, repo="other/thing") == []
    with pytest.raises(InvalidValueError, match="expected scm/PROJECT/REPO"):
        await clinic.asked(asking, repo="no name")


@ensureDeferred
async def test_a_secret_that_no_header_can_hold_is_not_sent(clinic: Clinic, api: UserApi) -> None:
    """As the relay would not send it."""
    asking = clinic.asking(lab={"kind": "github", "url": api.url, "credential": clinic.secret("two words", "odd")})
    (told,) = await clinic.asked(asking)
    assert (told["state"], api.asked) == ("unknown", [])


@ensureDeferred
async def test_an_app_is_checked_by_its_signature_without_a_token(clinic: Clinic) -> None:
    """Known to the forge, on the repository that is named, and not on another; a foreign key is refused."""
    api = GitHubApi(PUBLIC)
    found = api.install("octo", "hello")
    try:
        table = {"kind": "github", "url": "https://github.com", "api_url": api.url}
        asking = clinic.asking(lab=table | {"app": AppConfig(APP_ID, clinic.secret(PEM, "key.pem"))})
        assert states(await clinic.asked(asking)) == ["accepted"]
        assert states(await clinic.asked(asking, repo="octo/hello")) == ["accepted"]
        (told,) = await clinic.asked(asking, repo="octo/other")
        assert (told["state"], "is not installed on octo/other" in told["text"]) == ("refused", True)
        named = clinic.asking(lab=table | {"app": AppConfig(APP_ID, clinic.secret(PEM, "key.pem"), found.id)})
        assert states(await clinic.asked(named, repo="octo/hello")) == ["accepted"]
        assert api.paths("GET")[-1] == f"/app/installations/{found.id}"
        foreign = clinic.asking(lab=table | {"app": AppConfig(APP_ID, clinic.secret(make_key()[0], "other.pem"))})
        (told,) = await clinic.asked(foreign)
        assert (told["state"], "refuses the App's id or private key" in told["text"]) == ("refused", True)
        assert api.issued == []
    finally:
        api.close()


@ensureDeferred
async def test_a_forge_that_is_not_configured_is_a_key_error(clinic: Clinic) -> None:
    """The route has answered 404 before."""
    with pytest.raises(KeyError):
        await clinic.asked(clinic.asking(), forge="elsewhere")
