"""Reading what a forge's API answers: strictly, in bounds, and never in its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials.token_response import (
    MAX_ANSWER,
    MAX_TOKEN,
    MalformedResponse,
    TokenResponse,
    forge_time,
    http_date,
    message,
    midnight,
    moment,
    read_object,
    seconds,
    skew,
    token,
)

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
AT = 784111777.0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "it is not JSON"),
        (b"<html>", "it is not JSON"),
        (b"\xff{}", "it is not UTF-8"),
        (b'{"a": NaN}', "it contains NaN, which is not JSON"),
        (b'{"a": 1, "a": 2}', "it has a duplicate key"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[" * 70_000, "it is not JSON"),
        (b"{} {}", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b" " * MAX_ANSWER + b"{}", "it is too long"),
        (b'{"a": [' + b"{}," * 100_000 + b"{}]}", "it has more than 75000 values"),
    ],
)
def test_a_body_that_is_not_an_object_is_refused(body: bytes, text: str) -> None:
    """A login page, a cut answer, two readings of one text."""
    with pytest.raises(MalformedResponse, match=text):
        read_object(body)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()))
def test_an_object_is_read_whole_and_not_in_part(content: dict[str, Any]) -> None:
    """Every shorter piece of it is refused, and so is anything behind it."""
    body = json.dumps(content).encode()
    assert read_object(body) == content
    for end in range(len(body)):
        with pytest.raises(MalformedResponse):
            read_object(body[:end])
    with pytest.raises(MalformedResponse):
        read_object(body + b"}")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_malformed(body: bytes) -> None:
    try:
        assert isinstance(read_object(body), dict)
    except MalformedResponse as error:
        assert str(error).startswith("it ")  # noqa: PT017 - either is right


@pytest.mark.parametrize("value", ["ghs_16C7e42F", "a.b-c_d~e+f/g==", "x" * MAX_TOKEN])
def test_a_token_uses_a_closed_alphabet(value: str) -> None:
    """Old ones of 40 characters, new ones that carry their claims."""
    assert token({"t": value}, "t") == value


@pytest.mark.parametrize(
    "value", ["", "short", "x" * (MAX_TOKEN + 1), "with space", "with\r\nbreak", "w\u00f6rter-im", 7, None]
)
def test_a_token_cannot_break_a_header(value: object) -> None:
    """Whatever a forge says is sent back to it, in a head."""
    with pytest.raises(MalformedResponse, match="its t is not a token"):
        token({"t": value}, "t")


@pytest.mark.parametrize("text", ["1994-11-06T08:49:37Z", "1994-11-06T08:49:37.000Z", "1994-11-06T08:49:37+00:00"])
def test_a_moment_is_utc(text: str) -> None:
    """In the forms that forges write."""
    assert moment({"at": text}, "at") == AT


@pytest.mark.parametrize(
    "text",
    ["", "1994-11-06", "1994-13-06T08:49:37Z", "1994-11-06T08:49:37", "1994-11-06T08:49:37+02:00", 784111777, None],
)
def test_any_other_moment_is_refused(text: object) -> None:
    """A time without its zone is a guess."""
    with pytest.raises(MalformedResponse, match="its at is not a time"):
        moment({"at": text}, "at")


def test_a_date_is_read_as_its_start() -> None:
    """GitLab's tokens end at midnight, UTC."""
    assert midnight({"at": "1994-11-06"}, "at") == AT - (8 * 60 + 49) * 60 - 37
    for wrong in ("1994-02-30", "1994-11-06T00:00:00Z", "\u0661\u0669\u0669\u0664-11-06", None):
        with pytest.raises(MalformedResponse):
            midnight({"at": wrong}, "at")


def test_a_lifetime_is_a_bounded_number_of_seconds() -> None:
    """True is no number, and nothing lives for ever."""
    assert seconds({"n": 3600}, "n") == 3600.0
    for wrong in (0, -1, True, "3600", 3.5, 10**12, None):
        with pytest.raises(MalformedResponse):
            seconds({"n": wrong}, "n")


def test_the_forges_clock_is_in_its_answer() -> None:
    """Where there is none, nothing is known of it."""
    assert forge_time(TokenResponse(200, {"date": DATE})) == AT
    assert forge_time(TokenResponse(200)) is None
    assert skew(TokenResponse(200, {"date": DATE}), AT - 60) == 60.0
    assert skew(TokenResponse(200), AT) == 0.0


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_nothing(text: str) -> None:
    found = http_date(text)
    assert found is None or isinstance(found, float)


def test_an_errors_message_is_for_comparing() -> None:
    """GitHub's key, OAuth's key, or nothing."""
    assert message(TokenResponse(401, body=b'{"message": "Bad credentials"}')) == "Bad credentials"
    assert message(TokenResponse(400, body=b'{"error": "invalid_grant"}')) == "invalid_grant"
    assert message(TokenResponse(400, body=b'{"message": ["no"]}')) == message(TokenResponse(400, body=b"<html>")) == ""


def test_no_repr_shows_what_an_answer_holds() -> None:
    """Logs and tracebacks show reprs."""
    assert repr(TokenResponse(201, {"x": "secret"}, b"secret")) == "TokenResponse(status=201)"
