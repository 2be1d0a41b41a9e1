"""Credentials: made before anything listens, chosen by repository, told of without their values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from credgate.config.schema import AppConfig, Config, ForgeConfig
from credgate.errors import ConfigError, CredentialError
from credgate.forges.registry import driver_for
from credgate.service.credentials.forge_credentials import Credentials
from credgate.service.credentials.sources import ANONYMOUS, Credential, CredentialRequest, SourceDescription
from credgate.sessions.model import Grant
from credgate.values import Access, RepoPath
from tests.fakes.files import write_secret
from tests.fakes.sessions import session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.python.failure import Failure

    from credgate.service.credentials.sources import SourceKind
    from credgate.sessions.model import Session

CANARY = "ghp_CANARY0123456789"
WHO = session()


def wanted(forge: str = "a", path: str = "octo/hello", access: Access = Access.WRITE) -> CredentialRequest:
    """Want a credential for one repository."""
    return CredentialRequest(RepoPath(forge, path), access, WHO)


def config_of(*forges: ForgeConfig) -> Config:
    """Configure ``forges``, each key of each in line 7."""
    lines = {("forges", one.name, key): 7 for one in forges for key in ("credential", "credentials", "app")}
    more = {("forges", one.name, "credentials", pattern): 8 for one in forges for pattern in one.credentials}
    return Config(forges={one.name: one for one in forges}, source="/etc/credgate.toml", lines=lines | more)


def forge(name: str, credential: str = "", **more: Any) -> ForgeConfig:
    """Configure one."""
    return ForgeConfig(name=name, kind="github", url=f"https://{name}.example", credential=credential, **more)


def service_of(*forges: ForgeConfig, **more: Any) -> Credentials:
    """Make the service for ``forges``."""
    config = config_of(*forges)
    drivers = {one.name: driver_for(one) for one in forges}
    return Credentials(config, drivers, **{"environ": {}, "reactor": Clock(), **more})


def secret(service: Credentials, path: str = "octo/hello", forge_name: str = "a") -> str | None:
    """Return what a request would carry; ``None``: nothing is at hand."""
    credential = service.cached(wanted(forge_name, path))
    return None if credential is None else credential.secret


@define(eq=False)
class Minting:
    """A source that makes one credential for every session, when asked."""

    kind: SourceKind = "app"
    made: dict[str, Credential] = field(factory=dict)
    ended: list[Session] = field(factory=list)
    breaks: bool = False

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return the session's."""
        return self.made.get(wanted.session.id)

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Make one."""
        return self.made.setdefault(wanted.session.id, Credential("minted", CANARY, self.kind, 1_800_000_000.0))

    async def session_ended(self, session: Session) -> None:
        """Note it."""
        self.ended.append(session)
        if self.breaks:
            raise RuntimeError("broken")

    def describe(self) -> list[SourceDescription]:
        """Return all of them."""
        return [SourceDescription(one.id, one.kind, one.expires_at, "as told") for one in self.made.values()]


def result(awaited: Any) -> Any:
    """Return what a coroutine that waits for nothing comes to."""
    found: list[Any] = []
    Deferred.fromCoroutine(awaited).addBoth(found.append)
    return found[0]


# Reading them.


def test_every_credential_is_there_before_anything_listens(tmp_path: Path) -> None:
    """The first request must not wait, and must not find an unread secret."""
    path = write_secret(tmp_path / "token", CANARY)
    systemd = {"B": "of-b", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    service = service_of(
        forge("a", f"file://{path}"), forge("b", "env://B"), forge("c"), forge("d", "systemd://token"), environ=systemd
    )
    service.read()
    assert [secret(service, forge_name=name) for name in "abcd"] == [CANARY, "of-b", "", CANARY]
    assert service.cached(wanted("c")) is ANONYMOUS
    assert service.cached(wanted("unknown")) is ANONYMOUS
    assert result(service.fetch(wanted("c"))) is ANONYMOUS
    assert result(service.fetch(wanted("a"))) == service.cached(wanted("a"))
    assert [service.serves(name) for name in ("a", "b", "c", "unknown")] == [True, True, False, False]


@pytest.mark.parametrize(
    "reference", ["env://NONE", "file:///nonexistent/token", "systemd://none", "cmd:///nonexistent/x", CANARY]
)
def test_a_secret_that_cannot_be_read_stops_the_start(reference: str) -> None:
    """One line with file, line and key; a pasted token is not repeated. The other variable is left alone."""
    environ = {"B": "of-b"}
    service = service_of(forge("b", "env://B"), forge("x", reference), environ=environ)
    with pytest.raises(ConfigError) as caught:
        service.read()
    assert str(caught.value).startswith("/etc/credgate.toml:7: forges.x.credential: ")
    assert "CANARY" not in str(caught.value)
    assert environ == {"B": "of-b"}


def test_the_program_of_a_command_must_be_there_and_is_not_named() -> None:
    """A typing error stops the start; a token that was pasted behind ``cmd://`` looks like a program's name."""
    service = service_of(forge("x", f"cmd://{CANARY}"), environ={"PATH": "/usr/bin:/bin"})
    with pytest.raises(ConfigError, match="the program that cmd:// names is not there") as caught:
        service.read()
    assert "CANARY" not in str(caught.value)
    service_of(forge("x", "cmd://true"), environ={"PATH": "/usr/bin:/bin"}).read()


def test_variables_are_removed_once_read() -> None:
    """No child inherits them: two forges may share one, and the ancestor's go although nobody refers to them."""
    environ = {"B": "x", "GITHUB_TOKEN": "y", "GH_TOKEN": "z", "PATH": "/bin"}
    service = service_of(forge("a", "env://B"), forge("b", credentials={"**": "env://B"}), environ=environ)
    service.read()
    assert environ == {"PATH": "/bin"}
    assert [secret(service, forge_name=name) for name in "ab"] == ["x", "x"]


def test_the_processs_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``twistd`` was started with, and what its children would get."""
    monkeypatch.setenv("CREDGATE_TEST_TOKEN", CANARY)
    one = forge("a", "env://CREDGATE_TEST_TOKEN")
    service = Credentials(config_of(one), {"a": driver_for(one)})
    service.read()
    assert secret(service) == CANARY
    assert "CREDGATE_TEST_TOKEN" not in os.environ


# Several for one forge.

THREE = {"Octo/*": "env://OCTO", "octo/hello": "env://HELLO", "other/*": "env://OTHER"}
HELD = {"OCTO": "of-octo", "HELLO": "of-hello", "OTHER": "of-other", "REST": "of-the-rest"}


@pytest.mark.parametrize(
    ("path", "found"),
    [("octo/hello", "of-hello"), ("octo/x", "of-octo"), ("other/x", "of-other"), ("third/x", ""), ("octo-two/x", "")],
)
def test_a_repository_gets_that_of_the_longest_pattern(path: str, found: str) -> None:
    """What none matches gets none, never the nearest other's; unless the forge has one for the rest."""
    service = service_of(forge("a", credentials=THREE), environ=dict(HELD))
    service.read()
    assert secret(service, path) == found
    assert service.configured(RepoPath("a", path)) is bool(found)
    service = service_of(forge("a", "env://REST", credentials=THREE), environ=dict(HELD))
    service.read()
    assert secret(service, path) == (found or "of-the-rest")
    assert service.configured(RepoPath("a", path))


def test_one_forges_credentials_are_no_other_forges() -> None:
    """Whatever their repositories are called."""
    service = service_of(forge("a", credentials=THREE), forge("b"), environ=dict(HELD))
    service.read()
    assert secret(service, "octo/hello", "b") == ""
    assert not service.configured(RepoPath("b", "octo/hello"))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (forge("a", credentials={"octo": "env://A"}), "8: forges.a.credentials.octo: no pattern of repositories here"),
        (forge("a", credentials={"o/x": "env://NONE"}), '8: forges.a.credentials."o/x": env://NONE cannot be read'),
        (forge("a", credentials={"O/*": "env://NONE"}), '8: forges.a.credentials."O/*": env://NONE cannot be read'),
        (forge("a", "env://A", credentials={"**": "env://A"}), "7: forges.a.credential: another credential stands"),
        (forge("a", "env://A", app=AppConfig()), "7: forges.a.app: another credential stands for every repository"),
    ],
)
def test_what_cannot_be_meant_stops_the_start(one: ForgeConfig, said: str) -> None:
    """With the place of its key."""
    mint: Callable[..., Minting | None] = lambda table, _driver: None if table.app is None else Minting()  # noqa: E731 - one line says it
    service = service_of(one, environ={"A": CANARY}, mint=mint)
    with pytest.raises(ConfigError) as caught:
        service.read()
    assert str(caught.value).startswith(f"/etc/credgate.toml:{said}")


# Those that are minted.


def test_a_minting_table_stands_for_all_that_no_pattern_names() -> None:
    """An organisation without the App keeps its token."""
    source = Minting()
    service = service_of(
        forge("a", app=AppConfig(), credentials={"octo/*": "env://OCTO"}), environ=dict(HELD), mint=lambda *_: source
    )
    service.read()
    assert secret(service, "octo/x") == "of-octo"
    assert secret(service, "third/x") is None
    assert result(service.fetch(wanted("a", "third/x"))).secret == CANARY
    assert secret(service, "third/x") == CANARY
    assert service.configured(RepoPath("a", "third/x"))


def test_a_table_that_cannot_be_carried_out_stops_the_start() -> None:
    """With the place of the key in it."""

    def mint(one: ForgeConfig, _driver: object) -> None:
        raise ConfigError("no key in PEM", key="app.private_key")

    service = service_of(forge("a", app=AppConfig()), mint=mint)
    with pytest.raises(ConfigError) as caught:
        service.read()
    assert str(caught.value) == "/etc/credgate.toml:7: forges.a.app.private_key: no key in PEM"


def test_sources_are_told_of_a_sessions_end(clean_reactor: list[Failure]) -> None:
    """What was made for it is taken back; one that breaks over it keeps nobody else from that."""
    first, second = Minting(breaks=True), Minting()
    made = {"a": first, "b": second}
    service = service_of(forge("a"), forge("b"), mint=lambda one, _driver: made[one.name])
    service.read()
    service.session_ended(WHO, "revoked")
    assert (first.ended, second.ended) == ([WHO], [WHO])
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()


@define(eq=False)
class Refreshing(Minting):
    """One that renews by itself."""

    running: bool = False

    def start(self) -> None:
        """Begin."""
        self.running = True

    def stop(self) -> None:
        """Stop."""
        self.running = False


def test_what_renews_by_itself_is_started_and_stopped() -> None:
    """Not before the reactor runs, and not after."""
    source = Refreshing()
    service = service_of(forge("a"), mint=lambda *_: source)
    service.read()
    assert not source.running
    service.startService()
    assert source.running
    service.stopService()
    assert not source.running


# What is told of them.


def test_a_grant_is_told_what_it_may_use() -> None:
    """Ids, kinds and ends; of what is still to be made the kind, and of no other session's anything."""
    source = Minting()
    other = session(255)
    service = service_of(forge("a", credentials=THREE, app=AppConfig()), environ=dict(HELD), mint=lambda *_: source)
    service.read()
    own = service.cached(wanted("a", "octo/hello"))
    assert own is not None
    assert service.named(Grant("octo/hello", "a"), WHO) == [{"id": own.id, "kind": "env"}]
    assert [one["kind"] for one in service.named(Grant("octo/*", "a"), WHO)] == ["env", "env"]
    assert service.named(Grant("third/*", "a"), WHO) == [{"kind": "app"}]
    result(service.fetch(wanted("a", "third/x")))
    ends = "2027-01-15T08:00:00.000Z"
    assert service.named(Grant("third/*", "a"), WHO) == [{"id": "minted", "kind": "app", "expires_at": ends}]
    assert service.named(Grant("third/*", "a"), other) == [{"kind": "app"}]
    assert service.named(Grant("**", "unknown"), WHO) == []


def test_the_overview_shows_each_forge_and_each_credential_once() -> None:
    """One reference for two patterns is one credential. No value is in it."""
    source = Minting()
    both = {"octo/*": "env://OCTO", "other/*": "env://OCTO"}
    service = service_of(
        forge("a", credentials=both), forge("b", app=AppConfig()), forge("c"), environ={"OCTO": CANARY}
    )
    service._mint = lambda one, _driver: None if one.app is None else source
    service.read()
    result(service.fetch(wanted("b")))
    told = service.overview()
    octo = service.cached(wanted("a", "octo/x"))
    assert octo is not None
    assert [one["name"] for one in told] == ["a", "b", "c"]
    assert told[0]["credentials"] == [
        {"repositories": ["octo/*", "other/*"], "id": octo.id, "kind": "env", "expires_at": None, "trouble": ""}
    ]
    assert told[1]["credentials"] == [
        {
            "repositories": ["**"],
            "id": "minted",
            "kind": "app",
            "expires_at": "2027-01-15T08:00:00.000Z",
            "trouble": "as told",
        }
    ]
    assert told[2] == {"name": "c", "kind": "github", "url": "https://c.example", "default": False, "credentials": []}
    assert "CANARY" not in repr(told)
    held = [(one.forge, one.kind, one.expires_at is None, one.in_trouble) for one in service.held()]
    assert held == [("a", "env", True, False), ("b", "app", False, True)], "as metrics have it"


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """Logs and tracebacks print values: of these, the id only."""
    credential = Credential("0123abcd", CANARY, "file")
    assert repr(credential) == "Credential(id='0123abcd', kind='file', expires_at=None)"
    path = write_secret(tmp_path / "token", CANARY)
    service = service_of(forge("a", f"file://{path}"), forge("b", f"cmd://true {CANARY}"), environ={"PATH": "/bin"})
    service.read()
    assert "CANARY" not in f"{service._choices!r} {vars(service._choices['a'].patterns['**'])!r}"


# Watching files.


@define
class Threads:
    """A thread pool that runs at once, and counts."""

    looks: int = 0
    error: Exception | None = None

    def __call__(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        """Stand in for ``deferToThreadPool``."""
        self.looks += 1
        return fail(self.error) if self.error else succeed(call(*args))


def test_a_rotated_file_is_seen_within_a_round(tmp_path: Path) -> None:
    """Tokens rotate without a restart; asking reads nothing, and a stopped service looks no more."""
    path, clock, threads = write_secret(tmp_path / "token", CANARY), Clock(), Threads()
    service = service_of(forge("a", f"file://{path}"), forge("b", "env://B"), environ={"B": "x"}, reactor=clock)
    service._in_thread = threads
    service.read()
    service.startService()
    for _ in range(3):
        assert secret(service) == CANARY
    assert threads.looks == 0
    write_secret(path, "second")
    clock.advance(1)
    assert (secret(service), threads.looks) == ("second", 1)
    service.stopService()
    assert clock.getDelayedCalls() == []


def test_nothing_is_watched_without_files() -> None:
    """No timer for what cannot change."""
    clock = Clock()
    service = service_of(forge("b", "env://B"), environ={"B": "x"}, reactor=clock)
    service.read()
    service.startService()
    assert clock.getDelayedCalls() == []
    service.stopService()
    assert not service.running


@ensureDeferred
async def test_files_are_read_in_the_reactors_threads(tmp_path: Path) -> None:
    """The real pool, once: the answer comes back into the reactor's thread."""
    path = write_secret(tmp_path / "token", CANARY)
    service = service_of(forge("a", f"file://{path}"), reactor=reactor)
    service.read()
    before = service.cached(wanted())
    assert before is not None
    write_secret(path, "second")
    got = await Deferred.fromCoroutine(service.fetch(wanted(), before.id)).addTimeout(10, reactor)
    assert (got.secret, secret(service)) == ("second", "second")
    with pytest.raises(CredentialError, match="holds no other"):
        await Deferred.fromCoroutine(service.fetch(wanted(), got.id)).addTimeout(10, reactor)


@ensureDeferred
async def test_commands_and_keyrings_are_asked_once_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the background: no request shall be the first to wait."""
    keyring = pytest.importorskip("keyring")
    monkeypatch.setattr(keyring, "get_password", lambda service, user: f"{service} of {user}")
    service = service_of(
        forge("a", "cmd://echo ghp_printed"),
        forge("b", "keyring://gh:x/alice"),
        environ={"PATH": os.environ["PATH"]},
        reactor=reactor,
    )
    service.read()
    assert [service.cached(wanted(name)) for name in "ab"] == [None, None]
    service.startService()
    try:
        for name, value in (("a", "ghp_printed"), ("b", "gh:x of alice")):
            got = await Deferred.fromCoroutine(service.fetch(wanted(name))).addTimeout(10, reactor)
            assert (got.secret, secret(service, forge_name=name)) == (value, value)
    finally:
        service.stopService()
