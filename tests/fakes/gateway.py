"""``twistd credgate`` as a real process, and the host's side of its control socket.

Everything it needs lies in one folder: configuration, credential file, session store, control socket, audit file and
log. It is ended by its process id, gently or with SIGKILL, and can be started again on the same folder: that is what
a restart means. An installed wheel is run as installed; otherwise the source tree is put on its path.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.fakes.loop_lag import LoopLag
from tests.fakes.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
Settings = Mapping[str, Mapping[str, Any]]
MEASURED = Path(__file__).with_name("measured")
"""Where the recorder of the reactor's turns lies; nothing else does."""
COVERAGE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""What has a child measured, where coverage runs."""


def _installed() -> bool:
    """Whether a wheel of credgate, its plugin included, is where this Python finds it."""
    try:
        files = importlib.metadata.files("credgate") or []
    except importlib.metadata.PackageNotFoundError:
        return False
    plugin = "twisted/plugins/credgate_plugin.py"
    # Building a wheel leaves an egg-info beside the source tree, which is no installation.
    places = [Path(str(file.locate())).resolve() for file in files if str(file) == plugin]
    return any(place.exists() and place != ROOT / plugin for place in places)


def clean_environment() -> dict[str, str]:
    """Say what a process of credgate is given: no variable of whoever runs the tests but PATH and coverage's hooks."""
    kept = {name: os.environ[name] for name in ("PATH", *COVERAGE) if name in os.environ}
    return kept | {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8"} | ({} if _installed() else {"PYTHONPATH": str(ROOT)})


def twistd() -> str:
    """Find the ``twistd`` of the Python that runs this."""
    return str(Path(sys.executable).with_name("twistd"))


def toml(settings: Settings) -> str:
    """Write the settings as TOML; a table's name is quoted where it has dots."""
    lines: list[str] = []
    for table, entries in settings.items():
        lines += [
            f"[{table}]" if table else "",
            *(f"{key} = {_value(value)}" for key, value in entries.items()),
            "",
        ]
    return "\n".join(lines)


def _value(value: object) -> str:
    """Write one value: as JSON does, but for tables inside it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(held)}" for key, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@frozen
class Reply:
    """An answer of the control API."""

    status: int
    text: str
    fields: Mapping[str, str] = field(factory=dict)

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)


@frozen
class Lease:
    """A session as the host knows it."""

    id: str
    token: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def line(self) -> str:
        """What is written to the sandbox's token file."""
        return f"{self.token}:{self.secret}"


@define(eq=False)
class Gateway:
    """A gateway's folder, and its process while it runs."""

    folder: Path
    forge_url: str
    secret: str = field(repr=False)
    settings: dict[str, dict[str, Any]] = field(factory=dict)
    """Beside and instead of what ``start`` writes, by table; the forge's is ``forges."github.com"``."""
    port: int = field(factory=free_port)
    environ: dict[str, str] = field(factory=dict)
    prefix: tuple[str, ...] = ()
    """Words before the command: into which namespaces it goes."""
    twistd_options: tuple[str, ...] = ()
    replies: list[Reply] = field(factory=list, repr=False)
    process: subprocess.Popen[bytes] | None = None
    measured: bool = False
    """Whether the reactor's turns are recorded (``lag``). Benchmarks leave it off: it costs microseconds a turn."""
    _audit_start: int = 0
    _lag: LoopLag | None = None

    @property
    def lag(self) -> LoopLag:
        """The record of the reactor's turns; ``measured`` only."""
        assert self._lag is not None, "this gateway is not measured"
        return self._lag

    @property
    def credential_file(self) -> Path:
        """Where the forge's credential lies."""
        return self.folder / "credential"

    @property
    def control_socket(self) -> Path:
        """Where the control API listens."""
        return self.folder / "run" / "control.sock"

    @property
    def log_file(self) -> Path:
        """What the process printed, this start and those before."""
        return self.folder / "twistd.log"

    @property
    def audit_file(self) -> Path:
        """Where the audit lines go."""
        return self.folder / "audit.jsonl"

    @property
    def store_file(self) -> Path:
        """Where the sessions are kept."""
        return self.folder / "state" / "sessions.db"

    @property
    def url(self) -> str:
        """The sandbox side."""
        return f"http://127.0.0.1:{self.port}"

    def write_credential(self, secret: str) -> None:
        """Replace the forge's credential, as a rotating program does: a new file under the old name."""
        self.secret = secret
        draft = self.folder / "credential.new"
        draft.touch(mode=0o600)
        draft.write_text(secret + "\n")
        draft.replace(self.credential_file)

    def write_configuration(self) -> Path:
        """Write ``credgate.toml``; its path."""
        forge = {"kind": "github", "url": self.forge_url, "credential": f"file://{self.credential_file}"}
        tables: dict[str, dict[str, Any]] = {
            "": {"default_forge": "github.com"},
            "listen": {
                "git": f"tcp:{self.port}:interface=127.0.0.1",
                "control": str(self.control_socket),
                "dns": "",
            },
            "sessions": {"store": f"sqlite:///{self.store_file}", "max_sessions": 10000},
            # All tests come from one address: their deliberate failures must not brake one another.
            "limits": {"wrong_credentials_per_minute": 10000, "max_connections_per_address": 512},
            "audit": {"to": str(self.audit_file)},
            'forges."github.com"': forge,
        }
        for table, entries in self.settings.items():
            tables[table] = tables.get(table, {}) | entries
        path = self.folder / "credgate.toml"
        path.write_text(toml(tables))
        return path

    def start(self) -> Gateway:
        """Start the process and wait until it says that it is ready."""
        self.prepare()
        self.process = self.spawn()
        wait_until(self._ready, "the gateway is ready", seconds=30)
        return self

    def prepare(self) -> None:
        """Make the folder as an operator would."""
        for name in ("run", "state"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.credential_file.exists():
            self.write_credential(self.secret)
        self.write_configuration()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start ``twistd`` on the folder as it is."""
        options = ["-n", "--pidfile=", *self.twistd_options]
        command = [*self.prefix, twistd(), *options, "credgate", "--config", str(self.folder / "credgate.toml")]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _environment(self) -> dict[str, str]:
        """Make the process's environment; a measured one finds the recorder on its PYTHONPATH."""
        environ = clean_environment()
        if self.measured:
            self._lag = LoopLag(self.folder / "loop-lag")
            environ |= self._lag.environ
            environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(MEASURED), environ.get("PYTHONPATH", ""))))
        return environ | self.environ

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway ended by itself:\n{self.log()}"
        try:
            return self.control("GET", "/v1/ready").status == http.HTTPStatus.OK
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process with this signal and wait for its end; no process, no work."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def log(self) -> str:
        """Read what the process printed."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def audit(self) -> list[dict[str, Any]]:
        """Read the audit lines since ``forget_audit``, or from the beginning."""
        if not self.audit_file.exists():
            return []
        with self.audit_file.open("rb") as file:
            file.seek(self._audit_start)
            return [json.loads(line) for line in file]

    def forget_audit(self) -> None:
        """Let a test see its own lines only."""
        self._audit_start = self.audit_file.stat().st_size if self.audit_file.exists() else 0

    def audited(self, **expected: object) -> dict[str, Any]:
        """Wait for an audit line that holds these keys and values; the newest such line."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self.audit() if expected.items() <= line.items()]

        return wait_until(lines, f"an audit line with {expected}")[-1]

    def control(self, method: str, path: str, body: object = None) -> Reply:
        """Ask the control API; OSError when nobody listens."""
        return self.control_raw(method, path, None if body is None else json.dumps(body).encode())

    def control_raw(self, method: str, path: str, payload: bytes | None) -> Reply:
        """Ask the control API with a body that need not be JSON."""
        connection = _UnixConnection(self.control_socket)
        try:
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()
        self.replies.append(reply)
        return reply

    def grant(self, repos: Sequence[object], **more: object) -> Lease:
        """Make a session with these grants."""
        reply = self.control("POST", "/v1/sessions", {"repos": list(repos), **more})
        assert reply.status == http.HTTPStatus.CREATED, reply
        return Lease(reply.json["id"], reply.json["token"], reply.json["secret"])

    def revoke(self, lease: Lease) -> None:
        """End a session."""
        reply = self.control("DELETE", f"/v1/sessions/{lease.id}")
        assert reply.status == http.HTTPStatus.OK, reply
