"""URLs, addresses and names of forges: one closed form each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config import netforms

if TYPE_CHECKING:
    from collections.abc import Callable

URLS = [
    ("https://github.com", "https://github.com"),
    ("https://GitHub.com/", "https://github.com"),
    ("https://git.example.com:8443/scm/git", "https://git.example.com:8443/scm/git"),
    ("https://git.example.com:0443", "https://git.example.com:443"),
    ("http://localhost:8000/~me", "http://localhost:8000/~me"),
    ("http://127.0.0.1", "http://127.0.0.1"),
    ("http://[::1]:8000", "http://[::1]:8000"),
    ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
    ("https://3com.example", "https://3com.example"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
]

BAD_URLS = [
    "",
    "github.com",
    "ssh://github.com",
    "HTTPS://github.com",
    "https://",
    "https:///x",
    "https://github.com//",
    "https://github.com/a//b",
    "https://user@github.com",
    "https://user:CANARY@github.com",
    "https://github.com?x",
    "https://github.com/#x",
    "https://github.com:",
    "https://github.com:x",
    "https://github.com:65536",
    "https://github.com:0",
    "https://github.com/.",
    "https://github.com/a/../b",
    "https://github.com/a%2fb",
    "https://github.com\\@evil.test",
    "https://github.com ",
    " https://github.com",
    "https://github.com\n",
    "https://git_hub.com",
    "https://.github.com",
    "https://github.com.",
    "https://git..hub.com",
    "https://-github.com",
    "https://github-.com",
    "https://" + "a" * 64 + ".com",
    "https://" + "a." * 127 + "com",
    "https://gïthub.com",
    "https://\uff47ithub.com",
    "https://127.1",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.1",
    "https://127.0.0.01",
    "https://1.2.3.4.5",
    "https://[::1",
    "https://::1",
    "https://[127.0.0.1]x",
    "https://[fe80::1%25eth0]",
    "https://[:::]",
]


@pytest.mark.parametrize(("text", "expected"), URLS)
def test_forge_url_is_normalised(text: str, expected: str) -> None:
    """Connection pools and comparisons need one spelling of a forge."""
    assert netforms.forge_url(text) == expected
    assert netforms.forge_url(expected) == expected


@pytest.mark.parametrize("text", BAD_URLS)
def test_invalid_url_is_refused_and_not_repeated(text: str) -> None:
    """A URL may contain a pasted password."""
    with pytest.raises(ValueError, match=r"expected|host|port|path|invisible") as caught:
        netforms.forge_url(text)
    assert "CANARY" not in str(caught.value)


@given(st.from_regex(netforms._URL, fullmatch=True))
def test_accepted_url_has_the_same_host_and_port_for_urllib(text: str) -> None:
    """Another parser must not connect elsewhere."""
    try:
        url = netforms.forge_url(text)
    except ValueError:
        return
    mine, theirs = urlsplit(url), urlsplit(text.rstrip("\n"))
    assert (mine.scheme, mine.hostname, mine.port) == (theirs.scheme, theirs.hostname, theirs.port)
    assert mine.path == theirs.path.removesuffix("/")


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80/x", True),
        ("http://localhost", True),
        ("http://localhost.evil.test", False),
        ("http://10.0.0.1", False),
        ("http://[::2]", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_detected(url: str, loopback: bool) -> None:  # noqa: FBT001 - a column of the table
    """Plain http is harmless there and nowhere else."""
    assert netforms.is_loopback(url) is loopback


@pytest.mark.parametrize("name", ["github.com", "a", "git-1.example.com", "x" * 100])
def test_forge_name_fits_into_a_path(name: str) -> None:
    """``/forge/NAME/`` is matched without decoding."""
    assert netforms.forge_name(name) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [("GitHub.com", 'did you mean "github.com"'), ("a/b", '"-"$'), ("", '"-"$'), ("-a", '"-"$'), ("x" * 101, '"-"$')],
)
def test_invalid_forge_name_is_refused(name: str, text: str) -> None:
    """A name that needs escaping could never be requested."""
    with pytest.raises(ValueError, match=text):
        netforms.forge_name(name)


ACCEPTED: list[tuple[Any, object, object]] = [
    (netforms.address_port, "", ""),
    (netforms.address_port, "127.0.0.1:5353", "127.0.0.1:5353"),
    (netforms.address_port, "0.0.0.0:0", "0.0.0.0:0"),
    (netforms.address_port, "[::]:53", "[::]:53"),
    (netforms.loopback_port, "", ""),
    (netforms.loopback_port, "127.0.0.2:9464", "127.0.0.2:9464"),
    (netforms.loopback_port, "[::1]:9464", "[::1]:9464"),
    (netforms.proxy_url, "", ""),
    (netforms.proxy_url, "http://Proxy:3128", "http://proxy:3128"),
    (
        netforms.host_patterns,
        ["Objects.example.com", "*.lfs.example.com"],
        ("objects.example.com", "*.lfs.example.com"),
    ),
    (netforms.host_patterns, [], ()),
    (netforms.upstreams, ["9.9.9.9", "9.9.9.9:53", "2620:fe::fe", "[2620:fe::fe]:53"], None),
    (netforms.networks, ["10.0.0.0/8", "10.0.0.1", "fd00::/8"], None),
    (
        netforms.static_names,
        {"a": "10.0.0.1", "b": ["10.0.0.2", "::1"]},
        {"a": ("10.0.0.1",), "b": ("10.0.0.2", "::1")},
    ),
    (netforms.static_names, {}, {}),
]

REFUSED: list[tuple[Any, object, str]] = [
    *[
        (netforms.address_port, text, "expected address:port")
        for text in ("127.0.0.1", "127.0.0.1:", ":53", "::1:53", "[::1]", "[127.0.0.1]:53", "127.0.0.1:+5", "a:53")
    ],
    (netforms.address_port, "127.0.0.1:65536", "expected address:port"),
    (netforms.address_port, "127.0.0.1:\uff15", "expected address:port"),
    (netforms.address_port, 53, "a string in quotes"),
    *[
        (netforms.loopback_port, text, "expected address:port with a loopback")
        for text in ("0.0.0.0:9464", "10.0.0.1:9464", "[::]:9464", "localhost:9464", "127.0.0.1", ":9464")
    ],
    *[
        (netforms.proxy_url, text, "expected a proxy")
        for text in ("https://a:1", "http://a", "http://a:1/", "http://a:1/x", "http://u:p@a:1", "a:1")
    ],
    *[
        (netforms.host_patterns, [text], "expected host names")
        for text in ("*", "*.com", "a.*", "*a.b", "https://a", "a:1", "a/b", "", "-a", "*.*.a.b")
    ],
    (netforms.upstreams, "9.9.9.9", "a list of strings"),
    (netforms.upstreams, ["dns.quad9.net"], "expected addresses"),
    (netforms.networks, ["10.0.0.1/8"], "host bits set"),
    (netforms.networks, ["lan"], "expected networks"),
    (netforms.static_names, [], "expected a table"),
    (netforms.static_names, {"a": []}, '"a" needs an address'),
    (netforms.static_names, {"a": ["10.0.0.1", "b"]}, '"a" needs an address'),
    (netforms.static_names, {"a": 1}, "a list of strings"),
    (netforms.static_names, {"git": {"gateway": "10.0.0.1"}}, "needs quotes"),
]


@pytest.mark.parametrize(("form", "value", "expected"), ACCEPTED)
def test_valid_addresses_are_accepted(form: Callable[[object], object], value: Any, expected: object) -> None:
    """Both families, with a port where one is needed."""
    assert form(value) == (tuple(value) if expected is None else expected)


@pytest.mark.parametrize(("form", "value", "text"), REFUSED)
def test_invalid_address_is_refused(form: Callable[[object], object], value: object, text: str) -> None:
    """A host name could not be resolved before the resolver is configured."""
    with pytest.raises(ValueError, match=text):
        form(value)


@pytest.mark.parametrize("text", ["", "https://gate.example.com", "http://10.0.0.2:8080", "https://[::1]:8443"])
def test_origin_is_normalised(text: str) -> None:
    """Links start with it; the case of a host does not matter."""
    assert netforms.origin(text) == text
    assert netforms.origin(text.replace("gate", "GATE")) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://gate.example.com/",
        "https://gate.example.com/git",
        "gate.example.com",
        "https://gate.example.com:0",
        "https://CANARY@gate",
        "https://gate\r\nX: y",
        "https://gate?x",
        "ftp://gate",
    ],
)
def test_origin_with_path_is_refused(text: str) -> None:
    """A path, user or query would appear in every link."""
    with pytest.raises(ValueError, match=r"expected|the port must|not allowed") as caught:
        netforms.origin(text)
    assert "CANARY" not in str(caught.value)
