"""One action of a forge's answer: the fields for the storage, and the members for the client."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.lfs.actions import MAX_FIELDS, MAX_VALUE, Offer, read_action
from credgate.lfs.handles import LIFETIME
from credgate.lfs.reading import UnreadableJson

HUB = driver_for(ForgeConfig("github.com", "github", "https://github.com"))
HREF = "https://github.com/a?sig=secret"


def offer(**members: object) -> Offer:
    """Read an action with these members beside its href."""
    return read_action({"href": HREF, **members}, HUB)


def test_allowed_fields_are_sent_to_the_storage() -> None:
    """In our spelling and in the forge's order; the rest is left out."""
    made = offer(
        header={
            "authorization": "RemoteAuth abc=", "X-Amz-Date": "2026", "x-goog-meta": "1", "Host": "evil.example",
            "Content-Length": "5", "Cookie": "a=b", "Connection": "close", "X-Forwarded-For": "1.2.3.4",
            "CONTENT-TYPE": "application/octet-stream", "Proxy-Authorization": "x", "x-ms-blob-type": "BlockBlob",
        }
    )  # fmt: skip
    assert made.fields == (
        (b"Authorization", b"RemoteAuth abc="),
        (b"X-Amz-Date", b"2026"),
        (b"X-Goog-Meta", b"1"),
        (b"Content-Type", b"application/octet-stream"),
        (b"X-Ms-Blob-Type", b"BlockBlob"),
    )
    assert made.authorized
    assert not offer().authorized
    assert "RemoteAuth" not in repr(made)
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    "header",
    [
        [], "x", {"Authorization": 1}, {"Authorization": None}, {"Authorization": "a\r\nHost: evil"},
        {"Authorization": "a\n"}, {"Authorization": " a"}, {"Authorization": ""}, {"Authorization": "é"},
        {"Authorization": "a\x00"}, {"Authorization": "a", "authorization": "b"}, {"a b": "c"}, {"a:": "c"}, {"": "c"},
        {"a\r\nb": "c"}, {"é": "c"}, {"X_Amz": "c"}, {"Authorization": "x" * (MAX_VALUE + 1)},
        {"x" * 65: "a"}, {f"x-amz-{number}": "v" for number in range(MAX_FIELDS + 1)},
        {"x-amz-a": "x" * MAX_VALUE, "x-amz-b": "x" * MAX_VALUE, "x-amz-c": "x"},
    ],
)  # fmt: skip
def test_malformed_header_is_refused(header: object) -> None:
    """It would be written into a request that has a credential."""
    with pytest.raises(UnreadableJson, match="header is malformed"):
        offer(header=header)


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "x" * MAX_VALUE},
        {f"x-amz-{number}": "v" for number in range(MAX_FIELDS)},
        {"x-amz-a": "x" * MAX_VALUE, "x-amz-b": "x" * MAX_VALUE},
    ],
)
def test_header_is_limited_in_size(header: dict[str, str]) -> None:
    """The positive control of the bounds above: one more of each is refused there."""
    assert sorted(value.decode() for _, value in offer(header=header).fields) == sorted(header.values())
    assert (MAX_FIELDS, MAX_VALUE) == (32, 8192)


OWN = {"X-Credgate-Handle": "own"}


def test_client_gets_no_field_but_transfer_encoding() -> None:
    """GitLab requires chunks, and git-lfs sends them only if the action has the field."""
    made = offer(header={"Transfer-Encoding": "Chunked", "Authorization": "secret"}, expires_in=60)
    assert (made.chunked, made.fields) == (True, ((b"Authorization", b"secret"),))
    assert made.for_client("http://gw/x", "own") == {
        "href": "http://gw/x",
        "header": {"X-Credgate-Handle": "own", "Transfer-Encoding": "chunked"},
        "expires_in": 60,
    }
    assert offer(header={"Transfer-Encoding": "gzip"}).chunked is False
    assert offer(header=None).for_client("http://gw/x", "own") == {"href": "http://gw/x", "header": OWN}


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        ({}, LIFETIME), ({"expires_in": 0}, LIFETIME), ({"expires_in": 60}, 60.0), ({"expires_in": 10**9}, LIFETIME),
        ({"expires_at": "1970-01-01T00:20:00Z"}, 200.0),
        ({"expires_at": "1970-01-01T01:20:00.123456789+01:00"}, 200.123456),
        ({"expires_at": "1969-01-01T00:00:00Z"}, 0.0), ({"expires_at": "0001-01-01T00:00:00Z"}, LIFETIME),
        ({"expires_at": "1970-01-01T00:20:00Z", "expires_in": 5}, 5.0), ({"expires_at": ""}, LIFETIME),
    ],
)  # fmt: skip
def test_handle_expires_with_its_link(members: dict[str, object], seconds: float) -> None:
    """And a day at most, whatever the forge says."""
    assert offer(**members).lifetime(1000.0) == pytest.approx(seconds)


def test_expiry_is_passed_on() -> None:
    """git-lfs asks for a new batch by itself before a link ends."""
    told = {"href": "x", "header": OWN}
    end = "2026-01-01T00:00:00Z"
    assert offer(expires_at=end).for_client("x", "own") == told | {"expires_at": end}
    assert offer(expires_at="0001-01-01T00:00:00Z").for_client("x", "own") == told


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("href", None), ("href", 5), ("href", ""), ("href", "a b"), ("expires_in", -1), ("expires_in", 1.5),
        ("expires_in", "60"), ("expires_at", 5), ("expires_at", "soon"), ("expires_at", "2026-13-01T00:00:00Z"),
        ("expires_at", "2026-01-01 00:00:00Z"), ("expires_at", "2026-01-01T00:00:00"),
    ],
)  # fmt: skip
def test_malformed_member_is_refused(key: str, value: object) -> None:
    """By its name."""
    with pytest.raises(UnreadableJson, match=f"{key} is m"):
        offer(**{key: value})
