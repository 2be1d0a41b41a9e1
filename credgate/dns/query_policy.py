"""The DNS policy: is a query answered from the static table, sent upstream, or refused? The default is to refuse.

The checks, in this order:

1. classes and types that are never answered (RFC 8482 for ANY, RFC 6895 section 3.1 for meta types)
2. denied names
3. static names and their reverse names
4. the operator's list and the names of the session bound to the client's address
5. for a name that only a wildcard allows: its length and its characters

A policy is made from ``[dns]`` and never changes; a reload makes a new one. It does not check addresses in answers
(``answer``) and does not count (``limits``). Special-use names (RFC 6761) have no special treatment.
"""

from __future__ import annotations

import ipaddress
from enum import Enum, auto
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from credgate.dns import addresses, allowlist, domain_names
from credgate.dns.allowlist import Allowlist, AllowlistEntry, AllowlistMatch
from credgate.dns.codes import IN, RRType, type_name
from credgate.errors import ConfigError
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.config.schema import DnsConfig
    from credgate.dns.addresses import Network
    from credgate.dns.domain_names import Name

# The name of the readiness check. Every policy has it as a static name without addresses.
READY: Name = (b"ready", b"credgate", b"invalid")


class Disposition(Enum):
    """What is done with a query."""

    ASK = auto()
    """Send it upstream."""
    STATIC = auto()
    """Answer from the static table."""
    NO_NAME = auto()
    """Refuse the name, with the code that ``[dns] refused`` selects."""
    NO_TYPE = auto()
    """Refuse the type of an allowed name: no records (NODATA)."""
    REFUSED = auto()
    """Refuse a class or type that is never answered (REFUSED)."""


@frozen(slots=True)
class QueryVerdict:
    """The decision on a query. ``wildcard``: the suffix, if only a wildcard allows the name; such names are counted."""

    outcome: Disposition
    decision: Decision
    wildcard: Name | None = None


def _refuse(outcome: Disposition, reason: Reason, text: str, rule: str = "") -> QueryVerdict:
    return QueryVerdict(outcome, Decision(allow=False, reason=reason, rule=rule, text=f"credgate: {text}"))


_META = frozenset({RRType.OPT, *range(128, 256)})
_PRIVATE = range(65280, 65536)

_STATIC = QueryVerdict(Disposition.STATIC, Decision(allow=True, reason=Reason.ALLOWED, rule="[dns.static]"))
_NO_CLASS = _refuse(Disposition.REFUSED, Reason.DNS_CLASS, "only class IN is answered")
_NO_AAAA = _refuse(Disposition.NO_TYPE, Reason.DNS_TYPE, "AAAA queries are disabled ([dns] aaaa = false)", "dns.aaaa")
_UNKNOWN = _refuse(
    Disposition.NO_NAME, Reason.DNS_NAME, "the name is not in the allowlist; GET /whoami lists the allowed names"
)

NO_ENTRIES = Allowlist()


@frozen(slots=True)
class QueryPolicy:
    """The operator's rules."""

    entries: Allowlist
    static: dict[Name, tuple[addresses.Address, ...]] = field(factory=dict)
    reverse: dict[Name, tuple[Name, ...]] = field(factory=dict)
    allow_private: tuple[Network, ...] = ()
    aaaa: bool = True
    max_name: int = 128
    max_labels: int = 10
    max_label: int = 40

    def judge(self, name: Name, qtype: int, qclass: int = IN, session: Allowlist = NO_ENTRIES) -> QueryVerdict:
        """Decide on a folded name and a type for a client whose session adds the names ``session``."""
        if qclass != IN:
            return _NO_CLASS
        if qtype in _META or qtype == RRType.NULL or qtype in _PRIVATE or qtype == 0:
            return _refuse(
                Disposition.REFUSED, Reason.DNS_TYPE, f"queries of type {type_name(qtype)} are not supported"
            )
        # A denial also covers static names and the names of sessions.
        match = self.entries.match(name)
        if match.denied is not None:
            return _refuse(Disposition.NO_NAME, Reason.DNS_DENIED, "the name is denied", str(match.denied))
        if name in self.static or name in self.reverse:
            return _STATIC
        match = AllowlistMatch(allowed=match.allowed + session.match(name).allowed)
        return self._judge_type(name, qtype, match) if match.allowed else _UNKNOWN

    def _judge_type(self, name: Name, qtype: int, match: AllowlistMatch) -> QueryVerdict:
        # NODATA, not NXDOMAIN: the name exists, and a client would cache NXDOMAIN for all types.
        if qtype not in match.types():
            text = f"queries of type {type_name(qtype)} are not allowed for this name"
            return _refuse(Disposition.NO_TYPE, Reason.DNS_TYPE, text, str(match.allowed[0]))
        if qtype == RRType.AAAA and not self.aaaa:
            return _NO_AAAA
        # The operator wrote every octet of an exact entry, so such a name carries no data and has no limit.
        if not all(entry.wildcard for entry in match.allowed):
            return _allow(match.allowed[0], None)
        if not self._has_host_form(name):
            text = "the name is too long, or has other characters than a wildcard allows"
            return _refuse(Disposition.NO_NAME, Reason.DNS_NAME_FORM, text, str(match.allowed[0]))
        return _allow(match.allowed[0], match.allowed[0].name)

    def _has_host_form(self, name: Name) -> bool:
        """Whether a name below a wildcard looks like a host name. Long or odd labels could carry data out."""
        return (
            len(name) <= self.max_labels
            and sum(map(len, name)) + len(name) + 1 <= self.max_name
            and all(len(label) <= self.max_label and domain_names.HOST_LABEL.fullmatch(label) for label in name)
        )

    def allows_name(self, name: Name, session: Allowlist = NO_ENTRIES) -> bool:
        """Whether the lists allow a folded name that occurs in an answer."""
        match = self.entries.match(name)
        return match.denied is None and bool(match.allowed or session.match(name).allowed)


def _allow(entry: AllowlistEntry, wildcard: Name | None) -> QueryVerdict:
    return QueryVerdict(Disposition.ASK, Decision(allow=True, reason=Reason.ALLOWED, rule=str(entry)), wildcard)


def _entries(dns: DnsConfig) -> Iterable[AllowlistEntry]:
    for number, text in enumerate(dns.allow, 1):
        try:
            yield allowlist.parse_entry(text, f"dns.allow, entry {number}")
        except ValueError as error:
            raise ConfigError(str(error), key="dns.allow") from None
    if dns.allowlist_file:
        yield from allowlist.read_file(dns.allowlist_file)


def _static(dns: DnsConfig) -> dict[Name, tuple[addresses.Address, ...]]:
    try:
        return {
            domain_names.parse(name): tuple(ipaddress.ip_address(address) for address in listed)
            for name, listed in dns.static.items()
        }
    except ValueError as error:
        raise ConfigError(str(error), key="dns.static") from None


def _networks(dns: DnsConfig) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in dns.allow_private)
    except ValueError as error:
        raise ConfigError(str(error), key="dns.allow_private") from None


def make_policy(dns: DnsConfig) -> QueryPolicy:
    """Make the policy of a configuration. Reads the allowlist file (blocks). Raises ``ConfigError``."""
    static = _static(dns)
    reverse: dict[Name, tuple[Name, ...]] = {}
    for name, listed in static.items():
        for address in listed:
            reverse[addresses.reverse_name(address)] = (*reverse.get(addresses.reverse_name(address), ()), name)
    return QueryPolicy(
        entries=Allowlist.of(_entries(dns)),
        static={READY: (), **static},
        reverse=reverse,
        allow_private=_networks(dns),
        aaaa=dns.aaaa,
        max_name=dns.max_name,
        max_labels=dns.max_labels,
        max_label=dns.max_label,
    )


def faults(dns: DnsConfig) -> list[tuple[str, str]]:
    """Return (key of ``[dns]``, error) for invalid entries. Does not read the allowlist file."""
    try:
        make_policy(evolve(dns, allowlist_file=""))
    except ConfigError as error:
        return [(error.key.removeprefix("dns."), error.text)]
    return []


def session_entries(written: Iterable[str], place: str) -> Allowlist:
    """Make the list of a session's names. Denials and invalid entries are ignored, so they never allow a name."""
    found = []
    for text in written:
        try:
            entry = allowlist.parse_entry(text, place)
        except ValueError:
            continue
        found += [] if entry.deny else [entry]
    return Allowlist.of(found)
