"""From what upstreams said to what a sandbox is told: aliases followed, special addresses dropped, names hidden.

A ``Trail`` starts at the asked name and follows aliases through responses, eight names at most, until there are records
of the asked type or surely none; where a response ends at an alias it says which name to ask next. ``guard`` then drops
every address that ``addresses.special`` knows, also from service hints: the rebinding guard. ``render`` makes the
reply's content: by default the asked name and its addresses only; with ``[dns] cname = "check"`` the aliases too, if
the policy allows each name. A denied name anywhere in the chain refuses the answer, hidden or not. RFC 1034 section
3.6.2, RFC 6604 (what the response code speaks of), RFC 2308.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from attrs import define, evolve, frozen

from credgate.dns import names, svcb
from credgate.dns.addresses import special
from credgate.dns.codes import Rcode, RRType
from credgate.dns.names import WireError
from credgate.dns.reply import Content, ReplyRecord

if TYPE_CHECKING:
    from credgate.dns.allowlist import Allowlist
    from credgate.dns.names import Name
    from credgate.dns.policy import QueryPolicy
    from credgate.dns.response import Resource, Response

MAX_CHAIN = 8
"""Aliases followed from one asked name."""
_SERVICES = (RRType.HTTPS, RRType.SVCB)


@frozen(slots=True)
class CheckedAnswer:
    """What is known of a name and type. ``chain`` begins with the asked name; ``ttl`` is the least of all, seconds."""

    rcode: int
    chain: tuple[Name, ...]
    resources: tuple[Resource, ...]
    ttl: int
    dropped: str = ""
    """The kind of special range that the guard dropped an address for, if it did."""

    def negative(self) -> bool:
        """Whether the answer is that there is nothing."""
        return not self.resources


@define
class Trail:
    """The way from the asked name to its records."""

    ANSWERS: ClassVar = (Rcode.NOERROR, Rcode.NXDOMAIN)
    """Response codes that answer something; any other is a server's failure."""

    qtype: int
    chain: list[Name]
    ttl: int = 0x7FFFFFFF

    def follow(self, response: Response) -> CheckedAnswer | None:
        """Go as far as the response leads. ``None``: ask for the last name of ``chain`` next.

        ``WireError`` for a loop or too long a chain, and for a response code that answers nothing.
        """
        if response.rcode not in self.ANSWERS:
            raise WireError("the response code answers nothing")
        moved = self._move(response)
        last = self.chain[-1]
        found = [one for one in response.answers if one.rtype == self.qtype and one.owner == last]
        if found:
            return self._end(Rcode.NOERROR, found)
        if moved and response.rcode == Rcode.NOERROR and response.negative_ttl is None:
            return None
        self.ttl = min(self.ttl, response.negative_ttl or 0)
        return self._end(response.rcode, [])

    def _move(self, response: Response) -> bool:
        aliases = {one.owner: one for one in response.answers if one.rtype == RRType.CNAME}
        before = len(self.chain)
        while self.qtype != RRType.CNAME and (alias := aliases.get(self.chain[-1])) is not None:
            if alias.target in self.chain or len(self.chain) > MAX_CHAIN:
                raise WireError("the aliases loop, or are too many")
            self.chain.append(alias.target)
            self.ttl = min(self.ttl, alias.ttl)
        return len(self.chain) > before

    def _end(self, rcode: int, found: list[Resource]) -> CheckedAnswer:
        ttl = min([self.ttl, *(one.ttl for one in found)])
        return CheckedAnswer(rcode, tuple(self.chain), tuple(dict.fromkeys(found)), ttl)


def _keep(resource: Resource, policy: QueryPolicy) -> tuple[Resource | None, str]:
    """Return the record as far as the guard lets it pass, and the kind of range that it dropped something for."""
    if resource.rtype in (RRType.A, RRType.AAAA):
        kind = special(resource.rdata, policy.allow_private)
        return (None if kind else resource), kind
    if resource.rtype not in _SERVICES:
        return resource, ""
    kinds = []

    def keep(packed: bytes) -> bool:
        kinds.append(special(packed, policy.allow_private))
        return not kinds[-1] and (policy.aaaa or len(packed) == 4)  # noqa: PLR2004 - an IPv4 address

    service = svcb.guard(svcb.read(resource.rdata), keep)
    kept = evolve(resource, rdata=service.wire()) if service else None
    return kept, next(filter(None, kinds), "")


def guard(answer: CheckedAnswer, policy: QueryPolicy) -> CheckedAnswer:
    """Return the answer without special addresses; a malformed service record raises ``WireError``."""
    judged = [_keep(resource, policy) for resource in answer.resources]
    resources = tuple(resource for resource, _ in judged if resource is not None)
    return evolve(answer, resources=resources, dropped=next((kind for _, kind in judged if kind), ""))


def chain_fault(answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist, *, check: bool) -> Name | None:
    """Return the first name behind the asked one that the answer must not lead to."""
    for name in answer.chain[1:]:
        if policy.entries.match(name).denied or (check and not policy.allows_name(name, session)):
            return name
    return None


def render(answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist, ttl: int, *, check: bool) -> Content:
    """Return what the reply says, every record with ``ttl``; aliases are shown only with ``check``.

    Targets of services and of CNAME queries are names too: a record that names one not allowed is left out.
    """
    shown = answer.chain if check else answer.chain[:1]
    aliases = [
        ReplyRecord(RRType.CNAME, ttl, names.encode(target), None if owner == shown[0] else owner)
        for owner, target in pairwise(shown)
    ]
    last = shown[-1]
    records = [
        ReplyRecord(one.rtype, ttl, one.rdata, None if last == shown[0] else last)
        for one in answer.resources
        if _speakable(one, answer, policy, session)
    ]
    content = Content(answer.rcode, (*aliases, *records))
    return content if records else evolve(content, negative_ttl=ttl)


def _speakable(resource: Resource, answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist) -> bool:
    if resource.rtype == RRType.CNAME:
        return policy.allows_name(resource.target, session)
    if resource.rtype not in _SERVICES or resource.target == names.ROOT:
        return True
    return resource.target == answer.chain[0] or policy.allows_name(resource.target, session)
