"""Fixtures: the project's own policies are checked by them, and an invalid document never passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from credgate.config.schema import Config, PushPolicy
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.git.fixtures import FixtureOutcome, Fixtures, exit_status
from credgate.sessions.model import PushRule
from credgate.values import Decision, Reason

FILES = sorted((Path(__file__).parent / "testdata" / "policy").glob("*.toml"))
DRIVERS = {forge.name: driver_for(forge) for forge in Config().forges.values()}
FIXTURES = Fixtures(DRIVERS, "github.com", PushPolicy())

CASE = """
grants = ["octo/hello"]
[[push]]
repo = "octo/hello"
refs = [{ref = "refs/heads/x", verb = "create", expect = "allowed"}]
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_fixture_of_the_project_is_met(file: Path) -> None:
    """As in an operator's own CI."""
    outcomes = FIXTURES.run(file.read_text(), str(file))
    assert [str(outcome) for outcome in outcomes if not outcome.passed] == []
    assert exit_status(outcomes) == 0


def test_fixtures_exist() -> None:
    """The test above has input."""
    assert {file.stem for file in FILES} == {"agents", "defaults"}
    assert len([outcome for file in FILES for outcome in FIXTURES.run(file.read_text())]) > 35


def test_unmet_expectation_fails() -> None:
    """By its reason or its rule; the line has the actual result."""
    wrong = CASE.replace('"allowed"', '"push-verb"')
    (outcome,) = FIXTURES.run(wrong)
    assert (outcome.passed, exit_status([outcome])) == (False, 1)
    assert str(outcome) == (
        "FAIL push[0]: refs/heads/x: expected push-verb, got allowed by default.push[0] refs/heads/**"
    )
    (outcome,) = FIXTURES.run(CASE.replace('"allowed"', '"allowed", rule = "push[9]"'))
    assert str(outcome) == (
        "FAIL push[0]: refs/heads/x: expected allowed by push[9], got allowed by default.push[0] refs/heads/**"
    )
    (outcome,) = FIXTURES.run(CASE.replace("create", "delete").replace("allowed", "push-ref"))
    assert str(outcome).endswith(
        "expected push-ref, got push-verb by default.push[0] refs/heads/**: default.push[0] refs/heads/** "
        "does not allow delete; this session may push refs/heads/** (create, update), refs/tags/** (create)"
    )


def test_met_expectation_has_a_short_line() -> None:
    """Without the text of the decision."""
    assert [str(outcome) for outcome in FIXTURES.run(CASE)] == ["ok   push[0]: refs/heads/x: allowed"]
    fetch = 'grants = ["a/b"]\n[[fetch]]\nname = "n"\nrepo = "a/b"\nexpect = "allowed"'
    assert [str(outcome) for outcome in FIXTURES.run(fetch)] == ["ok   n: allowed"]
    assert FixtureOutcome("x", "", "allowed", "", Decision(allow=True, reason=Reason.ALLOWED)).passed


def test_configured_policy_applies_unless_the_document_has_one() -> None:
    """Operators test the policy that they run."""
    policy = PushPolicy(push=(PushRule("refs/**", frozenset()),))
    configured = Fixtures(DRIVERS, "github.com", policy)
    assert [outcome.decision.rule for outcome in configured.run(CASE)] == ["policy.push[0] refs/**"]
    assert [outcome.passed for outcome in configured.run(CASE + "[policy]\n")] == [True]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("x = [", "not TOML: "),
        ("", "no expectations: write [[push]] or [[fetch]]"),
        (
            CASE.replace('refs = [{ref = "refs/heads/x", verb = "create", expect = "allowed"}]', "refs = []"),
            "no expectations",
        ),
        ("pushes = []", "Unknown key: pushes (known: grants, label, session, policy, push, fetch)"),
        ("push = {}", "push: expected a list"),
        ("push = [1]", "expected a table with name, repo, "),
        ("[[push]]\nrepo = 'a/b'", "push[0]: refs is missing"),
        ("[[push]]\nrefs = []", "push[0]: repo is missing"),
        ("[[push]]\nname = 5", "name: expected a string"),
        ("[[push]]\nrepo = 'a'\nrefs = []", "push[0]: Invalid repo format: a"),
        ("[[push]]\nrepo = 'a/b'\nforge = 'x'\nrefs = []", "push[0]: Unknown forge: x (configured: github.com)"),
        ("[[push]]\nrepo = 'a/b'\nrefs = [5]", "push[0]: expected a table with ref, verb, "),
        (CASE.replace("verb", "verbs"), "push[0]: Unknown key: verbs (known: ref, verb, "),
        (CASE.replace("create", "merge"), "push[0]: verb must be one of create, update, force, delete"),
        (CASE.replace("refs/heads/x", "x"), "push[0]: x: a full ref name is required, such as refs/heads/<branch>"),
        (CASE.replace('"allowed"', '"yes"'), "push[0]: expect: yes is not a reason code"),
        (CASE.replace(', expect = "allowed"', ""), "push[0]: expect is missing"),
        (CASE.replace(', verb = "create"', ""), "push[0]: verb is missing"),
        (CASE.replace("octo/hello", "octo", 1), "push[0]: Invalid repo format: octo"),
        (CASE + "options = [5]", "push[0]: options: expected a list of strings"),
        (CASE + "atomic = 1", "atomic: expected true or false"),
        (CASE.replace('"allowed"', '"allowed", changes = [1]'), "push[0]: changes: expected a list of strings"),
        (CASE + "[policy]\nmax_refs = 0", "policy.max_refs: out of range: must be 1 to 20000"),
        (CASE + "[policy]\nmax = 0", "policy.max: unknown key"),
        ("policy = 5\n" + CASE, "policy: expected a table"),
        ("[[fetch]]\nrepo = 'a/b'", "fetch[0]: expect is missing"),
        (
            CASE.replace('["octo/hello"]', '[{repo = "a/b", push = [{refs = "refs/heads/{label}", allow = []}]}]'),
            "push[0]: The ref pattern refs/heads/{label} needs a session with a label",
        ),
    ],
)
def test_invalid_document_is_refused(document: str, text: str) -> None:
    """A misspelt expectation must not pass."""
    with pytest.raises(ConfigError) as caught:
        FIXTURES.run(document, "policy.toml")
    assert str(caught.value).startswith(f"policy.toml: {text}")
