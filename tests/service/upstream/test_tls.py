"""TLS towards a forge: nothing before the certificate is accepted, everything after it, and cuts that show.

The other side is the standard library's TLS as a server, fed by hand: no socket, no reactor.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from credgate.service.upstream.flow import BUFFER_SIZE, GROWN_SIZE
from credgate.service.upstream.tls import TlsClient, TlsEndpoint, client_context
from tests.fakes.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path


class Above(Protocol):
    """The protocol above: records its calls."""

    def __init__(self) -> None:
        self.shaken = False
        self.got: list[bytes] = []
        self.lost: list[Failure] = []

    def handshakeCompleted(self) -> None:
        """Note it."""
        self.shaken = True

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.got.append(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Keep it."""
        self.lost.append(reason)


class Below(StringTransport):
    """The transport below: as StringTransport, and what TCP has more."""

    bufferSize = BUFFER_SIZE  # noqa: N815 - Twisted's name
    no_delay = aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's form
        """Note it."""
        self.no_delay = enabled

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True

    def getHandle(self) -> str:
        """Stand for the socket."""
        return "socket"


class Line:
    """A TlsClient and a server; the test moves the bytes between them."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, host: str = "localhost") -> None:
        self.above, self.below = Above(), Below()
        self.tls = TlsClient(self.above, client, host)
        self.to_server, self.from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self.to_server, self.from_server, server_side=True)
        self.tls.makeConnection(self.below)  # type: ignore[arg-type]

    def up(self) -> None:
        """Give the server what the client sent."""
        self.to_server.write(self.below.value())
        self.below.clear()

    def down(self, size: int = 1 << 20) -> None:
        """Give the client what the server sent, in pieces of ``size``."""
        data = self.from_server.read()
        for place in range(0, len(data), size):
            self.tls.dataReceived(data[place : place + size])

    def shake(self, size: int = 1 << 20) -> Line:
        """Go on until both sides are done, or one refuses."""
        for _ in range(4):
            self.up()
            try:
                self.server.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                break
            self.down(size)
        return self


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Sign certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def line(authority: Authority) -> Line:
    """Make a connection to localhost whose handshake is done."""
    return Line(client_context(str(authority.ca_file)), authority.server_context()).shake()


def test_bytes_pass_both_ways(line: Line) -> None:
    """Whatever number of records they take; those of one read come as one piece."""
    assert line.above.shaken
    line.tls.writeSequence([b"ask" * 20_000, b"!"])
    line.up()
    got = b""
    while len(got) < 60_001:
        got += line.server.read(65536)
    assert got == b"ask" * 20_000 + b"!"
    line.server.write(b"answer" * 10_000)
    line.down()
    assert line.above.got == [b"answer" * 10_000]


def test_bytes_pass_when_they_arrive_one_by_one(authority: Authority) -> None:
    """Records cut anywhere."""
    line = Line(client_context(str(authority.ca_file)), authority.server_context()).shake(size=1)
    line.server.write(b"answer" * 100)
    line.down(size=1)
    assert b"".join(line.above.got) == b"answer" * 100


def test_nothing_is_sent_before_the_handshake_is_done(authority: Authority) -> None:
    """The protocol above writes a credential first, so it must wait for the certificate."""
    line = Line(client_context(str(authority.ca_file)), authority.server_context())
    line.up()
    assert not line.above.shaken
    with pytest.raises(ssl.SSLWantReadError):
        line.server.do_handshake()
    with pytest.raises(ssl.SSLError):
        line.tls.write(b"secret")


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_certificate_of_another_name_or_authority_is_refused(authority: Authority, tmp_path: Path, wrong: str) -> None:
    """Another name, or another signer: the connection is reset and says why."""
    server = authority.server_context(*(["forge.example"] if wrong == "name" else []))
    trusted = authority if wrong == "name" else Authority(tmp_path / "other")
    line = Line(client_context(str(trusted.ca_file)), server).shake()
    assert not line.above.shaken
    assert line.below.aborted
    line.tls.dataReceived(b"more")  # what is on its way is not looked at
    line.tls.connectionLost(Failure(ConnectionDone()))
    (reason,) = line.above.lost
    assert isinstance(reason.value, ssl.SSLCertVerificationError)


def test_system_authorities_do_not_accept_a_test_certificate(authority: Authority) -> None:
    """Without a ca_file the system's are asked, and only those."""
    line = Line(client_context(), authority.server_context()).shake()
    assert not line.above.shaken
    assert line.below.aborted


def test_tls_before_1_2_is_refused(authority: Authority) -> None:
    """TLS 1.2 is the oldest."""
    assert client_context(str(authority.ca_file)).minimum_version is ssl.TLSVersion.TLSv1_2
    server = authority.server_context()
    server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_2
    line = Line(client_context(str(authority.ca_file)), server).shake()
    assert line.above.shaken
    assert line.server.version() == "TLSv1.2"


def test_bytes_that_are_not_tls_are_refused(authority: Authority) -> None:
    """A forge that answers in the clear is not listened to."""
    line = Line(client_context(str(authority.ca_file)), authority.server_context())
    line.tls.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
    assert line.below.aborted
    line.tls.connectionLost()
    assert isinstance(line.above.lost[0].value, ssl.SSLError)


def test_forged_record_closes_the_connection(line: Line) -> None:
    """One flipped bit: nothing of the record comes through."""
    line.server.write(b"answer")
    data = bytearray(line.from_server.read())
    data[-1] ^= 1
    line.tls.dataReceived(bytes(data))
    assert line.above.got == []
    assert line.below.aborted
    line.below.clear()
    line.tls.write(b"from whoever does not know yet")
    assert line.below.value() == b""


def test_end_of_either_layer_is_reported(line: Line) -> None:
    """A close_notify closes; a connection that ends without one just ends: the answer's own framing tells cuts."""
    with pytest.raises(ssl.SSLWantReadError):
        line.server.unwrap()
    line.down()
    assert line.below.disconnecting
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert [type(reason.value) for reason in line.above.lost] == [ConnectionDone]


def test_last_bytes_come_before_the_end(line: Line) -> None:
    """In one read: the answer's end, and the forge's farewell."""
    line.server.write(b"answer")
    with pytest.raises(ssl.SSLWantReadError):
        line.server.unwrap()
    line.down()
    assert line.above.got == [b"answer"]
    assert line.below.disconnecting


def test_transport_methods_reach_the_transport_below(line: Line) -> None:
    """Flow control and endings are TCP's."""
    producer = object()
    line.tls.registerProducer(producer, streaming=True)
    assert line.below.producer is producer
    line.tls.unregisterProducer()
    assert line.below.producer is None
    line.tls.pauseProducing()
    assert line.below.producerState == "paused"
    line.tls.resumeProducing()
    assert line.below.producerState == "producing"
    line.tls.bufferSize = 7
    assert line.below.bufferSize == line.tls.bufferSize == 7
    line.tls.setTcpNoDelay(True)
    assert line.below.no_delay
    assert line.tls.getHandle() == "socket"
    line.tls.abortConnection()
    assert line.below.aborted


@pytest.mark.parametrize("end", ["loseConnection", "loseWriteConnection"])
def test_close_notify_of_the_server_closes_the_connection(line: Line, end: str) -> None:
    """TLS has no half-closed connections."""
    getattr(line.tls, end)()
    assert line.below.disconnecting


def test_full_reads_become_larger(line: Line) -> None:
    """What counts is what came on the wire."""
    line.server.write(bytes(BUFFER_SIZE))
    line.down(size=BUFFER_SIZE)
    assert line.below.bufferSize == GROWN_SIZE


def test_bad_ca_file_is_an_error(tmp_path: Path) -> None:
    """At the start, by the exception that the caller expects."""
    with pytest.raises(FileNotFoundError):
        client_context(str(tmp_path / "none"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(ssl.SSLError):
        client_context(str(tmp_path / "empty"))


class Plain:
    """An endpoint that connects at once."""

    def __init__(self) -> None:
        self.protocol: Any = None

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Connect."""
        self.protocol = factory.buildProtocol(None)
        if self.protocol is not None:
            self.protocol.makeConnection(Below())
        return succeed(self.protocol)


def test_endpoint_adds_tls(authority: Authority) -> None:
    """The protocol is the caller's, its transport is TLS."""
    plain: Any = Plain()
    endpoint = TlsEndpoint(plain, client_context(str(authority.ca_file)), "localhost")
    got: list[Any] = []
    endpoint.connect(Factory.forProtocol(Above)).addCallback(got.append)  # type: ignore[arg-type]
    assert isinstance(got[0], Above)
    assert got[0].transport is plain.protocol


def test_factory_without_a_protocol_gets_no_tls(authority: Authority) -> None:
    """No protocol, no TLS."""
    plain: Any = Plain()
    factory = Factory()
    factory.buildProtocol = lambda _addr: None  # type: ignore[method-assign]
    endpoint = TlsEndpoint(plain, client_context(str(authority.ca_file)), "localhost")
    endpoint.connect(factory).addErrback(lambda _: None)
    assert plain.protocol is None
