"""The login forms: RFC 7617 Basic, RFC 6750 Bearer, and nothing in them but what was given."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.forges.login import basic, bearer


def test_the_example_of_rfc_7617_section_2() -> None:
    """The RFC's own vector decides what Basic is."""
    assert basic("Aladdin", "open sesame") == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_utf_8_as_rfc_7617_section_2_1_has_it() -> None:
    """The RFC's vector for a password beyond ASCII: a forge that takes one takes UTF-8."""
    assert basic("test", "123£") == b"Basic dGVzdDoxMjPCow=="


@given(st.text(), st.text())
def test_any_secret_comes_out_whole_and_on_one_line(user: str, secret: str) -> None:
    """A line break in the value would start a second header field upstream."""
    try:
        value = basic(user, secret)
    except UnicodeEncodeError:  # lone surrogates: no configuration can hold them
        return
    assert b"\n" not in value
    assert b"\r" not in value
    assert b64decode(value.removeprefix(b"Basic "), validate=True).decode() == f"{user}:{secret}"


def test_the_example_of_rfc_6750_section_2_1() -> None:
    """The RFC's own vector decides what Bearer is."""
    assert bearer("mF_9.B5f-4.1JqM") == b"Bearer mF_9.B5f-4.1JqM"


@pytest.mark.parametrize("secret", ["", "a b", "a\n", "a\r\nX: y", "a\0", "a\x7f", "£"])
def test_a_bearer_token_cannot_end_its_line(secret: str) -> None:
    """It is not encoded: a line break would start another field, and the error does not repeat the secret."""
    with pytest.raises(ValueError, match=r"not a token that a header field can hold$"):
        bearer(secret)
