"""Credentials: read before anything listens, answered from memory, followed as their files rotate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from credgate.config.schema import Config, Forge
from credgate.errors import ConfigError
from credgate.service.credentials import Credential, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.python.failure import Failure

CANARY = "ghp_CANARY0123456789"


@define
class Threads:
    """A thread pool that runs at once, or holds what it is given."""

    held: bool = False
    waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[object, ...]]] = field(factory=list)
    looks: int = 0
    error: Exception | None = None

    def __call__(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        """Stand in for ``deferToThreadPool``."""
        self.looks += 1
        if self.error:
            return fail(self.error)
        if not self.held:
            return succeed(call(*args))
        promised: Deferred[Any] = Deferred()
        self.waiting.append((promised, call, args))
        return promised

    def go(self) -> None:
        """Let the call that has waited longest run."""
        promised, call, args = self.waiting.pop(0)
        promised.callback(call(*args))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect every line that is logged, formatted."""
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        failure = event.get("log_failure")
        lines.append(f"{formatEvent(event)} {failure.value if failure else ''}".strip())

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def _write(path: Path, secret: str) -> None:
    """Rotate as programs that care do: write beside it, rename over it."""
    beside = path.with_suffix(".new")
    beside.write_text(secret)
    beside.chmod(0o600)
    beside.rename(path)


def _config(**references: str) -> Config:
    lines = {("forges", name, "credential"): 7 for name in references}
    forges = {name: Forge(name=name, url=f"https://{name}", credential=text) for name, text in references.items()}
    return Config(forges=forges, source="/etc/credgate.toml", lines=lines)


@define
class Bench:
    """A service over files, a clock that stands still and threads that are none."""

    path: Path
    clock: Clock
    threads: Threads
    service: Credentials

    def secret(self) -> str:
        """Return what a request to forge ``a`` would carry."""
        current = self.service.current("a")
        assert current is not None
        return current.secret


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Start a service with forge ``a`` from a file, ``b`` from a variable and ``c`` without credential."""
    path = tmp_path / "token"
    _write(path, CANARY)
    clock, threads = Clock(), Threads()
    config = _config(a=f"file://{path}", b="env://B", c="")
    service = Credentials(config, environ={"B": "of-b"}, reactor=clock, in_thread=threads)
    service.read()
    service.startService()
    yield Bench(path, clock, threads, service)
    service.stopService()
    assert clock.getDelayedCalls() == []


def test_every_credential_is_there_before_anything_listens(bench: Bench) -> None:
    """The first request must not wait, and must not find an unread secret."""
    of_b = bench.service.current("b")
    assert bench.secret() == CANARY
    assert of_b is not None
    assert of_b.secret == "of-b"
    assert bench.service.current("c") is None
    assert bench.service.current("unknown") is None


def test_asking_reads_nothing(bench: Bench) -> None:
    """It is asked on every request."""
    bench.path.unlink()
    for _ in range(3):
        assert bench.secret() == CANARY
    assert bench.threads.looks == 0


@pytest.mark.parametrize("reference", ["env://NONE", "file:///nonexistent/token", CANARY])
def test_a_secret_that_cannot_be_read_stops_the_start(reference: str) -> None:
    """One line with file, line and key; a pasted token is not repeated. The other variable is left alone."""
    environ = {"B": "of-b"}
    service = Credentials(_config(b="env://B", x=reference), environ=environ, reactor=Clock())
    with pytest.raises(ConfigError) as caught:
        service.read()
    assert str(caught.value).startswith("/etc/credgate.toml:7: forges.x.credential: ")
    assert "CANARY" not in str(caught.value)
    assert environ == {"B": "of-b"}


def test_variables_are_removed_once_read() -> None:
    """No child inherits them: two forges may share one, and the ancestor's go although nobody refers to them."""
    environ = {"B": "x", "GITHUB_TOKEN": "y", "GH_TOKEN": "z", "PATH": "/bin"}
    service = Credentials(_config(a="env://B", b="env://B"), environ=environ, reactor=Clock())
    service.read()
    assert environ == {"PATH": "/bin"}
    assert [service.current(name) is not None for name in "ab"] == [True, True]


def test_the_processs_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``twistd`` was started with, and what its children would get."""
    monkeypatch.setenv("CREDGATE_TEST_TOKEN", CANARY)
    service = Credentials(_config(a="env://CREDGATE_TEST_TOKEN"))
    service.read()
    assert service.current("a") is not None
    assert "CREDGATE_TEST_TOKEN" not in os.environ


def test_a_rotated_file_is_seen_within_a_round(bench: Bench, logged: list[str]) -> None:
    """Tokens rotate without a restart; the id changes with the value, and neither line shows it."""
    before = bench.service.current("a")
    _write(bench.path, "ghp_CANARY-the-second")
    bench.clock.advance(1)
    after = bench.service.current("a")
    assert before is not None
    assert after is not None
    assert (bench.secret(), before.id != after.id) == ("ghp_CANARY-the-second", True)
    assert logged == [f"The credential of a was rotated: it is {after.id} now."]


def test_an_unchanged_value_keeps_its_id(bench: Bench, logged: list[str]) -> None:
    """A touched file is no rotation: pooled connections stay good."""
    before = bench.service.current("a")
    _write(bench.path, CANARY + "\n")
    bench.clock.pump([1, 1])
    assert bench.service.current("a") == before
    assert logged == []


def test_a_file_that_vanishes_keeps_its_value_and_is_logged_once(bench: Bench, logged: list[str]) -> None:
    """A rotation that fails half-way must not take the gateway down, nor fill the disk with its complaint."""
    bench.path.unlink()
    bench.clock.pump([1] * 5)
    assert bench.secret() == CANARY
    missing = f"file://{bench.path} cannot be read: No such file or directory"
    assert logged == [f"The credential of a stays as it was: {missing}"]
    _write(bench.path, CANARY)
    bench.clock.advance(1)
    assert logged[1:] == ["The credential of a can be read again."]


def test_another_trouble_is_another_line(bench: Bench, logged: list[str]) -> None:
    """Repairing one mistake by making the next must not be silent; what is wrong is not taken."""
    bench.path.unlink()
    bench.clock.advance(1)
    bench.path.write_text("")
    bench.path.chmod(0o600)
    bench.clock.pump([1, 1])
    bench.path.write_text("ghp_CANARY-open")
    bench.path.chmod(0o644)
    bench.clock.pump([1, 1])
    assert bench.secret() == CANARY
    assert [line.rsplit(f"{bench.path} ")[1][:12] for line in logged] == ["cannot be re", "is empty", "is open to e"]


def test_a_refusal_by_the_forge_reads_at_once(bench: Bench) -> None:
    """After a 401 the file is read whatever its stamp says: same size, same tick of the clock."""
    status = bench.path.stat()
    bench.path.write_text(CANARY.replace("CANARY", "CANARz"))
    os.utime(bench.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    bench.clock.advance(1)
    assert bench.secret() == CANARY
    results: list[bool] = []
    for _ in range(2):
        Deferred.fromCoroutine(bench.service.reread("a")).addCallback(results.append)
    assert results == [True, False]
    assert bench.secret() == CANARY.replace("CANARY", "CANARz")


@pytest.mark.parametrize("name", ["b", "c", "unknown"])
def test_what_is_in_no_file_is_not_read_again(bench: Bench, name: str) -> None:
    """A variable was read once and is gone."""
    results: list[bool] = []
    Deferred.fromCoroutine(bench.service.reread(name)).addCallback(results.append)
    assert (results, bench.threads.looks) == ([False], 0)


def test_a_hanging_file_system_is_asked_once(bench: Bench) -> None:
    """Rounds do not pile up threads behind a look that does not come back; when it does, they go on."""
    bench.threads.held = True
    bench.clock.pump([1] * 5)
    assert bench.threads.looks == 1
    bench.threads.go()
    bench.clock.advance(1)
    assert bench.threads.looks == 2


def test_an_older_look_never_wins_over_a_newer(bench: Bench) -> None:
    """Looks at one file come one after the other, a forced one behind that of the round."""
    bench.threads.held = True
    bench.clock.advance(1)
    results: list[bool] = []
    Deferred.fromCoroutine(bench.service.reread("a")).addCallback(results.append)
    assert len(bench.threads.waiting) == 1
    bench.threads.go()
    _write(bench.path, "second")
    bench.threads.go()
    assert (results, bench.secret()) == ([True], "second")


def test_a_failing_look_does_not_end_the_rounds(bench: Bench, logged: list[str], clean_reactor: list[Failure]) -> None:
    """A machine without threads for a moment is no reason to miss every later rotation."""
    bench.threads.error = RuntimeError("can't start new thread")
    bench.clock.advance(1)
    bench.threads.error = None
    _write(bench.path, "second")
    bench.clock.advance(1)
    assert bench.secret() == "second"
    clean_reactor.clear()
    assert logged[0] == "Looking at the credential of a failed. can't start new thread"


def test_nothing_is_watched_without_files() -> None:
    """No timer for what cannot change."""
    clock = Clock()
    service = Credentials(_config(b="env://B"), environ={"B": "x"}, reactor=clock)
    service.read()
    service.startService()
    assert clock.getDelayedCalls() == []
    service.stopService()
    assert not service.running


def test_no_repr_shows_a_secret(bench: Bench) -> None:
    """Logs and tracebacks print values: of these, the id only."""
    credential = Credential("0123abcd", CANARY)
    assert repr(credential) == "Credential(id='0123abcd')"
    assert "CANARY" not in f"{bench.service._held!r} {vars(bench.service)!r}"


def test_an_id_says_nothing_of_its_secret() -> None:
    """Two processes with one secret have two ids: it is keyed by the process, not by the value."""
    ids = set()
    for _ in range(2):
        service = Credentials(_config(a="env://A", b="env://A"), environ={"A": CANARY}, reactor=Clock())
        service.read()
        ids |= {current.id for name in "ab" if (current := service.current(name))}
    assert len(ids) == 4
    assert all(len(each) == 8 and int(each, 16) >= 0 for each in ids)


@ensureDeferred
async def test_files_are_read_in_the_reactors_threads(tmp_path: Path) -> None:
    """The real pool, once: the answer comes back into the reactor's thread."""
    path = tmp_path / "token"
    _write(path, CANARY)
    service = Credentials(_config(a=f"file://{path}"), environ={}, reactor=reactor)
    service.read()
    _write(path, "second")
    changed = await Deferred.fromCoroutine(service.reread("a")).addTimeout(10, reactor)
    current = service.current("a")
    assert current is not None
    assert (changed, current.secret) == (True, "second")
