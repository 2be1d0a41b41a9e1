"""The driver: what every kind inherits, the login forms, and the agreement of what it sends and recognises."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.forges.driver import Driver, basic, bearer
from credgate.forges.origin import Origin
from credgate.forges.registry import driver_for
from credgate.values import Access

URL = "https://git.example:8443/sub"


class Plain(Driver):
    """Repositories are ``a/b`` in any case; what stands before ``/b`` is a group."""

    def normal(self, path: str) -> str | None:
        bare = path.removesuffix(".git").lower()
        return bare if bare.count("/") == 1 and ".." not in bare else None

    def group(self, path: str) -> str | None:
        return path.lower() if path and "/" not in path else None


def driver(**more: object) -> Plain:
    return Plain(ForgeConfig("lab", "generic", URL, **more), Origin.parse(URL, allow_plain_http=False))  # type: ignore[arg-type]


def test_a_kind_must_define_its_names() -> None:
    """A default form would be wrong for some kinds, and so a grant for something else."""
    with pytest.raises(TypeError, match="abstract"):
        Driver(ForgeConfig("lab", "generic", URL), Origin.parse(URL, allow_plain_http=False))  # type: ignore[abstract]


def test_the_address_is_the_configured_one() -> None:
    """Connections and ``Host`` come from the configuration alone."""
    made = driver()
    assert (made.host, made.port, made.tls, made.authority) == ("git.example", 8443, True, "git.example:8443")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("**", "**"),
        ("Octo/*", "octo/*"),
        ("Octo/Hello.git", "octo/hello"),
        ("octo/hello/*", None),
        ("/*", None),
        ("*", None),
        ("*/hello", "*/hello"),
        ("octo", None),
    ],
)
def test_a_pattern_is_a_repository_a_group_or_everything(written: str, normal: str | None) -> None:
    """A star is special at the end only; elsewhere it is a letter, and the kind decides whether it is legal."""
    assert driver().normal_pattern(written) == normal


def test_only_a_legal_name_becomes_a_path() -> None:
    """Below the forge's prefix, always with ``.git``; anything else is a defect and is not sent."""
    made = driver()
    assert made.path("octo/hello", "info/refs") == "/sub/octo/hello.git/info/refs"
    assert made.path("octo/hello.git", "info/refs", dot_git=True) == "/sub/octo/hello.git/info/refs"
    for wrong in ("octo", "octo/../x", "a/b/c", ""):
        with pytest.raises(ValueError, match="not a repository path"):
            made.path(wrong, "info/refs")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (URL + "/Octo/New.git/info/refs?service=git-upload-pack", "octo/new"),
        ("/sub/octo/new/info/refs?service=git-receive-pack", "octo/new"),
        ("/sub/octo/new/x/info/refs?service=git-upload-pack", None),
        ("https://git.example/sub/octo/new/info/refs?service=git-upload-pack", None),
        (URL + "/octo/new.git", None),
        ("", None),
    ],
)
def test_a_redirect_is_matched_as_a_whole(location: str, path: str | None) -> None:
    """Another port is another forge; a name that is not legal in a grant is not legal here."""
    assert driver().moved(location.encode()) == path


def test_the_api_is_the_configured_one_or_unknown() -> None:
    """Without a trailing slash, so that a path can be appended."""
    assert driver().api is None
    assert driver(api_url="https://api.example/v3/").api == "https://api.example/v3"


def test_lfs_hosts_are_the_forge_and_the_configured_ones() -> None:
    made = driver(lfs_hosts=("*.storage.example",))
    assert made.lfs_hosts == ("git.example", "*.storage.example")
    assert [
        made.lfs_host(host) for host in ("GIT.example", "a.storage.example", "storage.example", "evil.example")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_the_login_is_the_usual_user_unless_another_is_configured() -> None:
    assert b64decode(driver().login("s").removeprefix(b"Basic ")) == b"x-access-token:s"
    assert b64decode(driver(username="robot").login("s").removeprefix(b"Basic ")) == b"robot:s"


def test_only_401_rejects_the_credential() -> None:
    """Unless a kind says otherwise: a renewal because of a 403 or 404 would end a good credential."""
    made = driver()
    assert [status for status in range(300, 600) if made.refuses_credential(status)] == [401]
    assert "lab" in made.sentence(404, Access.READ)


DRIVERS = [
    driver_for(ForgeConfig("github.com", "github", "https://github.com")),
    driver_for(ForgeConfig("lab", "generic", "https://lab.example/x")),
]


# sampled, not parametrized: pytest-twisted runs @given inside its own greenlet only once
@given(
    driver=st.sampled_from(DRIVERS), spelled=st.from_regex(r"[aB._-]{1,4}(/[aB._~-]{1,4}){0,2}(\.git)?", fullmatch=True)
)
def test_moved_is_the_inverse_of_path(driver: Driver, spelled: str) -> None:
    """Up to the normal form, which is stable."""
    normal = driver.normal(spelled)
    if normal is not None:
        target = driver.path(spelled, "info/refs?service=git-upload-pack", dot_git=True)
        assert driver.moved(target.encode()) == normal
        assert driver.normal(normal) == normal
        assert driver.normal_pattern(spelled) == normal


def test_the_example_of_rfc_7617_section_2() -> None:
    """The vector of the RFC."""
    assert basic("Aladdin", "open sesame") == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_the_utf_8_example_of_rfc_7617_section_2_1() -> None:
    """The vector of the RFC for a password that is not ASCII."""
    assert basic("test", "123£") == b"Basic dGVzdDoxMjPCow=="


@given(st.text(), st.text())
def test_basic_encodes_any_secret_on_one_line(user: str, secret: str) -> None:
    """A line break in the value would start a second header field upstream."""
    try:
        value = basic(user, secret)
    except UnicodeEncodeError:  # lone surrogates: no configuration can hold them
        return
    assert b"\n" not in value
    assert b"\r" not in value
    assert b64decode(value.removeprefix(b"Basic "), validate=True).decode() == f"{user}:{secret}"


def test_the_example_of_rfc_6750_section_2_1() -> None:
    """The vector of the RFC."""
    assert bearer("mF_9.B5f-4.1JqM") == b"Bearer mF_9.B5f-4.1JqM"


@pytest.mark.parametrize("secret", ["", "a b", "a\n", "a\r\nX: y", "a\0", "a\x7f", "£"])
def test_bearer_refuses_what_a_header_field_cannot_hold(secret: str) -> None:
    """It is not encoded: a line break would start another field, and the error does not repeat the secret."""
    with pytest.raises(ValueError, match=r"not a token that a header field can hold$"):
        bearer(secret)
