"""One table for all kinds: names, URLs, logins, API and LFS hosts; and what must hold of every one of them.

The names and URLs are those that the forges' own documents and clone buttons give, written out here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.config.structure import KINDS
from credgate.forges.registry import driver_for
from credgate.sessions import scope
from credgate.sessions.model import Grant
from credgate.values import Access, RepoPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from credgate.forges.driver import Driver

PROBE = "info/refs?service=git-upload-pack"
TARGET = re.compile(rf"(?:/[A-Za-z0-9._~+-]+)+/{re.escape(PROBE)}")
"""What a forge may ever be asked: no escape, no dots segment, no second slash."""


@frozen
class Kind:
    """What is known of one kind of forge at one place."""

    url: str
    names: Mapping[str, tuple[str, str]]
    """Spelling to normal form and to the path that is sent when the client wrote ``.git``."""
    no_names: Iterable[str]
    groups: Mapping[str, str]
    no_patterns: Iterable[str]
    login: bytes
    api: str | None
    storage: Iterable[str] = ()
    """Hosts that LFS objects may be on, beside the forge's own."""
    foreign: Iterable[str] = ()


TABLE = {
    "github": Kind(
        "https://github.com",
        {
            "Octo/Hello.git": ("octo/hello", "/Octo/Hello.git"),
            "octo/hello.wiki.git": ("octo/hello.wiki", "/octo/hello.wiki.git"),
            "octo/.github": ("octo/.github", "/octo/.github.git"),
        },
        ["octo", "octo/hello/x", "o.o/hello", "-octo/x", "octo/hello.git/info", "~octo/x"],
        {"Octo/*": "octo/*"},
        ["octo/hello/*", "octo.git/*", "*/hello"],
        b"Basic x-access-token:SECRET",
        "https://api.github.com",
        ["lfs.github.com", "github-cloud.s3.amazonaws.com", "github-cloud.githubusercontent.com",
         "OBJECTS.githubusercontent.com"],
        ["githubusercontent.com", "evil-githubusercontent.com", "api.github.com", "s3.amazonaws.com",
         "github.com.evil.example", "evil.example/.githubusercontent.com", "a@b.githubusercontent.com",
         "..githubusercontent.com", "*.githubusercontent.com", "x\0.githubusercontent.com", ".githubusercontent.com"],
    ),
    "gitlab": Kind(
        "https://git.example/gitlab",
        {
            "Group/Project.git": ("group/project", "/gitlab/Group/Project.git"),
            "a/b/c/d/e/f/project": ("a/b/c/d/e/f/project", "/gitlab/a/b/c/d/e/f/project.git"),
            "group/project.wiki.git": ("group/project.wiki", "/gitlab/group/project.wiki.git"),
            "snippets/12.git": ("snippets/12", "/gitlab/snippets/12.git"),
            "group/project/snippets/12": ("group/project/snippets/12", "/gitlab/group/project/snippets/12.git"),
        },
        ["project", "-/project", "group/-/project", "group/pro+ject", "~group/project", "group.git/project"],
        {"Group/*": "group/*", "Group/Sub/*": "group/sub/*"},
        ["-/*", "group.git/*", "group/*/project", "gr~oup/*"],
        b"Basic oauth2:SECRET",
        "https://git.example/gitlab/api/v4",
        [],
        ["gitlab.com", "sub.git.example", "storage.googleapis.com"],
    ),
    "gitea": Kind(
        "https://codeberg.example",
        {
            "Owner/Repo.git": ("owner/repo", "/Owner/Repo.git"),
            "o.w-n_er/repo.wiki": ("o.w-n_er/repo.wiki", "/o.w-n_er/repo.wiki.git"),
            "owner/-": ("owner/-", "/owner/-.git"),
        },
        ["owner", "owner/repo/x", "-owner/repo", "owner/re+po", "owner/" + "r" * 101],
        {"Owner/*": "owner/*"},
        ["owner/repo/*", "owner.git/*"],
        b"Basic x-access-token:SECRET",
        "https://codeberg.example/api/v1",
        [],
        ["evil.example"],
    ),
    "bitbucket": Kind(
        "https://bitbucket.org",
        {
            "Workspace/Repo.Name.git": ("workspace/repo.name", "/Workspace/Repo.Name.git"),
            "work_space/repo": ("work_space/repo", "/work_space/repo.git"),
        },
        ["workspace", "workspace/repo.git/wiki", "snippets/workspace/id", "work.space/repo", "workspace/re+po"],
        {"Workspace/*": "workspace/*"},
        ["workspace/repo/*", "work.space/*"],
        b"Basic x-token-auth:SECRET",
        "https://api.bitbucket.org/2.0",
        ["api.media.atlassian.com"],
        ["media.atlassian.com", "atlassian.com", "api.bitbucket.org"],
    ),
    "bitbucket-datacenter": Kind(
        "https://git.example/bitbucket",
        {
            "scm/PROJ/Repo.git": ("proj/repo", "/bitbucket/scm/PROJ/Repo.git"),
            "PROJ/repo": ("proj/repo", "/bitbucket/scm/PROJ/repo.git"),
            "scm/~Jane.Doe/repo": ("~jane.doe/repo", "/bitbucket/scm/~Jane.Doe/repo.git"),
            "scm/repo": ("scm/repo", "/bitbucket/scm/scm/repo.git"),
            "scm/scm/repo": ("scm/repo", "/bitbucket/scm/scm/repo.git"),
        },
        ["repo", "SCM/PROJ/repo", "scm/scm/PROJ/repo", "projects/PROJ/repo", "1PROJ/repo", "PR~OJ/repo", "~/repo"],
        {"PROJ/*": "proj/*", "scm/PROJ/*": "proj/*", "scm/~jane/*": "~jane/*", "scm/*": "scm/*", "scm/scm/*": "scm/*"},
        ["PROJ/repo/*", "scm/PROJ/repo/*", "~jane.git/*", "SCM/PROJ/*"],
        b"Bearer SECRET",
        "https://git.example/bitbucket/rest/api/latest",
        [],
        ["api.media.atlassian.com"],
    ),
    "azure": Kind(
        "https://dev.azure.com",
        {
            "Org/My.Project/_git/Repo": ("org/my.project/_git/repo", "/Org/My.Project/_git/Repo"),
            "Org/_git/Repo": ("org/repo/_git/repo", "/Org/Repo/_git/Repo"),
            "org/repo/_git/repo.git": ("org/repo/_git/repo", "/org/repo/_git/repo"),
            "org/project/_git/project.wiki": ("org/project/_git/project.wiki", "/org/project/_git/project.wiki"),
        },
        ["org", "org/project", "org/project/repo", "org/project/_git", "_git/repo", "org/project/_GIT/repo",
         "org/my%20project/_git/repo", "org/project/_git/_optimized/repo", "org/_git/_git/repo", "org/a/b/_git/repo"],
        {"Org/*": "org/*", "Org/Project/*": "org/project/*", "Org/Project/_git/*": "org/project/_git/*"},
        ["org/_git/*", "org/project/_git/repo/*", "org/project.git/*", "_git/*", "org/a/b/*"],
        b"Basic :SECRET",
        "https://dev.azure.com",
        [],
        ["org.visualstudio.com", "blob.core.windows.net"],
    ),
    "generic": Kind(
        "http://127.0.0.1:8000/srv",
        {
            "Group/Sub/R.git": ("Group/Sub/R", "/srv/Group/Sub/R.git"),
            "~user/r": ("~user/r", "/srv/~user/r.git"),
        },
        ["", "a//b", "a/../b", "a.git/b"],
        {"Group/*": "Group/*", "Group/sub/*": "Group/sub/*"},
        ["g.git/*", "../*", "/*", "*/*"],
        b"Basic x-access-token:SECRET",
        None,
        [],
        ["evil.example"],
    ),
}  # fmt: skip


def made(kind: str, **more: object) -> Driver:
    """Make the driver of the table's place."""
    return driver_for(ForgeConfig("here", kind, TABLE[kind].url, **more))  # type: ignore[arg-type]


DRIVERS = {kind: made(kind) for kind in KINDS}
kinds = pytest.mark.parametrize("kind", KINDS)


def test_every_kind_is_in_the_table() -> None:
    """Whoever adds a kind writes its row."""
    assert sorted(TABLE) == sorted(KINDS)


@kinds
def test_names_have_one_form_and_one_url(kind: str) -> None:
    """Scope compares the form; the forge sees the grant's spelling of it, once."""
    driver = DRIVERS[kind]
    for spelled, (normal, sent) in TABLE[kind].names.items():
        assert (spelled, driver.normal(spelled)) == (spelled, normal)
        assert driver.normal_pattern(spelled) == normal
        assert driver.path(spelled, PROBE, dot_git=True) == f"{sent}/{PROBE}"
        assert driver.normal(normal) == normal
        location = driver.path(spelled, PROBE, dot_git=True).encode()
        assert driver.moved(location) == normal
        assert (
            driver.moved(TABLE[kind].url.rpartition(driver.authority)[0].encode() + b"evil.example" + location) is None
        )


@kinds
def test_other_names_are_not_legal_and_never_sent(kind: str) -> None:
    """Guessing at a name is how scopes leak; an endpoint of git is no name anywhere."""
    driver = DRIVERS[kind]
    for spelled in [*TABLE[kind].no_names, "a/b/git-upload-pack", "a/../b", "a/b%2fc", "a/b?x", "**", "a/*", "a/b.GIT"]:
        assert (spelled, driver.normal(spelled)) == (spelled, None)
        with pytest.raises(ValueError, match="not a repository path"):
            driver.path(spelled, PROBE)


@kinds
def test_patterns_are_groups_or_everything(kind: str) -> None:
    """What means nothing, or more than its writer thinks, is refused when it is written."""
    driver = DRIVERS[kind]
    assert driver.normal_pattern("**") == "**"
    for text, normal in TABLE[kind].groups.items():
        assert (text, driver.normal_pattern(text)) == (text, normal)
        assert driver.normal_pattern(normal) == normal
    for text in [*TABLE[kind].no_patterns, "*", "***", "a/**", "**/a", "a*/*", "", "/*", "a//*", "./*", "a./*"]:
        assert (text, driver.normal_pattern(text)) == (text, None)


@kinds
def test_the_login(kind: str) -> None:
    """The form that the forge takes for its tokens, and Basic for whoever configures a user name."""

    def read(value: bytes) -> bytes:
        scheme, _, rest = value.partition(b" ")
        return scheme + b" " + (rest if scheme == b"Bearer" else b64decode(rest, validate=True))

    assert read(DRIVERS[kind].login("SECRET")) == TABLE[kind].login
    assert read(made(kind, username="bot").login("SECRET")) == b"Basic bot:SECRET"


@kinds
def test_the_api(kind: str) -> None:
    """Where tokens are minted; the configuration has the last word."""
    assert DRIVERS[kind].api == TABLE[kind].api
    assert made(kind, api_url="https://api.example/x").api == "https://api.example/x"


@kinds
def test_the_lfs_hosts(kind: str) -> None:
    """An object is fetched from its forge's own hosts and from those that the operator names, from no other."""
    driver = DRIVERS[kind]
    for host in [driver.host, driver.host.upper(), *TABLE[kind].storage]:
        assert driver.lfs_host(host)
    strangers = [*TABLE[kind].foreign, "", "localhost", "169.254.169.254", f"{driver.host}.", f"{driver.host}:443"]
    for host in [*strangers, f"x{driver.host}", f"{driver.host}.evil.example"]:
        assert (host, driver.lfs_host(host)) == (host, False)
    widened = made(kind, lfs_hosts=("s3.example", "*.lfs.example"))
    assert [widened.lfs_host(host) for host in ("s3.example", "a.b.lfs.example", driver.host)] == [True] * 3
    assert [widened.lfs_host(host) for host in ("x.s3.example", "lfs.example", "xlfs.example")] == [False] * 3
    assert {driver.host, "s3.example", "*.lfs.example"} <= set(widened.lfs_hosts)


@kinds
def test_statuses_that_reject_the_credential(kind: str) -> None:
    """401 everywhere; a credential that is known and may not do this is not read again, nor is a busy forge."""
    refuses = {status for status in range(100, 600) if DRIVERS[kind].refuses_credential(status)}
    assert refuses == {401} | {"azure": {203, 302}, "bitbucket": {410}}.get(kind, set())


def allowed(driver: Driver, grant: str, spelled: str) -> str | None:
    """Return the target that goes upstream for ``spelled`` under ``grant``; ``None``: refused."""
    pattern, name = driver.normal_pattern(grant), driver.normal(spelled)
    if pattern is None or name is None:
        return None
    match = scope.find([Grant(grant.removesuffix(".git"), "here", normal=pattern)], RepoPath("here", name), Access.READ)
    return driver.path(match.path, PROBE) if match.decision.allow else None


@kinds
def test_a_grant_of_a_repository_is_of_that_one(kind: str) -> None:
    """Wikis and snippets are repositories of their own, and so is everything that is called alike."""
    driver = DRIVERS[kind]
    for spelled, (normal, _) in TABLE[kind].names.items():
        assert allowed(driver, spelled, normal) is not None
        bare = normal.removesuffix(".git")
        others = [f"{bare}.wiki", f"{bare}.wiki.git", f"{bare}/snippets/1", f"{bare}x", f"{bare}/x", f"x/{bare}"]
        others += [f"{bare}/wiki", f"snippets/{bare}", bare.rpartition("/")[0]]
        assert [allowed(driver, spelled, other) for other in others] == [None] * len(others)


WORDS = [
    "a",
    "B",
    "scm",
    "_git",
    "snippets",
    "-",
    "~a",
    "a.b",
    "a+b",
    "x.wiki",
    "x.git",
    "1",
    "A.GIT",
    "..",
    "a%20b",
    "",
]
paths = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map("/".join) | st.from_regex(
    r"[a-zA-Z0-9._~+/-]{1,30}(\.git)?", fullmatch=True
)
drivers = st.sampled_from(sorted(DRIVERS.items()))


@given(drivers, paths)
def test_a_normal_form_is_stable(chosen: tuple[str, Driver], spelled: str) -> None:
    """Stored grants are read again, and compared with what a request was made into: one form, for ever."""
    _, driver = chosen
    normal = driver.normal(spelled)
    if normal is not None:
        assert driver.normal(normal) == normal
        assert driver.normal(f"{normal}.git") == normal
        assert driver.normal_pattern(normal) == normal
        assert driver.moved(driver.path(normal, PROBE).encode()) == normal


@given(drivers, st.text(alphabet="aB._~+-/%\\ \n\0?#*@é", max_size=30) | paths, st.booleans())
def test_nothing_outside_the_alphabet_is_ever_sent(chosen: tuple[str, Driver], spelled: str, dot_git: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever comes in, a URL of the forge goes out, or nothing."""
    _, driver = chosen
    try:
        target = driver.path(spelled, PROBE, dot_git=dot_git)
    except ValueError:
        assert driver.normal(spelled) is None
        return
    assert TARGET.fullmatch(target)
    segments = target.partition("?")[0].split("/")[1:]
    assert not {"", ".", "..", ".git"} & set(segments)
    assert driver.normal(spelled) == driver.moved(target.encode())


groups = st.lists(st.sampled_from(["a", "B", "scm", "~a", "_git", "x.git"]), min_size=1, max_size=3).map("/".join)
below = st.sampled_from(["{}/{}", "{}/_git/{}", "{}/a/_git/{}", "{}x/{}", "x{}/{}", "{}{}", "scm/{}/{}"])


@given(drivers, groups, paths | st.sampled_from(["r", "R.git", "r/s"]), below, st.booleans())
def test_a_pattern_includes_everything_below_its_group(
    chosen: tuple[str, Driver],
    group: str,
    rest: str,
    shape: str,
    swapped: bool,  # noqa: FBT001 - drawn
) -> None:
    """As the forge's URLs have it: whatever a pattern's normal form lets through lies below what its writer wrote."""
    kind, driver = chosen
    spelled = shape.format(group, rest)
    target = allowed(driver, f"{group}/*", spelled.swapcase() if swapped else spelled)
    if target is not None:
        lead = "scm/" if kind == "bitbucket-datacenter" else ""
        above = group.removeprefix(lead) if "/" in group else group
        place = f"{TABLE[kind].url.partition('://')[2].partition('/')[2]}/{lead}{above}/".lstrip("/")
        assert target.lower().startswith(f"/{place}".lower())


@given(drivers, paths, paths)
def test_two_spellings_meet_only_at_one_url(chosen: tuple[str, Driver], one: str, two: str) -> None:
    """A grant reaches a repository that another spelling names only if the forge would take both for it."""
    _, driver = chosen
    target = allowed(driver, one, two)
    if target is not None:
        assert target.lower() == driver.path(two, PROBE).lower()


@pytest.mark.parametrize(
    ("url", "api", "host"),
    [
        ("https://github.com", "https://api.github.com", "objects.githubusercontent.com"),
        ("https://octocorp.ghe.com", "https://api.octocorp.ghe.com", "media.octocorp.ghe.com"),
        ("https://ghe.example:8443/git", "https://ghe.example:8443/git/api/v3", "media.ghe.example"),
        ("https://ghe.com", "https://ghe.com/api/v3", "media.ghe.com"),
        ("https://evilghe.com", "https://evilghe.com/api/v3", "media.evilghe.com"),
    ],
)
def test_github_is_at_several_places(url: str, api: str, host: str) -> None:
    """One kind serves github.com, a tenant of ghe.com and an Enterprise Server; the host tells them apart."""
    driver = driver_for(ForgeConfig("here", "github", url))
    assert driver.api == api
    assert driver.lfs_host(host)
    assert not driver.lfs_host("media.other.example")
    assert driver.lfs_host("objects.githubusercontent.com") == (driver.host in {"github.com", "octocorp.ghe.com"})


def test_bitbucket_on_another_host_has_no_known_api() -> None:
    """Another host's API and media store are not Atlassian's."""
    driver = driver_for(ForgeConfig("here", "bitbucket", "https://mirror.example"))
    assert driver.api is None
    assert driver.lfs_hosts == ("mirror.example",)
