"""The output of ``cmd://`` commands: one line, or JSON with an expiry."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credgate.config.credential_output import CredentialOutput, read_credential, read_lines
from credgate.errors import ConfigError

NOW = 1_700_000_000.0
CANARY = "ghp_CANARY0123456789"


@pytest.mark.parametrize("output", [b"ghp_1", b"ghp_1\n", b" ghp_1 \r\n\n", b"\xef\xbb\xbfghp_1\n"])
def test_one_line_is_the_secret(output: bytes) -> None:
    """As ``gh auth token`` and ``op read`` print it."""
    assert read_credential(output, NOW) == CredentialOutput("ghp_1")


@pytest.mark.parametrize(
    ("more", "expires_at"),
    [
        ({}, None),
        ({"expires_at": None, "expires_in": None}, None),
        ({"expires_at": "2023-11-14T23:13:20Z"}, NOW + 3600),
        ({"expires_at": "2023-11-15T00:13:20+01:00"}, NOW + 3600),
        ({"expires_at": NOW + 60}, NOW + 60),
        ({"expires_in": 900}, NOW + 900),
        ({"expires_in": 0.5}, NOW + 0.5),
        ({"expires_at": NOW + 60, "expires_in": 900}, NOW + 60),
    ],
)
def test_json_has_a_token_and_an_expiry(more: dict[str, object], expires_at: float | None) -> None:
    """Other keys are ignored, so that the output of many vaults can be used directly."""
    output = json.dumps({"token": " ghp_1\n", "lease": "x", **more}).encode()
    assert read_credential(output, NOW) == CredentialOutput("ghp_1", expires_at)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", "the output is empty"),
        (b" \n", "the output is empty"),
        (b"ghp_CANARY\nghp_2", "more than one line"),
        (b"ghp_CANARY\x1b[0m", "more than one line"),
        (b"\xff", "not UTF-8"),
        (b'{"token": "CANARY"', "is not valid JSON"),
        (b'{"a":' * 100_000, "is not valid JSON"),
        (b"{}", 'no "token"'),
        (b'{"token": ""}', 'no "token"'),
        (b'{"token": 1}', 'no "token"'),
        (b'{"token": "CANARY\\nx"}', "more than one line"),
        (b'{"token": "CANARY\\ud800"}', "more than one line"),
        (b'{"token": "CANARY", "expires_at": "tomorrow"}', '"expires_at" must be'),
        (b'{"token": "CANARY", "expires_at": "2030-01-01T00:00:00"}', '"expires_at" must be'),
        (b'{"token": "CANARY", "expires_at": true}', '"expires_at" must be'),
        (b'{"token": "CANARY", "expires_at": NaN}', '"expires_at" must be'),
        (b'{"token": "CANARY", "expires_at": 1e300}', '"expires_at" must be'),
        (b'{"token": "CANARY", "expires_in": "60"}', '"expires_in" must be'),
        (b'{"token": "CANARY", "expires_in": 0}', "has expired"),
        (b'{"token": "CANARY", "expires_at": 1}', "has expired"),
    ],
)
def test_invalid_output_is_an_error_without_the_output(output: bytes, expected: str) -> None:
    """The output may be the secret in another format."""
    with pytest.raises(ConfigError) as caught:
        read_credential(output, NOW)
    assert expected in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_read_lines_accepts_several_lines() -> None:
    """Such as a key in PEM. Empty output and binary output are errors."""
    assert read_lines(b"\xef\xbb\xbfone\ntwo\n\n") == CredentialOutput("one\ntwo\n")
    for output, expected in ((b" \n", "is empty"), (b"\xff", "not UTF-8")):
        with pytest.raises(ConfigError, match=expected):
            read_lines(output)


def test_repr_does_not_contain_the_secret() -> None:
    """Values are printed in tracebacks."""
    assert CANARY not in repr(CredentialOutput(CANARY))


_JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=3)


@given(st.binary() | st.dictionaries(st.sampled_from(["token", "expires_at", "expires_in"]), _JSON).map(json.dumps))
@example('{"token": "x", "expires_in": ' + "9" * 5000 + "}")
@example('{"token": "x", "expires_at": "9999-12-31T23:59:59-23:59"}')
@example('{"token": "x", "expires_at": "0001-01-01T00:00:00+23:59"}')
def test_any_output_is_a_secret_or_a_configuration_error(output: bytes | str) -> None:
    """A secret is one line, and its expiry is in the future."""
    try:
        printed = read_credential(output if isinstance(output, bytes) else output.encode(), NOW)
    except ConfigError:
        return
    assert printed.secret == printed.secret.strip() != ""
    assert printed.secret.encode().find(b"\n") < 0
    assert printed.expires_at is None or printed.expires_at > NOW
