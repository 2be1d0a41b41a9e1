"""Real resolvers on loopback, used as upstreams. Each is ended by its process handle; its files are temporary."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

from attrs import define, field

from tests.fakes.needs import demand, found, missing
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = {
    "ok.test": ["93.184.216.34", "2606:2800:220:1::1"],
    "other.test": ["93.184.216.35"],
    "own.test": ["93.184.216.36"],
    "target.test": ["93.184.216.37"],
    "priv.test": ["10.0.0.9", "fd00::9"],
    "mixed.test": ["169.254.169.254", "93.184.216.38"],
    "a.wild.test": ["93.184.216.39"],
    "b.wild.test": ["93.184.216.40"],
    "big.test": [f"93.184.1.{number}" for number in range(1, 61)],
}
ALIAS = ("chain.test", "target.test")
TEXT = ("text.test", "some words")
TTL = 60


def free_port() -> int:
    """Find a loopback port that is free for UDP and TCP right now."""
    while True:
        with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            number: int = stream.getsockname()[1]
            try:
                datagram.bind(("127.0.0.1", number))
            except OSError:
                continue
            return number


def answers(port: int) -> bool:
    """Whether something answers DNS on this port."""
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\2ok\4test\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(("127.0.0.1", port))
            probe.send(query)
            return bool(probe.recv(4096))
        except OSError:
            return False


def _dnsmasq(port: int, _folder: Path, ttl: int) -> list[str]:
    records = [f"--host-record={name},{','.join(listed)}" for name, listed in ADDRESSES.items() if len(listed) <= 2]
    records += [f"--host-record=big.test,{address}" for address in ADDRESSES["big.test"]]
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts",
        f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/", f"--local-ttl={ttl}",
        f"--cname={','.join(ALIAS)}", f"--txt-record={','.join(TEXT)}", "--user=root", *records,
        "--host-record=mixed.test,169.254.169.254", "--host-record=mixed.test,93.184.216.38",
    ]  # fmt: skip


def _unbound(port: int, folder: Path, ttl: int) -> list[str]:
    lines = [
        "server:", f"  interface: 127.0.0.1@{port}", "  do-daemonize: no", '  username: ""', '  chroot: ""',
        f'  directory: "{folder}"', '  pidfile: ""', "  use-syslog: no", "  module-config: iterator", "  do-ip6: no",
        '  local-zone: "test." static', "  access-control: 127.0.0.0/8 allow",
        f'  local-data: "{ALIAS[0]}. {ttl} CNAME {ALIAS[1]}."', f'  local-data: \'{TEXT[0]}. {ttl} TXT "{TEXT[1]}"\'',
    ]  # fmt: skip
    for name, listed in ADDRESSES.items():
        kinds = ["AAAA" if ":" in address else "A" for address in listed]
        lines += [f'  local-data: "{name}. {ttl} {kind} {one}"' for kind, one in zip(kinds, listed, strict=True)]
    lines += ["remote-control:", "  control-enable: no"]
    file = folder / "unbound.conf"
    file.write_text("\n".join(lines) + "\n")
    return ["unbound", "-d", "-p", "-c", str(file)]


KINDS = {"unbound": _unbound, "dnsmasq": _dnsmasq}


def available() -> list[str]:
    """List the resolvers that are installed here; skip the test that runs where none is."""
    if len(missing(KINDS)) == len(KINDS):
        demand(*KINDS)
    return [kind for kind in KINDS if found(kind)]


@define(eq=False)
class Resolver:
    """One real resolver."""

    kind: str
    folder: Path
    ttl: int = TTL
    prefix: tuple[str, ...] = ()
    """Words before the command: into which namespaces it goes."""
    port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Resolver:
        """Start it and wait until it answers; in a namespace of its own nobody here can ask it."""
        words = KINDS[self.kind](self.port, self.folder, self.ttl)
        command = [*self.prefix, str(found(self.kind)), *words[1:]]
        with (self.folder / f"{self.kind}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not self.prefix:
            wait_until(lambda: answers(self.port), f"{self.kind} answers")
        return self

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
