"""A session as one row of a table, and back.

Scalars are columns; grants and DNS names are JSON. Reading is strict: what does not come back exactly as it would be
written, or has an impossible time, size or network, raises ValueError, and the row grants nothing. A grant's limits
are written only where they differ from their defaults, so that rows from before there were any are still as written.
Nothing here touches a database.
"""

from __future__ import annotations

import ipaddress
import json
import math
from typing import TYPE_CHECKING, Any

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from credgate.sessions.model import Grant, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = tuple(attribute.name for attribute in attrs.fields(Session))
"""In the order of ``Session``'s fields, which is the order of a row."""
DIGEST_BYTES = 32

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
_CONVERTER.register_unstructure_hook_func(lambda kind: kind == frozenset[str], sorted)
_LIMITS = {each.name: override(omit_if_default=True) for each in attrs.fields(Grant) if each.kw_only}
_written = make_dict_unstructure_fn(Grant, _CONVERTER, **_LIMITS)  # type: ignore[arg-type]  # keys are attributes
_CONVERTER.register_unstructure_hook(Grant, _written)

Row = tuple[Any, ...]


def write(session: Session) -> Row:
    """Turn a session into the values of ``COLUMNS``."""
    values = {name: getattr(session, name) for name in COLUMNS}
    bound_to = "" if session.bound_to is None else str(session.bound_to)
    grants = _json(_CONVERTER.unstructure(session.grants, tuple[Grant, ...]))
    values |= {"bound_to": bound_to, "grants": grants, "dns": _json(session.dns)}
    return tuple(values.values())


def read(row: Sequence[Any]) -> Session:
    """Turn a row back into a session; raise ValueError with what is wrong with it (and never a digest)."""
    try:
        values = dict(zip(COLUMNS, row, strict=True))
        values["bound_to"] = ipaddress.ip_network(values["bound_to"]) if values["bound_to"] else None
        values["grants"] = _CONVERTER.structure(json.loads(values["grants"]), tuple[Grant, ...])
        values["dns"] = tuple(json.loads(values["dns"]))
        session = Session(**values)
        faithful = write(session) == tuple(row)
    except Exception as error:  # noqa: BLE001 - whatever a row does to its readers, it is one bad row
        raise ValueError(f"unreadable ({type(error).__name__})") from None
    if not faithful:
        raise ValueError("not as credgate writes it")
    _judge(session)
    return session


def _judge(session: Session) -> None:
    times = (session.created, session.used, session.created_wall, session.idle_ttl, session.absolute_ttl)
    if not all(isinstance(value, float) and math.isfinite(value) for value in times):
        raise ValueError("a time that is no number")
    if session.created > session.used or min(session.idle_ttl, session.absolute_ttl) <= 0:
        raise ValueError("impossible times")
    if not (isinstance(session.id, str) and isinstance(session.label, str)):
        raise ValueError("text that is no UTF-8")  # noqa: TRY004 - one error for every bad row
    if not len(session.token_digest) == len(session.secret_digest) == DIGEST_BYTES:
        raise ValueError("a digest of the wrong size")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
