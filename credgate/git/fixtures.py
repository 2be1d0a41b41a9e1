"""Fixtures of a policy: what must be allowed and what refused, judged by the real rules. For operators' own CI.

    label = "box"                                       # all keys but [[push]] and [[fetch]] are optional
    grants = ["octo/hello", {repo = "octo/docs", access = "read"}]
    [policy]                                            # as in credgate.toml; else the one that is configured
    protected_paths = [".github/**"]
    [[push]]
    name = "an agent's own branch"
    repo = "octo/hello"
    refs = [{ref = "refs/heads/agent/x", verb = "create", expect = "allowed", rule = "push[0] refs/heads/agent/*"}]
    [[fetch]]
    repo = "octo/docs"
    expect = "allowed"

``expect`` is a reason code (``docs/operations.md``). ``verb`` is what the push does: for an existing ref ``update`` is
a fast-forward and ``force`` any other move. A ref may have ``changes`` (paths) and ``stale = true`` (the forge has it
at another commit); a push ``options`` and ``atomic``; a case its own ``grants``, ``label`` and ``session`` (a public
id). Unknown keys are refused, and so is a document without expectations.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from credgate.config.structure import structure
from credgate.errors import ConfigError, InvalidValueError
from credgate.git import push_rules as rule
from credgate.git.explain import FETCH, NOBODY, repository
from credgate.git.push_list import Command
from credgate.git.push_verdict import Findings, PushVerdict, judge, refuse_all, settle
from credgate.rules import refname
from credgate.rules.parse import quoted, refuse_unknown_keys
from credgate.sessions import scope
from credgate.sessions.grants import check_label, parse_repos
from credgate.values import Access, Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.config.schema import PushPolicy
    from credgate.forges.driver import Driver
    from credgate.git.push_rules import PushRules

SESSION_KEYS = ("grants", "label", "session")
TOP_KEYS = (*SESSION_KEYS, "policy", "push", "fetch")
CASE_KEYS = ("name", "repo", "forge", *SESSION_KEYS)
PUSH_KEYS = (*CASE_KEYS, "refs", "options", "atomic")
FETCH_KEYS = (*CASE_KEYS, "expect")
REF_KEYS = ("ref", "verb", "expect", "rule", "changes", "stale")

_FORMS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("name", "repo", "forge", "label", "session", "ref", "verb", "expect", "rule"), (str, "a string")),
    **dict.fromkeys(("grants", "refs", "options", "changes", "push", "fetch"), (list, "a list")),
    **dict.fromkeys(("atomic", "stale"), (bool, "true or false")),
    "policy": (dict, "a table"),
}
PUSH = "push"
_OLD, _NEW, _ELSEWHERE, _ZERO = b"1" * 40, b"2" * 40, b"3" * 40, b"0" * 40
_MOVES = {
    rule.CREATE: (_ZERO, _NEW),
    rule.UPDATE: (_OLD, _NEW),
    rule.FORCE: (_OLD, _NEW),
    rule.DELETE: (_OLD, _ZERO),
}


@frozen(slots=True)
class FixtureOutcome:
    """One expectation and its result. ``ref`` is ``""`` for a fetch; ``rule`` is ``""`` if none is expected."""

    case: str
    ref: str
    expect: str
    rule: str
    decision: Decision

    @property
    def passed(self) -> bool:
        """Whether the decision is as expected."""
        return self.decision.reason == self.expect and self.rule in ("", self.decision.rule)

    def __str__(self) -> str:
        place = f"{self.case}: {self.ref}" if self.ref else self.case
        if self.passed:
            return f"ok   {place}: {self.expect}"
        wanted = f"{self.expect} by {self.rule}" if self.rule else self.expect
        got = f"{self.decision.reason} by {self.decision.rule}"
        return f"FAIL {place}: expected {wanted}, got {got}" + (f": {self.decision.text}" if self.decision.text else "")


@frozen
class Fixtures:
    """Judges documents with one configuration: its forges and, if a document has no policy, its policy."""

    drivers: Mapping[str, Driver]
    default_forge: str
    policy: PushPolicy

    def run(self, text: str, file: str = "") -> list[FixtureOutcome]:
        """Judge every case of a document. Raises ConfigError, with the file, for an invalid document."""
        try:
            top = _keys(_toml(text), TOP_KEYS)
            policy = _policy(top["policy"]) if "policy" in top else self.policy
            cases = [*_cases(top, PUSH, PUSH_KEYS), *_cases(top, FETCH, FETCH_KEYS)]
            outcomes = [outcome for case in cases for outcome in self._case(case, policy)]
        except InvalidValueError as error:
            raise ConfigError(str(error), file=file) from None
        if not outcomes:
            raise ConfigError("no expectations: write [[push]] or [[fetch]]", file=file)
        return outcomes

    def _case(self, case: Mapping[str, Any], policy: PushPolicy) -> list[FixtureOutcome]:
        try:
            grants = parse_repos(case.get("grants", []), self.drivers, self.default_forge)
            check_label(grants, case.get("label", ""))
            repo = repository(_needed(case, "repo"), case.get("forge", self.default_forge), self.drivers)
            fetch = case["kind"] == FETCH
            match = scope.find(grants, repo, Access.READ if fetch else Access.WRITE)
            if fetch:
                return [FixtureOutcome(case["name"], "", _expected(case), "", match.decision)]
            return _push(case, match, policy)
        except InvalidValueError as error:
            raise InvalidValueError(f"{case['name']}: {error}") from None


def exit_status(outcomes: list[FixtureOutcome]) -> int:
    """Return 0 if every expectation was met, else 1. The caller returns 2 for an invalid document."""
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _push(case: Mapping[str, Any], match: scope.GrantMatch, policy: PushPolicy) -> list[FixtureOutcome]:
    refs = [_keys(ref, REF_KEYS) for ref in _needed(case, "refs")]
    commands = [_command(ref) for ref in refs]
    if match.grant is None:
        verdict = refuse_all(commands, match.decision)
    else:
        rules = rule.rules_for(match.grant, policy, case.get("session", NOBODY), case.get("label", ""))
        verdict = _judged(case, refs, commands, rules)
    return [
        FixtureOutcome(case["name"], ref["ref"], _expected(ref), ref.get("rule", ""), one.decision)
        for ref, one in zip(refs, verdict.refs, strict=True)
    ]


def _judged(
    case: Mapping[str, Any], refs: list[dict[str, Any]], commands: list[Command], rules: PushRules
) -> PushVerdict:
    """Judge a push as the gateway would, with the findings that the fixture states."""
    options = rule.judge_options(rules, _texts(case, "options"))
    if not options.allow:
        return refuse_all(commands, options)
    pairs = list(zip(refs, commands, strict=True))
    there = {one.ref: _ELSEWHERE if ref.get("stale") else one.old for ref, one in pairs}
    found = Findings(
        old={ref: oid for ref, oid in there.items() if oid != _ZERO},
        fast_forward={one.ref: ref["verb"] != rule.FORCE for ref, one in pairs},
        touched={one.ref: next(filter(rules.protected.matches, _texts(ref, "changes")), b"") for ref, one in pairs},
    )
    return settle(judge(commands, rules, atomic=case.get("atomic", False)), found, rules)


def _command(ref: Mapping[str, Any]) -> Command:
    verb, name = _needed(ref, "verb"), _needed(ref, "ref").encode()
    if verb not in _MOVES:
        raise InvalidValueError(f"verb must be one of {', '.join(_MOVES)}")
    fault = refname.fault(name)
    if fault is not None:
        raise InvalidValueError(f"{quoted(ref['ref'])}: {fault}")
    return Command(*_MOVES[verb], name)


def _texts(table: Mapping[str, Any], key: str) -> list[bytes]:
    values = table.get(key, [])
    if not all(isinstance(value, str) for value in values):
        raise InvalidValueError(f"{key}: expected a list of strings")
    return [value.encode() for value in values]


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"not TOML: {error}") from None


def _policy(table: Mapping[str, Any]) -> PushPolicy:
    config = structure({"policy": table})
    if isinstance(config, list):
        raise InvalidValueError(f"{'.'.join(config[0].path)}: {config[0].text}")
    return config.policy


def _cases(top: Mapping[str, Any], kind: str, known: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, table in enumerate(top.get(kind, [])):
        case = {key: top[key] for key in SESSION_KEYS if key in top} | _keys(table, known)
        yield {**case, "kind": kind, "name": case.get("name", f"{kind}[{number}]")}


def _keys(table: object, known: tuple[str, ...]) -> dict[str, Any]:
    """Check the keys of a table and the types of their values."""
    if not isinstance(table, dict):
        raise InvalidValueError(f"expected a table with {', '.join(known)}")
    refuse_unknown_keys(table, known)
    for key, value in table.items():
        kind, expected = _FORMS[key]
        if not isinstance(value, kind):
            raise InvalidValueError(f"{key}: expected {expected}")
    return table


def _needed(table: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - its type was checked
    if key not in table:
        raise InvalidValueError(f"{key} is missing")
    return table[key]


def _expected(table: Mapping[str, Any]) -> str:
    expect: str = _needed(table, "expect")
    if expect not in tuple(Reason):
        raise InvalidValueError(f"expect: {expect} is not a reason code")
    return expect
