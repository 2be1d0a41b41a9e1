"""Asks a proxy for a tunnel (CONNECT), and reads its answer: a tunnel, or why not.

RFC 9110 section 9.3.6, narrowed: only a 200 opens the tunnel, nothing may precede it and not a byte may follow its
head, for on the other side is a TLS server or an HTTP one, and neither speaks first. Fields of the answer are never
looked at; no credential is sent, so a 407 is a no like any other. No text holds a byte of what the proxy sent.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from credgate import __version__
from credgate.errors import TunnelError
from credgate.http import grammar

MAX_HEAD: Final = 8 * 1024
"""Bytes of the answer's head."""
_END: Final = b"\r\n\r\n"


def connect_request(target: str) -> bytes:
    """Return the request for a tunnel to ``target``: ``host:port``, both of them from the configuration."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: credgate/{__version__}\r\n\r\n".encode("ascii")


class ConnectResponseReader:
    """Reads the answer."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def receive(self, data: bytes) -> bool:
        """Take what came; return whether the tunnel is open. Raises TunnelError, after which nothing may be fed."""
        self._held += data
        end = self._held.find(_END)
        if end < 0:
            if len(self._held) > MAX_HEAD:
                raise TunnelError("the proxy's answer is too long")
            return False
        _judge(bytes(self._held[: end + len(_END)]))
        if len(self._held) > end + len(_END):
            raise TunnelError("the proxy sent something before it was asked")
        return True


def _judge(head: bytes) -> None:
    found = grammar.RESPONSE_HEAD.fullmatch(head) if len(head) <= MAX_HEAD else None
    if found is None:
        raise TunnelError("the proxy's answer is not HTTP")
    status = int(found[2])
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise TunnelError("the proxy wants a login, which credgate does not have")
    if status != HTTPStatus.OK:
        raise TunnelError(f"the proxy answered {status}")
