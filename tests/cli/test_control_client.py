"""The control API over its socket: requests, every kind of missing answer, and the run of the reactor."""

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
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError

from credgate.cli import control_client
from credgate.cli.control_client import ControlClient
from credgate.cli.output import CommandError, GatewayUnreachableError
from tests.fakes.control_gateway import within
from tests.fakes.run_processes import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway


@define(eq=False)
class Other:
    """A server that sends ``reply`` to each request and then closes the connection, unless it ``keeps`` it open."""

    socket: Path
    reply: bytes = b""
    keeps: bool = False
    asked: list[bytes] = field(factory=list)
    over: threading.Event = field(factory=threading.Event)

    def serve(self, listening: socket.socket) -> None:
        """Serve one connection after another."""
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
    """Read a request with its body."""
    head, expected = b"", b""
    while not head:
        expected += peer.recv(65536)
        head = expected.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in expected else b""
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    while len(expected) < len(head) + 4 + int(length[1] if length else 0):
        expected += peer.recv(65536)
    return expected


@pytest.fixture
def other(home: Path) -> Iterator[Other]:
    """Start another server."""
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
    """Return an HTTP response."""
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *fields, b"", body])


def ask(where: Path, *words: Any) -> Deferred[dict[str, Any]]:
    """Make a request, with a deadline."""
    return within(Deferred.fromCoroutine(ControlClient(where).ask(*(words or ("GET", "/v1/status")))))


@pytest_twisted.ensureDeferred
async def test_request_and_answer_over_the_socket(gateway: Gateway) -> None:
    """With and without a body."""
    made = await ask(gateway.socket, "POST", "/v1/sessions", {"repos": ["octo/hello"]})
    assert (await ask(gateway.socket, "GET", f"/v1/sessions/{made['id']}"))["id"] == made["id"]


@pytest_twisted.ensureDeferred
async def test_error_has_the_gateways_message(gateway: Gateway) -> None:
    """``request`` returns the status instead of raising an error."""
    with pytest.raises(CommandError, match="Session not found"):
        await ask(gateway.socket, "DELETE", "/v1/sessions/s-0123456789abcdef")
    control = ControlClient(gateway.socket)
    status, _ = await within(Deferred.fromCoroutine(control.request("GET", "/v1/sessions/s-0123456789abcdef")))
    assert status == 404


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (
            reply(b'{"error": "not you"}', "403 Forbidden"),
            "not you: run this command as credgate's user or as root, or add",
        ),
        (reply(b"{}", "503 Busy"), "the gateway answered with status 503"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_refusal_for_another_user_explains_what_to_do(other: Other, expected: bytes, text: str) -> None:
    """An error without a message is reported with its status."""
    other.reply = expected
    with pytest.raises(CommandError, match=text) as caught:
        await ask(other.socket)
    assert not isinstance(caught.value, GatewayUnreachableError)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (b"SSH-2.0-x\r\n", "closed the connection without an answer"),
        (reply(b"hello"), "is not credgate"),
        (reply(b"[]"), "is not credgate"),
        (reply(b"\xff\xfe"), "is not credgate"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answer_of_another_program_is_an_error(other: Other, expected: bytes, text: str) -> None:
    """The socket may belong to another program."""
    other.reply = expected
    with pytest.raises(GatewayUnreachableError, match=text):
        await ask(other.socket)


@pytest.mark.parametrize("expected", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"])
@pytest_twisted.ensureDeferred
async def test_missing_answer_times_out(other: Other, monkeypatch: pytest.MonkeyPatch, expected: bytes) -> None:
    """Before and in the middle of an answer. The message distinguishes it from a closed connection."""
    other.reply, other.keeps = expected, True
    monkeypatch.setattr(control_client, "TIMEOUT", 0.3)
    with pytest.raises(GatewayUnreachableError, match=r"did not answer within 0\.3 s"):
        await ask(other.socket)


@pytest_twisted.ensureDeferred
async def test_missing_gateway_error_has_the_reason_and_a_hint(home: Path) -> None:
    """The reason is the system's error message."""
    with pytest.raises(
        GatewayUnreachableError, match=r"\(No such file or directory\); start one .* or name its control socket"
    ) as caught:
        await ask(home / "none")
    assert caught.value.status == 3


@pytest_twisted.ensureDeferred
async def test_request_is_sent_once_and_redirects_are_not_followed(other: Other) -> None:
    """A repeated create would make a second session."""
    other.reply = reply(b"{}", "307 Moved", b"Location: http://localhost/elsewhere")
    await ask(other.socket, "POST", "/v1/sessions", {})
    assert len(other.asked) == 1
    assert other.asked[0].endswith(b"\r\n\r\n{}")
    assert b"POST /v1/sessions HTTP/1.1\r\n" in other.asked[0]


@pytest.mark.parametrize(
    ("code", "text"), [(errno.EACCES, "Permission denied"), (None, "no connection"), ("odd", "odd")]
)
@pytest_twisted.ensureDeferred
async def test_connection_error_has_the_systems_message(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: Any, text: str
) -> None:
    """If there is one."""

    class Failing:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def connect(self, _: object) -> Deferred[None]:
            return fail(ConnectError(code))

    monkeypatch.setattr(control_client, "UNIXClientEndpoint", Failing)
    with pytest.raises(GatewayUnreachableError, match=rf"\({text}\); start one"):
        await ask(home / "none")


# The reactor, which can run once in a process.

SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import click
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from credgate.cli.control_client import run_reactor

async def value():
    return 7

async def error():
    raise LookupError("of the work")

async def endless():
    await deferLater(reactor, 0, print, "begun", flush=True)  # now the reactor handles signals
    try:
        await Deferred()
    finally:
        print("cleaned up", flush=True)

try:
    print(run_reactor({"value": value, "error": error, "endless": endless}[sys.argv[1]]))
except (LookupError, click.Abort) as error:
    print(repr(error))
"""


def driven(which: str) -> subprocess.Popen[str]:
    """Start a process that runs one of these functions."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SCRIPT, str(SOURCE), which],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("which", "expected"), [("value", "7\n"), ("error", "LookupError('of the work')\n")])
def test_result_or_error_of_the_work_is_passed_on(which: str, expected: str) -> None:
    """An error is raised without a traceback of the reactor."""
    assert driven(which).communicate(timeout=60) == (expected, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_the_work_and_waits_for_its_cleanup(number: signal.Signals) -> None:
    """Then Abort is raised."""
    process = driven("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("cleaned up\nAbort()\n", "")


@pytest_twisted.ensureDeferred
async def test_reactor_runs_while_waiting(home: Path) -> None:
    """Other delayed calls are made meanwhile."""
    happened: list[str] = []
    reactor.callLater(0, happened.append, "meanwhile")  # type: ignore[attr-defined]  # it is IReactorTime
    await within(Deferred.fromCoroutine(ControlClient(home).wait(0.01)))
    assert happened == ["meanwhile"]
