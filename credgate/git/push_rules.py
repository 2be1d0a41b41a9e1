"""The push rules of one session and repository: which refs may be changed in which way, and what else limits a push.

A grant's ``push`` list is read from the top: the first rule whose pattern matches the ref decides, and a ref that no
rule matches is refused. ``[policy]`` is read in the same way: its first matching rule must allow the verb too, and a
ref that none of its rules matches is left to the grant. So policy narrows and never widens. A grant without a list has
the defaults below. The verbs are ``create``; ``update``, a fast-forward; ``force``, any move of an existing ref
including fast-forwards; ``delete``.

Outside ``refs/heads/`` and ``refs/tags/`` forges attach effects to refs (reviews, configuration, replaced objects), so
a rule there must spell out the namespace: ``refs/for/*`` may grant ``refs/for/main``, ``refs/**`` may not.

A forge on a case-insensitive file system keeps ``refs/heads/MAIN`` and ``refs/heads/main`` in one file, and a client
cannot see which forges do. So a ref is also refused if it differs only in case (or composition, see ``path_folding``)
from one for which the verb is refused: a ref that a rule spells without stars, or one that an earlier rule matches.

Never reads a pack and never decides whether an update is a fast-forward (``push_verdict`` lists what to inspect).
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.rules import parse, patterns
from credgate.rules.parse import PushRule
from credgate.rules.path_folding import folded
from credgate.rules.patterns import PathGlobs, RefPattern
from credgate.values import Decision, Reason, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credgate.config.schema import PushPolicy
    from credgate.sessions.model import Grant

CREATE, UPDATE, FORCE, DELETE = VERBS = parse.VERBS
DEFAULT = (
    PushRule("refs/heads/**", frozenset({CREATE, UPDATE})),
    PushRule("refs/tags/**", frozenset({CREATE})),
)
"""The rules of a write grant without ``push``."""
PLAIN_NAMESPACES = frozenset({b"heads", b"tags"})
# Bytes of a refusal's text: with ``credgate: `` before it git gets at most 200.
MAX_TEXT = 190

_SHOWN = 48  # characters of one pattern in a refusal
_NAMESPACE = re.compile(rb"refs/([^/]+)/")
_SHOWABLE = re.compile(rb"[A-Za-z0-9._=/-]{1,40}")
# One object for all requests: a decision is immutable.
ALLOWED = Decision(allow=True, reason=Reason.ALLOWED)


@frozen(eq=False, slots=True)
class RuleLine:
    """One rule, compiled for one session. ``name`` is its place: ``push[0]``, ``policy.push[2]``."""

    name: str
    pattern: RefPattern
    allow: frozenset[str]

    def allows(self, verb: str) -> bool:
        """Whether the rule allows ``verb``."""
        return verb in self.allow or (verb == UPDATE and FORCE in self.allow)

    def __str__(self) -> str:
        return f"{self.name} {_short(self.pattern.text)}"


@frozen(eq=False)
class RuleList:
    """A list of rules. All patterns are matched by one expression, since a push may have thousands of refs."""

    all: tuple[RuleLine, ...]
    _any: re.Pattern[bytes] = field(init=False, repr=False)

    @_any.default
    def _together(self) -> re.Pattern[bytes]:
        return self._compiled(re.DOTALL)

    # Compiled when a push is first judged, not with the list: 4,096 characters of patterns take up to 17 ms.
    @cached_property
    def _any_case(self) -> re.Pattern[bytes]:
        return self._compiled(re.DOTALL | re.IGNORECASE)

    @cached_property
    def _spelled(self) -> dict[bytes, list[RuleLine]]:
        """Return the deciding rules of each ref that a rule spells without stars, by the ref in lower case."""
        spelled: dict[bytes, list[RuleLine]] = {}
        for line in self.all:
            ref = line.pattern.text.encode()
            first = self.first(ref) if line.pattern.literal else None
            if first is not None:
                spelled.setdefault(_folded(ref), []).append(first)
        return spelled

    def _compiled(self, flags: int) -> re.Pattern[bytes]:
        each = [b"(%s)" % line.pattern.regex for line in self.all]
        return re.compile(b"|".join(each) or rb"(?!)", flags)

    def first(self, ref: bytes) -> RuleLine | None:
        """Return the first rule whose pattern matches."""
        at = _which(self._any, ref)
        return None if at is None else self.all[at]

    def against(self, ref: bytes, verb: str) -> RuleLine | None:
        """Return a rule that refuses ``verb`` for a ref that differs from ``ref`` only in case; ``None``: no such rule.

        A rule without stars that spells ``ref`` itself decides for that spelling alone.
        """
        other, matched = folded(ref), _which(self._any, ref)
        if matched is not None and self.all[matched].pattern.literal:
            return None
        suspects = self._spelled.get(_folded(ref), [])
        first = _which(self._any_case, other)
        if first is not None and first != matched:
            above = self.all[first : len(self.all) if matched is None else matched]
            suspects = [*suspects, *(line for line in above if line.pattern.matches_in_any_case(other))]
        return next((line for line in suspects if not line.allows(verb)), None)


@frozen(eq=False)
class PushRules:
    """Everything that limits the pushes of one session to one repository."""

    grant: RuleList
    policy: RuleList
    max_refs: int
    max_push_bytes: int | None
    """Bytes of the pack; ``None``: no limit."""
    protected: PathGlobs
    require_old_oid: bool
    partial: bool
    granted_options: tuple[str, ...]
    policy_options: tuple[str, ...]
    _known: dict[tuple[RuleLine | None, RuleLine | None, str], Decision] = field(factory=dict, init=False, repr=False)

    @property
    def options(self) -> bool:
        """Whether any push option could be allowed: only then is the capability advertised."""
        return bool(self.granted_options and self.policy_options)

    @property
    def inspects(self) -> bool:
        """Whether a pack may have to be inspected, and so must not be thin."""
        # An update may have to be proved a fast-forward if either list allows update but not force.
        bounded = any(UPDATE in line.allow and FORCE not in line.allow for line in self.policy.all)
        forced = any(FORCE in line.allow for line in self.grant.all)
        updated = any(UPDATE in line.allow and FORCE not in line.allow for line in self.grant.all)
        return bool(self.protected) or updated or (forced and bounded)

    def of_lines(self, line: RuleLine | None, bound: RuleLine | None, verb: str) -> Decision:
        """Decide by the rules that matched; the result is kept for other refs that the same rules match."""
        key = (line, bound, verb)
        if key not in self._known:
            self._known[key] = _decide(self, line, bound, verb)
        return self._known[key]

    def summary(self, room: int) -> str:
        """List what may be pushed, in at most ``room`` characters: ``refs/heads/** (create, update)``."""
        allowing = [line for line in self.grant.all if line.allow]
        verbs = [", ".join(verb for verb in VERBS if verb in line.allow) for line in allowing]
        return _fitting(
            [f"{_short(line.pattern.text)} ({text})" for line, text in zip(allowing, verbs, strict=True)], room
        )


@lru_cache(maxsize=1024)
def rules_for(grant: Grant, policy: PushPolicy, session: str, label: str) -> PushRules:
    """Compile the rules of a session (its public id and label) under a grant and the operator's policy."""
    name, written = ("default.push", DEFAULT) if grant.push is None else ("push", grant.push)
    # 0 and None are "no limit" in grant and policy.
    limits = [limit for limit in (grant.max_push_bytes, policy.max_push_bytes) if limit]
    return PushRules(
        grant=lines_for(name, written, session, label),
        policy=lines_for("policy.push", policy.push, session, label),
        max_refs=min(grant.max_refs or policy.max_refs, policy.max_refs),
        max_push_bytes=min(limits, default=None),
        protected=PathGlobs((*policy.protected_paths, *grant.protected_paths)),
        require_old_oid=grant.require_old_oid or policy.require_old_oid,
        partial=grant.partial,
        granted_options=grant.push_options,
        policy_options=policy.push_options,
    )


def decide(rules: PushRules, ref: bytes, verb: str) -> Decision:
    """Decide one verb on one ref, by the grant first; a refusal lists what may be pushed instead."""
    line, bound = rules.grant.first(ref), rules.policy.first(ref)
    namespace = None if line is None else _unnamed(line, ref)
    # A rule that would allow the verb only by a star must not reach a namespace with side effects.
    if line is not None and namespace is not None and line.allows(verb):
        return _refused(rules, Reason.PUSH_NAMESPACE, str(line), f"{namespace} must be granted by name")
    decision = rules.of_lines(line, bound, verb)
    # Only an allowed ref can be another spelling of one that is refused.
    against = (rules.grant.against(ref, verb) or rules.policy.against(ref, verb)) if decision.allow else None
    if against is None:
        return decision
    return _refused(rules, Reason.PUSH_REF, str(against), f"it differs only in case from a ref of {against}")


@lru_cache(maxsize=256)
def not_fast_forward(refused: Decision) -> Decision:
    """Turn the refusal of ``force`` into the refusal of an update that is not a fast-forward."""
    text = f"not a fast-forward, and {refused.rule} does not allow force: rebase, or push to a new branch"
    return refuse(Reason.PUSH_FORCE, refused.rule, text)


def at_discovery(rules: PushRules) -> Decision | None:
    """Refuse at discovery, before git packs anything, if no push at all could be allowed."""
    if any(line.allow for line in rules.grant.all):
        return None
    text = "this session may push nothing to this repository"
    return refuse(Reason.PUSH_REF, "push", text)


@lru_cache(maxsize=1024)
def for_lfs(rules: PushRules) -> Decision | None:
    """Refuse writes to LFS (uploads, locks) if no push could be allowed: no commit could ever refer to them.

    A push is checked against ``[policy]`` ref by ref; LFS has no refs, so the lists are compared here.
    """
    # A deletion brings no commit.
    alive = [
        line
        for at, line in enumerate(rules.grant.all)
        if line.allow - {DELETE} and not _shadowed(line, rules.grant.all[:at])
    ]
    if any(_bounded_verbs(line, rules.policy.all) for line in alive):
        return None
    rule, why = ("policy.push", "under this policy a session") if alive else ("push", "this session")
    text = f"{why} may push no commit to this repository, so it may neither upload objects nor lock or unlock files"
    return refuse(Reason.PUSH_REF, rule, text)


def _shadowed(line: RuleLine, earlier: Sequence[RuleLine]) -> bool:
    """Whether an earlier line decides every ref of this one; False also if that is not certain."""
    return any(one.pattern.covers(line.pattern) for one in earlier)


def _bounded_verbs(line: RuleLine, policy: Sequence[RuleLine]) -> bool:
    """Whether the policy may leave a verb that brings commits to this line; False only if it certainly does not."""
    for bound in policy:
        if any(line.allows(verb) and bound.allows(verb) for verb in VERBS if verb != DELETE):
            return True
        if bound.pattern.covers(line.pattern):
            return False
    return True


def judge_options(rules: PushRules, options: Iterable[bytes]) -> Decision:
    """Decide a push's options: each must be in the grant's list and in the policy's."""
    lists = (("push_options", rules.granted_options), ("policy.push_options", rules.policy_options))
    for option in options:
        for where, texts in lists:
            if not any(patterns.option_pattern(text).fullmatch(option) for text in texts):
                return _refused_option(rules, where, option)
    return ALLOWED


def too_many_refs(rules: PushRules) -> Decision:
    """Refuse a push of more refs than allowed; its list may not have been read to its end."""
    text = f"more than the {rules.max_refs} refs that are allowed in one push: push fewer at a time"
    return refuse(Reason.PUSH_TOO_MANY_REFS, "max_refs", text)


def too_large(rules: PushRules) -> Decision:
    """Refuse a push whose pack is larger than ``max_push_bytes``."""
    text = f"the push is larger than the {rules.max_push_bytes} bytes allowed at a time"
    return refuse(Reason.PUSH_TOO_LARGE, "max_push_bytes", text)


def _which(together: re.Pattern[bytes], ref: bytes) -> int | None:
    """Return the index of the first alternative that matches ``ref`` whole."""
    match = together.fullmatch(ref)
    if match is None:
        return None
    assert match.lastindex is not None  # every alternative is a group, and no pattern has one inside
    return match.lastindex - 1


def _folded(ref: bytes) -> bytes:
    """Return the one spelling of all refs that differ only in case."""
    return folded(ref).lower()


def _decide(rules: PushRules, line: RuleLine | None, bound: RuleLine | None, verb: str) -> Decision:
    if line is None:
        return _refused(rules, Reason.PUSH_REF, "push", "no rule of this session matches this ref")
    for each in (line, bound):
        if each is not None and not each.allows(verb):
            return _refused(rules, Reason.PUSH_VERB, str(each), f"{each} does not allow {verb}")
    return Decision(allow=True, reason=Reason.ALLOWED, rule=str(line))


def lines_for(name: str, written: Sequence[PushRule], session: str, label: str) -> RuleList:
    """Compile one list of rules; ``name`` is its place, as refusals show it."""
    lines = [
        RuleLine(f"{name}[{index}]", patterns.ref_pattern(rule.refs, session, label), rule.allow)
        for index, rule in enumerate(written)
    ]
    return RuleList(tuple(lines))


def _unnamed(line: RuleLine, ref: bytes) -> str | None:
    """Return the namespace of ``ref`` for the refusal, if ``line`` would have to spell it out and does not."""
    match = _NAMESPACE.match(ref)
    if match is None or match[1] in PLAIN_NAMESPACES or line.pattern.names(match[1]):
        return None
    return _showable(match[0], "this namespace")


def _refused(rules: PushRules, reason: Reason, rule: str, why: str) -> Decision:
    start = f"{why}; it may push " if reason is Reason.PUSH_REF else f"{why}; this session may push "
    return refuse(reason, rule, start + rules.summary(MAX_TEXT - len(start)))


def _refused_option(rules: PushRules, where: str, option: bytes) -> Decision:
    start = f"push option {_showable(option, '(not repeated)')} is not allowed by {where}; this session may send "
    may = _fitting([_short(text) for text in rules.granted_options], MAX_TEXT - len(start))
    return refuse(Reason.PUSH_OPTION, where, start + may)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _showable(sent: bytes, otherwise: str) -> str:
    """Return the client's bytes if they are of a closed character set: the text goes to terminals and logs."""
    return sent.decode("ascii") if _SHOWABLE.fullmatch(sent) else otherwise


def _fitting(texts: list[str], room: int) -> str:
    """Join as many of ``texts`` as fit into ``room`` characters."""
    shown = ""
    for count, one in enumerate(texts):
        longer = f"{shown}, {one}" if shown else one
        rest = len(texts) - count - 1
        if len(longer) + (len(f" and {rest} more") if rest else 0) > room:
            return f"{shown} and {len(texts) - count} more" if shown else f"what its {len(texts)} rules allow"
        shown = longer
    return shown or "nothing"
