"""The forge's URL, taken apart strictly, and its redirects, matched whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ConfigError
from credgate.forges.origin import Origin


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "prefix", "authority"),
    [
        ("https://github.com", True, "github.com", 443, "", "github.com"),
        ("https://github.com/", True, "github.com", 443, "", "github.com"),
        ("https://GitHub.COM:443", True, "github.com", 443, "", "github.com"),
        ("https://git.example.org:8443/scm/git", True, "git.example.org", 8443, "/scm/git", "git.example.org:8443"),
        ("http://127.0.0.1:8080/x/", False, "127.0.0.1", 8080, "/x", "127.0.0.1:8080"),
        ("http://localhost", False, "localhost", 80, "", "localhost"),
        ("http://[::1]:81", False, "::1", 81, "", "[::1]:81"),
        ("https://[2001:DB8:0::1]", True, "2001:db8::1", 443, "", "[2001:db8::1]"),
        ("https://git.example.org:65535", True, "git.example.org", 65535, "", "git.example.org:65535"),
        ("https://10.0.0.7", True, "10.0.0.7", 443, "", "10.0.0.7"),
        ("https://xn--nxasmq6b.example", True, "xn--nxasmq6b.example", 443, "", "xn--nxasmq6b.example"),
    ],
)
def test_a_valid_url_is_parsed(url: str, tls: bool, host: str, port: int, prefix: str, authority: str) -> None:  # noqa: FBT001 - a table's columns
    """Where to connect, what to verify and what to say in Host are all told here."""
    origin = Origin.parse(url, allow_plain_http=False)
    assert (origin.tls, origin.host, origin.port, origin.prefix) == (tls, host, port, prefix)
    assert origin.authority == authority
    assert origin.url == f"{'https' if tls else 'http'}://{authority}{prefix}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "github.com",
        "//github.com",
        "ftp://github.com",
        "HTTPS://github.com",
        "https:/github.com",
        "https://",
        "https://user@github.com",
        "https://u:p@github.com",
        "https://github.com@evil.example",
        "https://github.com:0",
        "https://github.com:65536",
        "https://github.com:080",
        "https://github.com:",
        "https://github.com:1x",
        "https://github.com?x",
        "https://github.com#x",
        "https://github.com/a?b",
        "https://github.com/%2e",
        "https://github.com/a//b",
        "https://github.com/a/../b",
        "https://github.com/.",
        "https://github.com//",
        "https://github.com\n",
        " https://github.com",
        "https://git hub.com",
        "https://github.com\\x",
        "https://gïthub.com",
        "https://127.1",
        "https://2130706433",
        "https://0x7f.1",
        "https://0177.0.0.1",
        "https://1.2.3.4.5",
        "https://256.1.1.1",
        "https://a..b",
        "https://-a.example",
        "https://a-.example",
        "https://.a",
        "https://a.",
        "https://a_b.example",
        "https://[::1",
        "https://::1",
        "https://[::1]x",
        "https://[localhost]",
        "https://[fade]",
        "https://[127.0.0.1.5]",
        "https://[fe80::1%25eth0]",
        "https://" + "a" * 64 + ".example",
    ],
)
def test_a_bad_url_stops_the_start(url: str) -> None:
    """URL parsers and resolvers disagree about each of these hosts; the operator must write a plain one."""
    with pytest.raises(ConfigError, match=r"^forges\.\"x\"\.url: .*expected https://host\[:port\]\[/prefix\]$"):
        Origin.parse(url, allow_plain_http=True, key='forges."x".url')


@pytest.mark.parametrize(
    "url", ["http://git.example.org", "http://10.0.0.1", "http://localhost.example", "http://[2001:db8::1]"]
)
def test_plain_http_needs_loopback_or_configuration(url: str) -> None:
    """Else the credential crosses a network in clear."""
    with pytest.raises(ConfigError, match="allow_plain_http"):
        Origin.parse(url, allow_plain_http=False)
    assert Origin.parse(url, allow_plain_http=True).tls is False


SERVICE = b"/info/refs?service=git-upload-pack"


@pytest.mark.parametrize(
    ("url", "location", "path"),
    [
        ("https://f.example", b"https://f.example/new/name.git" + SERVICE, "new/name.git"),
        ("https://f.example", b"https://F.EXAMPLE:443/new/name" + SERVICE, "new/name"),
        ("https://f.example", b"/new/name/info/refs?service=git-receive-pack", "new/name"),
        ("https://f.example:8443/p", b"https://f.example:8443/p/a/b/c" + SERVICE, "a/b/c"),
        ("https://f.example:8443/p", b"/p/a/b" + SERVICE, "a/b"),
        ("http://[::1]:81", b"http://[::1]:81/a/b" + SERVICE, "a/b"),
    ],
)
def test_a_redirect_inside_the_forge_names_its_repository(url: str, location: bytes, path: str) -> None:
    """Renamed repositories are the one redirect that may be told to the client."""
    assert Origin.parse(url, allow_plain_http=True).repository_in(location) == path


@pytest.mark.parametrize(
    "location",
    [
        b"",
        b"/",
        b"https://evil.example/a/b" + SERVICE,
        b"http://f.example/a/b" + SERVICE,
        b"//evil.example/a/b" + SERVICE,
        b"//f.example/a/b" + SERVICE,
        b"https://f.example.evil.example/p/a/b" + SERVICE,
        b"https://f.example@evil.example/p/a" + SERVICE,
        b"https://evil@f.example/p/a/b" + SERVICE,
        b"https://fXexample/p/a/b" + SERVICE,
        b"https://f.example:444/p/a/b" + SERVICE,
        b"https://f.example/a/b" + SERVICE,
        b"https://f.example/p//a/b" + SERVICE,
        b"https://f.example/p/a%2fb" + SERVICE,
        b"https://f.example/P/a/b" + SERVICE,
        b"https://f.example/p/a/b" + SERVICE + b"\n",
        b" https://f.example/p/a/b" + SERVICE,
        b"https://f.example/p/a/b" + SERVICE + b"&x=1",
        b"https://f.example/p/a/b/info/refs",
        b"https://f.example/p/a/b/git-upload-pack",
        b"https://f.example/p/a/b" + SERVICE + b"#x",
        b"https://f.example\\@evil.example/p/a/b" + SERVICE,
        b"https://f.example/p/" + b"a" * 1024 + SERVICE,
        b"\xff",
        b"https://f.example/p/\xc3\xa9" + SERVICE,
        b"/p" + SERVICE,
    ],
)
def test_any_other_redirect_names_nothing(location: bytes) -> None:
    """A redirect elsewhere would carry the session's credential there on the next POST (git-over-http 2.6)."""
    assert Origin.parse("https://f.example/p", allow_plain_http=False).repository_in(location) is None


def test_the_longest_redirect_and_one_more() -> None:
    """A bound, so that no pattern ever runs over more than it."""
    origin = Origin.parse("https://f.example", allow_plain_http=False)
    name = "a" * (1024 - len("/") - len(SERVICE))
    assert origin.repository_in(b"/" + name.encode() + SERVICE) == name
    assert origin.repository_in(b"/a" + name.encode() + SERVICE) is None


@given(st.binary(max_size=80))
def test_redirects_of_any_bytes_are_judged(tail: bytes) -> None:
    """The forge may be hostile: no Location raises, and none but the pattern's names a path."""
    origin = Origin.parse("https://f.example", allow_plain_http=False)
    path = origin.repository_in(b"https://f.example/" + tail + SERVICE)
    assert path is None or path.encode() == tail
