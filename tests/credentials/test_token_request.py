"""Requests: what they carry, and that no secret of theirs shows."""

from __future__ import annotations

from base64 import b64decode

from credgate.credentials.token_request import Request, client_login, with_form, with_json


def test_json_is_compact_and_named() -> None:
    made = with_json("POST", "/x", {"Accept": "a"}, {"b": [1, "\u00e9"]})
    assert made.body == b'{"b":[1,"\\u00e9"]}'
    assert made.headers == {"Accept": "a", "Content-Type": "application/json"}


def test_a_form_is_encoded() -> None:
    """A token may hold what a form reads otherwise."""
    made = with_form("/x", {}, {"refresh_token": "a+b/c=&d"})
    assert (made.method, made.body) == ("POST", b"refresh_token=a%2Bb%2Fc%3D%26d")
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_an_oauth_client_login_encodes_both_halves() -> None:
    """RFC 6749 section 2.3.1: a colon in the id would move the line between them."""
    scheme, _, coded = client_login("id:1", "s/e+c r%t").partition(" ")
    assert scheme == "Basic"
    assert b64decode(coded) == b"id%3A1:s%2Fe%2Bc+r%25t"


def test_no_repr_shows_headers_or_body() -> None:
    assert repr(Request("GET", "/x", {"Authorization": "secret"}, b"secret")) == "Request(method='GET', path='/x')"
