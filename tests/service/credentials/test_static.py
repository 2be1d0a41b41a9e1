"""Credentials in files and variables: what is held goes on serving, what rotates is followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import formatEvent, globalLogPublisher

from credgate.config.references import Reference
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials.sources import CredentialRequest, SourceDescription
from credgate.service.credentials.static import EnvSource, FileSource
from credgate.values import Access, RepoPath
from tests.fakes.files import write_secret
from tests.fakes.sessions import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.python.failure import Failure

CANARY = "ghp_CANARY0123456789"
WANTED = CredentialRequest(RepoPath("a", "octo/hello"), Access.READ, session())


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


@define
class Bench:
    """A file, its source, and threads that are none."""

    path: Path
    threads: Threads
    source: FileSource

    @property
    def secret(self) -> str:
        """What a request would carry."""
        return self.source.cached(WANTED).secret

    def fetch(self, refused: str = "") -> list[Any]:
        """Ask for one; the list then holds what came."""
        results: list[Any] = []
        Deferred.fromCoroutine(self.source.fetch(WANTED, refused)).addBoth(results.append)
        return results


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Hold a file's secret."""
    path, threads = write_secret(tmp_path / "token", CANARY), Threads()
    return Bench(path, threads, FileSource("a", Reference("file", str(path)), {}, threads))


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


def test_asking_reads_nothing(bench: Bench) -> None:
    """It is asked on every request."""
    bench.path.unlink()
    assert [bench.secret for _ in range(3)] == [CANARY] * 3
    assert bench.fetch() == [bench.source.cached(WANTED)]
    assert bench.threads.looks == 0


def test_a_rotated_file_has_another_id(bench: Bench, logged: list[str]) -> None:
    """Pools and audit lines know values by their ids; neither line shows one."""
    before = bench.source.cached(WANTED)
    write_secret(bench.path, "ghp_CANARY-the-second")
    bench.source.watch()
    after = bench.source.cached(WANTED)
    assert (bench.secret, before.id != after.id, after.kind) == ("ghp_CANARY-the-second", True, "file")
    assert logged == [f"The credential of a was rotated: it is {after.id} now."]


def test_an_unchanged_value_keeps_its_id(bench: Bench, logged: list[str]) -> None:
    """A touched file is no rotation: pooled connections stay good."""
    before = bench.source.cached(WANTED)
    write_secret(bench.path, CANARY + "\n")
    for _ in range(2):
        bench.source.watch()
    assert bench.source.cached(WANTED) == before
    assert logged == []


def test_a_file_that_vanishes_keeps_its_value_and_is_logged_once(bench: Bench, logged: list[str]) -> None:
    """A rotation that fails half-way must not take the gateway down, nor fill the disk with its complaint."""
    bench.path.unlink()
    for _ in range(5):
        bench.source.watch()
    assert bench.secret == CANARY
    missing = f"file://{bench.path} cannot be read: No such file or directory"
    assert logged == [f"The credential of a stays as it was: {missing}"]
    assert bench.source.describe() == [SourceDescription(bench.source.cached(WANTED).id, "file", trouble=missing)]
    write_secret(bench.path, CANARY)
    bench.source.watch()
    assert logged[1:] == ["The credential of a can be read again."]
    assert bench.source.describe()[0].trouble == ""


def test_another_trouble_is_another_line(bench: Bench, logged: list[str]) -> None:
    """Repairing one mistake by making the next must not be silent; what is wrong is not taken."""
    bench.path.unlink()
    bench.source.watch()
    for content, mode in (("", 0o600), ("ghp_CANARY-open", 0o644)):
        bench.path.write_text(content)
        bench.path.chmod(mode)
        bench.source.watch()
        bench.source.watch()
    assert bench.secret == CANARY
    assert [line.rsplit(f"{bench.path} ")[1][:12] for line in logged] == ["cannot be re", "is empty", "is open to e"]


def test_a_refused_one_is_read_at_once(bench: Bench) -> None:
    """Whatever the stamp says: same size, same tick of the clock. Then there is no other."""
    status, refused = bench.path.stat(), bench.source.cached(WANTED)
    bench.path.write_text(CANARY.replace("CANARY", "CANARz"))
    os.utime(bench.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    bench.source.watch()
    assert bench.secret == CANARY
    (got,) = bench.fetch(refused.id)
    assert (got.secret, got.id != refused.id) == (CANARY.replace("CANARY", "CANARz"), True)
    (failure,) = bench.fetch(got.id)
    assert failure.check(CredentialError)
    assert failure.value.text == "the file of the credential of a holds no other"
    assert "CANA" not in failure.value.text


def test_one_that_was_replaced_since_is_not_read_again(bench: Bench) -> None:
    """Many requests are refused at once when a token ends; the first has it read, the others use that."""
    refused = bench.source.cached(WANTED)
    write_secret(bench.path, "second")
    bench.source.watch()
    looks = bench.threads.looks
    (got,) = bench.fetch(refused.id)
    assert (got.secret, bench.threads.looks) == ("second", looks)


def test_many_that_are_refused_at_once_read_once(bench: Bench) -> None:
    """And get the same."""
    refused, bench.threads.held = bench.source.cached(WANTED), True
    waiting = [bench.fetch(refused.id) for _ in range(5)]
    write_secret(bench.path, "second")
    assert bench.threads.looks == 1
    bench.threads.go()
    assert [got.secret for (got,) in waiting] == ["second"] * 5


def test_a_hanging_file_system_is_asked_once(bench: Bench) -> None:
    """Rounds do not pile up threads behind a look that does not come back; when it does, they go on."""
    bench.threads.held = True
    for _ in range(5):
        bench.source.watch()
    assert bench.threads.looks == 1
    bench.threads.go()
    bench.source.watch()
    assert bench.threads.looks == 2


def test_an_older_look_never_wins_over_a_newer(bench: Bench) -> None:
    """Looks at one file come one after the other, a forced one behind that of the round."""
    bench.threads.held = True
    bench.source.watch()
    results = bench.fetch(bench.source.cached(WANTED).id)
    assert len(bench.threads.waiting) == 1
    bench.threads.go()
    bench.source.watch()
    write_secret(bench.path, "second")
    assert len(bench.threads.waiting) == 1
    bench.threads.go()
    assert (results[0].secret, bench.secret) == ("second", "second")


def test_a_failing_look_does_not_end_the_rounds(bench: Bench, logged: list[str], clean_reactor: list[Failure]) -> None:
    """A machine without threads for a moment is no reason to miss every later rotation."""
    bench.threads.error = RuntimeError("can't start new thread")
    bench.source.watch()
    bench.threads.error = None
    write_secret(bench.path, "second")
    bench.source.watch()
    assert bench.secret == "second"
    clean_reactor.clear()
    assert logged[0] == "Looking at the credential of a failed. can't start new thread"


def test_a_file_that_systemd_wrote_is_one(tmp_path: Path) -> None:
    """Known by its own kind."""
    write_secret(tmp_path / "token", CANARY)
    source = FileSource("a", Reference("systemd", "token"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}, Threads())
    got = source.cached(WANTED)
    assert (got.secret, got.kind, source.kind) == (CANARY, "systemd", "systemd")


def test_a_variable_has_one_value() -> None:
    """It was read once and is gone."""
    source, results = EnvSource("a", Reference("env", "A"), {"A": CANARY}), []
    got = source.cached(WANTED)
    assert (got.secret, got.kind, source.variable) == (CANARY, "env", "A")
    assert source.describe() == [SourceDescription(got.id, "env")]
    Deferred.fromCoroutine(source.fetch(WANTED)).addBoth(results.append)
    Deferred.fromCoroutine(source.fetch(WANTED, "another")).addBoth(results.append)
    Deferred.fromCoroutine(source.fetch(WANTED, got.id)).addBoth(results.append)
    assert results[:2] == [got, got]
    assert "is read only once" in results[2].value.text
    with pytest.raises(ConfigError, match="the variable is not set"):
        EnvSource("a", Reference("env", "B"), {"A": CANARY})


def test_an_id_says_nothing_of_its_secret() -> None:
    """Two sources with one secret have two ids: they are keyed by the source, not by the value."""
    made = [EnvSource(name, Reference("env", "A"), {"A": CANARY}).cached(WANTED) for name in "aabb"]
    assert len({one.id for one in made}) == 4
    assert all(len(one.id) == 12 and int(one.id, 16) >= 0 for one in made)
