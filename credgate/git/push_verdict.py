"""The verdict on a push: a decision for every ref, and what must be inspected before the push may finish.

``judge`` runs when the command list has been read, before a byte is sent upstream. It lists what it cannot know then:
refs whose old object id must be the forge's, updates whose history must be walked, refs whose trees must be compared.
The inspection (of the passing pack, and at the forge) gives its findings to ``settle``, before the last bytes of the
pack are released. What could not be found out counts against the push.

A push is refused as a whole, as by a pre-receive hook: the refused refs with their reasons, the others as not
attempted. With ``partial`` the others are forwarded, unless the client asked for ``atomic`` or the refusal comes from
``settle``: then the whole list was forwarded already. Nothing here reads a pack.
"""

from __future__ import annotations

import re
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from attrs import Factory, evolve, frozen

from credgate.git import push_rules as rule
from credgate.git.push_rules import CREATE, DELETE, FORCE, UPDATE, PushRules
from credgate.values import Decision, Reason, refuse

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

NOT_ATTEMPTED = refuse(Reason.PUSH_NOT_ATTEMPTED, "whole", "not attempted: another ref in this push was refused")


@frozen(slots=True)
class RefVerdict:
    """The verdict on one command."""

    command: Command
    verb: str
    """``update`` until it is known to be ``force``."""
    decision: Decision
    unless: Decision | None = None
    """The refusal, if the update turns out not to be a fast-forward."""


@frozen(slots=True)
class PushVerdict:
    """The verdict on a push, ref by ref, in the client's order."""

    refs: tuple[RefVerdict, ...]
    needs_old: tuple[Command, ...] = ()
    """Commands whose ``old`` must be what the forge has (all zeros: no such ref)."""
    needs_ancestry: tuple[Command, ...] = ()
    """Commands whose ``old`` must be an ancestor of ``new``."""
    needs_paths: tuple[Command, ...] = ()
    """Commands that must not change a protected path from ``old`` to ``new``."""

    @cached_property
    def forwarded(self) -> tuple[Command, ...]:
        """The commands that are sent upstream; none: the push is refused."""
        return tuple(one.command for one in self.refs if one.decision.allow)

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """(ref, reason) of the others, as ``refusal.status_report`` and ``response_filter.Splicer`` take them."""
        texts: dict[str, str] = {}  # one string for the thousands of refs that one rule may refuse
        return [
            (one.command.ref, texts.setdefault(one.decision.text, f"credgate: {one.decision.text}"))
            for one in self.refs
            if not one.decision.allow
        ]

    @cached_property
    def pack(self) -> bool:
        """Whether a pack follows the forwarded commands: if all delete, git sends none and forges read none."""
        return not all(command.deletes for command in self.forwarded)

    @property
    def settled(self) -> bool:
        """Whether nothing must be inspected."""
        return not (self.needs_old or self.needs_ancestry or self.needs_paths)

    def dropped(self) -> PushVerdict:
        """Return the verdict if the push ends before the forge could act: allowed refs become not attempted."""
        return PushVerdict(tuple(_whole(self.refs)))

    @property
    def decision(self) -> Decision:
        """The one decision for the push: the first refusal other than "not attempted", else the first ref's."""
        own = [one.decision for one in self.refs if not one.decision.allow and one.decision is not NOT_ATTEMPTED]
        return next(iter(own), self.refs[0].decision if self.refs else rule.ALLOWED)

    def lines(self, rules: PushRules) -> list[str]:
        """Return up to :data:`MAX_LINES` lines that explain a refusal on the side-band; none without one."""
        refused = [one for one in self.refs if not one.decision.allow and one.decision is not NOT_ATTEMPTED]
        if not refused:
            return []
        going = len(self.forwarded)
        fate = f"{going} of {len(self.refs)} refs were forwarded" if going else "nothing was pushed"
        shown = refused[: MAX_LINES - 2]
        refs = [one.command.ref.decode("utf-8", "replace") for one in shown]
        by = [f"{one.verb} refused by {one.decision.rule} ({one.decision.reason})" for one in shown]
        each = [f"{ref}: {why}" for ref, why in zip(refs, by, strict=True)]
        more = f", and {len(refused) - len(shown)} more refs refused" if len(refused) > len(shown) else ""
        return [*each, f"{fate}{more}", f"this session may push {rules.summary(rule.MAX_TEXT - 22)}"]


@frozen(slots=True)
class Findings:
    """The result of an inspection. A ref that is missing in a mapping could not be judged."""

    old: Mapping[bytes, bytes] | None = None
    """The forge's refs, of those asked for; a missing one does not exist there. ``None``: not known."""
    fast_forward: Mapping[bytes, bool] = Factory(dict)
    touched: Mapping[bytes, bytes] = Factory(dict)
    """The first protected path that the push changes, by ref; ``b""``: none."""
    why: str = ""
    """Why something could not be found out: a few words for people, never the forge's."""
    unasked: bool = False
    """The forge can never be asked: it does not send partial history."""
    crowded: bool = False
    """Other pushes hold the memory that an inspection needs, so the same push may pass later."""


def judge(commands: Sequence[Command], rules: PushRules, *, atomic: bool = False) -> PushVerdict:
    """Judge a command list that ``PushReader`` read; ``atomic``: the client asked for it."""
    return _at_once(judging(commands, rules, atomic=atomic))


def judging(
    commands: Sequence[Command], rules: PushRules, *, atomic: bool = False
) -> Generator[None, None, PushVerdict]:
    """Do the same in steps of a few milliseconds each: a list may have thousands of refs."""
    if len(commands) > rules.max_refs:
        return refuse_all(commands, rule.too_many_refs(rules))
    refs: list[RefVerdict] = []
    for at in range(0, len(commands), STEP):
        if at:
            yield
        refs += [_judge_one(command, rules) for command in commands[at : at + STEP]]
    if len(refs) > STEP:
        yield
    # git does not notice mixed results of an atomic push and would show a refused ref as pushed.
    if not all(one.decision.allow for one in refs) and (atomic or not rules.partial):
        refs = _whole(refs)
    going = [one for one in refs if one.decision.allow]
    # A deletion brings no commits, and an unchanged ref no new ones.
    moving = [one for one in going if not one.command.deletes and one.command.old != one.command.new]
    return PushVerdict(
        refs=tuple(refs),
        needs_old=tuple(one.command for one in going) if rules.require_old_oid else (),
        needs_ancestry=tuple(one.command for one in moving if one.unless is not None),
        needs_paths=tuple(one.command for one in moving) if rules.protected else (),
    )


def refuse_all(commands: Iterable[Command], decision: Decision) -> PushVerdict:
    """Refuse every ref for the same reason: too many refs, too large, a push option."""
    return PushVerdict(tuple(RefVerdict(command, verb_of(command), decision) for command in commands))


def settle(verdict: PushVerdict, found: Findings, rules: PushRules) -> PushVerdict:
    """Judge again with the findings: nothing is left to inspect, and one refusal refuses all refs."""
    return _at_once(settling(verdict, found, rules))


def settling(verdict: PushVerdict, found: Findings, rules: PushRules) -> Generator[None, None, PushVerdict]:
    """Do the same in steps of a few milliseconds each."""
    old, ancestry, paths = (
        {command.ref for command in commands}
        for commands in (verdict.needs_old, verdict.needs_ancestry, verdict.needs_paths)
    )
    # Thousands of refs may change the same path: build its text once.
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
    # The whole list was forwarded: one refusal now must stop the push as a whole.
    late = any(after.decision.allow != before.decision.allow for before, after in zip(verdict.refs, refs, strict=True))
    return PushVerdict(tuple(_whole(refs) if late else refs))


def _at_once(steps: Generator[None, None, PushVerdict]) -> PushVerdict:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            verdict: PushVerdict = end.value
            return verdict


def verb_of(command: Command) -> str:
    """Return the verb of a command as far as it is known: ``update`` for any move of an existing ref."""
    if command.creates:
        return CREATE
    return DELETE if command.deletes else UPDATE


def quoted_path(path: bytes, limit: int = _SHOWN) -> str:
    """Return a path as git quotes it: printable ASCII unchanged, the rest in octal; at most ``limit`` characters."""
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
    # A ref that the forge does not list does not exist there: its id is all zeros.
    there = found.old.get(one.command.ref, b"0" * len(one.command.old))
    if there == one.command.old:
        return one
    text = "the forge has this ref at another commit than the push expects: fetch, and push again"
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
    # Advice to push less would be wrong: this forge can never be asked.
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
    if found.crowded:
        advice = "push again later"
    because = f" ({found.why[:60]})" if found.why else ""
    return _refuse(one, Reason.PUSH_UNKNOWN, rule_name, f"could not tell {what}{because}: {advice}")


def _refuse(one: RefVerdict, reason: Reason, rule_name: str, text: str) -> RefVerdict:
    return evolve(one, decision=refuse(reason, rule_name, text))
