"""TLS to a forge, by the standard library's ``ssl`` over memory buffers, between a connection and its TCP transport.

WHY THIS FILE EXISTS beside Twisted's TLS: Twisted decrypts and delivers record by record (16 KiB). This one delivers
all records of one read in one piece, at half the cost for a relayed byte (docs/benchmarks.md). Only the relay and LFS
use it; a forge's API is asked over Twisted's own TLS.

Names and certificates are always checked, against the system's authorities or those of the forge's ``ca_file``. TLS 1.2
is the oldest version, renegotiation is refused, and the protocol above may write only after the certificate was
accepted (``handshakeCompleted``). OpenSSL never touches the socket (``ssl.MemoryBIO``), so back-pressure remains that
of the transport.

No ``close_notify`` is sent: connections are reset (``pool``). The end of an answer is known from the answer's own
framing (``http.response``), never from the end of the connection, so truncation is always detected.
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
    """The methods of the protocol above: Twisted's IProtocol and IHandshakeListener."""

    def makeConnection(self, transport: object) -> None: ...
    def handshakeCompleted(self) -> None: ...
    def dataReceived(self, data: bytes) -> None: ...
    def connectionLost(self, reason: Failure = ...) -> None: ...


def client_context(ca_file: str = "") -> ssl.SSLContext:
    """Return the TLS settings for one forge.

    ``ca_file`` names a PEM file of the only authorities that are trusted; ``""``: the system's. Raises OSError,
    ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    # RFC 8996 deprecates TLS 1.0 and 1.1.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The certificate is checked in the first handshake; renegotiation could replace it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Answers are read as HTTP/1.1, so the server must not choose HTTP/2 (RFC 7301).
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
        self.above.makeConnection(self)
        self._shake()

    def dataReceived(self, data: bytes) -> None:
        if self._failure is not None:
            return
        grow(self.transport, len(data))
        self._received.write(data)
        if self._shaken or self._shake():
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
            self.transport.loseConnection()  # the forge sent close_notify
        self._flush()  # the answer to a key update (RFC 8446, section 4.6.3), if there is one
        if parts:
            self.above.dataReceived(b"".join(parts))

    def _fail(self) -> None:
        """Reset the connection, after the alert that names the reason."""
        self._failure = Failure()
        self._flush()
        self.transport.abortConnection()

    def _flush(self) -> None:
        if self._unsent.pending:
            send(self.transport, [self._unsent.read()])

    # As the transport of the protocol above.

    @property
    def bufferSize(self) -> int:
        return self.transport.bufferSize

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self.transport.bufferSize = size

    def write(self, data: bytes) -> None:
        """Encrypt and send; not to be called before ``handshakeCompleted``."""
        if self._failure is not None:  # ``connectionLost`` has not been delivered yet
            return
        # ``write`` may accept less than it is given.
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def writeSequence(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))  # in as few records as possible

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def loseConnection(self) -> None:
        self.transport.loseConnection()

    def loseWriteConnection(self) -> None:
        self.transport.loseConnection()  # TLS has no half-closed connections

    def abortConnection(self) -> None:
        self.transport.abortConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's form
        self.transport.setTcpNoDelay(enabled)

    def getHandle(self) -> Any:  # noqa: ANN401 - a socket
        return self.transport.getHandle()


class TlsEndpoint:
    """A client endpoint that speaks TLS with ``host`` over the connections of the endpoint ``plain``."""

    def __init__(self, plain: IStreamClientEndpoint, context: ssl.SSLContext, host: str) -> None:
        self._plain, self._context, self._host = plain, context, host

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Connect; fires with ``factory``'s protocol when TCP is connected, before the handshake."""
        outer: Deferred[Any] = self._plain.connect(_Wrapping(self, factory))
        return outer.addCallback(lambda tls: tls.above)

    def wrap(self, above: Any) -> TlsClient:  # noqa: ANN401 - what a factory builds is not typed
        return TlsClient(above, self._context, self._host)


class _Wrapping(Factory):
    """Adds TLS below the protocols that another factory builds."""

    noisy = False

    def __init__(self, endpoint: TlsEndpoint, factory: Factory) -> None:
        self._endpoint, self._factory = endpoint, factory

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        above = self._factory.buildProtocol(addr)
        return None if above is None else self._endpoint.wrap(above)
