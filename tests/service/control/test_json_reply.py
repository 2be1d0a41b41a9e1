"""The form of answers, for both ways out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.service.control.json_reply import encode, error, raw
from tests.fakes.control import answers


@given(st.text())
def test_an_answer_is_one_line_of_printable_ascii(text: str) -> None:
    """Whatever a client made us repeat, no terminal is moved by it."""
    line = encode(error(text))
    assert json.loads(line) == {"error": text}
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in line)
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("status", [400, 403, 413, 431])
def test_what_is_refused_early_is_a_whole_response(status: int) -> None:
    """It looks like every other answer, and ends the connection."""
    (answer,) = answers(raw(status, error("why")))
    assert (answer.status, answer.error) == (status, "why")
    assert answer.fields == {
        "server": "credgate",
        "content-type": "application/json",
        "cache-control": "no-store",
        "content-length": "17",
        "connection": "close",
    }
