"""The ancestry request of each kind of API, and that only an unambiguous answer is yes or no."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.forges.comparison import judge, question
from credgate.forges.registry import driver_for

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

OLD, TIP, BASE = "0a" * 20, "b1" * 20, "c2" * 20
PLACES = {
    "bitbucket": ("https://bitbucket.org", "team/hello", f"/repositories/team/hello/merge-base/{OLD}..{TIP}"),
    "azure": (
        "https://dev.azure.com",
        "Org/Project/_git/hello",
        f"/org/project/_apis/git/repositories/hello/commits/{OLD}/mergebases?otherCommitId={TIP}&api-version=6.0",
    ),
}


def driver(kind: str, url: str = "", **more: Any) -> Driver:
    """Return the driver of a kind."""
    return driver_for(ForgeConfig("lab", kind, url or PLACES[kind][0], **more))


@pytest.mark.parametrize("kind", PLACES)
def test_request_of_each_kind(kind: str) -> None:
    """Names in the driver's normal form and escaped, full ids, and nothing in the sandbox's own spelling."""
    _, repo, path = PLACES[kind]
    assert question(driver(kind), repo, OLD, TIP) == path
    assert question(driver(kind), repo, OLD * 2, TIP) is None
    for bad in (OLD.upper(), OLD[:-1], "main", "", OLD + "/..", TIP + "\n"):
        assert question(driver(kind), repo, bad, TIP) is None
        assert question(driver(kind), repo, OLD, bad) is None
    assert question(driver(kind), "../" + repo, OLD, TIP) is None


@pytest.mark.parametrize(
    ("kind", "repo", "more"),
    [
        ("gitea", "octo/hello", {}),
        ("generic", "octo/hello", {}),
        ("bitbucket-datacenter", "scm/team/hello", {}),
        ("github", "octo/hello", {}),
        ("bitbucket", "team/hello.wiki", {}),
        ("azure", "Org/Project/_git/Project.wiki", {}),
        ("gitlab", "group/hello", {}),
        ("bitbucket", "team/hello", {"username": "x-bitbucket-api-token-auth"}),
        ("bitbucket", "team/hello", {"url": "https://bitbucket.example"}),
    ],
)
def test_unsupported_kind_repository_or_credential(kind: str, repo: str, more: dict[str, str]) -> None:
    """GitHub and GitLab are not asked because they support ``filter``."""
    url = more.get("url") or (PLACES[kind][0] if kind in PLACES else "https://lab.example")
    table = {name: value for name, value in more.items() if name != "url"}
    assert question(driver(kind, url, **table), repo, OLD, TIP) is None


ANSWERS: list[tuple[str, Any, bool | None]] = [
    ("bitbucket", {"hash": OLD, "type": "commit"}, True),
    ("bitbucket", {"hash": BASE}, False),
    ("bitbucket", {"hash": [OLD]}, None),
    ("azure", {"count": 1, "value": [{"commitId": OLD}]}, True),
    ("azure", {"count": 2, "value": [{"commitId": BASE}, {"commitId": TIP}]}, False),
    ("azure", {"count": 2, "value": [{"commitId": BASE}, {"commitId": OLD}]}, None),
    ("azure", {"count": 0, "value": []}, None),
    ("azure", {"value": [{"commitId": BASE}, {}]}, None),
    ("azure", {"value": {"commitId": OLD}}, None),
]


@pytest.mark.parametrize(("kind", "content", "result"), ANSWERS)
def test_only_status_200_and_an_unambiguous_body_count(kind: str, content: Any, result: bool | None) -> None:  # noqa: FBT001 - a column of a table
    """Yes or no only if all of the answer agrees."""
    body = json.dumps(content).encode()
    assert judge(driver(kind), OLD, 200, body) is result
    for status in (201, 203, 206, 301, 401, 403, 404, 500):
        assert judge(driver(kind), OLD, status, body) is None


@pytest.mark.parametrize("kind", PLACES)
def test_invalid_json_is_unknown(kind: str) -> None:
    """Truncated, with repeated keys, deeply nested, or a sign-in page."""
    good = json.dumps({"hash": OLD, "value": [{"commitId": OLD}]}).encode()
    assert judge(driver(kind), OLD, 200, good) is True
    twice = good[:-1] + b', "hash": "x", "value": []}'
    for body in (b"", good[:-1], good + b"x", twice, b"[" * 100_000, b"<html>Sign in</html>", b"\xff\xfe"):
        assert judge(driver(kind), OLD, 200, body) is None


TEXTS = st.sampled_from([OLD, TIP, BASE, "", OLD * 2])
LEAVES = st.none() | st.booleans() | st.integers() | TEXTS | st.text(max_size=5)
KEYS = st.sampled_from(["type", "hash", "value", "commitId"]) | st.text(max_size=3)
JSON = st.recursive(LEAVES, lambda of: st.lists(of, max_size=3) | st.dictionaries(KEYS, of, max_size=5), max_leaves=12)


@given(st.sampled_from(sorted(PLACES)), JSON, st.sampled_from([200, 404]))
def test_yes_needs_the_old_commit_as_merge_base(kind: str, content: Any, status: int) -> None:
    """For arbitrary JSON, and nothing raises."""
    said = judge(driver(kind), OLD, status, json.dumps(content).encode())
    assert said in (True, False, None)
    if said is not None:
        assert status == 200
    if said:
        places = {
            "bitbucket": lambda: content["hash"],
            "azure": lambda: content["value"][0]["commitId"],
        }
        assert places[kind]() == OLD


@given(st.sampled_from(sorted(PLACES)), st.binary(max_size=200))
def test_arbitrary_bytes_are_never_yes(kind: str, body: bytes) -> None:
    """And nothing raises."""
    assert judge(driver(kind), OLD, 200, body) is not True
