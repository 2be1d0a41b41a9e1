"""The forms of ``[policy]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credgate.config import forms
from credgate.config.schema import Config, PushPolicy
from credgate.errors import ConfigError
from credgate.loading.load import config_hash, load
from credgate.rules.parse import PushRule

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """
[policy]
push = [{refs = "refs/heads/main", allow = []}, {refs = "refs/heads/agent/{session}/**", allow = ["create", "update"]}]
max_push_bytes = 1_000_000
max_refs = 100
push_options = ["ci.skip"]
protected_paths = [".github/**"]
require_old_oid = true
"""


def written(tmp_path: Path, text: str) -> Config:
    """Load a file of this text."""
    path = tmp_path / "credgate.toml"
    path.write_text(text)
    return load(path, {}, uid=0)


def test_every_key_of_policy_is_read(tmp_path: Path) -> None:
    """Key by key."""
    assert written(tmp_path, POLICY).policy == PushPolicy(
        push=(
            PushRule("refs/heads/main", frozenset()),
            PushRule("refs/heads/agent/{session}/**", frozenset({"create", "update"})),
        ),
        max_push_bytes=1_000_000,
        max_refs=100,
        push_options=("ci.skip",),
        protected_paths=(".github/**",),
        require_old_oid=True,
    )


def test_rules_may_be_an_array_of_tables(tmp_path: Path) -> None:
    """This is TOML's other notation for a list of tables."""
    config = written(tmp_path, '[[policy.push]]\nrefs = "refs/heads/main"\nallow = []\n')
    assert config.policy == PushPolicy(push=(PushRule("refs/heads/main", frozenset()),))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('push = [{refs = "main", allow = []}]', "Invalid ref pattern: main (must be a pattern of full ref names"),
        (
            'push = [{refs = "refs/heads/x", allow = ["merge"]}]',
            "allow must be a list of create, update, force, delete",
        ),
        ("push = 5", "push must be a list of at most 64 rules"),
        ('protected_paths = ["/etc"]', "Invalid path glob: /etc ("),
        ('push_options = [""]', "Invalid push option:  ("),
        ("max_refs = 0", "out of range: must be 1 to 20000"),
        ("max_push_bytes = -1", "out of range: must be at least 0"),
        ('require_old_oid = "yes"', "expected true or false, without quotes"),
        ("partial = true", "unknown key"),
    ],
)
def test_invalid_policy_is_refused_with_file_line_and_key(tmp_path: Path, line: str, text: str) -> None:
    """A bad pattern is refused when it is written, not when it is matched."""
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, f"[policy]\n{line}\n")
    key = line.partition(" ")[0]
    assert str(caught.value).startswith(f"{tmp_path}/credgate.toml:2: policy.{key}: {text}")


def test_defaults_are_accepted_by_their_forms() -> None:
    """The schema has tuples, where TOML gives lists."""
    policy = PushPolicy()
    assert forms.push_rules(policy.push) == policy.push
    assert forms.push_options(policy.push_options) == policy.push_options
    assert forms.path_globs(policy.protected_paths) == policy.protected_paths


def test_hash_is_independent_of_the_order_of_verbs(tmp_path: Path) -> None:
    """The hash must be the same in every process."""
    one = written(tmp_path, '[policy]\npush = [{refs = "refs/heads/x", allow = ["create", "update", "delete"]}]')
    other = written(tmp_path, '[policy]\npush = [{refs = "refs/heads/x", allow = ["delete", "update", "create"]}]')
    assert config_hash(one) == config_hash(other) != config_hash(Config())
