"""Dialling names: the address that was judged is the one that is dialled, and a special one never is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from credgate.errors import AddressError
from credgate.forges.place import Place
from credgate.service.upstream.endpoints import CheckedEndpoint, tcp_endpoint
from tests.fakes.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = "93.184.216.34"
OTHER = "2606:4700::1111"
SECONDS = 10

FORMS = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.17.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::f5ff:fffe",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


class Heard(Factory):
    """A server that counts who came."""

    noisy = False
    protocol = Protocol

    def __init__(self) -> None:
        self.count = 0

    def buildProtocol(self, addr: Any) -> Protocol:
        """Count."""
        self.count += 1
        return Protocol()


@pytest.fixture
def heard() -> Iterator[tuple[Heard, int]]:
    """Start such a server; the factory and its port."""
    factory = Heard()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield factory, port.getHost().port
    pytest_twisted.blockon(port.stopListening())


def client() -> Factory:
    """Make a client's factory."""
    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    return factory


def place(port: int, *, internal: bool = False) -> Place:
    """Make a place with a name."""
    return Place("lab", "git.example.com", port, tls=False, authority="git.example.com", internal=internal)


async def came(names: Names, where: Place) -> None:
    """Connect, and leave."""
    made = await tcp_endpoint(names, where, SECONDS).connect(client()).addTimeout(SECONDS, reactor)
    made.transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_name_that_resolves_to_loopback_is_not_dialled(heard: tuple[Heard, int]) -> None:
    """DNS rebinding: public when it is first asked for, the gateway's own machine when it is asked for again."""
    factory, port = heard
    names = Names(reactor, [PUBLIC], ["127.0.0.1"], detours=[PUBLIC])
    await came(names, place(port))
    with pytest.raises(AddressError) as raised:
        await came(names, place(port))
    assert raised.value.kinds == {"loopback"}
    assert str(raised.value) == "its name resolves only to non-public addresses (loopback)"
    assert names.dialled == [PUBLIC]
    assert factory.count == 1
    assert names.asked == ["git.example.com"] * 2  # once a connection: what was judged is what is dialled


@pytest_twisted.ensureDeferred
async def test_internal_name_is_dialled_at_any_address(heard: tuple[Heard, int]) -> None:
    """The positive control: nothing but that key stands in the way."""
    factory, port = heard
    names = Names(reactor, ["127.0.0.1"])
    await came(names, place(port, internal=True))
    assert names.dialled == ["127.0.0.1"]
    assert factory.count == 1


@pytest_twisted.ensureDeferred
async def test_special_addresses_among_public_ones_are_skipped(heard: tuple[Heard, int]) -> None:
    """The next that may be dialled is."""
    _, port = heard
    names = Names(reactor, ["127.0.0.1", "fd00:ec2::254", PUBLIC], detours=[PUBLIC])
    await came(names, place(port))
    assert names.dialled == [PUBLIC]


@pytest_twisted.ensureDeferred
async def test_failure_of_a_public_address_is_reported(heard: tuple[Heard, int]) -> None:
    """The operator must look at the forge, not at the other addresses of its name."""
    _, port = heard
    await came(Names(reactor, ["127.0.0.1"], detours=[]), place(port, internal=True))
    with pytest.raises(Refused):
        await came(Names(reactor, ["10.0.0.1", PUBLIC], detours=[PUBLIC]), place(1))


@pytest_twisted.ensureDeferred
async def test_name_without_addresses_is_reported_as_unresolved() -> None:
    """It cannot be resolved, and that is what is said."""
    with pytest.raises(DNSLookupError):
        await came(Names(reactor, []), place(1))


@pytest.mark.parametrize("address", FORMS)
def test_no_special_address_is_dialled_in_any_form(address: str) -> None:
    """Alone, it fails the connection; nothing is dialled."""
    net = MemoryReactorClock()
    failed: list[Any] = []
    CheckedEndpoint(Names(net, [address]), "git.example.com", 443, 30).connect(client()).addErrback(failed.append)
    assert failed[0].check(AddressError)
    assert net.tcpClients == []


@pytest.mark.parametrize("address", [PUBLIC, OTHER, "64:ff9b::93.184.216.34"])
def test_a_public_address_is_dialled_as_it_is(address: str) -> None:
    """The positive control, and no name is handed on to be resolved again."""
    net = MemoryReactorClock()
    made = CheckedEndpoint(Names(net, [address]), "git.example.com", 443, 30).connect(client())
    assert [one[:2] for one in net.tcpClients] == [(address, 443)]
    made.addErrback(lambda _: None).cancel()


def test_several_addresses_are_tried_in_their_order() -> None:
    """The second while the first has not answered, as browsers do."""
    net = MemoryReactorClock()
    made = CheckedEndpoint(Names(net, [OTHER, "::1", PUBLIC]), "git.example.com", 443, 30).connect(client())
    assert [one[0] for one in net.tcpClients] == [OTHER]
    net.advance(1)
    assert [one[0] for one in net.tcpClients] == [OTHER, PUBLIC]
    made.addErrback(lambda _: None).cancel()


def test_address_literal_of_a_forges_answer_is_checked() -> None:
    """A place that a forge's answer named is not internal, even if it is written as an address."""
    net = MemoryReactorClock()
    failed: list[Any] = []
    where = Place("objects", "127.0.0.1", 443, tls=False, authority="127.0.0.1")
    tcp_endpoint(Names(net, ["127.0.0.1"]), where, 30).connect(client()).addErrback(failed.append)
    assert failed[0].check(AddressError)
    assert net.tcpClients == []


def test_resolver_result_that_is_not_an_address_is_not_dialled() -> None:
    """Whatever a resolver may come up with."""
    net = MemoryReactorClock()
    failed: list[Any] = []

    class Odd(Names):
        def resolveHostName(self, receiver: Any, *_: object, **__: object) -> None:
            receiver.resolutionBegan(self)
            receiver.addressResolved(object())
            receiver.resolutionComplete()

    CheckedEndpoint(Odd(net), "git.example.com", 443, 30).connect(client()).addErrback(failed.append)
    assert failed[0].value.kinds == {"unknown"}
