"""Heads of LFS requests: constants, the action's own fields, and the login where it belongs."""

from __future__ import annotations

import pytest
from attrs import evolve

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.http.request import judge
from credgate.lfs import heads
from credgate.lfs.handles import Action
from credgate.lfs.hrefs import read_href
from credgate.lfs.ranges import ByteRange
from credgate.lfs.target import Call
from credgate.values import RepoPath

DRIVER = driver_for(ForgeConfig("lab", "generic", "https://lab.example:8443"))
ACTION = Action(
    "s-1", RepoPath("lab", "a/b"), Call.UPLOAD, "0" * 64, 5, read_href("https://lab.example:8443/o?s=%2B", DRIVER),
    (), False, False, 1.0,  # noqa: FBT003
)  # fmt: skip


def read(head: bytes) -> dict[bytes, bytes]:
    """Take a head apart as our own reader does, which refuses what is ambiguous."""
    return dict(judge(head.replace(b"%2B", b"2B")).fields)


def test_api_request_has_its_type_and_the_credential() -> None:
    """A list has no body; a coded answer is never asked for."""
    head = heads.api_head(b"POST", "/a/b.git/info/lfs/locks", "lab.example:8443", b"Basic x", 12)
    fields = read(head)
    assert head.startswith(b"POST /a/b.git/info/lfs/locks HTTP/1.1\r\nHost: lab.example:8443\r\n")
    assert (fields[b"authorization"], fields[b"content-length"]) == (b"Basic x", b"12")
    assert fields[b"content-type"] == fields[b"accept"] == b"application/vnd.git-lfs+json"
    assert fields[b"accept-encoding"] == b"identity"
    listed = read(heads.api_head(b"GET", "/a", "lab.example", None, 0))
    assert {b"authorization", b"content-type", b"content-length"}.isdisjoint(listed)
    assert read(heads.api_head(b"POST", "/a", "lab.example", None, 0))[b"content-length"] == b"0"


def test_download_requests_the_whole_object_or_the_rest() -> None:
    """With the target as the forge signed it."""
    head = heads.download_head(ACTION, ByteRange(0, 5), None)
    assert head.startswith(b"GET /o?s=%2B HTTP/1.1\r\nHost: lab.example:8443\r\n")
    assert b"range" not in read(head)
    assert read(heads.download_head(ACTION, ByteRange(3, 5), None))[b"range"] == b"bytes=3-4"


def test_an_upload_has_a_length_or_chunks() -> None:
    """As the storage wants it, whatever the client did."""
    assert read(heads.upload_head(ACTION, None))[b"content-length"] == b"5"
    chunked = read(heads.upload_head(evolve(ACTION, chunked=True), None))
    assert (chunked[b"transfer-encoding"], b"content-length" in chunked) == (b"chunked", False)


def test_fields_of_the_action_take_precedence() -> None:
    """A storage may have signed them."""
    action = evolve(
        ACTION, fields=((b"Authorization", b"RemoteAuth"), (b"Content-Type", b"a/b"), (b"X-Amz-Date", b"1"))
    )
    fields = read(heads.upload_head(action, b"Basic forge"))
    assert (fields[b"authorization"], fields[b"content-type"], fields[b"x-amz-date"]) == (b"RemoteAuth", b"a/b", b"1")
    assert read(heads.upload_head(ACTION, b"Basic forge"))[b"authorization"] == b"Basic forge"
    assert b"authorization" not in read(heads.upload_head(ACTION, None))


def test_verification_has_a_json_body() -> None:
    """As the API does."""
    fields = read(heads.verify_head(ACTION, None, 20))
    assert (fields[b"content-length"], fields[b"content-type"]) == (b"20", b"application/vnd.git-lfs+json")


@pytest.mark.parametrize(
    ("path", "host", "value"),
    [
        ("/a b", "h", b"x"), ("/a\r\nX: y", "h", b"x"), ("a", "h", b"x"), ("/a#b", "h", b"x"), ('/"', "h", b"x"),
        ("/a", "h\r\nX: y", b"x"), ("/a", "", b"x"), ("/a", "h", b"x\r\ny"), ("/a", "h", b""), ("/a", "h", b"\xff"),
    ],
)  # fmt: skip
def test_field_that_could_end_its_line_is_an_error(path: str, host: str, value: bytes) -> None:
    """Whatever came so far: the error has no byte of it."""
    with pytest.raises(ValueError, match="of an LFS request") as caught:
        heads.api_head(b"GET", path, host, value, 0)
    assert "X: y" not in str(caught.value)
