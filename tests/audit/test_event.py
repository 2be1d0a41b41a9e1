"""The audit line: fixed keys, one line, and nothing that a terminal or a log reader could be tricked with."""

from __future__ import annotations

import json
import math
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.audit import event as module
from credgate.audit.event import MAX_REFS, MAX_TEXT, Event, Happening, RefChange, line, timestamp, visible

KEYS = [
    "ts", "event", "session", "peer", "forge", "repo", "operation", "decision", "reason", "rule", "status",
    "upstream_status", "bytes_up", "bytes_down", "duration_ms", "credential", "credential_kind", "expires",
    "permissions", "moved_from", "oid", "size", "text", "refs", "refs_more", "repositories", "repositories_more",
]  # fmt: skip
WHOLE = Event(
    wall=1738324800.0, event=Happening.REQUEST, session="s-0123456789abcdef", peer="10.0.0.7", forge="github.com",
    repo="octo/hello", operation="receive-pack", allow=False, reason="read-only", rule="octo/*", status=200,
    upstream_status=0, bytes_up=0, bytes_down=170, duration=0.0125, text="credgate: no",
    credential="0a1b2c3d", credential_kind="app", expires=1738328400.0, permissions="contents: write",
    moved_from="octo/old", oid="0f", size=0,
    refs=(RefChange(ref="refs/heads/a", old="0", new="1", verb="create", reason="push-ref"),),
    repositories=("octo/hello",),
)  # fmt: skip


def test_a_whole_event_to_the_byte() -> None:
    """The contract with whoever reads the log: keys, order, forms; zero is a value and stays."""
    assert line(WHOLE) == (
        '{"ts":"2025-01-31T12:00:00.000Z","event":"request","session":"s-0123456789abcdef","peer":"10.0.0.7",'
        '"forge":"github.com","repo":"octo/hello","operation":"receive-pack","decision":"deny","reason":"read-only",'
        '"rule":"octo/*","status":200,"upstream_status":0,"bytes_up":0,"bytes_down":170,"duration_ms":12,'
        '"credential":"0a1b2c3d","credential_kind":"app","expires":"2025-01-31T13:00:00.000Z",'
        '"permissions":"contents: write","moved_from":"octo/old","oid":"0f","size":0,'
        '"text":"credgate: no","refs":[{"ref":"refs/heads/a","old":"0","new":"1","verb":"create","reason":"push-ref"}],'
        '"repositories":["octo/hello"]}'
    )
    assert list(json.loads(line(WHOLE))) == [key for key in KEYS if not key.endswith("_more")]


@pytest.mark.parametrize("count", [MAX_REFS, MAX_REFS + 3])
def test_so_many_refs_are_listed_and_the_others_counted(count: int) -> None:
    """A push may name twenty thousand."""
    change = RefChange(ref="refs/heads/\x1b", old="1", new="2", verb="update", reason="allowed", forge="ng \u202eno")
    told = json.loads(line(Event(wall=0, event=Happening.REQUEST, refs=(change,) * count)))
    assert len(told["refs"]) == MAX_REFS
    assert told.get("refs_more") == (3 if count > MAX_REFS else None)
    assert told["refs"][0] == {
        "ref": "refs/heads/\\x1b",
        "old": "1",
        "new": "2",
        "verb": "update",
        "reason": "allowed",
        "forge": "ng \\u202eno",
    }


@pytest.mark.parametrize("count", [MAX_REFS, MAX_REFS + 1])
def test_so_many_repositories_are_listed_and_the_others_counted(count: int) -> None:
    """A credential may be for a hundred."""
    event = Event(wall=0, event=Happening.CREDENTIAL_MINTED, repositories=("octo/\x1b",) * count)
    told = json.loads(line(event))
    assert told["repositories"] == ["octo/\\x1b"] * MAX_REFS
    assert told.get("repositories_more") == (1 if count > MAX_REFS else None)


def test_what_does_not_apply_is_left_out() -> None:
    """A key that is there means something."""
    small = Event(wall=0, event=Happening.SESSION_EXPIRED, allow=True)
    assert line(small) == '{"ts":"1970-01-01T00:00:00.000Z","event":"session-expired","decision":"allow"}'


def test_there_is_no_field_for_a_secret() -> None:
    """Headers, bodies, tokens, secrets and digests cannot be written because nothing could hold them."""
    names = {field.name for field in attrs.fields(Event)}
    assert names == {*KEYS, "wall", "allow", "duration", "answered"} - {
        "ts", "decision", "duration_ms", "repositories_more",
    }  # fmt: skip


def test_the_codes_are_stable() -> None:
    """Operators search for these; a change here is a change for them."""
    assert [str(one) for one in Happening] == [
        "session-created", "session-extended", "session-revoked", "session-expired", "request", "control", "connection",
        "credential-minted", "credential-revoked", "credential-failed", "dns", "started", "stopped", "audit-gap",
            "audit-continued",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("caf\xe9 \u4e2d\U0001f600", "caf\xe9 \u4e2d\U0001f600"),
        ("a\nb\r\n", "a\\x0ab\\x0d\\x0a"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x00\x7f\x80\x9b\xa0\xad", "\\x00\\x7f\\x80\\x9b\\xa0\\xad"),
        ("\u202egpj.exe\u2066\u2069\u200f", "\\u202egpj.exe\\u2066\\u2069\\u200f"),
        ("\u2028\u2029\ufeff\u200b\u3000", "\\u2028\\u2029\\ufeff\\u200b\\u3000"),
        ("\ud800\udfff", "\\ud800\\udfff"),
        ("\U000e0041", "\\U000e0041"),
        ("a\\x1bb", "a\\\\x1bb"),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * (MAX_TEXT + 1), "x" * (MAX_TEXT - 3) + "..."),
        ("\n" * MAX_TEXT, "\\x0a" * 63 + "..."),
        ("x" * 252 + "\n\n", "x" * 252 + "..."),
    ],
)
def test_what_a_client_sent_is_shown_and_never_obeyed(text: str, expected: str) -> None:
    """Escape sequences, false lines, reversed file names, invisible letters: visible, and not to be mistaken."""
    assert visible(text) == expected


@given(st.text(alphabet=st.characters(), max_size=400))
def test_any_text_is_bounded_and_printable(text: str) -> None:
    """Also after JSON is decoded: what a viewer prints is harmless."""
    shown = visible(text)
    assert len(shown) <= MAX_TEXT
    assert shown.isprintable()


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_texts_are_never_shown_alike(one: str, other: str) -> None:
    """A backslash is doubled: nobody can write what looks like an escape of something else."""
    assert (visible(one) == visible(other)) == (one == other)


TEXTS = st.text(alphabet=st.characters(), max_size=300)


@given(
    st.builds(
        Event,
        wall=st.floats(),
        event=st.sampled_from(Happening),
        session=TEXTS,
        peer=TEXTS,
        forge=TEXTS,
        repo=TEXTS,
        operation=TEXTS,
        allow=st.none() | st.booleans(),
        reason=TEXTS,
        rule=TEXTS,
        status=st.none() | st.integers(),
        duration=st.none() | st.floats(allow_nan=False, allow_infinity=False, max_value=1e15, min_value=-1e15),
        text=TEXTS,
        credential=TEXTS,
        credential_kind=TEXTS,
        expires=st.none() | st.floats(),
        permissions=TEXTS,
        repositories=st.lists(TEXTS).map(tuple),
    )
)
def test_any_event_is_one_line_of_ascii_json(event: Event) -> None:
    """Total: a line that could not be written would be an event that nobody sees."""
    text = line(event)
    assert text.isascii()
    assert text.isprintable()
    found = json.loads(text)
    assert list(found) == [key for key in KEYS if key in found]
    assert all(len(value) <= MAX_TEXT for value in found.values() if isinstance(value, str))
    for key, value in attrs.asdict(event, recurse=False).items():
        if key in found and key not in {"event", "expires", "repositories"}:
            assert found[key] == (visible(value) if isinstance(value, str) else value)


@given(
    st.lists(st.sampled_from(["session", "peer", "forge", "repo", "operation", "reason", "rule"]), unique=True), TEXTS
)
def test_each_text_stands_under_its_own_key(names: list[str], text: str) -> None:
    """Also beside lines that say the same under other keys: some of a line is looked up, not written anew."""
    told = json.loads(line(Event(wall=0, event=Happening.REQUEST, **dict.fromkeys(names, text))))
    del told["ts"], told["event"]
    assert told == ({name: visible(text) for name in KEYS if name in names} if text else {})


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.0005, "1970-01-01T00:00:01.000Z"),
        (1709210096.789, "2024-02-29T12:34:56.789Z"),
        (1.9996, "1970-01-01T00:00:02.000Z"),
        (-0.0001, "1970-01-01T00:00:00.000Z"),
        (-1.5, "1969-12-31T23:59:58.500Z"),
        (1e18, "1970-01-01T00:00:00.000Z"),
        (math.inf, "1970-01-01T00:00:00.000Z"),
        (math.nan, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_timestamps(wall: float, expected: str) -> None:
    """UTC, always with milliseconds and of one width; a broken clock stops no line."""
    assert timestamp(wall) == expected


def test_key_names_are_written_once() -> None:
    """A constant for each key: a typing error in one would be a key that no search finds."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert [source.count(f'"{key}"') for key in KEYS] == [1] * len(KEYS)
