"""The canary: everything that both sides receive is recorded and searched for secrets.

The forge's credential never on the sandbox's side, in a log, an answer of the control API, the store, a process's
arguments or environment; the session's token and secret never at the forge or in a log.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.canary import traces
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway, Visit
    from tests.fakes.gateway import Gateway
    from tests.fakes.repositories import Repositories

SECRET = "ghp_q7Zr1xT5bK9mW3vN8cJ2hL6fD4sG0pYaEuRi"
DRESSES = {
    "plain": SECRET.encode(),
    "piece": b"x" + SECRET.encode()[5:21] + b"x",
    "reversed": SECRET.encode()[::-1],
    "hex": SECRET.encode().hex().encode(),
    "upper hex": SECRET.encode().hex().upper().encode(),
    "percent": "".join(f"%{byte:02X}" for byte in SECRET.encode()).encode(),
    "json": "".join(f"\\u{byte:04X}" for byte in SECRET.encode()).encode(),
    **{f"base64 at {offset}": base64.b64encode(b"x" * offset + SECRET.encode()) for offset in range(3)},
    **{f"urlsafe at {offset}": base64.urlsafe_b64encode(b"x" * offset + SECRET.encode()) for offset in range(3)},
    "basic login": base64.b64encode(f"x-access-token:{SECRET}".encode()),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_canary_finds_every_encoding(dress: str) -> None:
    """Positive control: the search finds every encoding."""
    assert traces(SECRET, b"before" + DRESSES[dress] + b"after")


def test_canary_has_no_false_positives() -> None:
    """It does not report other bytes."""
    other = SECRET.swapcase()
    assert traces(SECRET, other.encode() + base64.b64encode(other.encode())) == set()


def _processes(gateway: Gateway) -> Iterator[bytes]:
    """Arguments and environment of the gateway and of its children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if gateway.pid in (int(folder.name), parent):
                yield folder.joinpath("cmdline").read_bytes()
                yield folder.joinpath("environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def _everything(box_side: Visit, repos: Repositories, path: str, other: str) -> None:
    """Do all that a sandbox does, the forbidden included."""
    box = box_side.box
    box.git("clone", address(path), "clone", environ={"GIT_TRACE_CURL": "1"}).fine()
    box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", cwd="clone", environ={"GIT_TRACE_CURL": "1"}).fine()
    box.git("ls-remote", address(other)).refused()
    box.git("ls-remote", address(path.replace("octo/", "moved-out/"))).refused()
    box.git("ls-remote", address(path.replace("octo/", "moved-away/"))).refused()
    box.git("ls-remote", address(repos.fresh())).refused()
    for target in ("/whoami", "/health", "/git/..", f"/git/{path}.git/HEAD", f"/git/{path}.git/info/refs?service=x"):
        box.run("python3", "-c", ASK, box.gateway_url + target, box_side.lease.line).fine()


ASK = """
import base64, http.client, sys, urllib.parse
place = urllib.parse.urlsplit(sys.argv[1])
login = base64.b64encode(b"x:" + sys.argv[2].encode()).decode()
for method in ("GET", "POST", "TRACE"):
    connection = http.client.HTTPConnection(place.netloc)
    target = place.path + ("?" + place.query if place.query else "")
    connection.request(method, target, headers={"Authorization": "Basic " + login, "Content-Length": "0"})
    answer = connection.getresponse()
    print(answer.status, answer.headers, answer.read())
"""


def _ask_the_host_side(gateway: Gateway, visit: Visit) -> None:
    for method, target, body in (
        ("GET", "/", None),
        ("GET", "/v1/sessions", None),
        ("GET", f"/v1/sessions/{visit.lease.id}", None),
        ("GET", "/v1/ready", None),
        ("POST", "/session/create", {"container_ip": 7}),
        ("POST", "/session/create", {"container_ip": "127.0.0.1", "repos": ["no"]}),
        ("DELETE", "/session/nobody", None),
        ("PATCH", "/v1/sessions", None),
        ("GET", "/nowhere", None),
    ):
        gateway.control(method, target, body)


def _files(gateway: Gateway) -> bytes:
    """Log, audit and store, its write-ahead log included."""
    paths = [gateway.log_file, gateway.audit_file, *gateway.store_file.parent.iterdir()]
    return b"".join(path.read_bytes() for path in paths)


def _check(door: Door, forge: Forge, visit: Visit) -> dict[str, set[str]]:
    gateway, lease = door.gateway, visit.lease
    sent = b"".join(recorder.up for recorder in forge.recorders)
    said = "".join(visit.box.said).encode()
    replies = json.dumps([[reply.text, dict(reply.fields)] for reply in gateway.replies]).encode()
    processes = b"".join(_processes(gateway))
    assert min(map(len, (sent, said, replies, processes, door.front.down))) > 100
    real = forge.secret
    return {
        "forge's credential to the sandbox": traces(real, door.front.down),
        "forge's credential on the screen": traces(real, said),
        "forge's credential in files": traces(real, _files(gateway)),
        "forge's credential to the host": traces(real, replies),
        "forge's credential in processes": traces(real, processes),
        "session's token at the forge": traces(lease.token, sent),
        "session's secret at the forge": traces(lease.secret, sent),
        "session's token in files": traces(lease.token, _files(gateway)),
        "session's secret in files": traces(lease.secret, _files(gateway)),
        "session's secret in processes": traces(lease.secret, processes),
    }


@pytest.mark.parametrize("store", ["file", "environment"])
def test_no_secret_is_outside_its_place(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge, store: str
) -> None:
    """Checked on the records of both sides."""
    path, other = repos.seeded(), repos.seeded()
    settings: dict[str, dict[str, Any]] = {}
    if store == "environment":
        settings = {'forges."github.com"': {"credential": "env://FORGE_TOKEN"}}
    door = start_gateway(settings=settings, environ={"FORGE_TOKEN": forge.secret} if store == "environment" else {})
    grants = [path, path.replace("octo/", "moved-out/"), path.replace("octo/", "moved-away/"), "octo/nothing"]
    visit = enter(grants, login=login, door=door)
    _everything(visit, repos, path, other)
    _ask_the_host_side(door.gateway, visit)
    found = {what: dresses for what, dresses in _check(door, forge, visit).items() if dresses}
    if store == "environment":
        # /proc shows the environment that a process was started with, whatever it does later: only root and the
        # gateway's own user can read it there, and docs say to use a file.
        assert found.pop("forge's credential in processes", set()) <= {"plain"}
    assert found == {}
    assert traces(forge.secret, forge.plain.up), "the canary has seen the credential where it must be"
    assert traces(visit.lease.secret, door.front.up), "and the session where it must be"
