"""What is asked of each kind's API about two commits, and that only an answer that surely says so is yes or no."""

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
    "github": ("https://github.com", "Octo/Hello.git", f"/repos/octo/hello/compare/{OLD}...{TIP}?per_page=1&page=2"),
    "gitlab": (
        "https://gitlab.com",
        "Group/Sub/hello",
        f"/projects/group%2Fsub%2Fhello/repository/merge_base?refs%5B%5D={OLD}&refs%5B%5D={TIP}",
    ),
    "bitbucket": ("https://bitbucket.org", "team/hello", f"/repositories/team/hello/merge-base/{OLD}..{TIP}"),
    "azure": (
        "https://dev.azure.com",
        "Org/Project/_git/hello",
        f"/org/project/_apis/git/repositories/hello/commits/{OLD}/mergebases?otherCommitId={TIP}&api-version=6.0",
    ),
}


def driver(kind: str, url: str = "", **more: Any) -> Driver:
    """Make the driver of a kind."""
    return driver_for(ForgeConfig("lab", kind, url or PLACES[kind][0], **more))


def github(status: object, base: object, first: object = OLD) -> dict[str, Any]:
    return {"status": status, "merge_base_commit": {"sha": base}, "base_commit": {"sha": first}, "commits": []}


@pytest.mark.parametrize("kind", PLACES)
def test_the_question_of_each_kind(kind: str) -> None:
    """Names in the driver's normal form and escaped, full ids; nothing of the sandbox's own spelling."""
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
        ("github", "octo/hello.wiki", {}),
        ("gitlab", "group/hello.wiki", {}),
        ("gitlab", "snippets/7", {}),
        ("gitlab", "group/hello/snippets/7", {}),
        ("gitlab", "group/hello", {"username": "gitlab+deploy-token-1"}),
        ("bitbucket", "team/hello", {"username": "x-bitbucket-api-token-auth"}),
        ("bitbucket", "team/hello", {"url": "https://bitbucket.example"}),
    ],
)
def test_repositories_without_a_check(kind: str, repo: str, more: dict[str, str]) -> None:
    """An API that does not say it, a repository that it does not know, a credential that it does not take."""
    url = more.get("url") or (PLACES[kind][0] if kind in PLACES else "https://lab.example")
    table = {name: value for name, value in more.items() if name != "url"}
    assert question(driver(kind, url, **table), repo, OLD, TIP) is None


ANSWERS: list[tuple[str, Any, bool | None]] = [
    ("github", github("ahead", OLD), True),
    ("github", github("identical", OLD), True),
    ("github", github("behind", TIP), False),
    ("github", github("diverged", BASE), False),
    ("github", github("ahead", BASE), None),
    ("github", github("diverged", OLD), None),
    ("github", github("ahead", OLD, TIP), None),
    ("github", github("AHEAD", OLD), None),
    ("github", github(["ahead"], OLD), None),
    ("github", github("ahead", OLD[:12]), None),
    ("github", github("diverged", BASE * 2), None),
    ("github", {"status": "ahead"}, None),
    ("github", [github("ahead", OLD)], None),
    ("gitlab", {"id": OLD, "short_id": OLD[:8]}, True),
    ("gitlab", {"id": BASE}, False),
    ("gitlab", {"id": OLD.upper()}, None),
    ("gitlab", {"id": None}, None),
    ("gitlab", {"message": "404 Merge Base Not Found"}, None),
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


@pytest.mark.parametrize(("kind", "content", "said"), ANSWERS)
def test_what_an_answer_says(kind: str, content: Any, said: bool | None) -> None:  # noqa: FBT001 - a column of a table
    """Yes and no only where all that the answer holds agrees; and never under another status than 200."""
    body = json.dumps(content).encode()
    assert judge(driver(kind), OLD, 200, body) is said
    for status in (201, 203, 206, 301, 401, 403, 404, 500):
        assert judge(driver(kind), OLD, status, body) is None


@pytest.mark.parametrize("kind", PLACES)
def test_a_body_that_is_not_json_is_unknown(kind: str) -> None:
    """Cut, repeated keys, nested without end, a sign-in page."""
    good = json.dumps({"id": OLD, "hash": OLD, "value": [{"commitId": OLD}]} | github("ahead", OLD)).encode()
    assert judge(driver(kind), OLD, 200, good) is True
    twice = good[:-1] + b', "status": "ahead", "id": "x", "hash": "x", "value": []}'
    for body in (b"", good[:-1], good + b"x", twice, b"[" * 100_000, b"<html>Sign in</html>", b"\xff\xfe"):
        assert judge(driver(kind), OLD, 200, body) is None


TEXTS = st.sampled_from([OLD, TIP, BASE, "ahead", "identical", "behind", "diverged", "", OLD * 2])
LEAVES = st.none() | st.booleans() | st.integers() | TEXTS | st.text(max_size=5)
KEYS = st.sampled_from(
    ["status", "merge_base_commit", "base_commit", "sha", "id", "hash", "value", "commitId"]
) | st.text(max_size=3)
JSON = st.recursive(LEAVES, lambda of: st.lists(of, max_size=3) | st.dictionaries(KEYS, of, max_size=5), max_leaves=12)


@given(st.sampled_from(sorted(PLACES)), JSON, st.sampled_from([200, 404]))
def test_a_yes_needs_the_old_commit_in_its_place(kind: str, content: Any, status: int) -> None:
    """Nothing raises, and no yes comes of an answer that does not name the old commit as the merge base."""
    said = judge(driver(kind), OLD, status, json.dumps(content).encode())
    assert said in (True, False, None)
    if said is not None:
        assert status == 200
    if said:
        places = {
            "github": lambda: content["merge_base_commit"]["sha"],
            "gitlab": lambda: content["id"],
            "bitbucket": lambda: content["hash"],
            "azure": lambda: content["value"][0]["commitId"],
        }
        assert places[kind]() == OLD


@given(st.sampled_from(sorted(PLACES)), st.binary(max_size=200))
def test_no_response_makes_judge_raise(kind: str, body: bytes) -> None:
    assert judge(driver(kind), OLD, 200, body) is not True
