"""The control API as a service: who reaches its socket, how it starts, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXServerEndpoint

from credgate.audit.event import Happening
from credgate.errors import ConfigError
from credgate.service.control import service as service_module
from credgate.service.control import unixsocket
from credgate.service.sandbox.refused_connections import Limit
from credgate.values import Reason
from tests.fakes.control import config
from tests.fakes.control_gateway import DEADLINE, NOBODY, gateway_at, until, within
from tests.fakes.needs import NOT_SHOWN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway

JSON = ("-H", "Content-Type: application/json")
FOREIGN = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason=f"{NOT_SHOWN}: only root can become another user")


# Peers.


@root_only
@pytest_twisted.ensureDeferred
async def test_another_user_is_refused_even_if_modes_allow_it(gateway: Gateway) -> None:
    """The kernel's report is the second check; curl by root is the positive control."""
    run = ("-d", "{}", *JSON, "http://localhost/v1/sessions")
    gateway.socket.parent.chmod(0o711)
    gateway.socket.chmod(0o666)
    status, _, body = await gateway.curl(*run, **FOREIGN)
    assert (status, json.loads(body)) == (403, {"error": "Session management not authorized"})
    assert gateway.registry.count == 0
    (event,) = gateway.audit.events
    assert (event.event, event.peer, event.allow, event.status) == (Happening.CONTROL, "uid:65534", False, 403)
    assert event.reason == Reason.FOREIGN_PEER
    assert (await gateway.curl(*run))[0] == 201


@root_only
@pytest_twisted.ensureDeferred
async def test_another_user_cannot_connect(gateway: Gateway) -> None:
    """The modes are the first check."""
    with pytest.raises(AssertionError, match="connect"):
        await gateway.curl("http://localhost/health", **FOREIGN)


@root_only
@pytest_twisted.ensureDeferred
async def test_listed_user_is_served(shared_gateway: Gateway) -> None:
    """Others are refused, and the audit line has their uid."""
    status, _, body = await shared_gateway.curl(
        "-d", '{"label": "box"}', *JSON, "http://localhost/v1/sessions", **FOREIGN
    )
    assert status == 201
    (event,) = shared_gateway.audit.events
    assert (event.event, event.session, event.peer, event.text) == (
        Happening.SESSION_CREATED,
        json.loads(body)["id"],
        "uid:65534",
        "box",
    )
    other = {"user": NOBODY - 1, "group": NOBODY, "extra_groups": []}
    assert (await shared_gateway.curl("http://localhost/health", **other))[0] == 403


def test_unknown_peer_is_audited_as_unknown(home: Path) -> None:
    """Where the kernel does not tell."""
    made = gateway_at(config(home / "control.sock"))
    made.service.site.refused(Limit.FOREIGN, "unknown")
    assert [(event.peer, event.reason) for event in made.audit.events] == [("unknown", Reason.FOREIGN_PEER)]


# The socket.


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest_twisted.ensureDeferred
async def test_socket_is_0600_in_a_0700_directory_for_any_umask(home: Path, umask: int) -> None:
    """Twisted alone would make it 0666."""
    made = gateway_at(config(home / "run" / "control.sock"))
    before = os.umask(umask)
    try:
        made.service.startService()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (mode(made.socket.parent), mode(made.socket), made.service.listening) == (0o700, 0o600, True)
    await within(made.service.stopService())
    assert (made.socket.exists(), made.service.listening) == (False, False)


@pytest_twisted.ensureDeferred
async def test_service_can_be_started_again(home: Path) -> None:
    """Only the lock file stays."""
    made = gateway_at(config(home / "run" / "control.sock"))
    for _ in range(2):
        made.service.startService()
        await within(made.service.stopService())
    assert [path.name for path in made.socket.parent.iterdir()] == ["control.sock.lock"]


@pytest_twisted.ensureDeferred
async def test_second_service_is_refused_and_the_first_continues(gateway: Gateway) -> None:
    """One clear line, and the first one's socket is not touched."""
    second = gateway_at(config(gateway.socket))
    with pytest.raises(ConfigError, match="another credgate is serving this socket"):
        second.service.startService()
    await within(second.service.stopService())
    assert (await gateway.curl("http://localhost/health"))[0] == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Twisted drops a socket it cannot bind
@pytest_twisted.ensureDeferred
async def test_bind_failure_is_reported_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is released again."""
    made = gateway_at(config(home / "control.sock"))
    monkeypatch.setattr(unixsocket.SocketPlace, "_remove_stale", lambda _: None)
    made.socket.write_text("")
    with pytest.raises(ConfigError, match="Address already in use"):
        made.service.startService()
    made.socket.unlink()
    made.service.startService()
    await within(made.service.stopService())


@pytest_twisted.ensureDeferred
async def test_file_system_without_modes_stops_the_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open socket is worse than none."""
    made = gateway_at(config(home / "control.sock"))
    monkeypatch.setattr(service_module, "UNIXServerEndpoint", _open_to_all)
    with pytest.raises(ConfigError, match="does not keep the mode of a socket"):
        made.service.startService()
    assert not made.service.listening
    await until(lambda: not made.socket.exists(), "the socket to go")


def _open_to_all(reactor_: Any, path: str, **asked: Any) -> UNIXServerEndpoint:
    assert asked["mode"] == 0o600
    return UNIXServerEndpoint(reactor_, path, **{**asked, "mode": 0o666})


@pytest_twisted.ensureDeferred
async def test_removed_socket_does_not_fail_the_stop(home: Path) -> None:
    """There is a warning and no traceback."""
    made = gateway_at(config(home / "control.sock"))
    made.service.startService()
    made.socket.unlink()
    await within(made.service.stopService())


@pytest.mark.needs("curl")
def test_stale_socket_is_taken_over_and_a_live_one_is_not(home: Path) -> None:
    """After kill -9 the socket and the lock file are left."""
    path = home / "run" / "control.sock"
    line = [sys.executable, "-m", "tests.fakes.control_process", str(path)]

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    first, said = start()
    assert said == "listening"
    second, refusal = start()
    assert second.wait(DEADLINE) == 1
    assert refusal == f"listen.control: {path}: another credgate is serving this socket"
    assert second.communicate()[0] == ""
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert path.is_socket()
    third, said = start()
    assert said == "listening"
    health = subprocess.run(
        ["curl", "-sS", "--unix-socket", str(path), "http://localhost/health"], capture_output=True, check=True
    )
    assert health.stdout == b'{"status": "healthy"}\n'
    third.terminate()
    third.communicate()
    assert not path.exists()


# The end.


@pytest_twisted.ensureDeferred
async def test_stop_closes_idle_connections_at_once(gateway: Gateway) -> None:
    """A kept connection must not hold up a restart."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        client.connect(str(gateway.socket))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: _readable(client), "an answer")
        await within(gateway.service.stopService())
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert client.recv(1) == b""


@pytest.mark.needs("curl")
@pytest_twisted.ensureDeferred
async def test_stop_waits_for_a_request(home: Path) -> None:
    """The response may be the only copy of a session's secrets."""
    gate: Deferred[dict[str, bool]] = Deferred()
    gateway = gateway_at(config(home / "run" / "control.sock"), readiness=lambda: gate)
    gateway.service.startService()
    asking = ensureDeferred(gateway.curl("http://localhost/v1/ready"))
    await until(lambda: _busy(gateway), "a request that is being served")
    stopping = gateway.service.stopService()
    assert not stopping.called
    gate.callback({"git": True})
    assert (await within(asking))[0] == 200
    await within(stopping)


@pytest_twisted.ensureDeferred
async def test_stop_cuts_a_hanging_request_after_the_grace(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that hangs is cut after the grace."""
    monkeypatch.setattr(service_module, "GRACE", 0.05)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        client.connect(str(gateway.socket))
        client.sendall(b"POST /v1/sessions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
        await until(lambda: _busy(gateway), "a request that is being served")
        await within(gateway.service.stopService())
        assert client.recv(1) == b""


def _readable(client: socket.socket) -> bool:
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def _busy(gateway: Gateway) -> bool:
    return any(channel.requests for channel in gateway.service.site.channels)
