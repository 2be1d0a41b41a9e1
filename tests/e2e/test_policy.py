"""The operator's policy on a running gateway: reloaded, explained, and shown to the sandbox."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Enter, StartGateway
    from tests.fakes.gateway import Gateway
    from tests.fakes.repositories import Repositories

CLOSED = '[policy]\npush = [{refs = "refs/heads/main", allow = []}]\n'
BAD = "[policy]\nmax_refs = 0\n"


def configure(gateway: Gateway, policy: str) -> None:
    """Write the configuration with this at its end."""
    with gateway.write_configuration().open("a") as file:
        file.write(policy)


def whoami(url: str, line: str) -> Any:
    """Ask as a sandbox asks."""
    asked = urllib.request.Request(f"{url}/whoami", headers={"Authorization": f"Bearer {line}"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return json.load(answer)


def test_a_reloaded_policy_holds_for_sessions_that_are_there(
    repos: Repositories, enter: Enter, start_gateway: StartGateway
) -> None:
    """For pushes, ``/v1/explain`` and ``/whoami`` alike; what cannot be used changes none of them."""
    path, door = repos.seeded(), start_gateway()
    gateway, visit = door.gateway, enter([path], door=door)
    question = {"session": visit.lease.id, "repo": path, "verb": "update", "ref": "refs/heads/main"}

    def rules() -> tuple[str, bool]:
        told = gateway.control("POST", "/v1/explain", question).json
        return told["reason"], whoami(gateway.url, visit.lease.line)["policy"] != {}

    visit.box.git("clone", address(path), "clone").fine()
    visit.box.commit("clone", "one", b"1")
    visit.box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert rules() == ("allowed", False)
    before = repos.head(path)
    configure(gateway, BAD)
    assert gateway.control("POST", "/v1/reload").status == 422
    assert rules() == ("allowed", False)
    configure(gateway, CLOSED)
    assert gateway.control("POST", "/v1/reload").json["restart_needed"] == []
    assert rules() == ("push-verb", True)
    visit.box.commit("clone", "two", b"2")
    said = visit.box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    assert "policy.push[0] refs/heads/main does not allow update" in said
    assert repos.head(path) == before
    configure(gateway, "")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: rules() == ("allowed", False), "SIGHUP has reloaded")
    visit.box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) != before
