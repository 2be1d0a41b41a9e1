"""The login form: RFC 7617 Basic, and nothing but the two parts in it."""

from __future__ import annotations

from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from credgate.forges.login import basic


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
