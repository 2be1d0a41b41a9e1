"""Hostile hrefs: whatever a parser might make of them, they are matched whole or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.lfs.hrefs import MAX_HREF, read_href
from credgate.lfs.refusals import LfsError
from credgate.values import Reason

HUB = driver_for(ForgeConfig("github.com", "github", "https://github.com"))
LAB = driver_for(
    ForgeConfig(
        "lab", "generic", "https://git.lab.example:8443/srv",
        lfs_hosts=("s3.lab.example", "*.blob.example", "192.0.2.7"),
        ca_file="/lab.pem", proxy="http://proxy:3128",
    )
)  # fmt: skip
INSIDE = driver_for(
    ForgeConfig("inside", "generic", "https://git.corp", lfs_hosts=("10.0.0.5", "minio.corp"), internal=True)
)
PLAIN = driver_for(ForgeConfig("plain", "generic", "http://127.0.0.1:3000", lfs_hosts=("localhost", "127.0.0.1")))
HOUSE = driver_for(
    ForgeConfig("house", "github", "https://hub.example:8443", ca_file="/hub.pem", lfs_hosts=("1.1.1.1",))
)
SIX = driver_for(ForgeConfig("six", "generic", "https://[2001:db8::1]:8443"))
SIGNED = "/bucket/ab/cd/oid%2B1?X-Amz-Signature=ab%2Fcd&X-Amz-Date=2026&response=attachment%3B+a"


@pytest.mark.parametrize(
    ("driver", "text", "host", "port", "authority", "own"),
    [
        (HUB, "https://github.com" + SIGNED, "github.com", 443, "github.com", True),
        (HUB, "https://GitHub.com:443" + SIGNED, "github.com", 443, "github.com", True),
        (HUB, "https://github-cloud.s3.amazonaws.com" + SIGNED, "github-cloud.s3.amazonaws.com", 443, None, False),
        (LAB, "https://git.lab.example:8443/a", "git.lab.example", 8443, "git.lab.example:8443", True),
        (LAB, "https://git.lab.example/a", "git.lab.example", 443, "git.lab.example", False),
        (LAB, "https://s3.lab.example:9000/a", "s3.lab.example", 9000, "s3.lab.example:9000", False),
        (LAB, "https://a.b.blob.example/a", "a.b.blob.example", 443, "a.b.blob.example", False),
        (INSIDE, "https://10.0.0.5:9000/a", "10.0.0.5", 9000, "10.0.0.5:9000", False),
        (PLAIN, "http://127.0.0.1:3000/a/b", "127.0.0.1", 3000, "127.0.0.1:3000", True),
        (PLAIN, "https://localhost:9000/a", "localhost", 9000, "localhost:9000", False),
        (SIX, "https://[2001:db8::1]:8443/a", "2001:db8::1", 8443, "[2001:db8::1]:8443", True),
        (SIX, "https://[2001:db8::1]/a", "2001:db8::1", 443, "[2001:db8::1]", False),
        (PLAIN, "https://127.0.0.1:3000/a", "127.0.0.1", 3000, "127.0.0.1:3000", False),
        (LAB, "https://s3.lab.example:65535/a", "s3.lab.example", 65535, "s3.lab.example:65535", False),
        (HOUSE, "https://1.1.1.1/a", "1.1.1.1", 443, "1.1.1.1", False),
        (HUB, "https://github.com/" + "a" * (MAX_HREF - 19), "github.com", 443, "github.com", True),
        (HUB, "https://github.com/a(b)'c'!d*e,f;g=h:i@j&k$l~m", "github.com", 443, "github.com", True),
        (HUB, "https://github.com/a?b=/c?d", "github.com", 443, "github.com", True),
    ],
)  # fmt: skip
def test_hrefs_of_real_forges_are_read(
    driver: object, text: str, host: str, port: int, authority: str | None, *, own: bool
) -> None:
    href = read_href(text, driver)  # type: ignore[arg-type]
    assert (href.place.host, href.place.port, href.own) == (host, port, own)
    assert href.place.authority == (authority or host)
    assert href.place.tls is text.startswith("https")
    assert href.target == text.partition("://")[2].partition("/")[1] + text.partition("://")[2].partition("/")[2]
    assert "Signature" not in repr(href)


HOSTILE = [
    # Schemes, and what only looks like one.
    "http://github.com/a", "ftp://github.com/a", "file:///etc/passwd", "HTTPS://github.com/a", "https:/github.com/a",
    "https:github.com/a", "//github.com/a", "/a", "a", "", "https://", "https:///a", "javascript:alert(1)",
    " https://github.com/a", "https://github.com/a ", "https://github.com/a\n", "\thttps://github.com/a",
    # Who is the host?
    "https://github.com@evil.example/a", "https://github.com:pass@evil.example/a", "https://evil.example#@github.com/a",
    "https://evil.example\\@github.com/a", "https://github.com\\.evil.example/a", "https://evil.example/@github.com",
    "https://github.com.evil.example/a", "https://evilgithub.com/a", "https://github.com%2eevil.example/a",
    "https://github.com%00.evil.example/a", "https://github.com\u3002evil.example/a", "https://\uff47ithub.com/a",
    "https://github.com./a", "https://.github.com/a", "https://github..com/a", "https://git_hub.com/a",
    "https://user@github.com/a", "https://@github.com/a", "https://evil.example;github.com/a",
    "https://evil.example,github.com/a", "https://github.com:443@evil.example/a", "https://github.com\t.evil/a",
    "https://github.com?@evil.example/a", "https://-github.com/a", "https://githubusercontent.com/a",
    # Addresses, in every dress.
    "https://127.0.0.1/a", "https://169.254.169.254/latest/meta-data/", "https://10.0.0.1/a", "https://0/a",
    "https://2130706433/a", "https://0x7f000001/a", "https://0x7f.1/a", "https://017700000001/a", "https://127.1/a",
    "https://127.0.0.1./a", "https://[::1]/a", "https://[::ffff:127.0.0.1]/a", "https://[fd00::1]/a", "https://[::]/a",
    "https://[::1%25eth0]/a", "https://[::1/a", "https://[v1.x]/a", "https://[]/a", "https://8.8.8.8/a", "https://1.1/a",
    "https://localhost/a", "https://metadata.google.internal/a",
    # Ports.
    "https://github.com:22/a", "https://github.com:8443/a", "https://github.com:/a", "https://github.com:0/a",
    "https://github.com:0443/a", "https://github.com:65536/a", "https://github.com:99999/a", "https://github.com:+443/a",
    "https://github.com:44\uff13/a", "https://github-cloud.s3.amazonaws.com:8443/a",
    # Paths and queries.
    "https://github.com", "https://github.com?a", "https://github.com/", "https://github.com//a", "https://github.com/a/",
    "https://github.com/../a", "https://github.com/a/..", "https://github.com/./a", "https://github.com/a/../../b",
    "https://github.com/%2e%2e/a", "https://github.com/%2E/a", "https://github.com/a%5cb", "https://github.com/a\\b",
    "https://github.com/a%0d%0aHost:%20evil", "https://github.com/a%00", "https://github.com/a%7f", "https://github.com/a%",
    "https://github.com/a%2", "https://github.com/a%zz", "https://github.com/a#b", "https://github.com/a?b#c",
    "https://github.com/a b", "https://github.com/a\r\nX: y", "https://github.com/a?b\r\nX: y", "https://github.com/a?%0a",
    "https://github.com/a?b%", "https://github.com/a?b%z", "https://github.com/a/%",
    "https://github.com/é", "https://github.com/a?é", 'https://github.com/"a"', "https://github.com/<a>",
    "https://github.com/a?{b}", "https://github.com/a|b", "https://github.com/a^b", "https://github.com/`a`",
    "https://github.com/" + "a" * MAX_HREF,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_hrefs_are_refused(text: str) -> None:
    """Each differs from one that is served in one thing; the refusal repeats nothing of it but a plain host's name."""
    with pytest.raises(LfsError) as caught:
        read_href(text, HUB)
    assert (caught.value.reason, caught.value.status) == (Reason.LFS_STORAGE, 502)
    assert "github.com stores this object" in str(caught.value)
    assert "credgate does not connect to it" in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_hostile_hrefs_are_many_and_distinct() -> None:
    """A table that shrank would go unnoticed."""
    assert len(set(HOSTILE)) == len(HOSTILE) > 100


@pytest.mark.parametrize(
    ("driver", "text", "why"),
    [
        (LAB, "https://blob.example/a", "on blob.example, which is not among lfs_hosts"),
        (LAB, "https://git.lab.example:8444/a", "at another port than the default"),
        (LAB, "https://s3.lab.example:65536/a", "at a malformed URL"),
        (HOUSE, "https://media.hub.example:8443/a", "at another port than the default"),
        (HOUSE, "https://media..hub.example/a", "at a malformed host name"),
        (HOUSE, "https://media.hub.1/a", "at a malformed host name"),
        (LAB, "http://s3.lab.example/a", "at an http URL"),
        (LAB, "https://192.0.2.7/a", "at a private address"),
        (LAB, "https://10.0.0.5/a", "on 10.0.0.5"),
        (INSIDE, "https://10.0.0.6/a", "on 10.0.0.6"),
        (PLAIN, "http://127.0.0.2:3000/a", "on 127.0.0.2"),
        (SIX, "https://[2001:0db8::1]:8443/a", "at a malformed host name"),
    ],
)
def test_each_rule_has_its_own_text(driver: object, text: str, why: str) -> None:
    """An operator who wants it otherwise knows which key to write."""
    with pytest.raises(LfsError, match=why):
        read_href(text, driver)  # type: ignore[arg-type]


def test_storage_has_the_forges_settings_for_dialling() -> None:
    """Its authorities for hosts that the operator wrote down; private addresses only if it says so."""
    listed, usual = read_href("https://s3.lab.example/a", LAB).place, read_href("https://github.com/a", HUB).place
    assert (listed.ca_file, listed.proxy, listed.internal) == ("/lab.pem", "http://proxy:3128", False)
    assert (usual.ca_file, usual.proxy, usual.internal) == ("", "", False)
    assert read_href("https://minio.corp/a", INSIDE).place.internal
    assert not read_href("https://localhost:9000/a", PLAIN).place.internal
    assert read_href("http://127.0.0.1:3000/a", PLAIN).place.internal
    assert read_href("https://127.0.0.1:9000/a", PLAIN).place.internal
    assert read_href("http://127.0.0.1:3000/a", PLAIN).place == Place.of(PLAIN)
    beside, another_port = read_href("https://media.hub.example/a", HOUSE), read_href("https://hub.example/a", HOUSE)
    assert (beside.place.ca_file, another_port.place.ca_file) == ("", "/hub.pem")


@given(st.text(max_size=60), st.sampled_from(["https://github.com", "https://", ""]))
def test_any_text_is_read_or_refused(text: str, before: str) -> None:
    """And what comes out goes to a host that is allowed, in printable ASCII."""
    try:
        href = read_href(before + text, HUB)
    except LfsError:
        return
    assert HUB.lfs_host(href.place.host)
    assert href.target.isascii()
    assert href.target.isprintable()
    assert " " not in href.target
