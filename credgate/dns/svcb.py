"""SVCB and HTTPS records: parses them, filters their address hints, and writes them again.

A hint is an address that a client may connect to without a query for it, so hints are filtered like addresses. A
parameter without remaining hints is removed. ``ech`` is removed too: with it a client would encrypt the name of the
server that it connects to. If ``mandatory`` lists a removed parameter, the whole record is removed: that key says which
parameters a client must understand to use the record, so it must not be shortened. A malformed record raises
``WireError``. RFC 9460 sections 2.2 (wire form: keys strictly ascending), 7.3 (hints) and 8 (mandatory); RFC 9848
(ech).
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.dns import domain_names
from credgate.dns.domain_names import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.dns.domain_names import Name

MANDATORY, IPV4HINT, ECH, IPV6HINT = 0, 4, 5, 6
_HINT_OCTETS = {IPV4HINT: 4, IPV6HINT: 16}
_PAIR = Struct("!2H")


@frozen(slots=True)
class Service:
    """One record: priority (0: an alias), target (``ROOT``: the owner), parameters in ascending order of keys."""

    priority: int
    target: Name
    params: tuple[tuple[int, bytes], ...]

    def wire(self) -> bytes:
        """Return the record's data."""
        params = b"".join(_PAIR.pack(key, len(value)) + value for key, value in self.params)
        return self.priority.to_bytes(2) + domain_names.encode(self.target) + params


def read(rdata: bytes) -> Service:
    """Parse a record's data. Raises ``WireError``."""
    if len(rdata) < 3:  # noqa: PLR2004 - a priority and the shortest name
        raise WireError("truncated service record")
    target, offset = domain_names.read(rdata, 2)
    params = []
    while offset < len(rdata):
        if offset + _PAIR.size > len(rdata):
            raise WireError("truncated service parameter")
        key, length = _PAIR.unpack_from(rdata, offset)
        offset += _PAIR.size + length
        if offset > len(rdata):
            raise WireError("service parameter with a wrong length")
        params.append((key, rdata[offset - length : offset]))
    # RFC 9460 section 2.2: keys are strictly ascending, so none occurs twice.
    if any(one >= other for (one, _), (other, _) in pairwise(params)):
        raise WireError("service parameters out of order")
    return Service(int.from_bytes(rdata[:2]), domain_names.fold(target), tuple(params))


def _hints(key: int, value: bytes, keep: Callable[[bytes], bool]) -> bytes:
    size = _HINT_OCTETS[key]
    if not value or len(value) % size:
        raise WireError("address hint with a wrong length")
    addresses = (value[at : at + size] for at in range(0, len(value), size))
    return b"".join(address for address in addresses if keep(address))


def guard(service: Service, keep: Callable[[bytes], bool]) -> Service | None:
    """Return the record without ``ech`` and without the hints (4 or 16 octets) for which ``keep`` is false.

    ``None``: the record must be removed.
    """
    # With ``ech`` a client would encrypt the name of the server that it connects to.
    params = tuple(
        (key, _hints(key, value, keep) if key in _HINT_OCTETS else value) for key, value in service.params if key != ECH
    )
    kept = tuple((key, value) for key, value in params if value or key not in _HINT_OCTETS)
    present = {key for key, _ in kept}
    # RFC 9460 section 8: a client must not use the record without the parameters that ``mandatory`` lists.
    needed = next((value for key, value in kept if key == MANDATORY), b"")
    if any(int.from_bytes(needed[at : at + 2]) not in present for at in range(0, len(needed), 2)):
        return None
    return Service(service.priority, service.target, kept)
