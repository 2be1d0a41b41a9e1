"""From the words of a command line to grants, and back."""

from __future__ import annotations

import click
import pytest

from credgate.cli.grants import grants, spelled


def test_a_repository_is_written_to_unless_it_says_read() -> None:
    """The push rules hold for those that are written to, the forge for all."""
    found = grants(["octo/hello", "octo/docs:read", "a/b:write"], ["refs/heads/agent/*"], "git.example")
    rules = [{"refs": "refs/heads/agent/*", "allow": ["create", "update"]}]
    assert found == [
        {"repo": "octo/hello", "access": "write", "forge": "git.example", "push": rules},
        {"repo": "octo/docs", "access": "read", "forge": "git.example"},
        {"repo": "a/b", "access": "write", "forge": "git.example", "push": rules},
    ]
    assert grants(["octo/hello"], [], "") == [{"repo": "octo/hello", "access": "write"}]


def test_a_rule_may_name_its_verbs() -> None:
    """Behind a colon, which no ref can hold."""
    (one,) = grants(["o/r"], ["refs/heads/x:create,force", "refs/tags/*:delete"], "")
    assert [(rule["refs"], rule["allow"]) for rule in one["push"]] == [
        ("refs/heads/x", ["create", "force"]),
        ("refs/tags/*", ["delete"]),
    ]


@pytest.mark.parametrize(
    ("repos", "push", "text"),
    [
        (["o/r:admin"], [], "not o/r:admin"),
        ([":read"], [], "not :read"),
        (["o/r"], ["refs/heads/x:smash"], "not smash"),
        (["o/r:read"], ["refs/heads/x"], "--push is for a repository"),
        ([], ["refs/heads/x"], "--push is for a repository"),
    ],
)
def test_what_means_nothing_is_refused(repos: list[str], push: list[str], text: str) -> None:
    """A misspelt right must not be another one."""
    with pytest.raises(click.UsageError) as caught:
        grants(repos, push, "")
    assert text in caught.value.format_message()


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        ({"repo": "o/r", "access": "write"}, "o/r"),
        ({"repo": "o/r", "access": "read", "forge": "github.com"}, "o/r (read)"),
        ({"repo": "o/r", "access": "write", "forge": "git.example"}, "git.example/o/r"),
        ({"repo": "o/r", "access": "write", "push": [{"refs": "refs/heads/x"}]}, "o/r (push refs/heads/x)"),
        ({"repo": "o/r", "access": "write", "push": []}, "o/r (push nothing)"),
    ],
)
def test_a_grant_is_said_in_a_few_words(grant: dict[str, object], words: str) -> None:
    """As a table has room for."""
    assert spelled(grant) == words
