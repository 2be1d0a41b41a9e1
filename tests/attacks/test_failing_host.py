"""A host that fails: a full disk, no descriptors. Requests are refused, and the control socket answers.

The disk is made full by a limit on the size of files that the running process may write (``RLIMIT_FSIZE``), which root
is bound by as well.
"""

from __future__ import annotations

import contextlib
import http
import os
import re
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from credgate.service.clock import read_lease_clock
from credgate.sessions.sqlite import SqliteStore
from tests.attacks.conftest import CONTROL, Field, StartField, figures
from tests.attacks.rawclient import RawClient, ask
from tests.attacks.siege import descriptors
from tests.fakes.gateway import Gateway
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FLOOD = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
clients = []
for _ in range(1200):
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    clients.append(client)
print("connected", len(clients), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def victim(start_field: StartField) -> Field:
    """Start a gateway that may suffer."""
    return start_field()


@contextlib.contextmanager
def full_disk(field: Field) -> Iterator[None]:
    """Let the gateway write no further byte to any file."""
    pid, limit = field.gateway.pid, resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


def _status(field: Field) -> int:
    return ask(field.gateway.port, field.discovery(), answers=1).answers[0].status


def test_full_disk_refuses_requests_until_audit_can_be_written(victim: Field) -> None:
    """After the first failed write requests get 503; the control socket still answers; free space ends it."""
    victim.control()
    with full_disk(victim):
        # What is under way when the disk fills is served: that the line cannot be written shows only by writing it.
        wait_until(lambda: _status(victim) == 503, "the gateway stops serving")
        victim.forge.clear()
        heard = ask(victim.gateway.port, victim.discovery(), answers=1)
        assert b"audit" in heard.answers[0].body
        assert heard.answers[0].get(b"retry-after") == b"5"
        assert victim.forge.heard == b"", "not a byte goes upstream"
        assert victim.gateway.control("GET", "/health").status == http.HTTPStatus.OK
        ready = victim.gateway.control("GET", "/v1/ready")
        assert (ready.status, ready.json["checks"]["audit"]) == (http.HTTPStatus.SERVICE_UNAVAILABLE, False)
    wait_until(lambda: _status(victim) == 200, "the gateway serves again, without a restart")
    victim.control()


def test_a_store_that_cannot_be_written_refuses_new_sessions_only(victim: Field) -> None:
    """503 in JSON, and no session that would not outlive a restart; a revocation holds though the disk does not."""
    doomed = victim.gateway.grant([CONTROL])
    with full_disk(victim):
        reply = victim.gateway.control("POST", "/v1/sessions", {"repos": [CONTROL]})
        assert reply.status == http.HTTPStatus.SERVICE_UNAVAILABLE
        assert "error" in reply.json
        victim.gateway.control("DELETE", f"/v1/sessions/{doomed.id}")
    wait_until(lambda: _status(victim) == 200, "the gateway serves again")
    data = victim.discovery().replace(victim.lease.line.encode(), b"")
    assert ask(victim.gateway.port, data, answers=1).answers[0].status == 200
    wait_until(lambda: victim.gateway.control("GET", f"/v1/sessions/{doomed.id}").status == 404, "it stays revoked")
    victim.gateway.revoke(victim.gateway.grant([CONTROL]))


def _kept(field: Field) -> list[str]:
    """Read the ids in the store of a gateway that was killed."""
    store = SqliteStore(field.gateway.store_file)
    found = [session.id for session in store.open(read_lease_clock())]
    store.close()
    return found


def test_revocation_on_a_full_disk_survives_a_restart(start_field: StartField) -> None:
    """There is room again, a session is created, and the process is killed: the revoked row went with that create.

    A round would remove it as well; it is put off, so that nothing but the create can have done it.
    """
    field = start_field(gc_interval="1h")
    doomed, other = field.gateway.grant([CONTROL]), field.gateway.grant([CONTROL])
    with full_disk(field):
        assert (
            field.gateway.control("DELETE", f"/v1/sessions/{doomed.id}").status == http.HTTPStatus.SERVICE_UNAVAILABLE
        )
        ready = field.gateway.control("GET", "/v1/ready")
        assert (ready.status, ready.json["checks"]["sessions"]) == (http.HTTPStatus.SERVICE_UNAVAILABLE, False)
    created = field.gateway.grant([CONTROL])
    field.gateway.stop(signal.SIGKILL)
    kept = _kept(field)
    assert doomed.id not in kept
    assert {other.id, created.id, field.lease.id} <= set(kept)
    field.gateway.start()
    assert field.gateway.control("GET", f"/v1/sessions/{doomed.id}").status == http.HTTPStatus.NOT_FOUND
    field.control()


def test_the_process_leaves_no_core(victim: Field) -> None:
    """A core file would contain every credential."""
    assert resource.prlimit(victim.gateway.pid, resource.RLIMIT_CORE) == (0, 0)


def test_the_control_socket_has_descriptors_left_under_a_flood(start_field: StartField) -> None:
    """Where descriptors are few, the connections are fewer than configured, and the host gets in all the same."""
    field = start_field(prefix=("sh", "-c", 'ulimit -n 400; exec "$0" "$@"'), max_connections=1024)
    assert "26 is used instead" in field.gateway.log()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(field.gateway.port)) for _ in range(60)]
        for client in clients[:26]:
            client.send(field.discovery())
            assert client.hear(answers=1).only.status == 200
        # Of those that are refused at the same time some may be closed without a word.
        heard = [one.only for one in (client.hear() for client in clients[26:]) if one.data]
        assert {one.status for one in heard} == {429}
        assert all(b"no file descriptors for more connections (RLIMIT_NOFILE)" in one.body for one in heard)
        assert field.gateway.audited(event="connection")["rule"] == "RLIMIT_NOFILE"
        counted = re.search(r'connections_refused_total\{limit="RLIMIT_NOFILE"\} (\d+)', _metrics(field))
        assert counted is not None
        assert int(counted[1]) >= 34, "the check of readiness connects, too"
        field.gateway.revoke(field.gateway.grant([CONTROL]))
        assert "EMFILE" not in field.gateway.log()
    field.control()


def _metrics(field: Field) -> str:
    return field.gateway.control("GET", "/v1/metrics").text


@pytest.mark.parametrize(("limit", "needed"), [(64, 344), (258, 344), (343, 344)])
def test_too_few_descriptors_stop_the_start(place: Path, limit: int, needed: int) -> None:
    """A gateway with one connection is of no use, and refusing the second named the wrong limit."""
    folder = place / f"few{limit}"
    folder.mkdir()
    prefix = ("sh", "-c", f'ulimit -n {limit}; exec "$0" "$@"')
    gateway = Gateway(folder, "http://127.0.0.1:1", "ghp_" + "x" * 36, prefix=prefix)
    gateway.prepare()
    gateway.process = gateway.spawn()
    try:
        assert gateway.process.wait(30) == 1
    finally:
        gateway.stop(signal.SIGKILL)
    said = gateway.log().strip()
    assert said.splitlines()[-1].startswith("credgate: the limit on open files of this process (RLIMIT_NOFILE) is")
    assert f"is {limit} and at least {needed} are needed" in said
    assert "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_foreign_user_on_control_socket_cannot_starve_others(place: Path, start_field: StartField) -> None:
    """A listed uid opens the socket's modes for all: 1,200 connections of another one held all descriptors.

    The gateway has few. The flood is refused connection by connection, and root and the sandboxes are served meanwhile.
    """
    field = start_field(prefix=("sh", "-c", 'ulimit -n 400; exec "$0" "$@"'), control={"allow_uids": [65533]})
    for folder in (place, field.gateway.folder, field.gateway.control_socket.parent):
        folder.chmod(0o711)
    before = len(descriptors(field.gateway.pid))
    command = [sys.executable, "-c", FLOOD, str(field.gateway.control_socket)]
    flood = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with flood:
        assert flood.stdout is not None
        assert flood.stdin is not None
        assert flood.stdout.readline() == "connected 1200\n"
        field.control()
        field.gateway.revoke(field.gateway.grant([CONTROL]))
        held = len(descriptors(field.gateway.pid)) - before
        figures.append(f"1,200 control connections of a foreign user: {held:+d} descriptors")
        assert held <= 40
        flood.stdin.close()
    line = field.gateway.audited(event="control")
    assert (line["peer"], line["reason"]) == ("uid:65534", "foreign-peer")
    assert len([one for one in field.gateway.audit() if one["event"] == "control"]) == 1
    assert "credgate_control_refusals_total 1200.0" in _metrics(field)
    field.control()


def test_a_process_without_descriptors_recovers(victim: Field) -> None:
    """If descriptors run out, new connections wait; they are accepted again when descriptors are free."""
    pid, limit = victim.gateway.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(pid, limit)
    victim.control()
    resource.prlimit(pid, limit, (len(descriptors(pid)) + 6, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(victim.gateway.port)) for _ in range(60)]
            for client in clients:
                client.send(victim.discovery())
            # Who is not let in hears nothing for as long as the others stay: all wait together.
            end = time.monotonic() + 10
            heard = [client.hear(answers=1, seconds=max(0.05, end - time.monotonic())) for client in clients]
            # 502: none was left to dial; 503: none was left to keep the audit log with.
            assert {one.only.status for one in heard if one.end == "open" and one.data} <= {200, 502, 503}
            assert any(one.data == b"" for one in heard), "there was none for everyone"
    finally:
        resource.prlimit(pid, limit, before)
    wait_until(lambda: _status(victim) == 200, "the gateway serves again")
    victim.control()
