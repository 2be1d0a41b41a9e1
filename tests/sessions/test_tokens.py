"""Minting, and reading Authorization."""

from __future__ import annotations

import base64
import hashlib
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credgate.sessions.tokens import (
    MAX_FIELD,
    MalformedAuthorization,
    NewToken,
    PresentedToken,
    digest,
    mint,
    parse_authorization,
)

TOKEN, SECRET = "t" * 43, "s-_" * 14 + "9"


def basic(user_pass: bytes, scheme: bytes = b"Basic ") -> bytes:
    """Encode a Basic credential."""
    return scheme + base64.b64encode(user_pass)


PAIR = f"{TOKEN}:{SECRET}".encode()
GOOD = basic(b"x:" + PAIR)


def test_minted_secrets_are_32_bytes_and_all_different() -> None:
    """256 bits each, or guessing becomes a plan."""
    many = [mint(os.urandom) for _ in range(50)]
    assert len({name for one in many for name in (one.id, one.token, one.secret)}) == 150
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for one in many for secret in (one.token, one.secret))
    assert all(re.fullmatch(r"s-[0-9a-f]{16}", one.id) for one in many)


def test_minting_uses_the_entropy_it_is_given_and_nothing_else() -> None:
    """What is minted must be traceable to one source; the public id shares no bytes with the secrets."""
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    minted = mint(entropy)
    assert asked == [8, 32, 32]
    assert minted.id == "s-" + "01" * 8
    assert base64.urlsafe_b64decode(minted.token + "=") == b"\x02" * 32
    assert base64.urlsafe_b64decode(minted.secret + "=") == b"\x03" * 32


def test_no_secret_shows_in_a_repr() -> None:
    """Values end up in logs and tracebacks."""
    for value in (NewToken("s-1", TOKEN, SECRET), PresentedToken("basic", TOKEN, SECRET)):
        assert TOKEN not in repr(value)
        assert SECRET not in repr(value)


def test_digest_is_sha256_and_defined_for_every_text() -> None:
    """A token from a URL may hold anything, lone surrogates too; it must be unknown, not an exception."""
    assert digest("abc") == hashlib.sha256(b"abc").digest()
    assert len(digest("\ud800")) == 32


def test_no_field_is_no_credential() -> None:
    """Git always asks once without: that is no failure."""
    assert parse_authorization([]) is None


@pytest.mark.parametrize("user", [b"", b"x", b"x-gateway-token", b"caf\xc3\xa9", b"a b@c"])
@pytest.mark.parametrize("scheme", [b"Basic ", b"basic ", b"BASIC   "])
def test_basic_with_any_user_presents_the_pair(user: bytes, scheme: bytes) -> None:
    """The ancestor's helper, git's prompts and other clients name different users; scheme names ignore case."""
    assert parse_authorization([basic(user + b":" + PAIR, scheme)]) == PresentedToken("basic", TOKEN, SECRET)


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_bearer_presents_the_pair(scheme: bytes) -> None:
    """For extraHeader, which needs no helper."""
    assert parse_authorization([scheme + PAIR]) == PresentedToken("bearer", TOKEN, SECRET)


@pytest.mark.parametrize(
    "value",
    [
        b"Basic",
        b"Basic ",
        b"Basic\t" + GOOD[6:],
        b" " + GOOD,
        GOOD + b" ",
        GOOD + b"\n",
        GOOD + b"\x00",
        GOOD + b", " + GOOD,
        GOOD + b"=",
        GOOD[:-1],
        b"Basic" + GOOD[6:],
        basic(b"x:" + TOKEN.encode()),
        basic(PAIR),
        basic(b"x:" + PAIR + b":"),
        basic(b"x:" + PAIR + b"\n"),
        basic(b"x:" + PAIR + b"\x00"),
        basic(b"x::" + PAIR),
        basic(b"x\x00:" + PAIR),
        basic(b"x:" + PAIR.replace(b"t", b"\xe9", 1)),
        basic(b"x: " + PAIR),
        basic(b"x:" + TOKEN.encode() + b":"),
        basic(b"x:" + TOKEN.encode() + b":" + b"s" * 129),
        basic(("x:" + PAIR.decode()).encode("utf-16")),
        basic(b"u" * MAX_FIELD + b":" + PAIR),
        b"Basic " + base64.urlsafe_b64encode(b"\xff\xff:" + PAIR),
        b"Basic QR==",
        b"Bearer",
        b"Bearer " + TOKEN.encode(),
        b"Bearer " + PAIR + b" ",
        b"Bearer " + PAIR + b":x",
        b"Bearer " + PAIR + b"\r",
        b"Bearer\t" + PAIR,
        b"Bearer " + base64.b64encode(PAIR),
    ],
)
def test_a_bent_field_is_malformed(value: bytes) -> None:
    """Parser confusion is an attacker's tool; no secret of ours is written like any of these."""
    scheme = value.split(b" ")[0].lower()
    expected = {b"basic": MalformedAuthorization("basic"), b"bearer": MalformedAuthorization("bearer")}.get(
        scheme, MalformedAuthorization()
    )
    assert parse_authorization([GOOD]) == PresentedToken("basic", TOKEN, SECRET)
    assert parse_authorization([value]) == expected


def test_bits_that_base64_ignores_are_not_ignored() -> None:
    """Else one secret has several spellings, and a log or a filter that knows one misses the others."""
    plain = b"x:" + PAIR  # two bytes in the last group: its last character carries two unused bits
    assert len(plain) % 3 == 2
    good = basic(plain)
    bent = good[:-2] + bytes([good[-2] + 1]) + b"="
    assert base64.b64decode(bent[6:], validate=True) == plain
    assert isinstance(parse_authorization([good]), PresentedToken)
    assert parse_authorization([bent]) == MalformedAuthorization("basic")


@pytest.mark.parametrize("value", [b"", b"Digest a=b", b"Negotiate " + PAIR, b"Basicx " + GOOD[6:], b"\xff"])
def test_another_scheme_is_malformed(value: bytes) -> None:
    """A credential that is not ours is a wrong one, not a missing one."""
    assert parse_authorization([value]) == MalformedAuthorization("")


def test_two_fields_are_malformed_even_if_both_are_right() -> None:
    """Which of them counts is what request smuggling asks."""
    assert parse_authorization([GOOD, GOOD]) == MalformedAuthorization("basic")
    assert parse_authorization([b"Bearer " + PAIR, GOOD]) == MalformedAuthorization("bearer")


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
@example([b"Basic ===="])
@example([b"Basic QQ"])
def test_any_bytes_are_presented_or_malformed(values: list[bytes]) -> None:
    """Read or refuse, never raise."""
    assert isinstance(parse_authorization(values), PresentedToken | MalformedAuthorization)


@given(st.binary(max_size=40).filter(lambda user: b":" not in user), st.sampled_from(["basic", "bearer"]))
def test_only_control_bytes_make_a_user_wrong(user: bytes, scheme: str) -> None:
    """Any user is what the helper's contract says."""
    minted = mint(os.urandom)
    pair = f"{minted.token}:{minted.secret}".encode()
    value = basic(user + b":" + pair) if scheme == "basic" else b"Bearer " + pair
    read = parse_authorization([value])
    if scheme == "basic" and any(byte < 0x20 or byte == 0x7F for byte in user):
        assert read == MalformedAuthorization("basic")
    else:
        assert read == PresentedToken(scheme, minted.token, minted.secret)  # type: ignore[arg-type]
