"""The repos list."""

from __future__ import annotations

import pytest

from credgate.config.schema import Config, ForgeConfig
from credgate.errors import InvalidValueError
from credgate.forges.registry import driver_for
from credgate.rules.parse import MAX_LISTED, MAX_QUOTED, MAX_RULES, VERBS, PushRule, quoted
from credgate.sessions.grants import (
    LIMIT_KEYS,
    MAX_NUMBER,
    MAX_PATTERNS,
    MAX_REPOS,
    READ_KEYS,
    check_label,
    parse_repos,
    written,
)
from credgate.sessions.model import Grant
from credgate.values import Access

DRIVERS = {
    forge.name: driver_for(forge)
    for forge in (*Config().forges.values(), ForgeConfig(name="git.example", kind="generic", url="https://git.example"))
}


def parse(*repos: object) -> tuple[Grant, ...]:
    """Parse with two real drivers."""
    return parse_repos(list(repos), DRIVERS, "github.com")


def refusal(*repos: object) -> str:
    """Return the text that refuses ``repos``."""
    with pytest.raises(InvalidValueError) as caught:
        parse(*repos)
    return str(caught.value)


def test_string_grants_read_and_write_with_default_rules() -> None:
    """As in the ancestor."""
    assert parse("Octo/Hello.git") == (
        Grant(repo="Octo/Hello", forge="github.com", access=Access.WRITE, push=None, normal="octo/hello"),
    )


def test_object_is_read_key_by_key() -> None:
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


def test_omitted_keys_have_the_defaults_of_a_string() -> None:
    """Two spellings of one grant must not differ."""
    assert parse({"repo": "octo/hello"}) == parse({"repo": "octo/hello", "push": None}) == parse("octo/hello")


def test_empty_push_list_differs_from_an_absent_one() -> None:
    """Empty allows no push."""
    assert parse({"repo": "octo/hello", "push": []})[0].push == ()
    assert parse({"repo": "octo/hello", "push": [{"refs": "refs/heads/x", "allow": []}]})[0].push == (
        PushRule("refs/heads/x", frozenset()),
    )


@pytest.mark.parametrize("pattern", ["octo/*", "**"])
def test_patterns_are_accepted(pattern: str) -> None:
    """Only operators can reach the control socket."""
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
def test_invalid_repository_name_is_refused(name: str) -> None:
    """The driver of the forge decides."""
    assert refusal(name) == f"Invalid repo format: {name}"


def test_number_of_grants_is_bounded() -> None:
    """The error suggests a pattern; the limit is inclusive."""
    names = [f"octo/r{at}" for at in range(MAX_REPOS)]
    assert len(parse(*names)) == MAX_REPOS
    text = f"repos must hold at most {MAX_REPOS} grants; a pattern such as octo/* stands for many"
    assert refusal(*names, "octo/one-more") == text


def test_patterns_of_a_grant_are_bounded_together() -> None:
    """The first push of a session compiles ref patterns and path globs."""
    rules = [{"refs": "refs/heads/" + "a" * 53, "allow": ["create"]}] * 32
    globs = [f"{at:02d}" + "b" * 62 for at in range(32)]
    assert MAX_PATTERNS == 64 * 64
    full = {"repo": "octo/hello", "push": rules, "protected_paths": globs}
    assert len(parse(full, full | {"repo": "octo/other"})) == 2
    text = f"the patterns of a grant may have at most {MAX_PATTERNS} characters in all"
    for key, more in (("push", [*rules, {"refs": "refs/heads/x", "allow": []}]), ("protected_paths", [*globs, "c"])):
        assert refusal(full | {key: more}) == text


def test_refused_name_is_shortened_and_escaped() -> None:
    """It is printed to a terminal."""
    assert refusal("\x1b[31m\u202e/x") == r"Invalid repo format: \x1b[31m\u202e/x"
    assert refusal("x" * 5000) == "Invalid repo format: " + "x" * MAX_QUOTED + "..."
    assert quoted(["a"]) == "list"
    assert quoted("x" * MAX_QUOTED) == "x" * MAX_QUOTED
    assert (quoted("plain name"), quoted("n\u00e4me"), quoted("a\tb")) == ("plain name", r"n\xe4me", r"a\tb")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (5, "Each repo must be in owner/repo format"),
        (None, "Each repo must be in owner/repo format"),
        ([], "Each repo must be in owner/repo format"),
        ({}, "Each repo must be in owner/repo format"),
        ({"repo": 5}, "Each repo must be in owner/repo format"),
        (
            {"repo": "octo/hello", "acess": "read"},
            f"Unknown key: acess (known: repo, forge, access, push, {', '.join(LIMIT_KEYS)})",
        ),
        ({"repo": "octo/hello", "forge": ["github.com"]}, "Unknown forge: list (configured: github.com, git.example)"),
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
def test_invalid_grant_is_refused(item: object, text: str) -> None:
    """It must not become a wider one."""
    assert refusal("octo/fine", item) == text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (5, 'Each push rule must be {"refs": pattern, "allow": [verbs]}'),
        ({"refs": "refs/heads/x"}, 'Each push rule must be {"refs": pattern, "allow": [verbs]}'),
        ({"refs": "refs/heads/x", "allow": [], "deny": []}, "Unknown key: deny (known: refs, allow)"),
        ({"refs": "refs/heads/x", "allow": "create"}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": "refs/heads/x", "allow": {"create": True}}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": "refs/heads/x", "allow": ["creat"]}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": "refs/heads/x", "allow": [["create"]]}, f"allow must be a list of {', '.join(VERBS)}"),
        ({"refs": 5, "allow": []}, "Invalid ref pattern: int (expected a string)"),
        (
            {"refs": "heads/x", "allow": []},
            "Invalid ref pattern: heads/x (must be a pattern of full ref names, such as refs/heads/agent/*)",
        ),
    ],
)
def test_invalid_push_rule_is_refused(rule: object, text: str) -> None:
    """The same for what may be pushed."""
    assert refusal({"repo": "octo/hello", "push": [rule]}) == text


LIMITED = {
    "repo": "octo/hello",
    "max_push_bytes": 1048576,
    "max_refs": 10,
    "push_options": ["ci.skip", "topic=*", "ci.skip"],
    "protected_paths": [".github/workflows/**"],
    "require_old_oid": True,
    "partial": True,
    "workflows": True,
    "max_lfs_object_bytes": 2**30,
}


def test_limits_are_read() -> None:
    """Duplicate entries are removed."""
    assert parse(LIMITED) == (
        Grant(
            repo="octo/hello",
            forge="github.com",
            normal="octo/hello",
            max_push_bytes=1048576,
            max_refs=10,
            push_options=("ci.skip", "topic=*"),
            protected_paths=(".github/workflows/**",),
            require_old_oid=True,
            partial=True,
            workflows=True,
            max_lfs_object_bytes=2**30,
        ),
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"repo": "Octo/Hello", "forge": "github.com", "access": "read"},
        {"repo": "octo/*", "forge": "git.example", "access": "write", "push": []},
        {
            **LIMITED,
            "forge": "github.com",
            "access": "write",
            "push": [{"refs": "refs/heads/*", "allow": ["create", "update"]}],
            "push_options": ["ci.skip"],
        },
    ],
)
def test_written_grant_can_be_parsed_again(entry: dict[str, object]) -> None:
    """People copy grants from listings."""
    assert written(parse(entry)[0]) == entry


def test_null_limit_counts_as_absent() -> None:
    """Even in a read grant."""
    nothing = dict.fromkeys(LIMIT_KEYS)
    assert parse({"repo": "octo/hello", **nothing}) == parse("octo/hello")
    assert parse({"repo": "octo/hello", "access": "read", **nothing})[0].access is Access.READ


def test_read_grant_may_limit_lfs_objects() -> None:
    """They fill a disk in both directions."""
    assert parse({"repo": "a/b", "access": "read", "max_lfs_object_bytes": 5})[0].max_lfs_object_bytes == 5


@pytest.mark.parametrize("key", [key for key in LIMIT_KEYS if key not in READ_KEYS])
def test_push_limit_needs_write_access(key: str) -> None:
    """Its author misunderstood the grant."""
    assert parse({"repo": "octo/hello", key: LIMITED[key]})
    assert refusal({"repo": "octo/hello", "access": "read", key: LIMITED[key]}) == f'{key} needs "access": "write"'


NUMBERS = "limits such as max_push_bytes are whole numbers from 1, not "
SWITCHES = "require_old_oid, partial and workflows are true or false, not "


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("max_push_bytes", 0, NUMBERS + "int"),
        ("max_push_bytes", True, NUMBERS + "bool"),
        ("max_push_bytes", "1M", NUMBERS + "1M"),
        ("max_push_bytes", MAX_NUMBER + 1, NUMBERS + "int"),
        ("max_lfs_object_bytes", 0, NUMBERS + "int"),
        ("max_refs", -1, NUMBERS + "int"),
        ("max_refs", 1.5, NUMBERS + "float"),
        ("require_old_oid", 1, SWITCHES + "int"),
        ("partial", "yes", SWITCHES + "yes"),
        ("workflows", 1, SWITCHES + "int"),
        ("push_options", "ci.skip", f"push_options must be a list of at most {MAX_LISTED} strings"),
        ("push_options", ["x"] * (MAX_LISTED + 1), f"push_options must be a list of at most {MAX_LISTED} strings"),
        ("push_options", [5], "Invalid push option: int (expected a string)"),
        (
            "push_options",
            ["a**"],
            "Invalid push option: a** (** is not supported; a single * matches any run of characters)",
        ),
        ("protected_paths", {}, f"protected_paths must be a list of at most {MAX_LISTED} strings"),
        (
            "protected_paths",
            ["/etc"],
            "Invalid path glob: /etc (must be a path from the top of the repository, such as .github/workflows/**)",
        ),
    ],
)
def test_invalid_limit_is_refused(key: str, value: object, text: str) -> None:
    """Half a limit is none."""
    assert refusal({**LIMITED, key: value}) == text


def test_pattern_with_label_needs_a_suitable_label() -> None:
    """A rule that can never match is a mistake."""
    grants = parse({"repo": "octo/hello", "push": [{"refs": "refs/heads/{label}/*", "allow": []}]}, "octo/world")
    check_label(grants, "box")
    check_label(parse("octo/hello", {"repo": "a/b", "push": [{"refs": "refs/heads/{session}", "allow": []}]}), "")
    with pytest.raises(InvalidValueError) as caught:
        check_label(grants, "")
    assert str(caught.value) == "The ref pattern refs/heads/{label}/* needs a session with a label"
    with pytest.raises(
        InvalidValueError, match=r"^Invalid ref pattern: refs/heads/box.lock/\* \(no valid ref name can"
    ):
        check_label(grants, "box.lock")


def test_repos_must_be_a_list() -> None:
    """An object or a string is no list of one."""
    for value in ({}, "octo/hello", 5, None):
        with pytest.raises(InvalidValueError, match="repos must be a list"):
            parse_repos(value, DRIVERS, "github.com")
    assert parse_repos([], DRIVERS, "github.com") == ()


def test_normal_form_depends_on_the_forge() -> None:
    """GitHub folds case, a generic forge does not."""
    assert parse("A/B")[0].normal == "a/b"
    assert parse({"repo": "A/B", "forge": "git.example"})[0].normal == "A/B"
