"""The control API over its socket: what is asked, every way that no answer comes, and the one run of the reactor."""

from __future__ import annotations

import errno
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError

from credgate.cli import control_client
from credgate.cli.control_client import ControlClient
from credgate.cli.output import CommandError, GatewayUnreachable
from tests.fakes.control_gateway import within
from tests.fakes.keeping import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway


@define(eq=False)
class Other:
    """Something that listens at a socket and says ``reply`` to whatever comes, then closes, unless it ``keeps`` it."""

    socket: Path
    reply: bytes = b""
    keeps: bool = False
    asked: list[bytes] = field(factory=list)
    over: threading.Event = field(factory=threading.Event)

    def serve(self, listening: socket.socket) -> None:
        """Serve one connection after the other."""
        while True:
            try:
                peer = listening.accept()[0]
            except OSError:
                return
            with peer:
                self.asked.append(_request(peer))
                peer.sendall(self.reply)
                if self.keeps:
                    self.over.wait(20)


def _request(peer: socket.socket) -> bytes:
    """Read one, body and all."""
    head, said = b"", b""
    while not head:
        said += peer.recv(65536)
        head = said.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in said else b""
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    while len(said) < len(head) + 4 + int(length[1] if length else 0):
        said += peer.recv(65536)
    return said


@pytest.fixture
def other(home: Path) -> Iterator[Other]:
    """Start one."""
    made = Other(home / "other.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(made.socket))
        listening.listen()
        thread = threading.Thread(target=made.serve, args=(listening,))
        thread.start()
        yield made
        made.over.set()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def reply(body: bytes, status: str = "200 OK", *fields: bytes) -> bytes:
    """Make an answer."""
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *fields, b"", body])


def ask(where: Path, *words: Any) -> Deferred[dict[str, Any]]:
    """Ask, with a deadline."""
    return within(Deferred.fromCoroutine(ControlClient(where).ask(*(words or ("GET", "/v1/status")))))


@pytest_twisted.ensureDeferred
async def test_a_gateway_is_asked_over_its_socket(gateway: Gateway) -> None:
    """With a body or without one, and its answer is what it said."""
    made = await ask(gateway.socket, "POST", "/v1/sessions", {"repos": ["octo/hello"]})
    assert (await ask(gateway.socket, "GET", f"/v1/sessions/{made['id']}"))["id"] == made["id"]


@pytest_twisted.ensureDeferred
async def test_the_gateway_s_own_words_are_the_failure(gateway: Gateway) -> None:
    """Whoever reads them knows what to write instead; the status is for who asks by ``answer``."""
    with pytest.raises(CommandError, match="Session not found"):
        await ask(gateway.socket, "DELETE", "/v1/sessions/s-0123456789abcdef")
    control = ControlClient(gateway.socket)
    status, _ = await within(Deferred.fromCoroutine(control.answer("GET", "/v1/sessions/s-0123456789abcdef")))
    assert status == 404


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (reply(b'{"error": "not you"}', "403 Forbidden"), "not you: run this as credgate's own user or root, or add"),
        (reply(b"{}", "503 Busy"), "the gateway answered 503"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_says_what_helps(other: Other, said: bytes, text: str) -> None:
    """Another user's socket is the first mistake of everybody; a refusal without words still has its number."""
    other.reply = said
    with pytest.raises(CommandError, match=text) as caught:
        await ask(other.socket)
    assert not isinstance(caught.value, GatewayUnreachable)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"SSH-2.0-x\r\n", "closed the connection without an answer"),
        (reply(b"hello"), "is no credgate"),
        (reply(b"[]"), "is no credgate"),
        (reply(b"\xff\xfe"), "is no credgate"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_gateway_is_said_to_be_none(other: Other, said: bytes, text: str) -> None:
    """A socket's path is easily another program's; its answer is not acted on."""
    other.reply = said
    with pytest.raises(GatewayUnreachable, match=text):
        await ask(other.socket)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"])
@pytest_twisted.ensureDeferred
async def test_a_gateway_that_says_nothing_is_given_up(
    other: Other, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Before or in mid-answer: a script behind it must not hang, and is told that it was time, not a closed door."""
    other.reply, other.keeps = said, True
    monkeypatch.setattr(control_client, "TIMEOUT", 0.3)
    with pytest.raises(GatewayUnreachable, match=r"did not answer in 0\.3 s"):
        await ask(other.socket)


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_is_not_there_is_said_with_what_to_do(home: Path) -> None:
    """Why, as the system says it, and how to start or to name another."""
    with pytest.raises(
        GatewayUnreachable, match=r"\(No such file or directory\); start one .* or name its socket"
    ) as caught:
        await ask(home / "none")
    assert caught.value.status == 3


@pytest_twisted.ensureDeferred
async def test_nothing_is_followed_or_asked_again(other: Other) -> None:
    """A redirect would be asked with the same body, a create would make two sessions."""
    other.reply = reply(b"{}", "307 Moved", b"Location: http://localhost/elsewhere")
    await ask(other.socket, "POST", "/v1/sessions", {})
    assert len(other.asked) == 1
    assert other.asked[0].endswith(b"\r\n\r\n{}")
    assert b"POST /v1/sessions HTTP/1.1\r\n" in other.asked[0]


@pytest.mark.parametrize(
    ("code", "said"), [(errno.EACCES, "Permission denied"), (None, "no connection"), ("odd", "odd")]
)
def test_why_is_said_in_the_system_s_words(code: Any, said: str) -> None:
    """Where it has some."""
    assert control_client._why(ConnectError(code)) == said


# The reactor, which ends with a process.

SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import click
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from credgate.cli.control_client import drive

async def value():
    return 7

async def error():
    raise LookupError("of the work")

async def endless():
    await deferLater(reactor, 0, print, "begun", flush=True)  # from then on the reactor has its signals
    try:
        await Deferred()
    finally:
        print("put in order", flush=True)

try:
    print(drive({"value": value, "error": error, "endless": endless}[sys.argv[1]]))
except (LookupError, click.Abort) as error:
    print(repr(error))
"""


def driven(which: str) -> subprocess.Popen[str]:
    """Start a process that drives one of them."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SCRIPT, str(SOURCE), which],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("which", "said"), [("value", "7\n"), ("error", "LookupError('of the work')\n")])
def test_what_the_work_comes_to_comes_out(which: str, said: str) -> None:
    """A command's error is the command's, not the reactor's: no traceback of its loop."""
    assert driven(which).communicate(timeout=60) == (said, "")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_work_and_waits_for_its_end(number: signal.Signals) -> None:
    """A session that was made for the command is revoked on Ctrl-C; then it is an abort, not a success."""
    process = driven("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("put in order\nAbort()\n", "")


@pytest_twisted.ensureDeferred
async def test_waiting_lets_the_reactor_go_on(home: Path) -> None:
    """``top`` and the keeper look again after a while; meanwhile what is due happens."""
    happened: list[str] = []
    reactor.callLater(0, happened.append, "meanwhile")  # type: ignore[attr-defined]  # it is IReactorTime
    await within(Deferred.fromCoroutine(ControlClient(home).wait(0.01)))
    assert happened == ["meanwhile"]
