"""What a source hands out: ids that say nothing of their values, values that show themselves to nobody."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from credgate.service.credentials.sources import ANONYMOUS, Credential, Ids

CANARY = "ghp_CANARY0123456789"


def test_a_credential_does_not_show_its_secret() -> None:
    """It stands in tracebacks, in audit events and in ``repr`` of whatever holds it."""
    assert CANARY not in repr(Credential("0a1b", CANARY, "app", 7.0))
    assert "0a1b" in repr(Credential("0a1b", CANARY))


def test_no_credential_is_one_value_alone() -> None:
    """Code asks whether there is an id: a real one is never empty."""
    assert (ANONYMOUS.id, ANONYMOUS.secret, ANONYMOUS.kind) == ("", "", "none")
    assert Ids("x").another()


@given(st.text(), st.integers(2, 50))
def test_each_value_has_its_own_id(name: str, count: int) -> None:
    """Pools file connections by it: two values under one id would share a login."""
    ids = Ids(name)
    made = [ids.another() for _ in range(count)]
    assert len(set(made)) == count
    assert all(re.fullmatch("[0-9a-f]{12}", one) for one in made)


def test_an_id_cannot_be_made_from_outside() -> None:
    """Two processes name one secret differently, so that ids of two logs tell nobody who shares one."""
    assert Ids("github.com env://TOKEN").another() != Ids("github.com env://TOKEN").another()
