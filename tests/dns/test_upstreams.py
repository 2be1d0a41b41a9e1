"""Which upstream resolvers are used, but never the gateway itself."""

from __future__ import annotations

import pytest

from credgate.dns import upstreams
from credgate.errors import ConfigError

LISTENING = ("127.0.0.1", 53)


def nobody(_: str) -> bool:
    """No address is this machine's."""
    return False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.9.9.9", ("9.9.9.9", 53)),
        ("9.9.9.9:5353", ("9.9.9.9", 5353)),
        ("2620:fe::fe", ("2620:fe::fe", 53)),
        ("[2620:fe::fe]", ("2620:fe::fe", 53)),
        ("[2620:fe::fe]:5353", ("2620:fe::fe", 5353)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
    ],
)
def test_endpoint_forms(text: str, expected: tuple[str, int]) -> None:
    """Every way people write one."""
    assert upstreams.endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "9.9.9.9:", "9.9.9.9:x", "9.9.9.9:65536", "9.9.9.9:-1", "[::1", "[::1]53", "[::1]:", "9.9.9"],
)
def test_invalid_endpoint_is_refused(text: str) -> None:
    """A name would need a resolver to find the resolver."""
    with pytest.raises(ValueError, match=r".+"):
        upstreams.endpoint(text)


RESOLV_CONF = """\
# made by hand
nameserver 10.0.0.1
nameserver fe80::1%eth0
nameserver not-an-address
nameserver
search example.com
nameserver 127.0.0.1
nameserver 10.0.0.2
nameserver 10.0.0.3
"""


def test_default_is_system_resolvers_without_the_gateway() -> None:
    """A host that uses the gateway as its resolver must not make the gateway ask itself."""
    assert upstreams.choose((), RESOLV_CONF, LISTENING, nobody) == [("10.0.0.1", 53), ("fe80::1", 53), ("10.0.0.2", 53)]
    assert ("127.0.0.1", 53) in upstreams.choose((), "nameserver 127.0.0.1", ("127.0.0.1", 5353), nobody)
    assert upstreams.choose((), "", LISTENING, nobody) == []


def test_configured_upstreams_keep_their_order() -> None:
    """The system's are then not."""
    written = ("9.9.9.9", "1.1.1.1:5353", "127.0.0.1:5354")
    assert upstreams.choose(written, RESOLV_CONF, LISTENING, nobody) == [
        ("9.9.9.9", 53),
        ("1.1.1.1", 5353),
        ("127.0.0.1", 5354),
    ]


@pytest.mark.parametrize(
    ("server", "listening", "mine"),
    [
        ("127.0.0.1", ("127.0.0.1", 53), False),
        ("0.0.0.0", ("127.0.0.1", 53), False),
        ("10.0.0.5", ("0.0.0.0", 53), True),
        ("[::1]:5353", ("::", 5353), True),
    ],
)
def test_gateway_as_own_upstream_is_refused(server: str, listening: tuple[str, int], mine: bool) -> None:  # noqa: FBT001 - a table's column
    """Written by hand it stops the start; found in ``resolv.conf`` it is left out."""
    with pytest.raises(ConfigError, match="itself") as caught:
        upstreams.choose((server,), "", listening, lambda _: mine)
    assert caught.value.key == "dns.upstream"


def test_other_host_on_same_port_is_accepted() -> None:
    """Positive control of the above, bound to all addresses."""
    assert upstreams.choose(("10.0.0.5",), "", ("0.0.0.0", 53), nobody) == [("10.0.0.5", 53)]


def test_upstream_that_is_not_an_address_stops_the_start() -> None:
    """With its key."""
    with pytest.raises(ConfigError) as caught:
        upstreams.choose(("dns.example",), "", LISTENING, nobody)
    assert caught.value.key == "dns.upstream"
