"""The tree of errors: as its head draws it, and each with what its catcher acts on."""

from __future__ import annotations

import inspect
import re

import pytest

from credgate import errors
from credgate.errors import (
    AddressError,
    ConfigError,
    CredentialError,
    CredgateError,
    ProtocolError,
    RequestError,
    ResponseError,
)
from credgate.values import Reason

LINE = re.compile(r"^    (?P<depth>[│ ]*)(?:[├└]── )?(?P<name>\w+Error)\b", re.MULTILINE)


def drawn() -> dict[str, str]:
    """Read the tree in the module's head: each error and the one above it."""
    above: dict[int, str] = {}
    found = {}
    for line in LINE.finditer(errors.__doc__ or ""):
        depth = 0 if line["name"] == "CredgateError" else 1 + len(line["depth"]) // 4
        above[depth] = line["name"]
        found[line["name"]] = above.get(depth - 1, "Exception")
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    """Whoever catches one reads there what else they catch."""
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, CredgateError)]
    assert drawn() == {one.__name__: one.__bases__[0].__name__ for one in classes}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "what was meant"),
        ({"key": "audit.path"}, "audit.path: what was meant"),
        ({"file": "c.toml"}, "c.toml: what was meant"),
        ({"file": "c.toml", "line": 7, "key": "audit.path"}, "c.toml:7: audit.path: what was meant"),
        ({"line": 7, "key": "audit.path"}, "7: audit.path: what was meant"),
    ],
)
def test_a_wrong_configuration_is_said_in_one_line(place: dict[str, str], said: str) -> None:
    """With as much of its place as is known, in the form that editors jump to."""
    error = ConfigError("what was meant", **place)  # type: ignore[arg-type]  # one of them is a number
    assert str(error) == said
    assert error.text == "what was meant"


def test_a_peer_s_error_has_a_reason_and_a_status() -> None:
    """What the sandbox did wrong is its own fault (400), what a forge did wrong is a gateway's trouble (502)."""
    request, response = RequestError("x"), ResponseError("x")
    assert (request.reason, request.status) == (Reason.MALFORMED_REQUEST, 400)
    assert (response.reason, response.status) == (Reason.FORGE_MALFORMED, 502)
    timed = ResponseError("x", reason=Reason.FORGE_TIMEOUT, status=504)
    assert (timed.reason, timed.status, str(timed)) == (Reason.FORGE_TIMEOUT, 504, "x")
    assert not isinstance(request, ResponseError)
    assert isinstance(request, ProtocolError)


def test_a_credential_that_is_not_to_be_had_says_for_how_long() -> None:
    """0 is nobody knows: no client is sent away for a time that was made up."""
    assert CredentialError("x").retry_after == 0
    limited = CredentialError("x", reason=Reason.CREDENTIAL_LIMITED, retry_after=90)
    assert (limited.text, limited.reason, limited.retry_after) == ("x", Reason.CREDENTIAL_LIMITED, 90)


def test_addresses_are_told_by_kind_and_never_by_number() -> None:
    """The sandbox would learn what is in the gateway's network; the order is no news either."""
    error = AddressError(frozenset({"private", "loopback"}))
    assert str(error) == "its name resolves only to non-public addresses (loopback, private)"
    assert error.kinds == {"loopback", "private"}
