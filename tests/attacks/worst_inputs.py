"""The stage of the worst inputs: a gateway with every parser in use, one case, and its cost.

A case feeds one parser about 1 MiB (or as much as that parser takes before it refuses) of the input that costs it most,
through the real process, and says how that ended. ``measured`` runs it and reads two figures: the longest turn of the
reactor meanwhile (``tests.fakes.loop_lag``) and by how much the process's peak of resident memory went beyond what was
resident before. Other processes of the machine only ever add to both, so that the least of a few repetitions counts.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from tests.attacks.conftest import CONTROL, REPO, Field, good
from tests.attacks.fakedns import FakeDns
from tests.attacks.rawclient import DEADLINE, RawClient, login
from tests.attacks.scripted import Asked, Said, ScriptedForge
from tests.attacks.siege import MIB, memory
from tests.fakes.gateway import Gateway
from tests.fakes.github_api import make_key
from tests.fakes.loop_lag import PROMISED, REPEATED, Lag
from tests.fakes.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.gateway import Lease

ALLOWED_GROWTH = 16 * MIB
MINTED = "minted.test"
"""A forge whose credentials are made by its API, which is the scripted forge too."""
OTHER = "octo/other"
"""A repository whose pushes are walked: force and protected paths are ruled."""
RULED = {
    "repo": OTHER,
    "push": [{"refs": "refs/heads/**", "allow": ["create", "update"]}],
    "protected_paths": [".github/**"],
    "push_options": ["ci.skip"],
}


@define(eq=False)
class Stage:
    """The gateway, the forge and the resolver behind it."""

    field: Field
    dns: FakeDns
    dns_port: int
    ruled: Lease

    @property
    def gateway(self) -> Gateway:
        """The process."""
        return self.field.gateway

    def restart(self) -> None:
        """Start the process anew on its folder: what an earlier case made it allocate is gone, sessions are not."""
        self.gateway.stop(signal.SIGKILL)
        self.gateway.start()

    def ask(self, data: bytes, *, seconds: float = DEADLINE) -> str:
        """Send a request; how it ended: the status, and the reason that the audit line gives."""
        self.gateway.forget_audit()
        with RawClient(self.gateway.port) as client:
            client.send(data)
            heard = client.hear(answers=1, seconds=seconds)
        with contextlib.suppress(AssertionError):  # not every refusal of a connection has a line
            wait_until(self.reasons, "an audit line", seconds=3)
        reasons = self.reasons()
        status = str(heard.answers[0].status) if heard.data else heard.end
        return f"{status} {reasons[-1] if reasons else ''}".strip()

    def reasons(self) -> list[str]:
        """Read the reasons of requests' lines; the good requests between the cases are for ``CONTROL``."""
        lines = [line for line in self.gateway.audit() if line["event"] == "request" and line.get("repo") != CONTROL]
        return [line.get("reason", "") for line in lines]

    def post(self, service: str, body: bytes, *fields: bytes, repo: str = OTHER) -> bytes:
        """Write a fetch or a push of the session whose pushes are ruled."""
        line = f"POST /git/{repo}.git/{service} HTTP/1.1".encode()
        kind = f"Content-Type: application/x-{service}-request".encode()
        length = b"Content-Length: %d" % len(body)
        head = (line, b"Host: gateway", login(self.ruled.line), kind, length, *fields)
        return b"\r\n".join(head) + b"\r\n\r\n" + body

    def answers(self, body: bytes, kind: bytes, target: bytes = b"", status: bytes = b"200 OK") -> None:
        """Have the forge answer ``body`` where the target holds ``target``, and as a good one elsewhere."""

        def script(asked: Asked) -> Said:
            if target not in asked.target or CONTROL.encode() in asked.target:
                return good(asked)
            head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
            return Said([head, body])

        self.field.forge.script = script

    def control(self, method: str, path: str, body: bytes = b"") -> str:
        """Ask the control API with a body as it is; its status."""
        return f"{self.gateway.control_raw(method, path, body).status}"


@frozen
class Case:
    """One parser and its worst input."""

    parser: str
    input: str
    run: Callable[[Stage], str] = field(repr=False)
    ends: str
    """The result that is due, as a regular expression."""

    @property
    def name(self) -> str:
        """The test's id."""
        return f"{self.parser}: {self.input}".replace(" ", "-")


@frozen
class Cost:
    """What a case cost, and how it ended."""

    lag: Lag
    grew: int
    result: str

    @property
    def within(self) -> bool:
        """Whether both bounds hold."""
        return self.lag.stopped <= PROMISED and self.grew <= ALLOWED_GROWTH


def measured(stage: Stage, case: Case) -> Cost:
    """Run the case on a fresh process; again if a turn was too long, ``REPEATED`` times at most, for the shortest.

    Growth is that of the first time: what was allocated once is used again.
    """
    stage.restart()
    first = _once(stage, case)
    lag, result = first.lag, first.result
    for _ in range(REPEATED - 1):
        if lag.stopped <= PROMISED:
            break
        again = _once(stage, case)
        lag = min(lag, again.lag, key=lambda lag: lag.stopped)
    return Cost(lag, first.grew, result)


def _once(stage: Stage, case: Case) -> Cost:
    gateway = stage.gateway
    stage.field.control()
    resident = memory(gateway.pid, "VmRSS")
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")  # the peak begins anew
    gateway.lag.reset()
    result = case.run(stage)
    stage.field.control()  # whatever the case left to be done is done before this is answered
    return Cost(gateway.lag.read(), memory(gateway.pid, "VmHWM") - resident, result)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start the gateway, its forge and its resolver."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        forge, dns, dns_port = ScriptedForge(good), FakeDns(), free_port()
        stack.callback(forge.close)
        stack.callback(dns.close)
        key = folder / "app.pem"
        key.touch(mode=0o600)
        key.write_text(make_key()[0])
        app = {"app_id": "1", "private_key": f"file://{key}"}
        minted = {"kind": "github", "url": forge.url, "api_url": f"{forge.url}/minting", "app": app}
        settings = {
            "listen": {"dns": f"127.0.0.1:{dns_port}"},
            "dns": {
                "allow": ["ok.test", "*.wild.test"],
                "upstream": [f"127.0.0.1:{dns.port}"],
                "names_per_minute": 1000,
            },
            'forges."github.com"': {"api_url": f"{forge.url}/api"},
            f'forges."{MINTED}"': minted,
        }
        secret = "ghp_" + secrets.token_hex(18)
        gateway = Gateway(folder, forge.url, secret, settings, measured=True)
        stack.callback(gateway.stop, signal.SIGKILL)
        gateway.start()
        field = Field(forge, gateway, gateway.grant([REPO, CONTROL]), secret)
        yield Stage(field, dns, dns_port, gateway.grant([RULED]))
