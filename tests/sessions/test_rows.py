"""Sessions as rows."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions import rows
from credgate.sessions.model import Grant, PushRule, Session
from credgate.values import Access
from tests.fakes.sessions import session

WHOLE = session(
    grants=(
        Grant("Octo/Hello", "github.com", Access.READ, normal="octo/hello"),
        Grant("octo/*", "github.com", push=(PushRule("refs/heads/*", frozenset({"update", "create"})),)),
        Grant("**", "git.example", push=()),
        Grant(
            "octo/limited",
            "github.com",
            max_push_bytes=5,
            max_refs=1,
            push_options=("ci.skip",),
            protected_paths=("a/**",),
            require_old_oid=True,
            partial=True,
        ),
    ),
    bound_to=ipaddress.ip_network("10.1.0.0/16"),
    label="sandbox-7",
    dns=("pypi.org",),
)


def changed(**values: Any) -> rows.Row:
    """Write WHOLE with some columns replaced."""
    return tuple((dict(zip(rows.COLUMNS, rows.write(WHOLE), strict=True)) | values).values())


def test_row_is_read_as_it_was_written() -> None:
    """With each optional field present and absent."""
    for one in (WHOLE, session()):
        assert rows.read(rows.write(one)) == one


RULE_LISTS = (
    None,
    (),
    (PushRule("refs/heads/**", frozenset({"create"})),),
    (PushRule("refs/heads/a/*", frozenset({"create", "update"})), PushRule("refs/tags/**", frozenset({"delete"}))),
)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_grants_with_and_without_rules_come_back_in_every_combination(count: int) -> None:
    """Rules of a first and of a last grant were once taken for one list, and the session was lost with a restart."""
    for lists in itertools.product(RULE_LISTS, repeat=count):
        granted = tuple(
            Grant(f"octo/r{at}", "github.com", Access.WRITE, push, f"octo/r{at}") for at, push in enumerate(lists)
        )
        one = session(grants=granted)
        assert rows.read(rows.write(one)) == one


def test_row_holds_digests_but_no_secret() -> None:
    """The columns are all that is stored."""
    row = rows.write(WHOLE)
    assert [value for value in row if isinstance(value, bytes)] == [WHOLE.token_digest, WHOLE.secret_digest]
    assert "token-1" not in repr(row)
    assert "secret-1" not in repr(row)


def test_verbs_are_written_in_a_fixed_order() -> None:
    """Equal grants must be equal texts."""
    grants = json.loads(dict(zip(rows.COLUMNS, rows.write(WHOLE), strict=True))["grants"])
    assert grants[1]["push"] == [{"refs": "refs/heads/*", "allow": ["create", "update"]}]


def test_row_without_limits_is_read() -> None:
    """An upgrade must not end sessions."""
    old = '[{"repo":"octo/hello","forge":"github.com","access":"write","push":null,"normal":"octo/hello"}]'
    one = session()
    row = dict(zip(rows.COLUMNS, rows.write(one), strict=True))
    assert row["grants"] == old
    assert rows.read(tuple(row.values())).grants == (Grant("octo/hello", "github.com"),)


def test_only_limits_that_are_set_are_written() -> None:
    """The rest is the default, whatever that was when the row was written."""
    grants = json.loads(
        dict(zip(rows.COLUMNS, rows.write(session(grants=(Grant("a/b", "f", max_refs=3),))), strict=True))["grants"]
    )
    assert grants == [{"repo": "a/b", "forge": "f", "access": "write", "push": None, "normal": "a/b", "max_refs": 3}]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"grants": "["}, "unreadable (JSONDecodeError)"),
        ({"grants": "[" * 100_000}, "unreadable (RecursionError)"),
        ({"grants": None}, "unreadable (TypeError)"),
        ({"grants": "5"}, "not as credgate writes it"),
        ({"grants": "[5]"}, "unreadable (TypeError)"),
        ({"grants": '[{"repo":"a/b"}]'}, "not as credgate writes it"),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"admin","push":null,"normal":"a/b"}]'},
            "unreadable (KeyError)",
        ),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":null,"normal":"a/b","admin":true}]'},
            "not as credgate writes it",
        ),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":[5],"normal":"a/b"}]'},
            "unreadable (TypeError)",
        ),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":[ ],"normal":"a/b"}]'},
            "not as credgate writes it",
        ),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":[{"refs":"x"}],"normal":"a/b"}]'},
            "not as credgate writes it",
        ),
        (
            {
                "grants": '[{"repo":"a/b","forge":"f","access":"read","push":[{"refs":"x","allow":["b","a"]}]'
                ',"normal":"a"}]'
            },
            "not as credgate writes it",
        ),
        ({"grants": '[{"repo":5,"forge":"f","access":"read","push":null,"normal":"5"}]'}, "not as credgate writes it"),
        ({"grants": '[{"repo":"a/b","forge":"f"}]'}, "not as credgate writes it"),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":null,"normal":"a/b","max_refs":"3"}]'},
            "not as credgate writes it",
        ),
        (
            {"grants": '[{"repo":"a/b","forge":"f","access":"read","push":null,"normal":"a/b","partial":false}]'},
            "not as credgate writes it",
        ),
        ({"dns": '"pypi.org"'}, "not as credgate writes it"),
        ({"bound_to": "10.1.2.3/16"}, "unreadable (ValueError)"),
        ({"bound_to": "10.1.2.3"}, "not as credgate writes it"),
        ({"bound_to": "10.1.2/32"}, "unreadable (OSError)"),
        ({"bound_to": "/32"}, "unreadable (OSError)"),
        ({"bound_to": "2001:DB8::1/128"}, "not as credgate writes it"),
        ({"created": "1"}, "a time is not a finite number"),
        ({"used": None}, "a time is not a finite number"),
        ({"used": float("inf")}, "a time is not a finite number"),
        ({"absolute_ttl": float("nan")}, "a time is not a finite number"),
        ({"created": 2000.0}, "impossible times"),
        ({"idle_ttl": 0.0}, "impossible times"),
        ({"secret_digest": b"x" * 31}, "a digest has the wrong size"),
        ({"token_digest": b""}, "a digest has the wrong size"),
        ({"id": b"\xff"}, "a text is not UTF-8"),
        ({"label": b"\xff"}, "a text is not UTF-8"),
    ],
)
def test_invalid_row_is_refused(values: dict[str, Any], text: str) -> None:
    """It could grant other rights than were stored."""
    assert rows.read(changed()) == WHOLE
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        rows.read(changed(**values))
    assert str(caught.value) == text


def test_row_of_another_width_is_refused() -> None:
    """The table is not ours, then."""
    with pytest.raises(ValueError, match="unreadable"):
        rows.read(rows.write(WHOLE)[:-1])


times = st.floats(-1e9, 1e9)
grants = st.builds(
    Grant,
    repo=st.text(max_size=20),
    forge=st.text(max_size=10),
    access=st.sampled_from(Access),
    push=st.none() | st.lists(st.builds(PushRule, st.text(max_size=9), st.frozensets(st.text(max_size=6)))).map(tuple),
    normal=st.text(max_size=20),
    max_push_bytes=st.none() | st.integers(1),
    max_refs=st.none() | st.integers(1),
    push_options=st.lists(st.text(max_size=6), max_size=2).map(tuple),
    protected_paths=st.lists(st.text(max_size=6), max_size=2).map(tuple),
    require_old_oid=st.booleans(),
    partial=st.booleans(),
)


@given(st.lists(grants, max_size=3).map(tuple), st.none() | st.ip_addresses().map(ipaddress.ip_network), times)
def test_arbitrary_session_is_read_as_written(granted: tuple[Grant, ...], bound_to: Any, created: float) -> None:
    """For everything that the control API accepts."""
    one = session(grants=granted, bound_to=bound_to, created=created, used=created)
    assert rows.read(rows.write(one)) == one


def as_cattrs_reads(text: str) -> tuple[Grant, ...] | None:
    """Read grants by the converter that writes them, and accept what it writes again to the byte: the oracle."""
    try:
        found = rows._CONVERTER.structure(json.loads(text), tuple[Grant, ...])
        return found if rows._json(rows._CONVERTER.unstructure(found, tuple[Grant, ...])) == text else None
    except Exception:  # noqa: BLE001 - as rows.read did with it
        return None


@given(
    st.lists(grants, max_size=3).map(tuple),
    st.integers(0, 10_000),
    st.sampled_from([*'{}[]":,x0\\', "null", "true", ""]),
)
def test_reader_agrees_with_the_cattrs_converter(granted: tuple[Grant, ...], at: int, piece: str) -> None:
    """The fast reader must accept exactly what the converter writes."""
    text = rows.write(session(grants=granted))[3]
    place = at % (len(text) + 1)
    for one in (text, text[:place] + piece + text[place + 1 :], text[:place] + piece + text[place:]):
        try:
            found: tuple[Grant, ...] | None = rows._grants(one)
        except Exception:  # noqa: BLE001 - rows.read makes it a ValueError
            found = None
        assert found == as_cattrs_reads(one)


@given(st.tuples(*[st.none() | st.integers() | st.floats() | st.text() | st.binary()] * len(rows.COLUMNS)))
def test_arbitrary_row_raises_only_value_error(row: rows.Row) -> None:
    """One bad row must not stop the load."""
    with contextlib.suppress(ValueError):
        assert isinstance(rows.read(row), Session)
