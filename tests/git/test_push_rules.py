"""The rules of a push: what each allows, what each says when it refuses, and that policy only ever narrows."""

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
def test_a_grant_that_says_nothing_has_the_defaults(ref: bytes, verbs: str) -> None:
    """Create and fast-forward branches, create tags; nothing else, nowhere else."""
    assert verdicts(made(), ref) == verbs


def test_an_empty_list_allows_nothing() -> None:
    """Empty means none, not the default."""
    assert verdicts(made(()), b"refs/heads/x") == ""
    assert verdicts(made(push(("refs/heads/**", ""))), b"refs/heads/x") == ""
    assert verdicts(made(), b"refs/heads/x") == "cu"


@pytest.mark.parametrize(
    ("verbs", "allowed"), [("c", "c"), ("u", "u"), ("f", "uf"), ("d", "d"), ("cu", "cu"), ("cufd", "cufd"), ("", "")]
)
def test_each_verb_is_its_own_switch(verbs: str, allowed: str) -> None:
    """Only force brings another: whoever may move a ref anywhere may move it forward."""
    assert verdicts(made(push(("refs/heads/x", verbs))), b"refs/heads/x") == allowed


def test_the_first_rule_that_matches_decides() -> None:
    """A later one is not asked, whether it allows more or less."""
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
def test_what_is_refused_for_a_ref_is_refused_in_another_case(
    written: tuple[PushRule, ...] | None, policy: tuple[PushRule, ...], ref: bytes, verbs: str
) -> None:
    """A forge on a file system that folds case would move the ref that is protected."""
    assert verdicts(made(written, PushPolicy(push=policy)), ref) == verbs


def test_a_refusal_for_a_ref_s_case_says_so() -> None:
    """And which rule it is that protects the other."""
    decision = rule.decide(made(MAIN_AND_REST), b"refs/heads/MAIN", FORCE)
    assert (decision.reason, decision.rule) == (Reason.PUSH_REF, "push[0] refs/heads/main")
    assert decision.text.startswith("it differs only in case from a ref of push[0] refs/heads/main; it may push")


def test_sessions_are_kept_apart_by_their_names() -> None:
    """The pattern of one cannot mean another's branches."""
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
def test_namespaces_with_effects_are_granted_by_name_only(namespace: bytes) -> None:
    """No star reaches them, at any place of a list; their name does."""
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


def test_a_namespace_of_odd_bytes_is_not_repeated() -> None:
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
def test_a_decision_names_its_rule_and_what_may_be_pushed(ref: bytes, verb: str, decision: Decision) -> None:
    """What an agent reads: no round trip through a human to find the right branch name."""
    rules = made(push(("refs/heads/main", ""), ("refs/heads/agent/*", "cd")))
    assert rule.decide(rules, ref, verb) == decision


def test_policy_bounds_what_grants_allow() -> None:
    """Its first match must allow the verb too; what it does not match it leaves alone."""
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


def test_policy_grants_nothing() -> None:
    """It stands beside a grant, not in its place; and it needs no name to refuse a namespace."""
    policy = PushPolicy(push=push(("refs/**", "cufd")))
    assert verdicts(made((), policy), b"refs/heads/x") == ""
    assert verdicts(made(push(("refs/for/*", "c")), policy), b"refs/for/x") == "c"
    assert verdicts(made(push(("refs/for/*", "c")), PushPolicy(push=push(("refs/**", "")))), b"refs/for/x") == ""


def test_the_stricter_limit_holds() -> None:
    """Whoever wrote it; 0 and None are no limits."""
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
def test_a_push_option_is_allowed_by_both_lists(
    granted: tuple[str, ...], policy: tuple[str, ...], options: list[bytes], where: str
) -> None:
    """An option may make a repository public: none unless named, and by both."""
    decision = rule.judge_options(made(None, PushPolicy(push_options=policy), push_options=granted), options)
    assert decision.rule == where
    assert decision.allow == (not where)
    assert decision.reason is (Reason.PUSH_OPTION if where else Reason.ALLOWED)


def test_the_refusal_of_an_option_lists_the_others() -> None:
    """And repeats the client's only in harmless characters."""
    rules = made(None, None, push_options=("ci.skip", "topic=*"))
    assert rule.judge_options(rules, [b"repo.private=false"]).text == (
        "push option repo.private=false is not allowed by push_options; this session may send ci.skip, topic=*"
    )
    assert rule.judge_options(made(), [b"\x1b[31m"]).text == (
        "push option (not repeated) is not allowed by push_options; this session may send nothing"
    )


def test_the_capability_is_offered_only_where_an_option_could_pass() -> None:
    """Else git itself says that the receiving end does not support them."""
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
def test_packs_are_read_only_where_a_rule_needs_it(
    written: tuple[PushRule, ...] | None,
    policy: tuple[PushRule, ...],
    paths: tuple[str, ...],
    inspects: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A pack that is read may not be thin, which costs bytes."""
    assert made(written, PushPolicy(push=policy), protected_paths=paths).inspects == inspects


@pytest.mark.parametrize("written", [(), push(("refs/heads/*", ""), ("refs/tags/*", ""))])
def test_what_no_push_could_pass_is_refused_at_discovery(written: tuple[PushRule, ...]) -> None:
    """Before git packs anything; where one could pass, it must wait for the list."""
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
def test_lfs_writes_are_refused_where_no_push_could_pass(
    granted: tuple[PushRule, ...] | None, policy: tuple[PushRule, ...], rule_name: str
) -> None:
    """By the grant or by the policy, and only where that is certain."""
    refused = rule.for_lfs(made(granted, PushPolicy(push=policy), label=""))
    assert (refused.rule if refused is not None else "") == rule_name
    assert refused is None or refused.reason is Reason.PUSH_REF


def test_an_update_that_needs_force_says_what_to_do() -> None:
    """The refusal of force becomes the one of the update, with the same rule."""
    force = rule.decide(made(), b"refs/heads/x", FORCE)
    assert rule.not_fast_forward(force) == Decision(
        allow=False,
        reason=Reason.PUSH_FORCE,
        rule="default.push[0] refs/heads/**",
        text="not a fast-forward, and default.push[0] refs/heads/** does not allow force: "
        "rebase, or push to a new branch",
    )


def test_too_many_and_too_large() -> None:
    """The limit is in the text, so that the next push can keep it."""
    rules = made(None, None, max_refs=2, max_push_bytes=1000)
    refused = rule.too_many_refs(rules)
    assert (refused.reason, refused.rule, refused.text) == (
        Reason.PUSH_TOO_MANY_REFS,
        "max_refs",
        "more than the 2 refs that are allowed in one push: push fewer at a time",
    )
    assert rule.too_large(rules).reason is Reason.PUSH_TOO_LARGE
    assert rule.too_large(rules).text == "the push is larger than the 1000 bytes allowed at a time"


def test_a_summary_fits_and_says_what_it_left_out() -> None:
    """Two hundred bytes are all that git's line has."""
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
def test_all_patterns_at_once_find_what_each_would(granted: list[tuple[str, str]], ref: bytes) -> None:
    """The first that matches alone, in the order written."""
    lines = made(legal(granted)).grant
    assert lines.first(ref) is next((line for line in lines.all if line.pattern.matches(ref)), None)


@given(lists, lists, refs, st.sampled_from(VERBS))
def test_policy_never_loosens_and_no_text_is_too_long(
    granted: list[tuple[str, str]], bounds: list[tuple[str, str]], ref: bytes, verb: str
) -> None:
    """Whatever both say: what passes with a policy passes without; every refusal fits and has its own reason."""
    bounded = rule.decide(made(legal(granted), PushPolicy(push=legal(bounds))), ref, verb)
    alone = rule.decide(made(legal(granted)), ref, verb)
    assert alone.allow or not bounded.allow
    for decision in (bounded, alone):
        assert decision.allow == (decision.reason is Reason.ALLOWED)
        assert decision.rule
        assert len(decision.text) <= MAX_TEXT
        assert bool(decision.text) is not decision.allow


@given(lists, lists, refs, st.sampled_from(VERBS))
def test_lfs_is_not_refused_where_a_push_could_pass(
    granted: list[tuple[str, str]], bounded: list[tuple[str, str]], ref: bytes, verb: str
) -> None:
    """The comparison of the lists errs on one side only: a push that is allowed may have objects."""
    rules = made(legal(granted), PushPolicy(push=legal(bounded)))
    if rule.decide(rules, ref, verb).allow:
        assert rule.for_lfs(rules) is None
