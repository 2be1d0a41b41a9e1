"""What every driver has from ``Base``: a kind that says only how its names look is guarded like all others."""

from __future__ import annotations

from base64 import b64decode

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.base import Base
from credgate.forges.origin import Origin
from credgate.values import Access

URL = "https://git.example:8443/sub"


class Plain(Base):
    """Repositories are ``a/b`` in any case; what stands before ``/b`` is a group."""

    def normal(self, path: str) -> str | None:
        """Fold, and want two segments."""
        bare = path.removesuffix(".git").lower()
        return bare if bare.count("/") == 1 and ".." not in bare else None

    def group(self, path: str) -> str | None:
        """Fold, and want one."""
        return path.lower() if path and "/" not in path else None


def driver(**more: object) -> Plain:
    """Make one."""
    return Plain(ForgeConfig("lab", "generic", URL, **more), Origin.parse(URL, allow_plain_http=False))  # type: ignore[arg-type]


def test_a_kind_must_say_how_its_names_look() -> None:
    """There is no usual form to fall back on: the wrong one would be a grant for something else."""
    with pytest.raises(TypeError, match="abstract"):
        Base(ForgeConfig("lab", "generic", URL), Origin.parse(URL, allow_plain_http=False))  # type: ignore[abstract]


def test_where_it_is_is_where_the_operator_wrote() -> None:
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
    """A star means something at the end only; elsewhere it is a letter, which the kind may take for a name's or not."""
    assert driver().normal_pattern(written) == normal


def test_only_a_legal_name_becomes_a_path() -> None:
    """Below the forge's prefix, ``.git`` always; anything else is a defect and stops before it is sent."""
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
def test_a_redirect_is_matched_whole(location: str, path: str | None) -> None:
    """Another port is another place; a name that would be none in a grant is none here."""
    assert driver().moved(location.encode()) == path


def test_an_api_is_where_it_was_configured_or_nowhere() -> None:
    """Without its slash at the end, so that a path can be put behind it."""
    assert driver().api is None
    assert driver(api_url="https://api.example/v3/").api == "https://api.example/v3"


def test_objects_lie_on_the_forge_or_where_the_operator_said() -> None:
    """A storage that nobody named is never sent anything."""
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
    """The secret is the password, whoever it belongs to."""
    assert b64decode(driver().login("s").removeprefix(b"Basic ")) == b"x-access-token:s"
    assert b64decode(driver(username="robot").login("s").removeprefix(b"Basic ")) == b"robot:s"


def test_only_401_speaks_of_the_credential() -> None:
    """Unless a kind knows better: renewing over a 403 or a 404 would end good credentials for nothing."""
    made = driver()
    assert [status for status in range(300, 600) if made.refuses_credential(status)] == [401]
    assert "lab" in made.sentence(404, Access.READ)
