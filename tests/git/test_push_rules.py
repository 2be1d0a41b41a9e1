"""Push rules: what each allows, the text of each refusal, and that policy only narrows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import PushPolicy
from credgate.git import push_rules as rule
from credgate.git.push_rules import CREATE, DELETE, FORCE, MAX_TEXT, UPDATE, VERBS, PushRules, rules_for
from credgate.rules.patterns import check_ref_pattern
from credgate.sessions.model import Grant, PushRule
from credgate.values import Decision, Reason

ALL = frozenset(VERBS)


def push(*lines: tuple[str, str]) -> tuple[PushRule, ...]:
    """Write ref rules: (pattern, verbs by first letter)."""
    return tuple(PushRule(refs, frozenset(verb for verb in VERBS if verb[0] in verbs)) for refs, verbs in lines)


def made(
    written: tuple[PushRule, ...] | None = None, policy: PushPolicy | None = None, label: str = "box", **limits: Any
) -> PushRules:
    """Make the rules of session ``s-1``."""
    return rules_for(Grant("octo/hello", "github.com", push=written, **limits), policy or PushPolicy(), "s-1", label)


def verdicts(rules: PushRules, ref: bytes) -> str:
    """Return the first letters of the verbs that are allowed on ``ref``."""
    return "".join(verb[0] for verb in VERBS if rule.decide(rules, ref, verb).allow)


@pytest.mark.parametrize(
    ("ref", "verbs"),
    [
        (b"refs/heads/main", "cu"),
        (b"refs/heads/a/b/c", "cu"),
        (b"refs/tags/v1", "c"),
        (b"refs/tags/a/v1", "c"),
        (b"refs/notes/commits", ""),
        (b"refs/for/main", ""),
        (b"refs/headsx/y", ""),
        (b"refs/Heads/x", ""),
    ],
)
def test_grant_without_rules_has_the_defaults(ref: bytes, verbs: str) -> None:
    """Create and fast-forward branches, create tags, nothing else."""
    assert verdicts(made(), ref) == verbs


def test_empty_list_allows_nothing() -> None:
    """It is not the default."""
    assert verdicts(made(()), b"refs/heads/x") == ""
    assert verdicts(made(push(("refs/heads/**", ""))), b"refs/heads/x") == ""
    assert verdicts(made(), b"refs/heads/x") == "cu"


@pytest.mark.parametrize(
    ("verbs", "allowed"), [("c", "c"), ("u", "u"), ("f", "uf"), ("d", "d"), ("cu", "cu"), ("cufd", "cufd"), ("", "")]
)
def test_verbs_are_independent_except_force(verbs: str, allowed: str) -> None:
    """Force includes update."""
    assert verdicts(made(push(("refs/heads/x", verbs))), b"refs/heads/x") == allowed


def test_first_matching_rule_decides() -> None:
    """A later one is not read, whether it allows more or less."""
    rules = made(push(("refs/heads/main", ""), ("refs/heads/agent/*", "cufd"), ("refs/heads/**", "c")))
    assert [verdicts(rules, b"refs/heads/" + name) for name in (b"main", b"agent/x", b"agent/x/y", b"x")] == [
        "",
        "cufd",
        "c",
        "c",
    ]


MAIN_AND_REST = push(("refs/heads/main", "u"), ("refs/heads/**", "cufd"))
RELEASES_AND_REST = push(("refs/heads/release/**", ""), ("refs/heads/**", "cu"))

DEAD = push(("refs/heads/x/*", "cu"), ("refs/heads/x/A", ""))
BOTH = push(("refs/heads/A", "c"), ("refs/heads/a", "u"))
CLOSED = push(("refs/heads/agent/*", "c"), ("refs/**", ""))


@pytest.mark.parametrize(
    ("written", "policy", "ref", "verbs"),
    [
        pytest.param(MAIN_AND_REST, (), b"refs/heads/main", "u", id="the ref itself"),
        pytest.param(MAIN_AND_REST, (), b"refs/heads/MAIN", "u", id="upper case"),
        pytest.param(MAIN_AND_REST, (), b"refs/heads/Main", "u", id="mixed case"),
        pytest.param(MAIN_AND_REST, (), "refs/heads/ma\u200din".encode(), "u", id="a sign of no width"),
        pytest.param(MAIN_AND_REST, (), b"refs/heads/mains", "cufd", id="another name"),
        pytest.param(RELEASES_AND_REST, (), b"refs/heads/Release/1", "", id="below a directory"),
        pytest.param(RELEASES_AND_REST, (), "refs/heads/relea\u017fe/1".encode(), "", id="a long s"),
        pytest.param(RELEASES_AND_REST, (), b"refs/heads/Releases/1", "cu", id="another directory"),
        pytest.param(None, push(("refs/heads/main", "")), b"refs/heads/MAIN", "", id="policy"),
        pytest.param(None, push(("refs/heads/main", "")), b"refs/heads/other", "cu", id="policy on another ref"),
        pytest.param(push(("refs/heads/x/*", "cu"), ("refs/heads/x/A", "")), (), b"refs/heads/x/A", "cu", id="first"),
        pytest.param(
            push(("refs/heads/x/*", "cu"), ("refs/heads/x/A", "")), (), b"refs/heads/x/a", "cu", id="dead rule"
        ),
        pytest.param(push(("refs/heads/A", "c"), ("refs/heads/a", "u")), (), b"refs/heads/A", "c", id="spelled both"),
        pytest.param(
            push(("refs/heads/A", "c"), ("refs/heads/a", "u")), (), b"refs/heads/a", "u", id="spelled both, too"
        ),
        pytest.param(
            push(("refs/heads/A", "c")), push(("refs/heads/a", "")), b"refs/heads/A", "", id="not over policy"
        ),
        pytest.param(
            push(("refs/heads/agent/*", "c"), ("refs/**", "")), (), b"refs/heads/agent/X", "c", id="closed list"
        ),
    ],
)
def test_refusal_applies_to_the_ref_in_another_case(
    written: tuple[PushRule, ...] | None, policy: tuple[PushRule, ...], ref: bytes, verbs: str
) -> None:
    """A forge on a case-insensitive file system would move the protected ref."""
    assert verdicts(made(written, PushPolicy(push=policy)), ref) == verbs


def test_refusal_for_case_names_the_other_rule() -> None:
    """The rule that protects the other spelling."""
    decision = rule.decide(made(MAIN_AND_REST), b"refs/heads/MAIN", FORCE)
    assert (decision.reason, decision.rule) == (Reason.PUSH_REF, "push[0] refs/heads/main")
    assert decision.text.startswith("it differs only in case from a ref of push[0] refs/heads/main; it may push")


def test_session_placeholder_matches_its_own_session_only() -> None:
    """Another session's branches are not matched."""
    rules = made(push(("refs/heads/agent/{session}/*", "cufd"), ("refs/heads/{label}/**", "c")))
    assert verdicts(rules, b"refs/heads/agent/s-1/x") == "cufd"
    assert verdicts(rules, b"refs/heads/agent/s-2/x") == ""
    assert verdicts(rules, b"refs/heads/box/x") == "c"
    assert verdicts(rules, b"refs/heads/box2/x") == ""
    assert verdicts(made(push(("refs/heads/{label}/**", "c")), label=""), b"refs/heads/x") == ""


NAMESPACES = [
    b"for",
    b"changes",
    b"meta",
    b"pull",
    b"merge-requests",
    b"replace",
    b"notes",
    b"keep-around",
    b"x",
    b"stash",
]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_namespace_with_side_effects_is_granted_by_name_only(namespace: bytes) -> None:
    """A star never matches it, at any place of a list."""
    ref, name = b"refs/" + namespace + b"/main", namespace.decode()
    for wide in ("refs/**", "refs/*/main", "refs/**/main"):
        rules = made(push((wide, "cufd")))
        decision = rule.decide(rules, ref, CREATE)
        assert decision.reason is Reason.PUSH_NAMESPACE
        assert decision.text.startswith(f"refs/{name}/ must be granted by name; this session may push {wide} (")
        assert verdicts(rules, b"refs/heads/main") == "cufd"
        assert rule.decide(made(push((wide, "u"))), ref, CREATE).reason is Reason.PUSH_VERB
    assert verdicts(made(push((f"refs/{name}/*", "c"))), ref) == "c"
    assert verdicts(made(push((f"refs/{name}/*", "c"), ("refs/**", "cufd"))), ref) == "c"


def test_namespace_of_unusual_bytes_is_not_repeated() -> None:
    """The text goes to terminals and logs."""
    decision = rule.decide(made(push(("refs/**", "c"))), b"refs/\xe2\x80\xae/x", CREATE)
    assert decision.text.startswith("this namespace must be granted by name")


@pytest.mark.parametrize(
    ("ref", "verb", "decision"),
    [
        (
            b"refs/heads/agent/x",
            CREATE,
            Decision(allow=True, reason=Reason.ALLOWED, rule="push[1] refs/heads/agent/*"),
        ),
        (
            b"refs/heads/main",
            UPDATE,
            Decision(
                allow=False,
                reason=Reason.PUSH_VERB,
                rule="push[0] refs/heads/main",
                text="push[0] refs/heads/main does not allow update; "
                "this session may push refs/heads/agent/* (create, delete)",
            ),
        ),
        (
            b"refs/heads/agent/x",
            FORCE,
            Decision(
                allow=False,
                reason=Reason.PUSH_VERB,
                rule="push[1] refs/heads/agent/*",
                text="push[1] refs/heads/agent/* does not allow force; "
                "this session may push refs/heads/agent/* (create, delete)",
            ),
        ),
        (
            b"refs/tags/v1",
            CREATE,
            Decision(
                allow=False,
                reason=Reason.PUSH_REF,
                rule="push",
                text="no rule of this session matches this ref; it may push refs/heads/agent/* (create, delete)",
            ),
        ),
    ],
)
def test_refusal_names_its_rule_and_what_may_be_pushed(ref: bytes, verb: str, decision: Decision) -> None:
    """An agent finds the right branch name without help."""
    rules = made(push(("refs/heads/main", ""), ("refs/heads/agent/*", "cd")))
    assert rule.decide(rules, ref, verb) == decision


def test_policy_bounds_what_grants_allow() -> None:
    """Its first match must allow the verb too; refs that it does not match are left to the grant."""
    policy = PushPolicy(push=push(("refs/heads/main", "u"), ("refs/heads/release/**", "")))
    rules = made(push(("refs/heads/**", "cufd"), ("refs/tags/*", "c")), policy)
    assert verdicts(rules, b"refs/heads/main") == "u"
    assert verdicts(rules, b"refs/heads/release/1") == ""
    assert verdicts(rules, b"refs/heads/x") == "cufd"
    assert verdicts(rules, b"refs/tags/v1") == "c"
    decision = rule.decide(rules, b"refs/heads/main", DELETE)
    assert decision == Decision(
        allow=False,
        reason=Reason.PUSH_VERB,
        rule="policy.push[0] refs/heads/main",
        text="policy.push[0] refs/heads/main does not allow delete; this session may push "
        "refs/heads/** (create, update, force, delete), refs/tags/* (create)",
    )


def test_policy_never_grants() -> None:
    """It needs no name to refuse a namespace."""
    policy = PushPolicy(push=push(("refs/**", "cufd")))
    assert verdicts(made((), policy), b"refs/heads/x") == ""
    assert verdicts(made(push(("refs/for/*", "c")), policy), b"refs/for/x") == "c"
    assert verdicts(made(push(("refs/for/*", "c")), PushPolicy(push=push(("refs/**", "")))), b"refs/for/x") == ""


def test_stricter_limit_applies() -> None:
    """0 and None are no limits."""
    policy = PushPolicy(max_push_bytes=100, max_refs=10, protected_paths=("a",), require_old_oid=True)
    loose = made(None, policy, max_push_bytes=1000, max_refs=50, protected_paths=("b",), partial=True)
    assert (loose.max_push_bytes, loose.max_refs, loose.protected.texts) == (100, 10, ("a", "b"))
    assert (loose.require_old_oid, loose.partial) == (True, True)
    tight = made(None, policy, max_push_bytes=5, max_refs=3)
    assert (tight.max_push_bytes, tight.max_refs) == (5, 3)
    free = made()
    assert (free.max_push_bytes, free.max_refs, free.require_old_oid, free.partial) == (None, 2_000, False, False)
    asked = made(None, None, require_old_oid=True, max_push_bytes=7)
    assert (asked.max_push_bytes, asked.require_old_oid) == (7, True)


@pytest.mark.parametrize(
    ("granted", "policy", "options", "where"),
    [
        ((), ("*",), [], ""),
        (("ci.skip", "topic=*"), ("*",), [b"ci.skip", b"topic=a/b"], ""),
        (("ci.skip",), ("*",), [b"ci.skip", b"repo.private=false"], "push_options"),
        ((), ("*",), [b"ci.skip"], "push_options"),
        (("*",), ("ci.*",), [b"ci.skip"], ""),
        (("*",), ("ci.*",), [b"merge_request.create"], "policy.push_options"),
        (("*",), (), [b"ci.skip"], "policy.push_options"),
        (("ci.skip",), ("*",), [b"ci.skip\n"], "push_options"),
    ],
)
def test_push_option_must_be_in_both_lists(
    granted: tuple[str, ...], policy: tuple[str, ...], options: list[bytes], where: str
) -> None:
    """An option may make a repository public."""
    decision = rule.judge_options(made(None, PushPolicy(push_options=policy), push_options=granted), options)
    assert decision.rule == where
    assert decision.allow == (not where)
    assert decision.reason is (Reason.PUSH_OPTION if where else Reason.ALLOWED)


def test_refusal_of_an_option_lists_the_allowed_ones() -> None:
    """And repeats the client's only in a closed character set."""
    rules = made(None, None, push_options=("ci.skip", "topic=*"))
    assert rule.judge_options(rules, [b"repo.private=false"]).text == (
        "push option repo.private=false is not allowed by push_options; this session may send ci.skip, topic=*"
    )
    assert rule.judge_options(made(), [b"\x1b[31m"]).text == (
        "push option (not repeated) is not allowed by push_options; this session may send nothing"
    )


def test_push_options_are_offered_only_if_one_could_be_allowed() -> None:
    """Else git itself reports that the receiving end does not support them."""
    assert made(None, None, push_options=("x",)).options
    assert not made().options
    assert not made(None, PushPolicy(push_options=()), push_options=("x",)).options


@pytest.mark.parametrize(
    ("written", "policy", "paths", "inspects"),
    [
        (None, (), (), True),
        (push(("refs/heads/*", "cufd")), (), (), False),
        (push(("refs/heads/*", "cufd")), (), ("x",), True),
        (push(("refs/heads/*", "cd")), (), (), False),
        (push(("refs/heads/*", "cf"), ("refs/tags/*", "u")), (), (), True),
        (push(("refs/heads/*", "cufd")), push(("refs/heads/main", "u")), (), True),
        (push(("refs/heads/*", "cufd")), push(("refs/heads/main", "")), (), False),
        (push(("refs/heads/*", "cufd")), push(("refs/heads/main", "cufd")), (), False),
        (push(("refs/heads/*", "cd")), push(("refs/heads/main", "u")), (), False),
        ((), (), (), False),
    ],
)
def test_pack_is_inspected_only_if_a_rule_needs_it(
    written: tuple[PushRule, ...] | None,
    policy: tuple[PushRule, ...],
    paths: tuple[str, ...],
    inspects: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """An inspected pack must not be thin, which costs bytes."""
    assert made(written, PushPolicy(push=policy), protected_paths=paths).inspects == inspects


@pytest.mark.parametrize("written", [(), push(("refs/heads/*", ""), ("refs/tags/*", ""))])
def test_grant_without_any_allowed_push_is_refused_at_discovery(written: tuple[PushRule, ...]) -> None:
    """Before git packs anything; else the list must be judged."""
    assert rule.at_discovery(made(written)) == Decision(
        allow=False,
        reason=Reason.PUSH_REF,
        rule="push",
        text="this session may push nothing to this repository",
    )
    assert rule.at_discovery(made()) is None


@pytest.mark.parametrize(
    ("granted", "policy", "rule_name"),
    [
        (push(), (), "push"),
        (push(("refs/**", "")), (), "push"),
        (push(("refs/**", ""), ("refs/heads/x", "c")), (), "push"),
        (push(("refs/heads/**", "d")), (), "push"),
        (push(("refs/heads/x", "d"), ("refs/heads/**", "u")), (), ""),
        (None, push(("refs/**", "d")), "policy.push"),
        (None, push(("refs/**", "")), "policy.push"),
        (None, push(("refs/heads/**", ""), ("refs/tags/**", "")), "policy.push"),
        (None, push(("refs/heads/**", "d"), ("refs/tags/**", "uf")), "policy.push"),
        (push(("refs/heads/a/*", "c")), push(("refs/heads/a/*", "")), "policy.push"),
        (None, push(("refs/heads/**", "")), ""),
        (None, push(("refs/heads/main", ""), ("refs/tags/**", "")), ""),
        (None, push(("refs/heads/x", "c"), ("refs/**", "")), ""),
        (None, push(("refs/heads/*/x", ""), ("refs/*/**", "")), ""),
        (push(("refs/heads/a", "u")), push(("refs/heads/**", "f")), ""),
        (None, push(("refs/heads/{label}/**", ""), ("refs/tags/**", "")), ""),
    ],
)
def test_lfs_writes_are_refused_if_no_push_could_be_allowed(
    granted: tuple[PushRule, ...] | None, policy: tuple[PushRule, ...], rule_name: str
) -> None:
    """By the grant or the policy, and only if that is certain."""
    refused = rule.for_lfs(made(granted, PushPolicy(push=policy), label=""))
    assert (refused.rule if refused is not None else "") == rule_name
    assert refused is None or refused.reason is Reason.PUSH_REF


def test_update_that_needs_force_has_advice() -> None:
    """The refusal of force becomes the one of the update, with the same rule."""
    force = rule.decide(made(), b"refs/heads/x", FORCE)
    assert rule.not_fast_forward(force) == Decision(
        allow=False,
        reason=Reason.PUSH_FORCE,
        rule="default.push[0] refs/heads/**",
        text="not a fast-forward, and default.push[0] refs/heads/** does not allow force: "
        "rebase, or push to a new branch",
    )


def test_refusals_name_the_limits_of_refs_and_bytes() -> None:
    """So that the next push can keep them."""
    rules = made(None, None, max_refs=2, max_push_bytes=1000)
    refused = rule.too_many_refs(rules)
    assert (refused.reason, refused.rule, refused.text) == (
        Reason.PUSH_TOO_MANY_REFS,
        "max_refs",
        "more than the 2 refs that are allowed in one push: push fewer at a time",
    )
    assert rule.too_large(rules).reason is Reason.PUSH_TOO_LARGE
    assert rule.too_large(rules).text == "the push is larger than the 1000 bytes allowed at a time"


def test_summary_fits_and_counts_the_omitted() -> None:
    """Git's line has 200 bytes."""
    rules = made(push(*((f"refs/heads/{letter * 60}/*", "cufd") for letter in "abc"), ("refs/heads/z", "c")))
    assert rules.summary(100) == f"refs/heads/{'a' * 34}... (create, update, force, delete) and 3 more"
    assert rules.summary(50) == "what its 4 rules allow"
    assert made(()).summary(190) == "nothing"
    assert made().summary(190) == "refs/heads/** (create, update), refs/tags/** (create)"


words = st.text("ab/*-", min_size=1, max_size=60)
patterns = words.map("refs/heads/".__add__) | words.map("refs/".__add__)
lists = st.lists(st.tuples(patterns, st.text("cufd", max_size=4)), max_size=5)
refs = st.text("ab/-", min_size=1, max_size=8).map(lambda name: b"refs/heads/" + name.encode())


def legal(lines: list[tuple[str, str]]) -> tuple[PushRule, ...]:
    """Keep the lines whose pattern may be written."""
    kept = []
    for line in lines:
        try:
            check_ref_pattern(line[0])
        except ValueError:
            continue
        kept.append(line)
    return push(*kept)


@given(lists, refs)
def test_combined_expression_finds_the_first_matching_rule(granted: list[tuple[str, str]], ref: bytes) -> None:
    """The same as each pattern alone, in order."""
    lines = made(legal(granted)).grant
    assert lines.first(ref) is next((line for line in lines.all if line.pattern.matches(ref)), None)


@given(lists, lists, refs, st.sampled_from(VERBS))
def test_policy_only_narrows_and_every_text_fits(
    granted: list[tuple[str, str]], bounds: list[tuple[str, str]], ref: bytes, verb: str
) -> None:
    """What is allowed with a policy is allowed without it."""
    bounded = rule.decide(made(legal(granted), PushPolicy(push=legal(bounds))), ref, verb)
    alone = rule.decide(made(legal(granted)), ref, verb)
    assert alone.allow or not bounded.allow
    for decision in (bounded, alone):
        assert decision.allow == (decision.reason is Reason.ALLOWED)
        assert decision.rule
        assert len(decision.text) <= MAX_TEXT
        assert bool(decision.text) is not decision.allow


@given(lists, lists, refs, st.sampled_from(["create", "update", "force"]))
def test_lfs_is_never_refused_if_a_push_of_commits_could_be_allowed(
    granted: list[tuple[str, str]], bounded: list[tuple[str, str]], ref: bytes, verb: str
) -> None:
    """The comparison of the lists errs to one side only."""
    rules = made(legal(granted), PushPolicy(push=legal(bounded)))
    if rule.decide(rules, ref, verb).allow:
        assert rule.for_lfs(rules) is None
