"""The CONNECT request for a tunnel through a proxy, and the reader of the proxy's response.

Follows RFC 9110 section 9.3.6, narrowed: only a 200 opens the tunnel, nothing may precede it, and no byte may follow
its head, since neither a TLS nor an HTTP server sends first. Fields of the response are not read. No credential is
sent, so a 407 is a failure like any other. No text holds a byte of the response.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from credgate import __version__
from credgate.errors import TunnelError
from credgate.http import grammar

MAX_HEAD: Final = 8 * 1024
"""Bytes of the response's head."""
_END: Final = b"\r\n\r\n"


def connect_request(target: str) -> bytes:
    """Return the request for a tunnel to ``target``: ``host:port``, both from the configuration."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: credgate/{__version__}\r\n\r\n".encode("ascii")


class ConnectResponseReader:
    """Reads the proxy's response, until the tunnel is open or the response is refused."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def receive(self, data: bytes) -> bool:
        """Take bytes; return whether the tunnel is open. Raises TunnelError; must not be called again after that."""
        self._held += data
        end = self._held.find(_END)
        if end < 0:
            if len(self._held) > MAX_HEAD:
                raise TunnelError("the proxy's response is too long")
            return False
        _judge(bytes(self._held[: end + len(_END)]))
        if len(self._held) > end + len(_END):
            raise TunnelError("the proxy sent data after its response")
        return True


def _judge(head: bytes) -> None:
    found = grammar.RESPONSE_HEAD.fullmatch(head) if len(head) <= MAX_HEAD else None
    if found is None:
        raise TunnelError("the proxy's response is not HTTP")
    status = int(found[2])
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise TunnelError("the proxy requires authentication, which credgate does not support")
    if status != HTTPStatus.OK:
        raise TunnelError(f"the proxy answered {status}")
