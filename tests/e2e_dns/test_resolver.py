"""glibc's resolver in a network namespace: ``resolv.conf`` points at the gateway, ``getent`` asks.

A user, network and mount namespace of its own (no root needed): loopback only, ``/etc/resolv.conf`` is the test's. The
gateway, its upstream and the clients all live there, the gateway on port 53 as in the container.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.fakes import resolvers
from tests.fakes.gateway import Gateway
from tests.fakes.needs import not_here
from tests.fakes.resolvers import Resolver
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("ip", "nsenter", "unbound", "unshare")


@define(eq=False)
class Namespace:
    """A namespace, held open by a process that waits."""

    holder: subprocess.Popen[bytes]

    @property
    def enter(self) -> tuple[str, ...]:
        """Words that put a command into it."""
        return ("nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", str(self.holder.pid))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run([*self.enter, *command], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """Open a namespace whose resolver is the gateway."""
    resolv_conf = tmp_path_factory.mktemp("namespace") / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:5 attempts:1\n")
    # getent wants addresses of a family only where an interface other than lo has one (AI_ADDRCONFIG).
    setup = (
        "ip link set lo up && ip link add inside type veth peer name other && ip addr add 10.77.0.1/24 dev inside &&"
        " ip addr add fd77::1/64 dev inside nodad && ip link set other up && ip link set inside up &&"
        f" mount --bind {resolv_conf} /etc/resolv.conf && echo ready && exec cat"
    )
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", setup]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        if holder.stdout.readline() != b"ready\n":
            not_here("this machine allows no network namespaces")
        yield Namespace(holder)
        holder.stdin.close()
        holder.wait(10)


@pytest.fixture(scope="module")
def inside(namespace: Namespace) -> Iterator[Namespace]:
    """Start a resolver and the gateway in there; the gateway on port 53."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cgn-"))
        stack.callback(shutil.rmtree, folder)
        # dnsmasq insists on changing groups, which a user namespace without more ids forbids.
        resolver = Resolver("unbound", folder, prefix=namespace.enter).start()
        stack.callback(resolver.stop)
        settings = {
            "listen": {"dns": "127.0.0.1:53"},
            "dns": {
                "allow": ["ok.test", "chain.test", "priv.test", "big.test"],
                "upstream": [f"127.0.0.1:{resolver.port}"],
            },
            "dns.static": {"gateway": ["10.1.2.3", "fd00::3"]},
        }
        gateway = Gateway(folder, "http://127.0.0.1:9", "unused-" + "x" * 30, settings, prefix=namespace.enter)
        stack.callback(gateway.stop, signal.SIGKILL)
        gateway.start()
        wait_until(lambda: namespace.run("getent", "ahostsv4", "ok.test").stdout, "the upstream answers")
        yield namespace


def addresses(namespace: Namespace, database: str, name: str) -> set[str]:
    """Return the addresses that ``getent`` finds."""
    return {line.split()[0] for line in namespace.run("getent", database, name).stdout.splitlines()}


def test_getent_finds_an_allowed_name(inside: Namespace) -> None:
    """Both families in one go: glibc sends A and AAAA from one socket at once."""
    assert addresses(inside, "ahosts", "ok.test") == {"93.184.216.34", "2606:2800:220:1::1"}
    assert addresses(inside, "ahostsv6", "ok.test") >= {"2606:2800:220:1::1"}
    assert addresses(inside, "ahostsv4", "chain.test") == {"93.184.216.37"}


def test_getent_finds_nothing_else(inside: Namespace) -> None:
    """Exit status 2 is getent's "not found": a refusal, not a time-out."""
    for name in ("secret.test", "priv.test", "ok.test.evil", "www.ok.test", "localhost.evil"):
        ran = inside.run("getent", "ahosts", name)
        assert (ran.returncode, ran.stdout) == (2, "")


def test_getent_resolves_the_gateway_in_both_directions(inside: Namespace) -> None:
    """Static names, and the reverse look-up of them."""
    assert addresses(inside, "ahosts", "gateway") == {"10.1.2.3", "fd00::3"}
    assert inside.run("getent", "hosts", "10.1.2.3").stdout.split() == ["10.1.2.3", "gateway"]
    assert inside.run("getent", "hosts", "10.1.2.4").returncode == 2


def test_glibc_falls_back_to_tcp(inside: Namespace) -> None:
    """Without EDNS sixty addresses do not fit a datagram: TC, then TCP, all sixty."""
    assert addresses(inside, "ahostsv4", "big.test") == set(resolvers.ADDRESSES["big.test"])


def test_pythons_resolver_agrees(inside: Namespace) -> None:
    """Another client of glibc, which tells the error's kind: no such name, not "try again"."""
    script = (
        "import socket as s\n"
        "try: s.getaddrinfo('secret.test', 80)\n"
        "except s.gaierror as e: print(e.errno == s.EAI_NONAME)"
    )
    assert inside.run("python3", "-c", script).stdout == "True\n"
