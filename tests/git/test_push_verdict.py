"""Verdicts on pushes: as a whole or partial, what must be inspected, and the texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import PushPolicy
from credgate.git import push_verdict as verdict_module
from credgate.git.push_list import Command
from credgate.git.push_rules import MAX_TEXT, VERBS, PushRules, rules_for, too_large
from credgate.git.push_verdict import (
    MAX_LINES,
    NOT_ATTEMPTED,
    Findings,
    PushVerdict,
    judge,
    judging,
    quoted_path,
    refuse_all,
    settle,
    settling,
    verb_of,
)
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason

A, B, ZERO = b"a1" * 20, b"b2" * 20, b"0" * 40


def made(verbs: str = "cu", policy: PushPolicy | None = None, **limits: Any) -> PushRules:
    """Make rules for ``refs/heads/agent/*``; verbs by first letter."""
    allow = frozenset(verb for verb in VERBS if verb[0] in verbs)
    grant = Grant("octo/hello", "github.com", push=(PushRule("refs/heads/agent/*", allow),), **limits)
    return rules_for(grant, policy or PushPolicy(), "s-1", "box")


def command(name: str, old: bytes = ZERO, new: bytes = A) -> Command:
    """Move a branch; by default create it."""
    ref = b"refs/heads/" + name.encode()
    return Command(old, new, ref)


CREATE, UPDATE = command("agent/new"), command("agent/old", A, B)
DELETE, FOREIGN = command("agent/gone", A, ZERO), command("main")


def reasons(verdict: PushVerdict) -> list[Reason]:
    """Return one reason for each ref, in order."""
    return [one.decision.reason for one in verdict.refs]


def test_verb_is_read_from_the_ids() -> None:
    """The protocol has no force."""
    assert [verb_of(one) for one in (CREATE, UPDATE, DELETE)] == ["create", "update", "delete"]


def test_allowed_push_is_forwarded_as_a_whole() -> None:
    """Nothing refused, no text, only the update's history to inspect."""
    verdict = judge([CREATE, UPDATE], made())
    assert verdict.forwarded == (CREATE, UPDATE)
    assert (verdict.refused, verdict.lines(made()), verdict.pack) == ([], [], True)
    assert (verdict.needs_old, verdict.needs_ancestry, verdict.needs_paths) == ((), (UPDATE,), ())
    assert verdict.decision.reason is Reason.ALLOWED
    assert not verdict.settled
    assert judge([CREATE], made()).settled
    for limits in ({"require_old_oid": True}, {"protected_paths": ("x",)}):  # either alone is something to find out
        assert not judge([CREATE], made(**limits)).settled


def test_one_refusal_refuses_the_whole_push() -> None:
    """As a pre-receive hook: the reason for one, "not attempted" for the rest."""
    verdict = judge([CREATE, FOREIGN, UPDATE], made("cuf"))
    assert reasons(verdict) == [Reason.PUSH_NOT_ATTEMPTED, Reason.PUSH_REF, Reason.PUSH_NOT_ATTEMPTED]
    assert (verdict.forwarded, verdict.settled) == ((), True)
    assert verdict.refused == [
        (CREATE.ref, "credgate: not attempted: another ref in this push was refused"),
        (
            FOREIGN.ref,
            (
                "credgate: no rule of this session matches this ref; "
                "it may push refs/heads/agent/* (create, update, force)"
            ),
        ),
        (UPDATE.ref, "credgate: not attempted: another ref in this push was refused"),
    ]
    assert verdict.decision.reason is Reason.PUSH_REF


def test_partial_grant_forwards_the_allowed_refs() -> None:
    """A push of deletions only has no pack."""
    rules = made("cud", partial=True)
    verdict = judge([FOREIGN, CREATE, UPDATE], rules)
    assert reasons(verdict) == [Reason.PUSH_REF, Reason.ALLOWED, Reason.ALLOWED]
    assert (verdict.forwarded, verdict.pack, verdict.needs_ancestry) == ((CREATE, UPDATE), True, (UPDATE,))
    assert [ref for ref, _ in verdict.refused] == [FOREIGN.ref]
    deletes = judge([FOREIGN, DELETE], rules)
    assert (deletes.forwarded, deletes.pack) == ((DELETE,), False)
    assert judge([FOREIGN], rules).forwarded == ()


def test_atomic_push_is_refused_as_a_whole_even_if_partial() -> None:
    """Git would show a refused ref as pushed."""
    rules = made("cud", partial=True)
    assert judge([FOREIGN, CREATE], rules, atomic=True).forwarded == ()
    assert judge([CREATE, UPDATE], rules, atomic=True).forwarded == (CREATE, UPDATE)


@pytest.mark.parametrize(
    ("verbs", "one", "ancestry"),
    [
        ("cu", CREATE, False),
        ("cu", UPDATE, True),
        ("cuf", UPDATE, False),
        ("f", UPDATE, False),
        ("cu", command("agent/same", A, A), False),
        ("cud", DELETE, False),
    ],
)
def test_history_is_inspected_only_if_force_is_not_allowed(verbs: str, one: Command, ancestry: bool) -> None:  # noqa: FBT001 - a column of the table
    """A walk is expensive."""
    verdict = judge([one], made(verbs))
    assert verdict.forwarded == (one,)
    assert verdict.needs_ancestry == ((one,) if ancestry else ())


def test_policy_without_force_needs_history() -> None:
    """The grant alone would allow it."""
    policy = PushPolicy(push=(PushRule("refs/heads/**", frozenset({"create", "update"})),))
    verdict = judge([UPDATE], made("cuf", policy))
    assert verdict.needs_ancestry == (UPDATE,)
    refused = settle(verdict, Findings(fast_forward={UPDATE.ref: False}), made("cuf", policy))
    assert refused.decision.rule == "policy.push[0] refs/heads/**"


def test_paths_are_inspected_for_every_moved_ref() -> None:
    """A new branch brings a tree too; a deletion and an unchanged ref bring none."""
    same = command("agent/same", A, A)
    verdict = judge([CREATE, UPDATE, DELETE, same], made("cufd", protected_paths=("x",)))
    assert verdict.needs_paths == (CREATE, UPDATE)
    assert verdict.needs_ancestry == ()


def test_old_ids_are_inspected_if_required() -> None:
    """Of every command: a forge deletes a ref without comparing an old id that it does not know."""
    verdict = judge([CREATE, UPDATE, DELETE], made("cufd", require_old_oid=True))
    assert verdict.needs_old == (CREATE, UPDATE, DELETE)


def test_too_many_refs_are_refused_before_any_is_judged() -> None:
    """Every ref with the same reason."""
    assert judge([CREATE, UPDATE], made(max_refs=2)).forwarded == (CREATE, UPDATE)
    assert reasons(judge([CREATE, UPDATE], made(max_refs=1))) == [Reason.PUSH_TOO_MANY_REFS] * 2


def test_later_refusal_applies_to_all_refs() -> None:
    """A size, an option."""
    verdict = refuse_all([CREATE, DELETE], too_large(made(max_push_bytes=5)))
    assert reasons(verdict) == [Reason.PUSH_TOO_LARGE] * 2
    assert [one.verb for one in verdict.refs] == ["create", "delete"]


def test_probe_is_allowed() -> None:
    """Git tests its credential with it."""
    verdict = judge([], made())
    assert (verdict.forwarded, verdict.pack, verdict.decision.allow, verdict.settled) == ((), False, True, True)


def settled(found: Findings, rules: PushRules, *commands: Command) -> PushVerdict:
    """Judge and settle."""
    verdict = settle(judge(commands, rules), found, rules)
    assert verdict.settled
    return verdict


def test_fast_forward_is_allowed_and_another_move_refused() -> None:
    """The verb becomes force."""
    good = settled(Findings(fast_forward={UPDATE.ref: True}), made(), UPDATE, CREATE)
    assert good.forwarded == (UPDATE, CREATE)
    bad = settled(Findings(fast_forward={UPDATE.ref: False}), made(), UPDATE, CREATE)
    assert reasons(bad) == [Reason.PUSH_FORCE, Reason.PUSH_NOT_ATTEMPTED]
    assert [one.verb for one in bad.refs] == ["force", "create"]
    assert bad.refs[0].decision.text == (
        "not a fast-forward, and push[0] refs/heads/agent/* does not allow force: rebase, or push to a new branch"
    )


def test_dropped_push_has_no_allowed_refs() -> None:
    """The audit line does not call a ref allowed that the forge was never asked to move."""
    verdict = judge([CREATE, UPDATE], made("c", partial=True))
    assert reasons(verdict) == [Reason.ALLOWED, Reason.PUSH_VERB]
    assert reasons(verdict.dropped()) == [Reason.PUSH_NOT_ATTEMPTED, Reason.PUSH_VERB]


def test_missing_findings_refuse_the_push() -> None:
    """The text says what could not be decided, and what to do."""
    rules = made("cu", protected_paths=("x",), require_old_oid=True)
    old = {UPDATE.ref: A}
    whole = Findings(old=old, fast_forward={UPDATE.ref: True}, touched={UPDATE.ref: b""})
    assert settled(whole, rules, UPDATE).forwarded == (UPDATE,)
    texts = {
        "could not tell where this ref is at the forge: try again": Findings(),
        "could not tell whether this is a fast-forward: fetch and rebase, or push to a new branch": Findings(old=old),
        "could not tell whether this changes a protected path: this forge cannot send history without files; its "
        "operator can (uploadpack.allowFilter), or lift protected_paths": Findings(
            old=old, fast_forward={UPDATE.ref: True}, why="it cannot", unasked=True
        ),
        "could not tell whether this changes a protected path (too many trees): push less at a time": Findings(
            old=old, fast_forward={UPDATE.ref: True}, why="too many trees"
        ),
    }
    for text, found in texts.items():
        verdict = settled(found, rules, UPDATE)
        assert (reasons(verdict), verdict.refs[0].decision.text) == ([Reason.PUSH_UNKNOWN], text)


def test_ref_at_another_commit_is_refused_with_advice() -> None:
    """Created although it exists, moved or deleted although it is elsewhere."""
    rules = made("cud", require_old_oid=True)
    there = {CREATE.ref: A, UPDATE.ref: B}
    for one in (CREATE, UPDATE, DELETE):
        verdict = settled(Findings(old=there, fast_forward={one.ref: True}), rules, one)
        assert reasons(verdict) == [Reason.PUSH_OLD_OID]
        assert (
            verdict.refs[0].decision.text
            == "the forge has this ref at another commit than the push expects: fetch, and push again"
        )
    right = {UPDATE.ref: A, DELETE.ref: A}
    assert settled(Findings(old=right, fast_forward={UPDATE.ref: True}), rules, CREATE, UPDATE, DELETE).forwarded


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            b".github/workflows/ci.yml",
            ".github/workflows/ci.yml is protected (.github/workflows/**): leave it as it was",
        ),
        (b".github", ".github is protected (.github/workflows/**): leave it as it was"),
        (b"caf\xc3\xa9", '"caf\\303\\251" is protected (protected_paths): leave it as it was'),
    ],
)
def test_refusal_names_the_protected_path(path: bytes, text: str) -> None:
    """Quoted as by git: its bytes are the sandbox's."""
    rules = made("cu", protected_paths=(".github/workflows/**",))
    verdict = settled(Findings(touched={CREATE.ref: path}), rules, CREATE, command("agent/other"))
    assert reasons(verdict) == [Reason.PUSH_PATH, Reason.PUSH_UNKNOWN]
    assert (verdict.refs[0].decision.text, verdict.refs[0].decision.rule) == (text, "protected_paths")


def test_late_refusal_refuses_all_refs_even_if_partial() -> None:
    """The whole list was forwarded already. Earlier refusals keep their reason."""
    rules = made("cu", partial=True)
    bad = settled(Findings(fast_forward={UPDATE.ref: False}), rules, FOREIGN, CREATE, UPDATE)
    assert reasons(bad) == [Reason.PUSH_REF, Reason.PUSH_NOT_ATTEMPTED, Reason.PUSH_FORCE]
    good = settled(Findings(fast_forward={UPDATE.ref: True}), rules, FOREIGN, CREATE, UPDATE)
    assert reasons(good) == [Reason.PUSH_REF, Reason.ALLOWED, Reason.ALLOWED]


def test_at_most_five_lines_explain_a_refusal() -> None:
    """Which refs, by which rule, what happened to the rest, and what may be pushed."""
    rules = made("cu", partial=True)
    assert judge([FOREIGN, CREATE], rules).lines(rules) == [
        "refs/heads/main: create refused by push (push-ref)",
        "1 of 2 refs were forwarded",
        "this session may push refs/heads/agent/* (create, update)",
    ]
    many = [command(f"x{number}", A, ZERO) for number in range(9)]
    lines = judge([*many, CREATE], made()).lines(made())
    assert len(lines) == MAX_LINES
    assert lines[2] == "refs/heads/x2: delete refused by push (push-ref)"
    assert lines[3] == "nothing was pushed, and 6 more refs refused"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"a/b c", "a/b c"),
        (b'a"b\\c', '"a\\042b\\134c"'),
        (b"\x1b[31m\n\xff", '"\\033[31m\\012\\377"'),
        (b"x" * 78, "x" * 78),
        (b"x" * 79, "x" * 75 + "..."),
    ],
)
def test_path_is_quoted_as_by_git(path: bytes, shown: str) -> None:
    """No byte of it can control a terminal, and it stays short."""
    assert quoted_path(path) == shown


names = st.sampled_from(["agent/a", "agent/b", "agent/c", "main"])
moves = st.sampled_from([(ZERO, A), (A, B), (A, ZERO), (A, A)])
pushes = st.lists(st.tuples(names, moves), max_size=4, unique_by=lambda one: one[0])
rule_sets = st.builds(
    made,
    st.text("cufd", max_size=4),
    partial=st.booleans(),
    require_old_oid=st.booleans(),
    max_refs=st.integers(1, 4),
    protected_paths=st.sampled_from([(), ("a/**",)]),
)
refs_of = st.sampled_from([b"refs/heads/agent/a", b"refs/heads/agent/b", b"refs/heads/agent/c"])
founds = st.builds(
    Findings,
    old=st.none() | st.dictionaries(refs_of, st.sampled_from([A, B])),
    fast_forward=st.dictionaries(refs_of, st.booleans()),
    touched=st.dictionaries(refs_of, st.sampled_from([b"", b"a/b", b"\xff"])),
    why=st.text("x ", max_size=90),
)


@given(pushes, rule_sets, founds, st.booleans())
def test_only_proved_refs_are_forwarded(
    pushed: list[tuple[str, tuple[bytes, bytes]]],
    rules: PushRules,
    found: Findings,
    atomic: bool,  # noqa: FBT001 - drawn
) -> None:
    """For any questions and findings; every text fits."""
    commands = [command(name, *move) for name, move in pushed]
    first = judge(commands, rules, atomic=atomic)
    last = settle(first, found, rules)
    assert set(last.forwarded) <= set(first.forwarded)
    going = {one.ref for one in last.forwarded}
    assert all(found.fast_forward.get(one.ref) for one in first.needs_ancestry if one.ref in going)
    assert all(found.touched.get(one.ref) == b"" for one in first.needs_paths if one.ref in going)
    assert all((found.old or {}).get(one.ref, ZERO) == one.old for one in first.needs_old if one.ref in going)
    if not rules.partial or atomic:
        assert going in (set(), {one.ref for one in commands})
    assert all(one.decision.text == NOT_ATTEMPTED.text or one.decision.allow or last.lines(rules) for one in last.refs)
    assert all(len(text.encode()) <= MAX_TEXT + len("credgate: ") for _, text in (*first.refused, *last.refused))


def test_long_path_is_cut_before_it_is_quoted() -> None:
    """The hidden part costs nothing."""
    assert quoted_path(b"\xff" * (64 << 20)).endswith('..."')
    assert quoted_path(b"x" * 64) == "x" * 64


def test_text_of_a_path_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of two thousand refs."""
    rules = made("c", protected_paths=("Makefile",), max_refs=2000)
    commands = [command(f"agent/{number}") for number in range(2000)]
    made_texts: list[bytes] = []
    quoted = verdict_module.quoted_path
    monkeypatch.setattr(
        verdict_module, "quoted_path", lambda path, *limit: made_texts.append(path) or quoted(path, *limit)
    )
    found = Findings(touched=dict.fromkeys([one.ref for one in commands], b"Makefile"))
    verdict = settle(judge(commands, rules), found, rules)
    assert {one.decision.text for one in verdict.refs} == {"Makefile is protected (Makefile): leave it as it was"}
    assert made_texts == [b"Makefile", b"Makefile"]  # the path, and the glob


@pytest.mark.parametrize(("count", "steps"), [(1, 0), (256, 0), (257, 2), (1024, 4)])
def test_long_lists_are_judged_and_settled_in_steps(count: int, steps: int) -> None:
    """Of at most 256 refs; the verdict is the same."""
    commands = [command(str(number), A, B) for number in range(count)]
    limits = made(max_refs=2000)
    verdict = judge(commands, limits)
    found = Findings(fast_forward={one.ref: one.ref != b"refs/heads/0" for one in commands})
    for work, outcome in (
        (judging(commands, limits), verdict),
        (settling(verdict, found, limits), settle(verdict, found, limits)),
    ):
        taken, end = 0, None
        while end is None:
            try:
                next(work)
            except StopIteration as stop:
                end = stop.value
            else:
                taken += 1
        assert (taken, end) == (steps, outcome)
    assert not settle(verdict, found, limits).forwarded
