"""A running gateway while its configuration, its disk and its clock change."""

from __future__ import annotations

import base64
import http
import http.client
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.needs import demand, not_here
from tests.fakes.sandbox import address
from tests.fakes.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Enter, Forge, StartGateway
    from tests.fakes.gateway import Gateway, Lease
    from tests.fakes.repositories import Repositories

CLOSED = '\n[[policy.push]]\nrefs = "refs/heads/closed"\nallow = []\n'
BAD = "\n[policy]\nmax_refs = 0\n"
DAY = 86400


def configure(gateway: Gateway, policy: str) -> None:
    """Write the configuration with this text at its end. The file is replaced by renaming."""
    path = gateway.write_configuration()
    draft = path.with_suffix(".new")
    draft.write_text(path.read_text() + policy)
    draft.replace(path)


def discover(gateway: Gateway, lease: Lease, path: str) -> int:
    """Request the refs of a repository, as git does first; return the status."""
    login = base64.b64encode(f"x:{lease.line}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        target = f"/git/{path}.git/info/refs?service=git-upload-pack"
        connection.request("GET", target, headers={"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


class Load:
    """Work that is repeated in threads until the context ends. ``failed`` has the errors."""

    def __init__(self, *work: Callable[[], object]) -> None:
        self.failed: list[str] = []
        self.done = [0] * len(work)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number, one)) for number, one in enumerate(work)]

    def _run(self, number: int, work: Callable[[], object]) -> None:
        while not self._over.is_set():
            try:
                work()
            except (AssertionError, OSError, http.client.HTTPException) as failed:
                self.failed.append(str(failed))
            self.done[number] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def wait_for_progress(self) -> None:
        """Wait until each work was started and completed once more."""
        before = list(self.done)
        wait_until(
            lambda: all(now >= then + 2 for now, then in zip(self.done, before, strict=True)), "all work makes progress"
        )


def test_reloads_under_load_fail_no_request(repos: Repositories, enter: Enter, start_gateway: StartGateway) -> None:
    """A reload applies from the next request on; an invalid file is ignored."""
    path, door = repos.seeded(), start_gateway()
    gateway, visit, pusher = door.gateway, enter([path], door=door), enter([path], door=door)
    pusher.box.git("clone", address(path), "clone").fine()
    numbers = iter(range(100_000))

    def clone() -> None:
        visit.box.git("clone", address(path), name := f"c{next(numbers)}").fine()
        shutil.rmtree(visit.box.home / name)

    def push() -> None:
        pusher.box.git("push", "origin", f"HEAD:refs/heads/b{next(numbers)}", cwd="clone").fine()

    def small() -> None:
        assert discover(gateway, visit.lease, path) == http.HTTPStatus.OK

    def allowed() -> str:
        question = {"session": visit.lease.id, "repo": path, "verb": "create", "ref": "refs/heads/closed"}
        return str(gateway.control("POST", "/v1/explain", question).json["reason"])

    hashes = [gateway.control("GET", "/v1/status").json["configuration"]]
    with Load(clone, push, small) as load:
        for policy, reason in [(CLOSED, "push-verb"), ("", "allowed")] * 3:
            load.wait_for_progress()
            configure(gateway, policy)
            reply = gateway.control("POST", "/v1/reload")
            assert (reply.status, reply.json["restart_needed"]) == (http.HTTPStatus.OK, [])
            hashes.append(reply.json["configuration"])
            assert allowed() == reason
            configure(gateway, BAD)
            assert gateway.control("POST", "/v1/reload").status == http.HTTPStatus.UNPROCESSABLE_ENTITY
            assert allowed() == reason
            os.kill(gateway.pid, signal.SIGHUP)  # the bad file again
        configure(gateway, CLOSED)
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until(lambda: allowed() == "push-verb", "SIGHUP has reloaded")
        late = enter([path], door=door)
        late.box.git("clone", address(path), "clone").fine()
        late.box.git("push", "origin", "HEAD:refs/heads/closed", cwd="clone").refused()
        load.wait_for_progress()
    assert load.failed == []
    assert min(load.done) >= 7
    for before, now in itertools.pairwise(hashes):
        assert f"configuration {before} replaced by {now}" in gateway.log()
    assert "the configuration was not reloaded, the old one stays" in gateway.log()
    assert "Traceback" not in gateway.log()


def _immutable(folder: Path, sign: str) -> bool:
    """Make every file of the store immutable (``+``) or not (``-``); return whether that is possible."""
    files = sorted(folder.iterdir())
    ran = subprocess.run(["chattr", f"{sign}i", *files], capture_output=True, check=False)
    return ran.returncode == 0


def test_read_only_store_refuses_new_sessions_but_serves_old_ones(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """The files become immutable, even for root. A create is answered 503, and service resumes by itself."""
    demand("chattr")
    if os.geteuid() != 0:
        not_here("only root can make files immutable")
    # On a disk: in a file system in memory, open files stay writable.
    store = tmp_path / "state"
    path, door = repos.seeded(), start_gateway(settings={"sessions": {"store": f"sqlite:///{store / 'sessions.db'}"}})
    gateway, visit = door.gateway, enter([path], door=door)
    if not _immutable(store, "+"):
        not_here("this file system has no immutable files")
    try:
        reply = gateway.control("POST", "/v1/sessions", {"repos": [path]})
        assert (reply.status, reply.json) == (
            http.HTTPStatus.SERVICE_UNAVAILABLE,
            {"error": "The session store cannot be written"},
        )
        ready = gateway.control("GET", "/v1/ready")
        assert (ready.status, ready.json["checks"]["sessions"]) == (http.HTTPStatus.SERVICE_UNAVAILABLE, False)
        visit.box.git("clone", address(path), "clone").fine()
        visit.box.git("push", "origin", "HEAD:refs/heads/meanwhile", cwd="clone").fine()
    finally:
        assert _immutable(store, "-")
    after = gateway.grant([path])
    wait_until(lambda: gateway.control("GET", "/v1/ready").status == http.HTTPStatus.OK, "it is ready again")
    gateway.stop(signal.SIGKILL)
    gateway.start()
    assert discover(gateway, after, path) == http.HTTPStatus.OK
    visit.box.git("ls-remote", address(path)).fine()


def _namespace(seconds: int) -> tuple[str, ...]:
    return ("unshare", "--time", f"--boottime={seconds}")


def _has_time_namespaces() -> bool:
    return subprocess.run([*_namespace(1), "true"], capture_output=True, check=False).returncode == 0


def test_boot_clock_jump_neither_ends_nor_revives_a_session(repos: Repositories, start_gateway: StartGateway) -> None:
    """A time namespace moves the boot clock, on which lifetimes are counted. The wall clock stays.

    After half a day a session of one day is valid. After another day and an hour it has expired. When the clock goes
    back (as after a snapshot), it stays expired, and a session that was created meanwhile is valid.
    """
    demand("unshare")
    if not _has_time_namespaces():
        not_here("this machine allows no time namespaces")
    path, door = repos.seeded(), start_gateway()
    gateway = door.gateway
    old = gateway.grant([path])

    def restart(offset: int) -> None:
        gateway.stop()
        gateway.prefix = _namespace(offset) if offset else ()
        gateway.start()

    restart(DAY // 2)
    assert discover(gateway, old, path) == http.HTTPStatus.OK  # and it is used now
    restart(DAY // 2 + DAY + 3600)
    assert discover(gateway, old, path) == http.HTTPStatus.UNAUTHORIZED
    young = gateway.grant([path])
    restart(0)
    assert discover(gateway, old, path) == http.HTTPStatus.UNAUTHORIZED
    assert discover(gateway, young, path) == http.HTTPStatus.OK
    (listed,) = gateway.control("GET", "/v1/sessions").json["sessions"]
    assert listed["id"] == young.id


def test_ten_thousand_sessions_survive_kill_9(repos: Repositories, start_gateway: StartGateway) -> None:
    """A sample of them is used afterwards."""
    path, count = repos.seeded(), 10_000
    settings: dict[str, dict[str, Any]] = {"sessions": {"max_sessions": count}}
    gateway = start_gateway(settings=settings).gateway
    leases = [gateway.grant([path]) for _ in range(count)]
    gateway.replies.clear()
    assert gateway.control("POST", "/v1/sessions", {"repos": [path]}).status == http.HTTPStatus.SERVICE_UNAVAILABLE
    gateway.stop(signal.SIGKILL)
    began = time.monotonic()
    gateway.start()
    print(f"\n{count} sessions: ready {time.monotonic() - began:.2f} s after the start")  # noqa: T201 - asked for
    listed = {one["id"] for one in gateway.control("GET", "/v1/sessions").json["sessions"]}
    assert listed == {lease.id for lease in leases}
    for lease in leases[:: count // 50]:
        assert discover(gateway, lease, path) == http.HTTPStatus.OK
    gateway.revoke(leases[0])
    assert discover(gateway, leases[0], path) == http.HTTPStatus.UNAUTHORIZED


def test_metrics_count_requests_and_contain_no_secret(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """Hostile requests must not create labels."""
    port = free_port()
    settings = {"listen": {"metrics": f"127.0.0.1:{port}"}}
    path, door = repos.seeded(), start_gateway(settings=settings)
    gateway, visit = door.gateway, enter([path], door=door)
    visit.box.git("clone", address(path), "clone").fine()
    for target in ("canary-x/y", "%00", "octo/CANARY-repo", "a" * 300):
        discover(gateway, visit.lease, target)

    def counters() -> dict[str, float]:
        text = gateway.control("GET", "/v1/metrics").text
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    clone = str([("decision", "allow"), ("operation", "git-upload-pack"), ("reason", "allowed")])
    wait_until(lambda: counters().get(f"credgate_requests_total{clone}") == 2.0, "ls-refs and the pack are counted")
    page = _page(port, "/metrics")
    assert page[0] == http.HTTPStatus.OK
    assert "credgate_sessions 1.0" in page[1]
    assert 'credgate_ready{check="git"} 1.0' in page[1]
    secrets = (forge.secret, visit.lease.token, visit.lease.secret, visit.lease.id, path, "CANARY", "canary")
    for text in (page[1], gateway.replies[-1].text):
        assert [one for one in secrets if one in text] == []
    assert _page(port, "/v1/sessions")[0] == http.HTTPStatus.NOT_FOUND
    assert _page(port, "/")[0] == http.HTTPStatus.NOT_FOUND


def _page(port: int, target: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
