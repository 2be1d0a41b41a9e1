"""Whether a project still has its granted path: the question, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.project_path import judge, question
from credgate.forges.registry import driver_for

LAB = driver_for(ForgeConfig("lab", "gitlab", "https://lab.example/sub"))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("group/project", "/projects/group%2Fproject"),
        ("a/b/c/d", "/projects/a%2Fb%2Fc%2Fd"),
        ("group/project.wiki", "/projects/group%2Fproject"),
        ("group/project/snippets/7", "/projects/group%2Fproject"),
        ("snippets/7", None),
    ],
)
def test_wikis_and_snippets_are_checked_by_their_project(path: str, asked: str | None) -> None:
    """Wikis and snippets move with it; a personal snippet has no project."""
    assert question(LAB, path) == asked


def test_other_kinds_have_no_such_question() -> None:
    """GitHub and Gitea redirect git itself."""
    assert question(driver_for(ForgeConfig("hub", "github", "https://github.com")), "octo/hello") is None


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, {"path_with_namespace": "group/project"}, True),
        (200, {"path_with_namespace": "Group/Project"}, True),
        (200, {"path_with_namespace": "other/project"}, False),
        (301, {}, False),
        (302, {}, False),
        (200, {"path_with_namespace": "project"}, None),
        (200, {"path_with_namespace": 7}, None),
        (200, {"path": "project"}, None),
        (200, [], None),
        (304, {}, None),
        (401, {"path_with_namespace": "group/project"}, None),
        (404, {"message": "404 Project Not Found"}, None),
        (500, {}, None),
    ],
)
def test_only_the_same_path_is_a_yes(status: int, body: object, *, told: bool | None) -> None:
    """Another path and a redirect are a no; all else does not tell."""
    assert judge(LAB, "group/project", status, json.dumps(body).encode()) is told
    assert judge(LAB, "group/project.wiki", status, json.dumps(body).encode()) is told


def test_a_response_that_is_not_json_is_unknown() -> None:
    """A sign-in page with status 200."""
    assert judge(LAB, "group/project", 200, b"<html>") is None
