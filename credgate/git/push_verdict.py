"""What becomes of a push: a decision for every ref, and what must be found out before it may finish.

``judge`` is asked when the command list has been read, before a byte goes upstream. What it cannot know then it names:
refs whose old object id must be the forge's, updates whose history must be walked, trips whose trees must be compared.
Whoever finds out (in the passing pack, or at the forge) tells ``settle``, before the pack's last bytes are let go.
What was not found out counts against the push.

A push is refused whole, as a pre-receive hook would: the refused refs with their reasons, the others as not attempted.
With ``partial`` the others go on, unless the client asked for ``atomic`` or the refusal comes only from ``settle``,
when the whole list is upstream already. Nothing here touches bytes of a pack.
"""

from __future__ import annotations

import re
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from attrs import Factory, evolve, frozen

from credgate.git import push_rules as rule
from credgate.git.push_rules import CREATE, DELETE, FORCE, UPDATE, PushRules
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from credgate.git.push_list import Command

STEP = 256
"""Refs that are judged in one step."""
MAX_LINES = 5
"""Lines of side-band text that explain a refusal."""
_SHOWN = 80  # characters of a path in a refusal
_NO_FILTER = (
    "could not tell whether this changes a protected path: this forge cannot send history without files; "
    "its operator can (uploadpack.allowFilter), or lift protected_paths"
)
_UNSAYABLE = re.compile(rb'[^ -~]|["\\]')

NOT_ATTEMPTED = Decision(
    allow=False,
    reason=Reason.PUSH_NOT_ATTEMPTED,
    rule="whole",
    text="not attempted: another ref in this push was refused",
)


@frozen(slots=True)
class RefVerdict:
    """What becomes of one command."""

    command: Command
    verb: str
    """``update`` until it is known to be ``force``."""
    decision: Decision
    unless: Decision | None = None
    """The refusal, if the update turns out to be no fast-forward."""


@frozen(slots=True)
class PushVerdict:
    """What becomes of a push, ref by ref, in the client's order."""

    refs: tuple[RefVerdict, ...]
    needs_old: tuple[Command, ...] = ()
    """Whose ``old`` must be what the forge has (all zeros: no such ref)."""
    needs_ancestry: tuple[Command, ...] = ()
    """Whose ``old`` must be an ancestor of ``new``."""
    needs_paths: tuple[Command, ...] = ()
    """Which must not change a protected path from ``old`` to ``new``."""

    @cached_property
    def forwarded(self) -> tuple[Command, ...]:
        """The commands that go upstream; none: the push is refused."""
        return tuple(one.command for one in self.refs if one.decision.allow)

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """(ref, reason) of the others, as ``refusal.status_report`` and ``partial.Splicer`` take them."""
        texts: dict[str, str] = {}  # one text for the thousands of refs that one rule may refuse
        return [
            (one.command.ref, texts.setdefault(one.decision.text, f"credgate: {one.decision.text}"))
            for one in self.refs
            if not one.decision.allow
        ]

    @cached_property
    def pack(self) -> bool:
        """Whether a pack belongs to what is forwarded: git sends none, and forges read none, if all are deletes."""
        return not all(command.deletes for command in self.forwarded)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to find out."""
        return not (self.needs_old or self.needs_ancestry or self.needs_paths)

    def dropped(self) -> PushVerdict:
        """Return what it comes to when the push ends before the forge could act: what was allowed is not attempted."""
        return PushVerdict(tuple(_whole(self.refs)))

    @property
    def decision(self) -> Decision:
        """The one decision for the whole: the first refusal that is one of its own, else the first ref's."""
        own = [one.decision for one in self.refs if not one.decision.allow and one.decision is not NOT_ATTEMPTED]
        return next(iter(own), self.refs[0].decision if self.refs else rule.ALLOWED)

    def lines(self, rules: PushRules) -> list[str]:
        """Return up to :data:`MAX_LINES` lines that explain a refusal on the side-band; none without one."""
        refused = [one for one in self.refs if not one.decision.allow and one.decision is not NOT_ATTEMPTED]
        if not refused:
            return []
        going = len(self.forwarded)
        fate = f"{going} of {len(self.refs)} refs go on" if going else "nothing was pushed"
        shown = refused[: MAX_LINES - 2]
        each = [f"{one.command.ref.decode('utf-8', 'replace')}: {one.verb} refused by {_by(one)}" for one in shown]
        more = f", and {len(refused) - len(shown)} more refs refused" if len(refused) > len(shown) else ""
        return [*each, f"{fate}{more}", f"this session may push {rules.summary(rule.MAX_TEXT - 22)}"]


@frozen(slots=True)
class Findings:
    """What was found out. A ref that a mapping does not hold could not be judged."""

    old: Mapping[bytes, bytes] | None = None
    """The forge's refs, among those asked for; one that is not here does not exist there. ``None``: not known."""
    fast_forward: Mapping[bytes, bool] = Factory(dict)
    touched: Mapping[bytes, bytes] = Factory(dict)
    """The first protected path that the push changes, by ref; ``b""``: none."""
    why: str = ""
    """What kept it from being found out, for people: a few words of our own."""
    unasked: bool = False
    """It cannot be found out at this forge, whatever is pushed: it sends no part of a history."""


def judge(commands: Sequence[Command], rules: PushRules, *, atomic: bool = False) -> PushVerdict:
    """Judge a command list that ``push.PushReader`` read; ``atomic``: the client asked for it."""
    return _at_once(judging(commands, rules, atomic=atomic))


def judging(
    commands: Sequence[Command], rules: PushRules, *, atomic: bool = False
) -> Generator[None, None, PushVerdict]:
    """Judge the same in steps of a few milliseconds each: a list may have thousands of refs."""
    crowd = rule.too_many_refs(rules, len(commands))
    if crowd is not None:
        return refuse_all(commands, crowd)
    refs: list[RefVerdict] = []
    for at in range(0, len(commands), STEP):
        if at:
            yield
        refs += [_judge_one(command, rules) for command in commands[at : at + STEP]]
    if len(refs) > STEP:
        yield
    if not all(one.decision.allow for one in refs) and (atomic or not rules.partial):
        refs = _whole(refs)
    going = [one for one in refs if one.decision.allow]
    moving = [one for one in going if not one.command.deletes and one.command.old != one.command.new]
    return PushVerdict(
        refs=tuple(refs),
        needs_old=tuple(one.command for one in going) if rules.require_old_oid else (),
        needs_ancestry=tuple(one.command for one in moving if one.unless is not None),
        needs_paths=tuple(one.command for one in moving) if rules.protected else (),
    )


def refuse_all(commands: Iterable[Command], decision: Decision) -> PushVerdict:
    """Refuse every ref for the same reason: too many, too large, an option."""
    return PushVerdict(tuple(RefVerdict(command, verb_of(command), decision) for command in commands))


def settle(verdict: PushVerdict, found: Findings, rules: PushRules) -> PushVerdict:
    """Judge again, with what was found out: nothing is needed any more, and one refusal refuses all."""
    return _at_once(settling(verdict, found, rules))


def settling(verdict: PushVerdict, found: Findings, rules: PushRules) -> Generator[None, None, PushVerdict]:
    """Settle the same in steps of a few milliseconds each."""
    old, ancestry, paths = (
        {command.ref for command in commands}
        for commands in (verdict.needs_old, verdict.needs_ancestry, verdict.needs_paths)
    )
    # Thousands of refs may change the same path: its text is made once.
    texts = cache(partial(_path_text, rules))
    refs: list[RefVerdict] = []
    for at in range(0, len(verdict.refs), STEP):
        if at:
            yield
        for one in verdict.refs[at : at + STEP]:
            settled = one
            if settled.decision.allow and one.command.ref in old:
                settled = _settle_old(settled, found)
            if settled.decision.allow and one.command.ref in ancestry:
                settled = _settle_ancestry(settled, found)
            if settled.decision.allow and one.command.ref in paths:
                settled = _settle_paths(settled, found, texts)
            refs.append(settled)
    if len(refs) > STEP:
        yield
    late = any(after.decision.allow != before.decision.allow for before, after in zip(verdict.refs, refs, strict=True))
    return PushVerdict(tuple(_whole(refs) if late else refs))


def _at_once(steps: Generator[None, None, PushVerdict]) -> PushVerdict:
    """Take all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            verdict: PushVerdict = end.value
            return verdict


def verb_of(command: Command) -> str:
    """Say what a command does, as far as it shows: ``update`` for any move of a ref that is there."""
    if command.creates:
        return CREATE
    return DELETE if command.deletes else UPDATE


def quoted_path(path: bytes, limit: int = _SHOWN) -> str:
    """Write a path as git quotes it: printable ASCII as it is, all else in octal; at most ``limit`` characters."""
    # A byte becomes at least one character, so what follows the first ``limit`` bytes is never shown.
    seen = _UNSAYABLE.sub(lambda match: b"\\%03o" % match[0][0], path[: limit + 1]).decode("ascii")
    cut = seen if len(seen) <= limit - 2 else seen[: limit - 5] + "..."
    return f'"{cut}"' if "\\" in cut else cut


def _judge_one(command: Command, rules: PushRules) -> RefVerdict:
    verb = verb_of(command)
    decision = rule.decide(rules, command.ref, verb)
    if verb != UPDATE or not decision.allow or command.old == command.new:
        return RefVerdict(command, verb, decision)
    force = rule.decide(rules, command.ref, FORCE)
    return RefVerdict(command, verb, decision, None if force.allow else rule.not_fast_forward(force))


def _whole(refs: Iterable[RefVerdict]) -> list[RefVerdict]:
    return [RefVerdict(one.command, one.verb, NOT_ATTEMPTED, one.unless) if one.decision.allow else one for one in refs]


def _settle_old(one: RefVerdict, found: Findings) -> RefVerdict:
    if found.old is None:
        return _unknown(one, found, "require_old_oid", "where this ref is at the forge", "try again")
    there = found.old.get(one.command.ref, b"0" * len(one.command.old))
    if there == one.command.old:
        return one
    text = "this ref is not where the push says it was: fetch, and push again"
    return _refuse(one, Reason.PUSH_OLD_OID, "require_old_oid", text)


def _settle_ancestry(one: RefVerdict, found: Findings) -> RefVerdict:
    forward = found.fast_forward.get(one.command.ref)
    if forward is None:
        advice = "fetch and rebase, or push to a new branch"
        return _unknown(one, found, one.decision.rule, "whether this is a fast-forward", advice)
    if forward or one.unless is None:
        return one
    return evolve(one, verb=FORCE, decision=one.unless)


def _settle_paths(one: RefVerdict, found: Findings, texts: Callable[[bytes], str]) -> RefVerdict:
    path = found.touched.get(one.command.ref)
    if path is None and found.unasked:
        return _refuse(one, Reason.PUSH_UNKNOWN, "protected_paths", _NO_FILTER)
    if path is None:
        return _unknown(one, found, "protected_paths", "whether this changes a protected path", "push less at a time")
    if not path:
        return one
    return _refuse(one, Reason.PUSH_PATH, "protected_paths", texts(path))


def _path_text(rules: PushRules, path: bytes) -> str:
    glob = rules.protected.protects(path) or rules.protected.shadows(path) or "protected_paths"
    return f"{quoted_path(path)} is protected ({quoted_path(glob.encode(), 40)}): leave it as it was"


def _unknown(one: RefVerdict, found: Findings, rule_name: str, what: str, advice: str) -> RefVerdict:
    because = f" ({found.why[:60]})" if found.why else ""
    return _refuse(one, Reason.PUSH_UNKNOWN, rule_name, f"could not tell {what}{because}: {advice}")


def _refuse(one: RefVerdict, reason: Reason, rule_name: str, text: str) -> RefVerdict:
    return evolve(one, decision=Decision(allow=False, reason=reason, rule=rule_name, text=text))


def _by(one: RefVerdict) -> str:
    return f"{one.decision.rule} ({one.decision.reason})"
