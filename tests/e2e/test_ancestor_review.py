"""One test for each finding of the review of foundry-sandbox's gateway, which credgate replaces.

Each is named for what went wrong there, and shows that it does not here: through the real process, the shipped helper
and real git.
"""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes.repositories import noise
from tests.fakes.sandbox import HELPERS, address
from tests.fakes.waiting import accepts, wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

MIB = 1024 * 1024


def test_the_control_socket_is_reachable_and_used_by_host_scripts(
    repos: Repositories, door: Door, enter: Enter
) -> None:
    """Its socket lay where no host script could reach it. A script needs curl's dialect of HTTP and a path, no more."""
    path = repos.seeded()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as script:
        script.settimeout(10)
        script.connect(str(door.gateway.control_socket))
        body = b'{"container_ip": "127.0.0.1", "container_id": "box-1", "repos": ["%b"]}' % path.encode()
        script.sendall(
            b"POST /session/create HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = b""
        while b"}" not in answer:
            answer += script.recv(4096)
    found = re.search(rb'"token": ?"([^"]+)".*"secret": ?"([^"]+)"', answer)
    assert found is not None
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert (b'"ttl_inactivity_hours"' in answer, b'"ttl_absolute_days"' in answer) == (True, True)
    box = enter([path]).box
    box.token_file.chmod(0o600)
    box.show(b":".join(found.groups()).decode()).git("ls-remote", address(path)).fine()
    assert door.gateway.control("DELETE", f"/session/{found[1].decode()}").json == {"status": "destroyed"}
    box.git("ls-remote", address(path)).refused()


def test_the_control_api_is_not_on_tcp(door: Door) -> None:
    """The ancestor served it on the sandbox's own listener, protected only by the peer's address."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", door.gateway.port), 10)) as sandbox:
        sandbox.sendall(b"GET /v1/sessions HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        assert sandbox.recv(4096).startswith(b"HTTP/1.1 404 ")
    assert _listening_ports(door.gateway.pid) == {door.gateway.port}


def _opened(pid: int) -> list[str]:
    """Read what each of the process's descriptors is."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(link.readlink()))
    return found


def _listening_ports(pid: int) -> set[int]:
    owned = {name.removeprefix("socket:[").rstrip("]") for name in _opened(pid)}
    listening = "0A"
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            entry = line.split()
            if entry[3] == listening and entry[9] in owned:
                ports.add(int(entry[1].rpartition(":")[2], 16))
    return ports


def test_the_bytes_of_the_helper_are_what_the_server_accepts(repos: Repositories, enter: Enter, door: Door) -> None:
    """The helper printed ``token:secret``, the server wanted ``token``. Under the ancestor's helper name, too."""
    path = repos.seeded()
    box = enter([path]).box
    box.git("config", "--global", "--add", f"credential.{door.front.url}.helper", "").fine()
    helper = f"{HELPERS}/gateway-credential-helper --gateway {door.front.url}"
    box.git("config", "--global", "--add", f"credential.{door.front.url}.helper", helper).fine()
    box.git("ls-remote", address(path)).fine()
    assert b"Authorization: Basic " in door.front.up


def test_session_is_valid_for_any_next_request(repos: Repositories, enter: Enter, login: str) -> None:
    """Workers did not share sessions: every second request was from a stranger."""
    path = repos.seeded()
    box = enter([path], login=login).box
    for _ in range(10):
        box.git("ls-remote", address(path)).fine()


def test_a_session_is_valid_after_a_restart(repos: Repositories, enter: Enter, start_gateway: StartGateway) -> None:
    """The ancestor kept sessions in memory only."""
    path = repos.seeded()
    door = start_gateway()
    box = enter([path], door=door).box
    door.gateway.stop()
    door.gateway.start()
    box.git("ls-remote", address(path)).fine()


def test_the_gc_really_runs_in_the_service(enter: Enter, start_gateway: StartGateway) -> None:
    """It was started by a function that nobody called. Nothing is asked of this gateway while it collects."""
    door = start_gateway(settings={"sessions": {"gc_interval": "1s"}})
    short, long = enter([], door=door, absolute_ttl="1s"), enter([], door=door)
    line = door.gateway.audited(event="session-expired")
    assert line["session"] == short.lease.id
    left = [one["id"] for one in door.gateway.control("GET", "/v1/sessions").json["sessions"]]
    assert left == [long.lease.id]


def test_scope_is_enforced_on_every_endpoint(repos: Repositories, enter: Enter, door: Door, forge: Forge) -> None:
    """The ancestor checked it in one route of three."""
    path, other = repos.seeded(), repos.seeded()
    visit = enter([path])
    box = visit.box
    flush = "0000"
    for name, expected in ((other, 403), (path, 200)):
        for service in ("upload-pack", "receive-pack"):
            url = f"{door.front.url}/git/{name}.git"
            asked = f"{url}/info/refs?service=git-{service}"
            assert box.run("python3", "-c", ASK, "GET", asked, visit.lease.line, "", "").fine() == str(expected)
            asked = f"{url}/git-{service}"
            kind = f"application/x-git-{service}-request"
            ran = box.run("python3", "-c", ASK, "POST", asked, visit.lease.line, flush, kind)
            assert ran.fine() in {str(expected), "200"}
        if expected != 200:  # a refused POST may be a 200 that says no in git's words; the forge heard of none
            assert forge.plain.up == b""
    assert forge.plain.up.count(b" HTTP/1.1\r\n") >= 3
    refused = [line["operation"] for line in door.gateway.audit() if line.get("repo") == other]
    assert len(refused) == 4
    assert {line["decision"] for line in door.gateway.audit() if line.get("repo") == other} == {"deny"}


ASK = """
import base64, http.client, sys, urllib.parse
method, url, line, body, kind = sys.argv[1:]
place = urllib.parse.urlsplit(url)
fields = {"Authorization": "Basic " + base64.b64encode(b"x:" + line.encode()).decode()}
if kind:
    fields["Content-Type"] = kind
connection = http.client.HTTPConnection(place.netloc)
connection.request(method, place.path + ("?" + place.query if place.query else ""), body or None, fields)
print(connection.getresponse().status)
"""


def test_nothing_is_rewritten_when_disabled(repos: Repositories, enter: Enter, door: Door) -> None:
    """Its gitconfig was copied into every sandbox, the isolated and the others."""
    path = repos.seeded()
    box = enter([path]).box
    off = {"SANDBOX_GATEWAY_ENABLED": ""}
    box.run(HELPERS / "credgate-sandbox", "enable", "--gateway", door.front.url, environ=off).fine()
    assert not box.system_config.exists()
    assert box.git("config", "--system", "--list").code != 0
    door.front.clear()
    # A name that does not resolve anywhere: what matters is that git asks for it, and the gateway hears nothing.
    box.git("config", "--global", "http.proxy", "http://127.0.0.1:9").fine()
    assert "https://github.com/" in box.git("ls-remote", address(path)).refused()
    assert door.front.up == b""


def test_a_large_push_is_never_buffered(repos: Repositories, enter: Enter, door: Door, forge: Forge) -> None:
    """It read the whole pack into memory. Here the forge stops taking, and so does the gateway: no memory, no file."""
    path = repos.seeded()
    box = enter([path]).box
    box.git("clone", address(path), "clone").fine()
    pushed = box.commit("clone", "noise", noise(64))
    before = _resident(door.gateway.pid)
    door.front.clear()
    hold = forge.plain.hold("up", MIB)
    push = box.begin("git", "push", "origin", "HEAD:main", cwd="clone")
    try:
        assert hold.reached.wait(60)
        taken = wait_until(lambda: _settled(door), "the gateway stops taking", seconds=30)
        assert taken < 32 * MIB  # what kernels keep for four sockets, and no more
        assert _resident(door.gateway.pid) - before < 16 * MIB
        assert not any(" (deleted)" in file or "/tmp/" in file for file in _open_files(door))
    finally:
        hold.release()
    box.finish(push).fine()
    assert repos.head(path) == pushed
    assert _resident(door.gateway.pid) - before < 16 * MIB


def _settled(door: Door) -> int:
    """How much the sandbox got rid of, once that has not grown for a second; 0 before."""
    first = door.front.count("up")
    with contextlib.suppress(AssertionError):
        wait_until(lambda: door.front.count("up") != first, "growth", seconds=1)
        return 0
    return first


def _resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _open_files(door: Door) -> list[str]:
    """Files that the gateway has open, its own folder's and the machine's aside."""
    own = str(door.gateway.folder)
    return [
        name
        for name in _opened(door.gateway.pid)
        if name.startswith("/") and not name.startswith((own, "/dev/", "/proc/"))
    ]


def test_every_listener_accepts_once_ready(door: Door) -> None:
    """The ancestor reported healthy while its port was closed."""
    checks = door.gateway.control("GET", "/v1/ready").json["checks"]
    assert set(checks.values()) == {True}
    assert accepts(door.gateway.port)
