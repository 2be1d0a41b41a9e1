"""The targets: the same upstreams reached directly, through nginx, through mitmproxy and through credgate.

A ``Place`` is where a client connects and what it must send for one upstream; a ``Target`` has one for each upstream.
All of them run at the same time, so that rounds can be interleaved and other work on the machine affects all targets.

nginx is one worker process (credgate is one process), with its default buffers and, as ``nginx 64k``, with buffers of
credgate's size; neither buffers bodies. mitmproxy streams them. Both verify the upstream's certificate, as credgate
does. The client sends the forge's credential, except to credgate, which adds it and also checks a session and its
scope.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from tests.fakes.authority import Authority
from tests.fakes.gateway import Gateway
from tests.fakes.nginx import NginxForge
from tests.fakes.repositories import Repositories
from tests.fakes.waiting import accepts, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

UPSTREAMS = ("small", "bulk", "tls", "git")

# The origin of the small requests is C and answers from memory: what a forge says to `git ls-remote`.
NGINX = """
daemon off; worker_processes 1; {user}
pid {scratch}/nginx.pid; error_log {scratch}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300; client_max_body_size 0;
    client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
    {servers}
}}
"""
CONSTANT = """
    server {{
        listen 127.0.0.1:{port} backlog=511;
        default_type application/x-git-upload-pack-advertisement;
        location / {{ return 200 "{answer}"; }}
    }}
"""
PROXY = """
    upstream {name} {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=511;
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1:{upstream};
        proxy_buffering off; proxy_request_buffering off; {buffers}
        proxy_read_timeout 600s;
        proxy_ssl_trusted_certificate {authority}; proxy_ssl_verify on; proxy_ssl_name localhost;
        location / {{ proxy_pass {scheme}://{name}; }}
    }}
"""
BUFFERS = "proxy_buffer_size 64k; proxy_buffers 4 64k; client_body_buffer_size 64k;"
"""As large as credgate's; nginx's own are 4 KiB and 8 KiB."""
ADVERTISEMENT = (
    "001e# service=git-upload-pack\n0000"
    "000eversion 2\n0015agent=git/2.39.5\n0013ls-refs=unborn\n0012fetch=shallow\n0012server-option\n"
    "0017object-format=sha1\n0000"
)


class MissingError(Exception):
    """A program that is measured, or measures, is not installed."""


@frozen
class Place:
    """Where one upstream is reached."""

    name: str
    port: int
    prefix: str = ""
    fields: tuple[str, ...] = field(default=(), repr=False)
    """Header lines to send."""
    authority: Path | None = None
    """Speak TLS, and trust this one."""


@frozen
class Target:
    """One way to the upstreams."""

    name: str
    places: dict[str, Place]
    pid: int = 0
    """Of its process; 0: there is none between."""

    def spent(self) -> float:
        """Seconds of the processor that its process has had so far; 0 without one."""
        return spent(self.pid) if self.pid else 0.0


def spent(pid: int) -> float:
    """Seconds of the processor that a process, its threads and its children have had so far."""
    tree = Path(f"/proc/{pid}/task")
    if not tree.exists():
        return 0.0
    children = [child for task in tree.iterdir() for child in (task / "children").read_text().split()]
    tasks = [task for each in [pid, *children] for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def found(program: str) -> str:
    """Find a program. Raises MissingError."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        raise MissingError(f"{program} is not installed")
    return path


class World:
    """Every process of a run, in one temporary folder."""

    def __init__(self, stack: contextlib.ExitStack, mitmdump: str | None) -> None:
        self._stack = stack
        self.scratch = Path(tempfile.mkdtemp(prefix="cg-"))
        stack.callback(shutil.rmtree, self.scratch)
        self._authority = Authority(self.scratch / "authority")
        self._authority.server_context()
        self.repositories = Repositories(self._folder("repositories"))
        forge_secret = secrets.token_hex(16)
        forge = NginxForge(self.repositories.root, forge_secret, self._folder("forge"))
        stack.callback(forge.close)
        login = base64.b64encode(f"x-access-token:{forge_secret}".encode()).decode()
        self._login = f"Authorization: Basic {login}"
        self._ports = {name: free_port() for name in UPSTREAMS} | {"git": forge.port}
        self._start_origins()
        self.targets = [
            self._direct(),
            self._nginx("nginx", ""),
            self._nginx("nginx 64k", BUFFERS),
            self._credgate(forge_secret),
        ]
        if mitmdump is not None:
            self.targets.append(self._mitmproxy(mitmdump))

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name
        folder.mkdir(mode=0o700)
        return folder

    def _start(self, command: list[str], *ports: int) -> int:
        """Start a process group that ends with the run; its process id, once these ports accept."""
        said = self.scratch / f"{Path(command[0]).name}.log"
        with said.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)},
                cwd=Path(__file__).parents[1],
            )
        self._stack.callback(_end, process)
        for port in ports:
            wait_until(lambda port=port: process.poll() is not None or accepts(port), command[0], seconds=30)
        if process.poll() is not None:
            raise MissingError(f"{command[0]} ended by itself: {said.read_text()}")
        return process.pid

    def _start_nginx(self, name: str, servers: str, *ports: int) -> int:
        folder = self._folder(name)
        path = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        path.write_text(NGINX.format(scratch=folder, user=user, servers=servers))
        return self._start(
            [found("nginx"), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(path)], *ports
        )

    def _start_origins(self) -> None:
        answer = ADVERTISEMENT.replace("\n", "\\n")
        constant = CONSTANT.format(port=self._ports["small"], answer=answer)
        self._start_nginx("constant", constant, self._ports["small"])
        bulk, tls = self._ports["bulk"], self._ports["tls"]
        chain = self._authority.folder / "localhost.pem"
        self._start([sys.executable, "-m", "benchmarks.origin", str(bulk), str(tls), str(chain)], bulk, tls)

    def _places(self, name: str, ports: dict[str, int]) -> dict[str, Place]:
        return {upstream: Place(name, port, "", (self._login,)) for upstream, port in ports.items()}

    def _direct(self) -> Target:
        places = self._places("direct", self._ports)
        places["tls"] = evolve(places["tls"], authority=self._authority.ca_file)
        return Target("direct", places)

    def _nginx(self, target: str, buffers: str) -> Target:
        ports = {name: free_port() for name in UPSTREAMS}
        servers = "".join(
            PROXY.format(
                name=name,
                port=port,
                upstream=self._ports[name],
                authority=self._authority.ca_file,
                buffers=buffers,
                scheme="https" if name == "tls" else "http",
            )
            for name, port in ports.items()
        )
        pid = self._start_nginx(target.replace(" ", "-"), servers, *ports.values())
        return Target(target, self._places(target, ports), pid)

    def _mitmproxy(self, mitmdump: str) -> Target:
        ports = {name: free_port() for name in UPSTREAMS}
        modes = [
            f"--mode=reverse:{'https' if name == 'tls' else 'http'}://localhost:{self._ports[name]}@127.0.0.1:{port}"
            for name, port in ports.items()
        ]
        folder = self._folder("mitmproxy")
        options = ["stream_large_bodies=64k", f"confdir={folder}"]
        options.append(f"ssl_verify_upstream_trusted_ca={self._authority.ca_file}")
        command = [mitmdump, "-q", *modes, *(f"--set={option}" for option in options)]
        return Target("mitmproxy", self._places("mitmproxy", ports), self._start(command, *ports.values()))

    def _credgate(self, secret: str) -> Target:
        folder = self._folder("gateway")
        forges: dict[str, dict[str, object]] = {}
        for name, port in self._ports.items():
            scheme = "https" if name == "tls" else "http"
            forges[f'forges."{name}"'] = {
                "kind": "generic",
                "url": f"{scheme}://localhost:{port}",
                "username": "x-access-token",
                "credential": f"file://{folder / 'credential'}",
            } | ({"ca_file": str(self._authority.ca_file)} if name == "tls" else {})
        gateway = Gateway(folder, f"http://127.0.0.1:{self._ports['git']}", secret, forges)
        self._stack.callback(gateway.stop, signal.SIGKILL)
        gateway.start()
        repos = [{"repo": pattern, "forge": name, "access": "write"} for name in UPSTREAMS for pattern in ("bench/*",)]
        lease = gateway.grant(repos, container_ip="127.0.0.1")
        login = base64.b64encode(f"x:{lease.line}".encode()).decode()
        fields = (f"Authorization: Basic {login}",)
        places = {name: Place("credgate", gateway.port, f"/forge/{name}", fields) for name in UPSTREAMS}
        return Target("credgate", places, gateway.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@contextlib.contextmanager
def world(mitmdump: str | None) -> Iterator[World]:
    """Start everything; end everything."""
    with contextlib.ExitStack() as stack:
        yield World(stack, mitmdump)
