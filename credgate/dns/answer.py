"""From upstream responses to the content of a reply: follows aliases, removes special addresses, hides names.

1. ``AliasChain`` starts at the queried name and follows CNAME records through one or more responses, at most eight,
   until there are records of the queried type or it is certain that there are none. If a response ends at an alias, the
   chain's last name has to be queried next.
2. ``guard`` removes every address in a special range (``addresses.special``), also from the hints of service records.
3. ``render`` makes the reply: by default the queried name and its addresses only; with ``[dns] cname = "check"`` also
   the aliases, if the policy allows each name.

A denied name anywhere in the chain refuses the answer, whether the chain is shown or not. RFC 1034 section 3.6.2,
RFC 6604 (which name the response code refers to), RFC 2308.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from attrs import define, evolve, frozen

from credgate.dns import domain_names, svcb
from credgate.dns.addresses import special
from credgate.dns.codes import Rcode, RRType
from credgate.dns.domain_names import WireError
from credgate.dns.reply import Content, ReplyRecord

if TYPE_CHECKING:
    from credgate.dns.allowlist import Allowlist
    from credgate.dns.domain_names import Name
    from credgate.dns.query_policy import QueryPolicy
    from credgate.dns.upstream_response import Resource, Response

MAX_CHAIN = 8
"""Aliases that are followed from one queried name."""
_SERVICES = (RRType.HTTPS, RRType.SVCB)


@frozen(slots=True)
class CheckedAnswer:
    """The answer for a name and type. ``chain`` begins with the queried name; ``ttl`` is the smallest one, seconds."""

    rcode: int
    chain: tuple[Name, ...]
    resources: tuple[Resource, ...]
    ttl: int
    dropped: str = ""
    """The kind of special range for which ``guard`` removed an address; ``""`` if it removed none."""

    def negative(self) -> bool:
        """Whether there are no records."""
        return not self.resources


@define
class AliasChain:
    """The names from the queried one to the one that owns the records."""

    ANSWERS: ClassVar = (Rcode.NOERROR, Rcode.NXDOMAIN)
    """Response codes that are an answer; any other is a failure of the server."""

    qtype: int
    chain: list[Name]
    ttl: int = 0x7FFFFFFF

    def follow(self, response: Response) -> CheckedAnswer | None:
        """Apply a response. Returns ``None`` if the last name of ``chain`` has to be queried next.

        Raises ``WireError`` for a loop, for too many aliases, and for a response code that is a failure.
        """
        if response.rcode not in self.ANSWERS:
            raise WireError("the response code is a failure")
        followed = self._follow_aliases(response)
        last = self.chain[-1]
        found = [one for one in response.answers if one.rtype == self.qtype and one.owner == last]
        if found:
            return self._end(Rcode.NOERROR, found)
        # An SOA (``negative_ttl``) says that the upstream followed the chain to its end (RFC 6604).
        if followed and response.rcode == Rcode.NOERROR and response.negative_ttl is None:
            return None
        self.ttl = min(self.ttl, response.negative_ttl or 0)
        return self._end(response.rcode, [])

    def _follow_aliases(self, response: Response) -> bool:
        aliases = {one.owner: one for one in response.answers if one.rtype == RRType.CNAME}
        before = len(self.chain)
        while self.qtype != RRType.CNAME and (alias := aliases.get(self.chain[-1])) is not None:
            if alias.target in self.chain or len(self.chain) > MAX_CHAIN:
                raise WireError("alias loop, or too many aliases")
            self.chain.append(alias.target)
            self.ttl = min(self.ttl, alias.ttl)
        return len(self.chain) > before

    def _end(self, rcode: int, found: list[Resource]) -> CheckedAnswer:
        # RFC 2181 section 5: a set of records has no duplicates, and one TTL.
        ttl = min([self.ttl, *(one.ttl for one in found)])
        return CheckedAnswer(rcode, tuple(self.chain), tuple(dict.fromkeys(found)), ttl)


def _keep(resource: Resource, policy: QueryPolicy) -> tuple[Resource | None, str]:
    """Return the record without special addresses, and the kind of range that was removed (``""``: none)."""
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
    """Return the answer without special addresses. Raises ``WireError`` for a malformed service record."""
    judged = [_keep(resource, policy) for resource in answer.resources]
    resources = tuple(resource for resource, _ in judged if resource is not None)
    return evolve(answer, resources=resources, dropped=next((kind for _, kind in judged if kind), ""))


def chain_fault(answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist, *, check: bool) -> Name | None:
    """Return the first name after the queried one that the policy does not accept in a chain."""
    for name in answer.chain[1:]:
        # A denied name refuses the answer whether the chain is shown or not.
        if policy.entries.match(name).denied or (check and not policy.allows_name(name, session)):
            return name
    return None


def render(answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist, ttl: int, *, check: bool) -> Content:
    """Return the content of the reply, every record with ``ttl``. Aliases are shown only with ``check``.

    Targets of service records and of CNAME queries are names too: a record whose target is not allowed is left out.
    """
    # Without ``check`` the addresses belong to the queried name itself: no other name is disclosed or needs resolving.
    shown = answer.chain if check else answer.chain[:1]
    aliases = [
        ReplyRecord(RRType.CNAME, ttl, domain_names.encode(target), None if owner == shown[0] else owner)
        for owner, target in pairwise(shown)
    ]
    last = shown[-1]
    records = [
        ReplyRecord(one.rtype, ttl, one.rdata, None if last == shown[0] else last)
        for one in answer.resources
        if _target_allowed(one, answer, policy, session)
    ]
    content = Content(answer.rcode, (*aliases, *records))
    return content if records else evolve(content, negative_ttl=ttl)


def _target_allowed(resource: Resource, answer: CheckedAnswer, policy: QueryPolicy, session: Allowlist) -> bool:
    if resource.rtype == RRType.CNAME:
        return policy.allows_name(resource.target, session)
    if resource.rtype not in _SERVICES or resource.target == domain_names.ROOT:
        return True
    return resource.target == answer.chain[0] or policy.allows_name(resource.target, session)
