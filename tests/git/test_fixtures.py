"""Fixtures: the project's own policies are judged by them, and what is not understood is no passing test."""

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
def test_the_rules_do_what_the_fixtures_say(file: Path) -> None:
    """Every expectation of every file; what an operator's own CI would run."""
    outcomes = FIXTURES.run(file.read_text(), str(file))
    assert [str(outcome) for outcome in outcomes if not outcome.passed] == []
    assert exit_status(outcomes) == 0


def test_there_are_fixtures() -> None:
    """The test above is about something."""
    assert {file.stem for file in FILES} == {"agents", "defaults"}
    assert len([outcome for file in FILES for outcome in FIXTURES.run(file.read_text())]) > 35


def test_an_expectation_that_is_not_met_fails() -> None:
    """By its reason, or by the rule that decided; the line says what came instead."""
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


def test_one_that_is_met_is_told_shortly() -> None:
    """Nobody reads those."""
    assert [str(outcome) for outcome in FIXTURES.run(CASE)] == ["ok   push[0]: refs/heads/x: allowed"]
    fetch = 'grants = ["a/b"]\n[[fetch]]\nname = "n"\nrepo = "a/b"\nexpect = "allowed"'
    assert [str(outcome) for outcome in FIXTURES.run(fetch)] == ["ok   n: allowed"]
    assert FixtureOutcome("x", "", "allowed", "", Decision(allow=True, reason=Reason.ALLOWED)).passed


def test_the_configured_policy_holds_unless_the_document_has_its_own() -> None:
    """Operators test what they run."""
    policy = PushPolicy(push=(PushRule("refs/**", frozenset()),))
    configured = Fixtures(DRIVERS, "github.com", policy)
    assert [outcome.decision.rule for outcome in configured.run(CASE)] == ["policy.push[0] refs/**"]
    assert [outcome.passed for outcome in configured.run(CASE + "[policy]\n")] == [True]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("x = [", "not TOML: "),
        ("", "it expects nothing: write [[push]] or [[fetch]]"),
        (
            CASE.replace('refs = [{ref = "refs/heads/x", verb = "create", expect = "allowed"}]', "refs = []"),
            "it expects",
        ),
        ("pushes = []", "Unknown key: pushes (known: grants, label, session, policy, push, fetch)"),
        ("push = {}", "push: a list is meant"),
        ("push = [1]", "a table is meant, with name, repo, "),
        ("[[push]]\nrepo = 'a/b'", "push[0]: refs is missing"),
        ("[[push]]\nrefs = []", "push[0]: repo is missing"),
        ("[[push]]\nname = 5", "name: a text is meant"),
        ("[[push]]\nrepo = 'a'\nrefs = []", "push[0]: Invalid repo format: a"),
        ("[[push]]\nrepo = 'a/b'\nforge = 'x'\nrefs = []", "push[0]: Unknown forge: x (configured: github.com)"),
        ("[[push]]\nrepo = 'a/b'\nrefs = [5]", "push[0]: a table is meant, with ref, verb, "),
        (CASE.replace("verb", "verbs"), "push[0]: Unknown key: verbs (known: ref, verb, "),
        (CASE.replace("create", "merge"), "push[0]: verb must be one of create, update, force, delete"),
        (CASE.replace("refs/heads/x", "x"), "push[0]: x: a ref to push to is written refs/heads/<branch>"),
        (CASE.replace('"allowed"', '"yes"'), "push[0]: expect: yes is no reason code"),
        (CASE.replace(', expect = "allowed"', ""), "push[0]: expect is missing"),
        (CASE.replace(', verb = "create"', ""), "push[0]: verb is missing"),
        (CASE.replace("octo/hello", "octo", 1), "push[0]: Invalid repo format: octo"),
        (CASE + "options = [5]", "push[0]: options: a list of texts is meant"),
        (CASE + "atomic = 1", "atomic: true or false is meant"),
        (CASE.replace('"allowed"', '"allowed", changes = [1]'), "push[0]: changes: a list of texts is meant"),
        (CASE + "[policy]\nmax_refs = 0", "policy.max_refs: out of range: must be 1 to 20000"),
        (CASE + "[policy]\nmax = 0", "policy.max: unknown key"),
        ("policy = 5\n" + CASE, "policy: a table is meant"),
        ("[[fetch]]\nrepo = 'a/b'", "fetch[0]: expect is missing"),
        (
            CASE.replace('["octo/hello"]', '[{repo = "a/b", push = [{refs = "refs/heads/{label}", allow = []}]}]'),
            "push[0]: The ref pattern refs/heads/{label} needs a session with a label",
        ),
    ],
)
def test_a_document_that_is_not_understood_is_refused(document: str, text: str) -> None:
    """A misspelt expectation must not be one that passes."""
    with pytest.raises(ConfigError) as caught:
        FIXTURES.run(document, "policy.toml")
    assert str(caught.value).startswith(f"policy.toml: {text}")
