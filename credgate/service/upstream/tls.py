"""TLS towards a forge: the standard library's, between the connection and its transport.

OpenSSL works on memory buffers (``ssl.MemoryBIO``) and never touches the socket, so that back-pressure stays the
transport's. Names and certificates are always checked, against the system's authorities or those of the forge's
``ca_file``; TLS 1.2 is the oldest version spoken, renegotiation is refused, and the protocol above is told that it may
write (``handshakeCompleted``) only after the certificate was accepted. Twisted's own TLS does the same record by
record; this one hands on what all records of one read hold in one piece, at half the cost (docs/benchmarks.md).

No ``close_notify`` is sent: a connection to a forge ends by being reset (``forge``), and the end of an answer is known
from its own framing, never from the connection's (``http.response``).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from credgate.service.upstream.flow import Transport, grow, send

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IStreamClientEndpoint

RECORD = 16 * 1024
"""Bytes that one TLS record holds at most (RFC 8446, section 5.1)."""


class TlsApplication(Interface):
    """What is asked of the protocol above: Twisted's IProtocol and IHandshakeListener."""

    # What each does is Twisted's to document.
    def makeConnection(self, transport: object) -> None: ...
    def handshakeCompleted(self) -> None: ...
    def dataReceived(self, data: bytes) -> None: ...
    def connectionLost(self, reason: Failure = ...) -> None: ...


def client_context(ca_file: str = "") -> ssl.SSLContext:
    """Return what the connections to one forge are checked by.

    ``ca_file`` names a PEM file of the only authorities trusted; ``""``: the system's. Raises OSError, ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsClient(Protocol):
    """Speaks TLS on its transport and is itself the transport of ``above``."""

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, above: TlsApplication, context: ssl.SSLContext, host: str) -> None:
        self.above = above
        self._received, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._unsent, server_hostname=host)
        self._shaken = False
        self._failure: Failure | None = None

    # From the transport below.

    def connectionMade(self) -> None:
        """Begin the handshake."""
        self.above.makeConnection(self)
        self._shake()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt what is whole."""
        if self._failure is not None:
            return
        grow(self.transport, len(data))
        self._received.write(data)
        if self._shaken or self._shake():
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say why: what was wrong with TLS, if anything was."""
        self.above.connectionLost(self._failure or reason)

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError:
            self._fail()
            return False
        self._shaken = True
        self._flush()
        self.above.handshakeCompleted()
        return True

    def _read(self) -> None:
        parts: list[bytes] = []
        try:
            while part := self._tls.read(RECORD):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._fail()
            return
        else:
            self.transport.loseConnection()  # the forge closed its side: nothing comes any more
        self._flush()  # key updates are answered
        if parts:
            self.above.dataReceived(b"".join(parts))

    def _fail(self) -> None:
        """End the connection; the alert that says why goes first, if the kernel takes it."""
        self._failure = Failure()
        self._flush()
        self.transport.abortConnection()

    def _flush(self) -> None:
        if self._unsent.pending:
            send(self.transport, [self._unsent.read()])

    # As the transport of the protocol above.

    @property
    def bufferSize(self) -> int:
        """Of the transport below."""
        return self.transport.bufferSize

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self.transport.bufferSize = size

    def write(self, data: bytes) -> None:
        """Encrypt and send; nothing may be written before ``handshakeCompleted``, and nothing is after a failure."""
        if self._failure is not None:  # the connection is ending, and whoever writes does not know yet
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def writeSequence(self, parts: list[bytes]) -> None:
        """Write them in records as full as can be."""
        self.write(b"".join(parts))

    def pauseProducing(self) -> None:
        """Read no further."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        """Have it paused while the transport below holds too much."""
        self.transport.registerProducer(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        """Undo that."""
        self.transport.unregisterProducer()

    def loseConnection(self) -> None:
        """Close once everything is sent."""
        self.transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """Close: half a TLS connection is none."""
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Reset."""
        self.transport.abortConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's form
        """Have small packets sent at once."""
        self.transport.setTcpNoDelay(enabled)

    def getHandle(self) -> Any:  # noqa: ANN401 - a socket
        """Of the transport below."""
        return self.transport.getHandle()


class TlsEndpoint:
    """A client endpoint that speaks TLS with ``host`` over another endpoint's connections."""

    def __init__(self, plain: IStreamClientEndpoint, context: ssl.SSLContext, host: str) -> None:
        self._plain, self._context, self._host = plain, context, host

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Connect; fires with ``factory``'s protocol as soon as TCP is up, before the handshake."""
        outer: Deferred[Any] = self._plain.connect(_Wrapping(self, factory))
        return outer.addCallback(lambda tls: tls.above)

    def wrap(self, above: Any) -> TlsClient:  # noqa: ANN401 - what a factory builds is not typed
        """Return TLS beneath ``above``."""
        return TlsClient(above, self._context, self._host)


class _Wrapping(Factory):
    """Puts TLS beneath the protocols that another factory builds."""

    noisy = False

    def __init__(self, endpoint: TlsEndpoint, factory: Factory) -> None:
        self._endpoint, self._factory = endpoint, factory

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        above = self._factory.buildProtocol(addr)
        return None if above is None else self._endpoint.wrap(above)
