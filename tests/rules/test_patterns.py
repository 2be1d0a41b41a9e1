"""Patterns: what they match, compared with git's own wildmatch, and which patterns are refused."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.rules.patterns import (
    MAX_PATTERN,
    PathGlobs,
    PatternError,
    check_option,
    check_path_glob,
    check_ref_pattern,
    option_pattern,
    ref_pattern,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def accepted(check: Callable[[str], None], text: str) -> bool:
    """Whether ``check`` accepts ``text``; a refusal has a reason."""
    try:
        check(text)
    except PatternError as error:
        return not str(error)
    return True


def matches(pattern: str, ref: str, session: str = "s-1", label: str = "box") -> bool:
    """Whether ``pattern``, which must be valid, matches ``ref``."""
    check_ref_pattern(pattern)
    return ref_pattern(pattern, session, label).matches(ref.encode())


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("refs/heads/main", ["refs/heads/main"], ["refs/heads/main/x", "refs/heads/mainx", "refs/heads/Main"]),
        ("refs/heads/agent/*", ["refs/heads/agent/x"], ["refs/heads/agent/x/y", "refs/heads/agent", "refs/heads/x"]),
        ("refs/heads/*", ["refs/heads/x"], ["refs/heads/x/y", "refs/tags/x", "xrefs/heads/x"]),
        ("refs/heads/**", ["refs/heads/x", "refs/heads/x/y/z"], ["refs/heads", "refs/headsx/y"]),
        ("refs/**", ["refs/heads/x", "refs/for/x/y"], ["refs", "HEAD"]),
        ("refs/**/x", ["refs/x", "refs/heads/x", "refs/heads/a/b/x"], ["refs/heads/ax", "refs/heads/x/y"]),
        ("refs/heads/a*", ["refs/heads/a", "refs/heads/ab"], ["refs/heads/a/b", "refs/heads/ba"]),
        ("refs/heads/*a", ["refs/heads/a", "refs/heads/bca"], ["refs/heads/b/a", "refs/heads/ab"]),
        ("refs/heads/a*b*c", ["refs/heads/abc", "refs/heads/a1b2bc"], ["refs/heads/acb", "refs/heads/ab/c"]),
        ("refs/heads/a.b", ["refs/heads/a.b"], ["refs/heads/axb"]),
        ("refs/heads/**/a*/**/c", ["refs/heads/a/c", "refs/heads/x/ab/y/z/c"], ["refs/heads/c/a", "refs/heads/xa/c"]),
        ("refs/heads/{session}/*", ["refs/heads/s-1/x"], ["refs/heads/s-2/x", "refs/heads/{session}/x"]),
        ("refs/heads/a-{label}", ["refs/heads/a-box"], ["refs/heads/a-box2", "refs/heads/a-"]),
        ("refs/heads/@{label}", ["refs/heads/@box"], ["refs/heads/@"]),
    ],
)
def test_refs_that_a_pattern_matches(pattern: str, matching: list[str], other: list[str]) -> None:
    """A star stays inside its component, two stars cross components, and other bytes match themselves."""
    assert [ref for ref in matching if not matches(pattern, ref)] == []
    assert [ref for ref in other if matches(pattern, ref)] == []


def test_bytes_are_compared_as_bytes() -> None:
    """A star matches any byte, also a newline. Invalid ref names are refused before."""
    assert ref_pattern("refs/heads/*", "s", "").matches(b"refs/heads/\xff\n")
    assert not ref_pattern("refs/heads/x", "s", "").matches(b"refs/heads/x\n")


def test_label_pattern_without_label_matches_nothing() -> None:
    """An empty string would make the pattern wider."""
    assert matches("refs/heads/agent/{label}/*", "refs/heads/agent/box/x")
    assert not matches("refs/heads/agent/{label}/*", "refs/heads/agent/x", label="")
    assert not matches("refs/heads/a{label}", "refs/heads/a", label="")
    assert ref_pattern("refs/heads/{label}", "s-1", "").text == "refs/heads/{label}"
    assert ref_pattern("refs/heads/{label}/{session}", "s-1", "a").text == "refs/heads/a/s-1"


def test_stored_invalid_pattern_matches_no_more_than_written() -> None:
    """Stored sessions may hold patterns that are refused today. Such a pattern does not cross components."""
    for text in ("refs/heads/a**b", "refs/heads/***", "refs/heads/{x}", "refs/heads/**/**"):
        with pytest.raises(PatternError):
            check_ref_pattern(text)
    assert ref_pattern("refs/heads/a**b", "s", "").matches(b"refs/heads/axb")
    assert not ref_pattern("refs/heads/a**b", "s", "").matches(b"refs/heads/a/b")
    assert not ref_pattern("refs/heads/***", "s", "").matches(b"refs/heads/a/b")
    assert ref_pattern("refs/heads/{x}", "s", "").matches(b"refs/heads/{x}")
    assert not ref_pattern("refs/heads/{x}", "s", "").matches(b"refs/heads/x")


def test_wildcard_does_not_name_a_namespace() -> None:
    """Only literal text does."""
    assert ref_pattern("refs/for/**", "s", "").names(b"for")
    assert ref_pattern("refs/for/main", "s", "").names(b"for")
    for other in ("refs/**", "refs/f*/x", "refs/fork/x", "refs/*/x"):
        assert not ref_pattern(other, "s", "").names(b"for")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("refs/heads/" + "x" * 245, f"longer than {MAX_PATTERN} characters"),
        ("heads/x", "pattern of full ref names"),
        ("refs", "pattern of full ref names"),
        ("refs/heads", "for all refs below it, end with /**"),
        ("refs/*", "for all refs below it, end with /**"),
        ("refs/heads/a?", "no valid ref name can match"),
        ("refs/heads/[ab]", "no valid ref name can match"),
        ("refs/heads/a..b", "no valid ref name can match"),
        ("refs/heads/", "no valid ref name can match"),
        ("refs/heads/caf\xe9", "no valid ref name can match"),
        ("refs/heads/a**", "whole component"),
        ("refs/heads/***", "whole component"),
        ("refs/heads/**/**", "means the same"),
        ("refs/heads/{sesion}", "only placeholders"),
        ("refs/heads/{}", "only placeholders"),
        ("refs/heads/{session", "only placeholders"),
        ("refs/heads/session}", "only placeholders"),
        ("refs/heads/{label}*", "cannot contain *"),
        ("refs/heads/a-{label}-*/x", "cannot contain *"),
        ("refs/heads/*{session}", "cannot contain *"),
        ("refs/heads/{session}.lock", "no valid ref name can match"),
    ],
)
def test_invalid_ref_pattern_is_refused(pattern: str, why: str) -> None:
    """When it is written; otherwise it would match nothing, or too much."""
    with pytest.raises(PatternError, match=why.replace("*", r"\*").replace("/", "/")):
        check_ref_pattern(pattern)


def git_accepts(ref: str) -> bool:
    """Whether git accepts ``ref`` as a ref name, which may contain one star."""
    return subprocess.run(["git", "check-ref-format", "--refspec-pattern", ref], check=False).returncode == 0


NAMES = [
    "agent/*", "a.b", "@", "a/b/c", "-x", "a*b", "", "/x", ".x", "x.", "x.lock", "x.lock/y", "a..b", "a@{b", "a b",
    "a~b", "a^b", "a:b", "a?b", "a[b", "a\\b", "a\x7fb", "a\nb", "x\n", "a|b", "a;b", "a$b", "`", "a+b", "!", "'",
    "a]b", '"',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_valid_ref_patterns_are_valid_for_git(name: str) -> None:
    """A pattern of refs that git cannot create must not look like a working rule."""
    assert accepted(check_ref_pattern, f"refs/heads/{name}") == git_accepts(f"refs/heads/{name}")


def test_git_accepts_half_of_the_names() -> None:
    """So the test above does not compare refusals only. Braces mark placeholders here, though git accepts them."""
    assert sum(git_accepts(f"refs/heads/{name}") for name in NAMES) == 15
    assert git_accepts("refs/heads/a{b}")
    assert not accepted(check_ref_pattern, "refs/heads/a{b}")


PART = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "a*b", "*a*", "**", "abab", "b*a*b"])
NAME = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4).map("/".join)


def run(place: Path, *words: str, given: str = "") -> list[str]:
    """Run git, which must succeed, and return the lines of its output."""
    command = ["git", "-c", "core.quotePath=false", "-C", str(place), *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout.splitlines()


def every_name() -> list[str]:
    """Return all paths of up to three components from a small set."""
    parts = ["a", "b", "ab", "aab", "abb", "ba", "abab"]
    two = [f"{one}/{other}" for one in parts for other in parts]
    return [*parts, *two, *(f"{one}/{other}" for one in two for other in ("a", "b", "ab"))]


@pytest.fixture(scope="module")
def wildmatch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], set[str]]:
    """Return git's own matchers for these names: for-each-ref for refs, and glob pathspecs on an index for paths.

    Refs ``a`` and ``a/b`` cannot both exist, so each ref name ends in a letter of its own.
    """
    place = tmp_path_factory.mktemp("wildmatch")
    run(place, "init", "-q")
    blob = run(place, "hash-object", "-w", "--stdin", given="x")[0]
    names = [f"{name}/x" for name in every_name()]
    lines = "".join(f"{blob} refs/t/{name}\n" for name in sorted(names))
    (place / ".git" / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + lines)
    index = "".join(f"100644 {blob} 0\t{name}\n" for name in names)
    run(place, "update-index", "--add", "--index-info", given=index)

    def found(kind: str, pattern: str) -> set[str]:
        if kind == "refs":
            return set(run(place, "for-each-ref", "--format=%(refname)", pattern))
        return set(run(place, "ls-files", "--", f":(glob){pattern}"))

    return found


@given(st.lists(PART, min_size=1, max_size=4).map("/".join))
def test_git_wildmatch_agrees_on_refs(wildmatch: Callable[[str, str], set[str]], pattern: str) -> None:
    """Any valid pattern with a star matches the same refs in ``git for-each-ref``."""
    whole = f"refs/t/{pattern}/x"
    if not accepted(check_ref_pattern, whole) or "*" not in whole:
        return
    ours = {f"refs/t/{name}/x" for name in every_name() if matches(whole, f"refs/t/{name}/x")}
    assert ours == wildmatch("refs", whole)


@given(st.lists(PART, min_size=1, max_size=5).map("/".join))
def test_git_wildmatch_agrees_on_paths(wildmatch: Callable[[str, str], set[str]], pattern: str) -> None:
    """Paths may also begin and end with two stars."""
    if not accepted(check_path_glob, pattern):
        return
    protected = PathGlobs((pattern,))
    ours = {f"{name}/x" for name in every_name() if protected.protects(f"{name}/x".encode())}
    theirs = wildmatch("paths", pattern) | wildmatch("paths", f"{pattern}/**")
    assert ours == theirs


def test_glob_covers_everything_below_and_ignores_case() -> None:
    """A rule for a directory covers its files."""
    globs = PathGlobs((".github/workflows/**", "**/CODEOWNERS", "docs", "*.lock"))
    protected = [
        b".github/workflows/ci.yml", b".github/workflows/a/b", b".GitHub/Workflows/ci.yml", b"CODEOWNERS",
        b"x/codeowners", b"x/CODEOWNERS/y", b"docs", b"docs/a/b", b"a.lock", b"a.lock/\xff\n",
    ]  # fmt: skip
    free = [b".github/workflows", b".github/x", b"docs2", b"a/docs", b"a/b.lock", b"x/CODEOWNERS2", b"\xc3\xa9"]
    assert [path for path in protected if not globs.matches(path)] == []
    assert [path for path in free if globs.protects(path) is not None] == []
    assert globs.protects(b"docs/a") == "docs"
    assert PathGlobs(("caf\xe9",)).protects("caf\xe9".encode()) == "caf\xe9"


def test_glob_matches_every_folded_spelling() -> None:
    """Windows and macOS write ``.GITHUB.`` to ``.github``."""
    globs = PathGlobs((".github/workflows/**", "**/CODEOWNERS", "Makefile", "caf\xe9/**", "deploy-*/config"))
    for path in (
        ".github./workflows/x", ".github /workflows/x", ".github::$INDEX_ALLOCATION/workflows/x", "GITHUB~1/WORKFL~1/x",
        ".gi\u200cthub/workflows/x", ".github/wor\u212aflows/x", "GITHUB~1/woa1b2~1/x", "a/CODEOW~2", "a/CODEOWNERS..",
        "Makefile ", "Ma\u212aefile:s", "cafe\u0301/x", "CAF\xc9/x", "deploy-x./config",
    ):  # fmt: skip
        assert globs.matches(path.encode()), path
        parts = path.encode().split(b"/")
        assert all(globs.below(b"/".join(parts[:count])) for count in range(len(parts))), path
    for path in ("GITHUB~/workflows/x", "GITHUX~1/workflows/x", "MAKEFI~1", "caf/x", "Makefile.x", ".github:", "~1"):
        assert not globs.matches(path.encode()), path
    for path in (".github.", "GITHUB~1", ".gi\u200cthub", "deploy-x ", "caf\xc9:"):
        assert globs.shadows(path.encode()) is not None, path
    assert globs.protects(b"\xff:") is None


def test_glob_names_its_directories() -> None:
    """A link in place of ``.github`` changes every workflow without changing a path below."""
    globs = PathGlobs((".github/workflows/**", "*/secret/**", "a/*/c", "x"))
    assert [globs.shadows(path) for path in (b".github", b".GITHUB/workflows", b"a")] == [
        ".github/workflows/**",
        ".github/workflows/**",
        "a/*/c",
    ]
    for path in (b".github/workflows/x", b".git", b"any", b"a/b", b"x", b"b"):
        assert globs.shadows(path) is None
    assert globs.shadows(b"any/secret") == "*/secret/**"
    everywhere = PathGlobs(("**/workflows/**", "deploy-*/config", "**/CODEOWNERS"))
    for path in (b"workflows", b".github/workflows", b"a/b/WORKFLOWS", b"deploy-x"):
        assert everywhere.shadows(path) is not None
    for path in (b".github", b"workflows/x", b"a/deploy-x", b"deploy", b"CODEOWNERS", b"docs"):
        assert everywhere.shadows(path) is None


@given(st.lists(PART, min_size=1, max_size=3).map("/".join), st.lists(PART, min_size=1, max_size=3).map("/".join), NAME)
def test_covering_pattern_matches_what_the_covered_one_matches(above: str, below: str, name: str) -> None:
    """For any two patterns."""
    one, other = ref_pattern(f"refs/{above}", "s-1", ""), ref_pattern(f"refs/{below}", "s-1", "")
    ref = f"refs/{name}".encode()
    assert not (one.covers(other) and other.matches(ref)) or one.matches(ref)


def test_covering_is_seen_from_the_texts() -> None:
    """Equal texts, and literal text followed by ``**``. A pattern that matches nothing covers nothing."""
    label = ref_pattern("refs/heads/{label}/x", "s-1", "")
    every, heads, agent = (ref_pattern(f"refs/{rest}", "s-1", "") for rest in ("**", "heads/**", "heads/agent/*"))
    assert every.covers(heads)
    assert heads.covers(agent)
    assert agent.covers(agent)
    assert agent.covers(label)
    assert not agent.covers(heads)
    assert not label.covers(agent)
    assert not ref_pattern("refs/heads/a/**", "s-1", "").covers(ref_pattern("refs/heads/ab", "s-1", ""))


def test_only_directories_with_protected_paths_are_read() -> None:
    """A tree is fetched only if it may contain a protected path."""
    globs = PathGlobs((".github/workflows/**", "a*/b/c"))
    for directory in (b"", b".github", b".github/workflows/x/y", b"ax", b"ax/b", b"AX/B/c/d"):
        assert globs.below(directory)
    for directory in (b".github/other", b"b", b"ax/c", b".githubx"):
        assert not globs.below(directory)
    assert PathGlobs(("**/x",)).below(b"any/where")
    assert not PathGlobs(()).below(b"")
    assert (bool(globs), bool(PathGlobs(()))) == (True, False)


@given(st.lists(PART, min_size=1, max_size=4).map("/".join), NAME)
def test_no_protected_path_is_missed(pattern: str, path: str) -> None:
    """Every directory above a protected path is read."""
    globs = PathGlobs((pattern,)) if accepted(check_path_glob, pattern) else PathGlobs(())
    if globs.protects(path.encode()):
        parts = path.split("/")
        assert all(globs.below("/".join(parts[:count]).encode()) for count in range(len(parts)))


@pytest.mark.parametrize(
    "glob", ["", "/x", "x/", "a//b", ".", "../x", "a/./b", "a?", "[a]", "a\\b", "a\nb", "a**", "**/**", "x" * 256]
)
def test_invalid_path_glob_is_refused(glob: str) -> None:
    """It would protect nothing and look as if it did."""
    assert accepted(check_path_glob, "a/*/b/**")
    assert not accepted(check_path_glob, glob)


def test_length_of_patterns_is_limited() -> None:
    """Each accepted pattern is compiled and tried on every ref or path."""
    for check, before in ((check_ref_pattern, "refs/heads/"), (check_path_glob, ""), (check_option, "")):
        check(before + "x" * (MAX_PATTERN - len(before)))
        with pytest.raises(PatternError, match=str(MAX_PATTERN)):
            check(before + "x" * (MAX_PATTERN + 1 - len(before)))


def test_push_options_match_exactly_or_by_star() -> None:
    """A star matches anything, also slashes and equal signs."""
    for text in ("ci.skip", "topic=*", "a]b", "*"):
        check_option(text)
    assert option_pattern("ci.skip").fullmatch(b"ci.skip")
    assert not option_pattern("ci.skip").fullmatch(b"ci_skip")
    assert not option_pattern("ci.skip").fullmatch(b"ci.skip\n")
    assert option_pattern("topic=*").fullmatch(b"topic=a/b=c")
    assert not option_pattern("topic=*").fullmatch(b"topic")
    assert option_pattern("*a*b*").fullmatch(b"xaxxb")
    for text in ("", "a**", "a\nb", "x" * 256):
        assert not accepted(check_option, text)


STARRY = ["refs/heads/" + "a*" * 25 + "b", "refs/" + "**/a/" * 25 + "b", "refs/" + "**/a*a*/" * 25 + "b"]


@pytest.mark.parametrize("pattern", STARRY)
def test_matching_takes_linear_time(pattern: str) -> None:
    """The sandbox chooses the name."""
    check_ref_pattern(pattern)
    names = [b"refs/heads/" + b"a" * 1000, b"refs/" + b"a/" * 500 + b"c", b"refs/" + b"aaa/" * 250 + b"c"]
    begun = time.perf_counter()
    assert not any(ref_pattern(pattern, "s", "").matches(name) for name in names)
    assert time.perf_counter() - begun < 0.2
