"""The repos list."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import Config, Forge
from credgate.errors import InvalidValueError
from credgate.forges.registry import driver_for
from credgate.sessions.grants import MAX_QUOTED, MAX_REF, MAX_RULES, VERBS, parse_repos, quoted
from credgate.sessions.model import Grant, PushRule
from credgate.values import Access

DRIVERS = {
    forge.name: driver_for(forge)
    for forge in (*Config().forges.values(), Forge(name="git.example", kind="generic", url="https://git.example"))
}


def parse(*repos: object) -> tuple[Grant, ...]:
    """Parse with two real drivers."""
    return parse_repos(list(repos), DRIVERS, "github.com")


def refusal(*repos: object) -> str:
    """Return the text that refuses ``repos``."""
    with pytest.raises(InvalidValueError) as caught:
        parse(*repos)
    return str(caught.value)


def test_a_string_is_read_and_write_under_the_default_rules() -> None:
    """As the ancestor's lists are."""
    assert parse("Octo/Hello.git") == (
        Grant(repo="Octo/Hello", forge="github.com", access=Access.WRITE, push=None, normal="octo/hello"),
    )


def test_an_object_says_more() -> None:
    """The form of the design, key by key."""
    said = {
        "repo": "Group/Sub/Lib",
        "forge": "git.example",
        "access": "write",
        "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update", "create"]}],
    }
    assert parse(said) == (
        Grant(
            repo="Group/Sub/Lib",
            forge="git.example",
            access=Access.WRITE,
            push=(PushRule("refs/heads/agent/*", frozenset({"create", "update"})),),
            normal="Group/Sub/Lib",
        ),
    )


def test_what_an_object_leaves_out_is_as_in_a_string() -> None:
    """Two spellings of one grant must not differ."""
    assert parse({"repo": "octo/hello"}) == parse({"repo": "octo/hello", "push": None}) == parse("octo/hello")


def test_an_empty_push_list_is_not_an_absent_one() -> None:
    """Empty means none."""
    assert parse({"repo": "octo/hello", "push": []})[0].push == ()
    assert parse({"repo": "octo/hello", "push": [{"refs": "refs/heads/x", "allow": []}]})[0].push == (
        PushRule("refs/heads/x", frozenset()),
    )


@pytest.mark.parametrize("pattern", ["octo/*", "**"])
def test_patterns_are_for_operators(pattern: str) -> None:
    """The control socket is theirs."""
    assert parse(pattern)[0].repo == pattern


@pytest.mark.parametrize(
    "name",
    [
        "octo",
        "octo/",
        "/hello",
        "octo/../x",
        "octo/hello/more",
        "octo/he*",
        "*",
        "*/hello",
        "a/b.git.git",
        "octo/h%65llo",
    ],
)
def test_what_is_no_name_on_its_forge_is_refused(name: str) -> None:
    """The driver knows; nothing is guessed at."""
    assert refusal(name) == f"Invalid repo format: {name}"


def test_a_refused_name_is_repeated_bounded_and_escaped() -> None:
    """It goes to a terminal."""
    assert refusal("\x1b[31m\u202e/x") == r"Invalid repo format: \x1b[31m\u202e/x"
    assert refusal("x" * 5000) == "Invalid repo format: " + "x" * MAX_QUOTED + "..."
    assert quoted(["a"]) == "list"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (5, "Each repo must be in owner/repo format"),
        (None, "Each repo must be in owner/repo format"),
        ([], "Each repo must be in owner/repo format"),
        ({}, "Each repo must be in owner/repo format"),
        ({"repo": 5}, "Each repo must be in owner/repo format"),
        ({"repo": "octo/hello", "acess": "read"}, "Unknown key: acess (known: repo, forge, access, push)"),
        (
            {"repo": "octo/hello", "forge": "gitlab.com"},
            "Unknown forge: gitlab.com (configured: github.com, git.example)",
        ),
        ({"repo": "octo/hello", "forge": None}, "Unknown forge: NoneType (configured: github.com, git.example)"),
        ({"repo": "octo/hello", "access": "admin"}, 'access must be "read" or "write", not admin'),
        ({"repo": "octo/hello", "access": "WRITE"}, 'access must be "read" or "write", not WRITE'),
        ({"repo": "octo/hello", "access": ["read"]}, 'access must be "read" or "write", not list'),
        ({"repo": "octo/hello", "access": None}, 'access must be "read" or "write", not NoneType'),
        ({"repo": "octo/hello", "access": "read", "push": []}, 'push needs "access": "write"'),
        ({"repo": "octo/hello", "push": {}}, f"push must be a list of at most {MAX_RULES} rules"),
        ({"repo": "octo/hello", "push": [{}] * 65}, f"push must be a list of at most {MAX_RULES} rules"),
    ],
)
def test_a_grant_that_is_not_understood_is_refused(item: object, text: str) -> None:
    """It must not become a wider one."""
    assert refusal("octo/fine", item) == text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (5, 'Each push rule must be {"refs": pattern, "allow": [verbs]}'),
        ({"refs": "refs/heads/x"}, 'Each push rule must be {"refs": pattern, "allow": [verbs]}'),
        ({"refs": "refs/heads/x", "allow": [], "deny": []}, "Unknown key: deny (known: refs, allow)"),
        ({"refs": "refs/heads/x", "allow": "create"}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": "refs/heads/x", "allow": ["creat"]}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": "refs/heads/x", "allow": [["create"]]}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": 5, "allow": []}, "Invalid ref pattern: int"),
        ({"refs": "heads/x", "allow": []}, "Invalid ref pattern: heads/x"),
    ],
)
def test_a_rule_that_is_not_understood_is_refused(rule: object, text: str) -> None:
    """The same for what may be pushed."""
    assert refusal({"repo": "octo/hello", "push": [rule]}) == text


def refs(pattern: str) -> bool:
    """Whether ``pattern`` is taken as a ref pattern."""
    try:
        return bool(parse({"repo": "octo/hello", "push": [{"refs": pattern, "allow": ["create"]}]}))
    except InvalidValueError as error:
        assert str(error) == f"Invalid ref pattern: {quoted(pattern)}"  # noqa: PT017 - either end is right
        return False


def git_takes(ref: str) -> bool:
    """Whether git itself calls ``ref`` a legal ref name, a single star allowed."""
    done = subprocess.run(["git", "check-ref-format", "--refspec-pattern", ref], check=False)
    return done.returncode == 0


REFS = [
    "refs/heads/agent/*",
    "refs/heads/a.b",
    "refs/heads/@",
    "refs/heads/a{b}",
    "refs/heads/a/b/c",
    "refs/heads/-x",
    "refs/heads/a*b",
    "refs/heads/",
    "refs//heads/x",
    "/refs/heads/x",
    "refs/heads/.x",
    "refs/heads/x.",
    "refs/heads/x.lock",
    "refs/heads/x.lock/y",
    "refs/heads/a..b",
    "refs/heads/a@{b",
    "refs/heads/a b",
    "refs/heads/a~b",
    "refs/heads/a^b",
    "refs/heads/a:b",
    "refs/heads/a?b",
    "refs/heads/a[b",
    "refs/heads/a\\b",
    "refs/heads/a\x7fb",
    "refs/heads/a\nb",
    "refs/heads/x\n",
]


@pytest.mark.parametrize("ref", REFS)
def test_ref_patterns_are_git_s(ref: str) -> None:
    """Judged by git itself: what it would never create must not look like a rule that works."""
    assert refs(ref) == git_takes(ref)


def test_git_takes_some_of_them_and_we_stay_below_refs() -> None:
    """The comparison above is no comparison of two refusals; and a rule outside refs/ would be about nothing."""
    assert sum(map(git_takes, REFS)) == 7
    assert git_takes("heads/x")
    assert not refs("heads/x")
    assert not refs("refs")
    assert refs("refs/heads/**/x")
    assert refs("refs/" + "x" * (MAX_REF - 5))
    assert not refs("refs/" + "x" * (MAX_REF - 4))
    assert not refs("refs/heads/caf\xe9")


@given(st.text(alphabet="ab./@{*~-", max_size=12).map("refs/".__add__))
def test_any_ref_pattern_that_we_take_is_well_formed(ref: str) -> None:
    """The rules of git-check-ref-format(1), said one by one."""
    parts = ref.split("/")
    well_formed = (
        all(parts)
        and not any(part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
        and not any(bad in ref for bad in ("..", "@{", "~"))
    )
    assert refs(ref) == well_formed


def test_repos_is_a_list() -> None:
    """An object or a string is no list of one."""
    for value in ({}, "octo/hello", 5, None):
        with pytest.raises(InvalidValueError, match="repos must be a list"):
            parse_repos(value, DRIVERS, "github.com")
    assert parse_repos([], DRIVERS, "github.com") == ()


def test_the_same_text_means_what_its_forge_says() -> None:
    """GitHub folds case, a generic forge does not."""
    assert parse("A/B")[0].normal == "a/b"
    assert parse({"repo": "A/B", "forge": "git.example"})[0].normal == "A/B"
