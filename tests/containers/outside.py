"""What lies beyond the gateway: a forge with TLS and a resolver, on the host's address in the network ``egress``.

The address exists only while a container is on that network, so the sockets are bound before it does (IP_FREEBIND,
ip(7)). Nothing listens on any other address that a container could reach.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import dnslib

from tests.fakes import giftless
from tests.fakes.authority import Authority
from tests.fakes.forge import PythonForge
from tests.fakes.giftless import Giftless
from tests.fakes.nginx import NginxForge, available
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import Repositories

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "10.78.0.1"
NAME = "forge.test"
ANSWER = "93.184.216.34"
"""What the resolver says of every name; credgate answers no private address."""
_IP_FREEBIND = 15


def _bound(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    made.bind((ADDRESS, 0))
    return made


class Outside:
    """The forge, its records, and the resolver."""

    def __init__(self, folder: Path, secret: str) -> None:
        for name in ("forge", "repositories"):
            (folder / name).mkdir()
        self.secret = secret
        self.lfs = Giftless(folder / "lfs", "https") if available() and giftless.installed() else None
        self.server = self._serve(folder)
        self.repositories = Repositories(folder / "repositories")
        self.authority = Authority(folder / "authority")
        listener = _bound(socket.SOCK_STREAM)
        self.port: int = listener.getsockname()[1]
        self.record = Recorder(self.server.port, tls=self.authority.server_context(NAME), listener=listener)
        self._resolver, self._ended = _bound(socket.SOCK_DGRAM), threading.Event()
        self._resolver.settimeout(0.2)
        self.resolver_port: int = self._resolver.getsockname()[1]
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self._resolve, name="resolver", daemon=True)
        self._thread.start()

    def _serve(self, folder: Path) -> NginxForge | PythonForge:
        places = folder / "repositories", self.secret, folder / "forge"
        if not available():
            return PythonForge(*places)
        return NginxForge(*places, self.lfs.locations if self.lfs else "")

    @property
    def url(self) -> str:
        """Where the gateway finds the forge."""
        return f"https://{NAME}:{self.port}"

    def _resolve(self) -> None:
        while not self._ended.is_set():
            try:
                message, peer = self._resolver.recvfrom(4096)
            except TimeoutError:
                continue
            query = dnslib.DNSRecord.parse(message)
            self.asked.append(str(query.q.qname).rstrip(".").lower())
            reply = query.reply()
            if query.q.qtype == dnslib.QTYPE.A:
                reply.add_answer(dnslib.RR(query.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(ANSWER), ttl=60))
            self._resolver.sendto(reply.pack(), peer)

    def close(self) -> None:
        """End it all."""
        self._ended.set()
        self._thread.join(10)
        self._resolver.close()
        self.record.close()
        self.server.close()
        if self.lfs:
            self.lfs.close()
