"""Dry run of a decision, for ``POST /v1/explain`` and ``credgate explain``.

    {"session": "s-..." | "grant": GRANT, "label": TEXT, "repo": "owner/repo", "forge": NAME,
     "verb": "fetch" | "create" | "update" | "force" | "delete", "ref": "refs/heads/x", "path": TEXT, "option": TEXT}

Decided by the same functions as a real request (``authorize``, ``scope``, ``push_rules``): an explanation must not
differ from the decision. What a dry run cannot know is listed as ``needs``: that an update is a fast-forward, that the
old object id is the forge's, that no protected path changes. The caller looks the session up; nothing here reads a
store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import InvalidValueError
from credgate.git import push_rules as rule
from credgate.git.authorize import without_credential
from credgate.git.push_verdict import quoted_path
from credgate.rules import path_folding, refname
from credgate.rules.parse import quoted, refuse_unknown_keys
from credgate.sessions import scope
from credgate.sessions.grants import check_label, parse_repos
from credgate.values import Access, Decision, Reason, RepoPath, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from credgate.config.schema import PushPolicy
    from credgate.forges.driver import Driver
    from credgate.git.push_rules import PushRules
    from credgate.sessions.model import Grant

FETCH = "fetch"
VERBS = (FETCH, *rule.VERBS)
KEYS = ("session", "grant", "label", "repo", "forge", "verb", "ref", "path", "option")
NOBODY = "s-0000000000000000"
"""The value of ``{session}`` if the question is about a grant and not about a session."""


@frozen(slots=True)
class ExplainQuestion:
    """A parsed question. ``session`` is a public id, or ``""`` if ``grants`` and ``label`` replace it."""

    repo: RepoPath
    verb: str
    ref: bytes = b""
    path: bytes = b""
    option: bytes = b""
    session: str = ""
    grants: tuple[Grant, ...] = ()
    label: str = ""


@frozen(slots=True)
class Explanation:
    """The decision, and what an allowed push must still fulfil."""

    decision: Decision
    needs: tuple[str, ...] = ()
    """Of ``fast-forward``, ``old-oid``, ``protected-paths``."""

    def view(self) -> dict[str, object]:
        """Return it as JSON."""
        decision = "allow" if self.decision.allow else "deny"
        shown = {"decision": decision, "reason": str(self.decision.reason), "rule": self.decision.rule}
        return {**shown, "text": self.decision.text, "needs": list(self.needs)}


def parse_question(payload: object, drivers: Mapping[str, Driver], default_forge: str) -> ExplainQuestion:
    """Parse the decoded JSON of a question; raise InvalidValueError with the text for its sender."""
    if not isinstance(payload, dict):
        raise InvalidValueError("The body must be a JSON object")
    refuse_unknown_keys(payload, KEYS)
    given = {key: value for key, value in payload.items() if value is not None}
    texts = {key: _text(given, key) for key in KEYS if key != "grant"}
    if bool(texts["session"]) == ("grant" in given):
        raise InvalidValueError("Exactly one of session and grant is required")
    if texts["verb"] not in VERBS:
        raise InvalidValueError(f"verb must be one of {', '.join(VERBS)}")
    grants = parse_repos([given["grant"]], drivers, default_forge) if "grant" in given else ()
    check_label(grants, texts["label"])
    return ExplainQuestion(
        repo=repository(texts["repo"], texts["forge"] or default_forge, drivers),
        verb=texts["verb"],
        ref=_ref(texts["verb"], texts["ref"]),
        path=_path(texts["path"]),
        option=_bytes(texts["option"]),
        session=texts["session"],
        grants=grants,
        label=texts["label"],
    )


def repository(path: str, forge: str, drivers: Mapping[str, Driver]) -> RepoPath:
    """Return the repository in its forge's normal form; raise InvalidValueError."""
    if forge not in drivers:
        raise InvalidValueError(f"Unknown forge: {quoted(forge)} (configured: {', '.join(drivers)})")
    normal = drivers[forge].normal(path)
    if normal is None:
        raise InvalidValueError(f"Invalid repo format: {quoted(path)}")
    return RepoPath(forge, normal)


def explain(  # noqa: PLR0913 - the session in three parts, and what else the decision depends on
    question: ExplainQuestion,
    policy: PushPolicy,
    *,
    session: str = NOBODY,
    grants: Sequence[Grant] = (),
    label: str = "",
    has_credential: Callable[[RepoPath], bool] = lambda _repo: True,
) -> Explanation:
    """Decide for a session (``session``, ``grants``, ``label``), or for the question's own grant."""
    asked = question.grants or tuple(grants)
    needed = Access.READ if question.verb == FETCH else Access.WRITE
    match = scope.find(asked, question.repo, needed)
    if match.grant is None or question.verb == FETCH:
        return Explanation(match.decision)
    if not has_credential(question.repo):
        return Explanation(without_credential(question.repo))
    rules = rule.rules_for(match.grant, policy, session, question.label or label)
    for decision in _push(question, rules):
        if not decision.allow:
            return Explanation(decision)
    return Explanation(rule.decide(rules, question.ref, question.verb), _needs(question, rules))


def _push(question: ExplainQuestion, rules: PushRules) -> list[Decision]:
    """Return every decision that the push depends on, the ref's first."""
    decisions = [rule.decide(rules, question.ref, question.verb)]
    if question.option:
        decisions.append(rule.judge_options(rules, [question.option]))
    moves = question.path and question.verb != rule.DELETE
    glob = rules.protected.protects(question.path) if moves else None
    if glob is not None:
        text = f"{quoted_path(question.path)} is protected ({quoted_path(glob.encode(), 40)})"
        decisions.append(refuse(Reason.PUSH_PATH, "protected_paths", text))
    return decisions


def _needs(question: ExplainQuestion, rules: PushRules) -> tuple[str, ...]:
    ancestry = question.verb == rule.UPDATE and not rule.decide(rules, question.ref, rule.FORCE).allow
    paths = bool(rules.protected) and not question.path and question.verb != rule.DELETE
    needs = {"fast-forward": ancestry, "old-oid": rules.require_old_oid, "protected-paths": paths}
    return tuple(name for name, needed in needs.items() if needed)


def _text(given: Mapping[str, object], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise InvalidValueError(f"{key} must be a string")
    return value


def _bytes(text: str) -> bytes:
    # JSON can hold an unpaired surrogate. Then the bytes are not UTF-8 and are refused by the check that follows.
    return text.encode("utf-8", "surrogatepass")


def _path(text: str) -> bytes:
    path = _bytes(text)
    fault = path_folding.fault(path)
    if fault is not None:
        raise InvalidValueError(f"path cannot be compared: {fault}")
    return path


def _ref(verb: str, text: str) -> bytes:
    ref = _bytes(text)
    if verb == FETCH:
        if ref:
            raise InvalidValueError("ref is not allowed with the verb fetch")
        return b""
    fault = refname.fault(ref)
    if fault is not None:
        raise InvalidValueError(f"Invalid ref: {quoted(text)} ({fault})")
    return ref
