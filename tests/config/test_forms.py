"""The form of each kind of value: what is accepted, in which normal form, and what is said otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from credgate.config import forms

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPTED: list[tuple[str, Any, object, object]] = [
    ("string", forms.string, "tcp:8080 ö", "tcp:8080 ö"),
    ("filled", forms.filled, "x", "x"),
    ("strings", forms.strings, ["a", "b"], ("a", "b")),
    ("strings of none", forms.strings, [], ()),
    ("boolean", forms.boolean, True, True),
    ("whole, lowest", forms.whole(1, 3), 1, 1),
    ("whole, highest", forms.whole(1, 3), 3, 3),
    ("number, whole", forms.number(0), 0, 0.0),
    ("number", forms.number(0), 0.5, 0.5),
    ("duration", forms.duration, "90s", 90.0),
    ("duration_or_none", forms.duration_or_none, "0s", 0.0),
    ("one_of", forms.one_of("github", "generic"), "generic", "generic"),
    ("absolute_path", forms.absolute_path, "/a/b", "/a/b"),
    ("optional, none", forms.optional(forms.absolute_path), "", ""),
    ("optional, some", forms.optional(forms.absolute_path), "/a", "/a"),
    ("socket_path, longest", forms.socket_path, "/" + "x" * 106, "/" + "x" * 106),
    ("audit_target", forms.audit_target, "stderr", "stderr"),
    ("audit_target, file", forms.audit_target, "/var/log/a", "/var/log/a"),
    ("store, memory", forms.store_url, "memory:", "memory:"),
    ("store, three slashes", forms.store_url, "sqlite:///var/s.db", "sqlite:////var/s.db"),
    ("store, four slashes", forms.store_url, "sqlite:////var/s.db", "sqlite:////var/s.db"),
    ("username", forms.username, "x-access-token", "x-access-token"),
    ("username, none", forms.username, "", ""),
    ("credential", forms.credential, "env://TOKEN", "env://TOKEN"),
    ("credential, none", forms.credential, "", ""),
    ("credentials", forms.credentials, {"octo/*": "env://TOKEN"}, {"octo/*": "env://TOKEN"}),
    ("credentials, none", forms.credentials, {}, {}),
    ("app_id, number", forms.app_id, 12, "12"),
    ("app_id, client id", forms.app_id, "Iv1.8a61f9b3", "Iv1.8a61f9b3"),
    ("uids", forms.uids, [0, 1000], (0, 1000)),
]

REFUSED: list[tuple[Any, object, str]] = [
    (forms.string, 5, "a string in quotes"),
    (forms.string, "a\x00b", "control and invisible"),
    (forms.string, "a\u202eb", "control and invisible"),
    (forms.filled, "", "empty"),
    (forms.strings, "abc", "a list of strings"),
    (forms.strings, [1], "a string in quotes"),
    (forms.boolean, 1, "true or false"),
    (forms.boolean, "true", "true or false"),
    (forms.whole(1, 3), 0, "out of range: must be 1 to 3"),
    (forms.whole(1, 3), 4, "out of range: must be 1 to 3"),
    (forms.whole(1), 0, "out of range: must be at least 1"),
    (forms.whole(1), True, "a whole number"),
    (forms.whole(1), 1.0, "a whole number"),
    (forms.number(1), 0.5, "out of range: must be at least 1"),
    (forms.number(0), float("nan"), "out of range"),
    (forms.number(0), float("inf"), "out of range"),
    (forms.number(0), 10**400, "out of range"),
    (forms.number(0), True, "a number"),
    (forms.number(0), "1", "a number"),
    (forms.duration, "0s", "longer than zero"),
    (forms.duration, 30, r'did you mean "30s"\?'),
    (forms.duration, 10**400, '"7d"$'),
    (forms.duration, True, '"7d"$'),
    (forms.duration, 1.5, '"7d"$'),
    (forms.one_of("github", "generic"), "gihub", 'did you mean "github"'),
    (forms.one_of("github", "generic"), "svn", 'expected "github" or "generic"'),
    (forms.one_of("github", "generic"), "x" * 1000, f'^"{"x" * 40}" is unknown'),
    (forms.absolute_path, "a/b", "the absolute path of a file"),
    (forms.absolute_path, "/a/", "the absolute path of a file"),
    (forms.absolute_path, "", "the absolute path of a file"),
    (forms.socket_path, "/" + "x" * 107, "108 bytes long"),
    (forms.socket_path, "/" + "ö" * 54, "109 bytes long"),
    (forms.audit_target, "stdout", '"stderr" or'),
    (forms.audit_target, "/var/log/", '"stderr" or'),
    (forms.store_url, "sqlite://", "sqlite:///absolute"),
    (forms.store_url, "sqlite:///a/", "sqlite:///absolute"),
    (forms.store_url, "sqlite:///a?mode=ro", "sqlite:///absolute"),
    (forms.store_url, "memory", "sqlite:///absolute"),
    (forms.username, "a:b", 'ASCII without ":"'),
    (forms.username, "ö", 'ASCII without ":"'),
    (forms.credential, "ghp_CANARY", "expected a reference"),
    (forms.credential, "ghp_CANARY\n", "expected a reference"),
    (forms.credential, 5, "a string in quotes"),
    (forms.credentials, "env://TOKEN", "expected a table"),
    (forms.credentials, {"octo/*": "ghp_CANARY"}, "expected a reference"),
    (forms.credentials, {"octo/*": ""}, "empty"),
    (forms.app_id, 0, "a string in quotes"),
    (forms.app_id, True, "a string in quotes"),
    (forms.app_id, "a b", "number, or its client id"),
    (forms.uids, 1000, "a list of user ids"),
    (forms.uids, ["root"], "a whole number"),
    (forms.uids, [2**32 - 1], "out of range"),
]


@pytest.mark.parametrize(
    ("form", "value", "expected"), [each[1:] for each in ACCEPTED], ids=[each[0] for each in ACCEPTED]
)
def test_valid_value_is_returned_in_normal_form(
    form: Callable[[object], object], value: object, expected: object
) -> None:
    """The type matters: true is not 1."""
    result = form(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(("form", "value", "text"), REFUSED)
def test_invalid_value_is_refused_with_the_expected_form(
    form: Callable[[object], object], value: object, text: str
) -> None:
    """The error has one line and never contains a pasted credential."""
    with pytest.raises(ValueError, match=text) as caught:
        form(value)
    assert len(str(caught.value).splitlines()) == 1
    assert "CANARY" not in str(caught.value)


def test_suggestion_is_made_only_for_a_close_match() -> None:
    """A wrong suggestion would mislead the operator."""
    assert forms.nearest("idle_tll", ["idle_ttl", "store"]) == "idle_ttl"
    assert forms.nearest("zzz", ["idle_ttl", "store"]) == ""
