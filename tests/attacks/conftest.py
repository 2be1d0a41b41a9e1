"""Fixtures of the attacks: the real process, a scripted forge, and a client that sends raw bytes.

    raw bytes -> twistd credgate -> scripted forge (records, and says whatever the test wants)

One forge and one gateway serve all attacks that end at once; those that take time start gateways with short limits.
After every attack a good request on a fresh connection must pass: it shows that the gateway lives, and whatever the
attack sent upstream has arrived by then.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import signal
import string
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from credgate.git.pktline import FLUSH, encode
from tests.attacks.rawclient import Heard, ask, login
from tests.attacks.scripted import Asked, Said, ScriptedForge
from tests.fakes.gateway import Gateway, Lease
from tests.fakes.loop_lag import PROMISED, run_again_after_a_long_turn
from tests.fakes.scratch import make, remove

if TYPE_CHECKING:
    from pathlib import Path

ADVERTISEMENT = b"001e# service=git-upload-pack\n0000000eversion 2\n0000"
REPO, CONTROL, OUTSIDE = "octo/hello", "octo/control", "octo/secret"
StartField = Callable[..., "Field"]
figures: list[str] = []
"""Lines for the end of the run's report; nothing is asserted of them."""


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Repeat what failed by nothing but a long turn of the reactor."""
    return run_again_after_a_long_turn(item, nextitem)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the attacks cost."""
    if figures:
        terminalreporter.section("attacks: what they cost")
        for line in figures:
            terminalreporter.write_line(line)


def advertised(target: bytes) -> bytes:
    """Write the advertisement of ``target``, which it names: git's own form, else the gateway would not pass it on."""
    service = target.rpartition(b"=")[2]
    agent = b"agent=" + target.replace(b"?", b"/").replace(b"=", b"/")
    version = encode(b"version 2\n") + encode(agent + b"\n")
    refs = encode(b"0" * 40 + b" capabilities^{}\x00report-status no-thin " + agent + b"\n")
    lines = version if service == b"git-upload-pack" else refs
    return encode(b"# service=" + service + b"\n") + FLUSH + lines + FLUSH


def good(asked: Asked) -> Said:
    """Answer as a forge does that has the repository, naming the target so that answers cannot be mixed up."""
    kind = b"application/x-git-upload-pack-result"
    if asked.method == b"GET":
        kind = b"application/x-%b-advertisement" % asked.target.rpartition(b"=")[2]
    elif asked.target.endswith(b"git-receive-pack"):
        kind = b"application/x-git-receive-pack-result"
    body = advertised(asked.target) if asked.method == b"GET" else ADVERTISEMENT + asked.target
    return Said([b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)])


@define(eq=False)
class Field:
    """A gateway, the forge behind it, and a session for ``REPO`` and ``CONTROL`` (with write access)."""

    forge: ScriptedForge
    gateway: Gateway
    lease: Lease
    secret: str = field(repr=False)

    @property
    def authorization(self) -> bytes:
        """The session's field line."""
        return login(self.lease.line)

    def discovery(self, repo: str = CONTROL, service: str = "git-upload-pack", *fields: bytes) -> bytes:
        """Write the request that every git command begins with."""
        line = f"GET /git/{repo}.git/info/refs?service={service} HTTP/1.1".encode()
        return b"\r\n".join((line, b"Host: gateway", self.authorization, *fields)) + b"\r\n\r\n"

    def post(self, service: str, body: bytes, *fields: bytes, repo: str = REPO, framed: bool = True) -> bytes:
        """Write a fetch or a push; without ``framed``, ``fields`` say how long it is."""
        line = f"POST /git/{repo}.git/{service} HTTP/1.1".encode()
        kind = f"Content-Type: application/x-{service}-request".encode()
        length = (b"Content-Length: %d" % len(body),) if framed else ()
        return b"\r\n".join((line, b"Host: gateway", self.authorization, kind, *length, *fields)) + b"\r\n\r\n" + body

    def check_log(self) -> None:
        """Assert that nothing broke inside, and that no attack wrote the log full."""
        log = self.gateway.log()
        assert "Traceback" not in log
        assert "Unhandled" not in log
        assert len(log) < 100_000

    def control(self) -> Heard:
        """Ask for something good on a fresh connection and assert that it is answered, by its own answer."""
        self.forge.script = good
        heard = ask(self.gateway.port, self.discovery(), answers=1)
        assert heard.end == "open"
        assert (heard.only.status, heard.only.whole) == (200, True)
        assert heard.only.body == advertised(f"/{CONTROL}.git/info/refs?service=git-upload-pack".encode())
        return heard


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Make the folder of everything that lives as long as the run."""
    folder = make()
    yield folder
    remove(folder)


def _open_field(
    stack: contextlib.ExitStack, folder: Path, settings: dict[str, dict[str, Any]], prefix: tuple[str, ...] = ()
) -> Field:
    folder.mkdir()
    secret = "ghp_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(36))
    forge = ScriptedForge(good)
    stack.callback(forge.close)
    gateway = Gateway(folder, forge.url, secret, settings, prefix=prefix, measured=True)
    stack.callback(gateway.stop, signal.SIGKILL)
    gateway.start()
    return Field(forge, gateway, gateway.grant([REPO, CONTROL]), secret)


@pytest.fixture(scope="session")
def common_field(place: Path) -> Iterator[Field]:
    """Start what most attacks share."""
    with contextlib.ExitStack() as stack:
        field = _open_field(stack, place / "common", {})
        yield field
        field.check_log()


@pytest.fixture
def arena(common_field: Field) -> Iterator[Field]:
    """Show the shared gateway and forge, the forge's record empty and its script good."""
    common_field.forge.script = good
    common_field.forge.clear()
    lag = common_field.gateway.lag
    lag.reset()
    yield common_field
    # Processor time, which other processes of the machine do not change; the sieges measure waits as well.
    assert lag.read().cpu <= PROMISED


@pytest.fixture(scope="module")
def start_field(place: Path) -> Iterator[StartField]:
    """Start a gateway of the test's own: ``start_field(head_timeout="1s", ...)`` sets its limits."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(
            *,
            prefix: tuple[str, ...] = (),
            gc_interval: str = "60s",
            control: dict[str, Any] | None = None,
            **limits: object,
        ) -> Field:
            folder = place / f"own{next(numbers)}-{secrets.token_hex(3)}"
            settings = {"limits": dict(limits), "sessions": {"gc_interval": gc_interval}, "control": control or {}}
            return _open_field(stack, folder, settings, prefix)

        yield start
