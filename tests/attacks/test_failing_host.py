"""A host that fails: no room on the disk, no descriptors. Unaudited means unserved, and the control socket answers.

The disk is made full by a limit on the size of files that the running process may write (``RLIMIT_FSIZE``), which root
is bound by as well.
"""

from __future__ import annotations

import contextlib
import http
import resource
import signal
import time
from typing import TYPE_CHECKING

import pytest

from credgate.service.clock import read_lease_clock
from credgate.sessions.sqlite import SqliteStore
from tests.attacks.conftest import CONTROL, Field, StartField
from tests.attacks.rawclient import RawClient, ask
from tests.attacks.siege import descriptors
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def test_unaudited_is_unserved_until_there_is_room(victim: Field) -> None:
    """The first line that cannot be written closes the door; the control socket stays open; room opens it again."""
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


def test_a_revoke_that_a_full_disk_refused_does_not_come_back_to_life(start_field: StartField) -> None:
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
    """A core file would hold every credential."""
    assert resource.prlimit(victim.gateway.pid, resource.RLIMIT_CORE) == (0, 0)


def test_the_control_socket_has_descriptors_left_under_a_flood(start_field: StartField) -> None:
    """Where descriptors are few, the connections are fewer than configured, and the host gets in all the same."""
    field = start_field(prefix=("sh", "-c", 'ulimit -n 300; exec "$0" "$@"'), max_connections=1024)
    assert "22 is used instead" in field.gateway.log()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(field.gateway.port)) for _ in range(60)]
        for client in clients[:22]:
            client.send(field.discovery())
            assert client.hear(answers=1).only.status == 200
        assert {client.hear().only.status for client in clients[22:]} == {429}
        field.gateway.revoke(field.gateway.grant([CONTROL]))
        assert "EMFILE" not in field.gateway.log()
    field.control()


def test_a_process_without_descriptors_recovers(victim: Field) -> None:
    """Should they run out all the same, the door jams; it opens again when they are back."""
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
