"""Heads that credgate builds: only values of a closed grammar are forwarded, and constants for a forge's fields."""

from __future__ import annotations

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError, ResponseError
from credgate.http import header_policy
from credgate.http.grammar import RequestHead, ResponseHead
from credgate.http.request import RequestReader, judge
from credgate.http.response import judge as judge_response
from credgate.values import Reason
from tests.http.attack import GET, POST, head
from tests.http.hostile_responses import SECRET, answer

FORGE = "forge.test"
PATH = "/octo/hello.git/info/refs?service=git-upload-pack"
LOGIN = b"Basic eC1hY2Nlc3MtdG9rZW46VE9LRU4="


def request(*fields: bytes, line: bytes = GET) -> RequestHead:
    """Return the judged head of a request with ``fields``."""
    return judge(head(line, *fields))


def response(*fields: bytes) -> ResponseHead:
    """Return the judged head of an answer with ``fields``."""
    found = judge_response(answer(*fields, b"Content-Length: 0"), b"GET")
    assert found is not None
    return found


def forwarded(*fields: bytes, drop: tuple[bytes, ...] = ()) -> list[bytes]:
    """Return the lines of an upstream head after the fixed ones."""
    built = header_policy.upstream_head(b"GET", PATH, FORGE, request(*fields), LOGIN, length=0, drop=drop)
    assert built.endswith(b"\r\n\r\n")
    return built[:-4].split(b"\r\n")[3:]


def test_discovery_head_has_gits_fields_and_the_forges_credential() -> None:
    """Byte for byte: credgate's Host and credential, git's own fields, gzip only."""
    sent = request(
        b"User-Agent: git/2.39.5",
        b"Accept: */*",
        b"Accept-Encoding: deflate, gzip, br, zstd",
        b"Accept-Language: de-CH, *;q=0.9",
        b"Pragma: no-cache",
        b"Git-Protocol: version=2",
    )
    assert header_policy.upstream_head(b"GET", PATH, FORGE, sent, LOGIN, length=0) == (
        b"GET /octo/hello.git/info/refs?service=git-upload-pack HTTP/1.1\r\n"
        b"Host: forge.test\r\n"
        b"Authorization: Basic eC1hY2Nlc3MtdG9rZW46VE9LRU4=\r\n"
        b"User-Agent: git/2.39.5\r\n"
        b"Accept: */*\r\n"
        b"Accept-Language: de-CH, *;q=0.9\r\n"
        b"Pragma: no-cache\r\n"
        b"Git-Protocol: version=2\r\n"
        b"Accept-Encoding: gzip\r\n"
        b"\r\n"
    )


def test_push_head_has_type_coding_and_credgates_framing() -> None:
    """The client's framing is never forwarded."""
    sent = request(
        b"Content-Type: application/x-git-receive-pack-request",
        b"Content-Encoding: x-gzip",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        line=POST,
    )
    lines = header_policy.upstream_head(b"POST", "/p", FORGE, sent, LOGIN, length=None).split(b"\r\n")
    assert lines[3:] == [
        b"Content-Type: application/x-git-receive-pack-request",
        b"Accept-Encoding: identity",
        b"Content-Encoding: gzip",
        b"Transfer-Encoding: chunked",
        b"",
        b"",
    ]
    lines = header_policy.upstream_head(b"POST", "/p", FORGE, sent, LOGIN, length=7, drop=(b"content-encoding",)).split(
        b"\r\n"
    )
    assert lines[3:] == [
        b"Content-Type: application/x-git-receive-pack-request",
        b"Accept-Encoding: identity",
        b"Content-Length: 7",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        (b"GET", 0, b""),
        (b"HEAD", 0, b""),
        (b"POST", 0, b"Content-Length: 0\r\n"),
        (b"PUT", 0, b"Content-Length: 0\r\n"),
        (b"POST", 5, b"Content-Length: 5\r\n"),
        (b"POST", None, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_request_is_framed_once(method: bytes, length: int | None, framing: bytes) -> None:
    """RFC 9110 section 8.6: an empty POST has a length, a GET has none."""
    built = header_policy.upstream_head(method, "/p", FORGE, request(), None, length=length)
    assert built == b"%b /p HTTP/1.1\r\nHost: forge.test\r\nAccept-Encoding: identity\r\n%b\r\n" % (method, framing)


@pytest.mark.parametrize(
    "field",
    [
        b"Cookie: a=b", b"Proxy-Authorization: Basic eDp5", b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1",
        b"X-Real-IP: 10.0.0.1", b"Range: bytes=0-1", b"If-None-Match: a", b"TE: trailers", b"Trailer: X", b"Via: 1.1 x",
        b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Origin: http://x", b"Referer: http://x", b"X-Hub: a",
        b"X-HTTP-Method-Override: DELETE", b"HTTP2-Settings: AAMA", b"Sec-Fetch-Mode: cors", b"From: a@b", b"DNT: 1",
        b"Git-Protocol: version=3", b"Git-Protocol: version=2:x=y", b"Git-Protocol: VERSION=2", b"Git-Protocol:",
        b"Pragma: x", b"Accept: a\tb", b'Accept: "x"', b"Accept: " + b"a" * 513, b"User-Agent: a\tb",
        b"User-Agent: " + b"a" * 257, b"Accept-Language: a:b", b"Accept-Language: " + b"a" * 257,
        b"Content-Type: text/html; boundary=x", b"Content-Type: x", b"Connection: close",
    ],
)  # fmt: skip
def test_unlisted_field_is_not_forwarded(field: bytes) -> None:
    """The request with the credential is built from scratch."""
    assert forwarded(field) == [b"Accept-Encoding: identity"]


@pytest.mark.parametrize(
    "field",
    [
        b"Git-Protocol: version=0", b"Git-Protocol: version=1", b"Git-Protocol: version=2", b"Pragma: no-cache",
        b"Accept: application/x-git-upload-pack-result", b"User-Agent: JGit/6.5 (a; b)", b"Accept-Language: fr",
        b"Content-Type: application/vnd.git-lfs+json; charset=utf-8", b"Content-Type: text/plain;charset=utf-8",
    ],
)  # fmt: skip
def test_listed_field_is_forwarded_unless_dropped(field: bytes) -> None:
    """The positive control."""
    assert forwarded(field) == [field, b"Accept-Encoding: identity"]
    name = field.partition(b":")[0].lower()
    assert forwarded(field, drop=(name,)) == [b"Accept-Encoding: identity"]


def test_two_lines_of_one_field_are_joined() -> None:
    """RFC 9110 section 5.3: in order, nothing lost."""
    assert forwarded(b"Accept: a/b", b"Accept: c/d")[0] == b"Accept: a/b, c/d"


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"gzip", b"gzip"),
        (b"deflate, gzip, br", b"gzip"),
        (b"deflate,gzip;q=0.5", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"GZIP", b"gzip"),
        (b"gzip; q=1.0", b"gzip"),
        (b"gzip;q=0", b"identity"),
        (b"gzip;q=0.0", b"identity"),
        (b"gzipped", b"identity"),
        (b"notgzip", b"identity"),
        (b"br", b"identity"),
        (b"*", b"identity"),
        (b"", b"identity"),
    ],
)
def test_only_gzip_is_requested(value: bytes, accepted: bytes) -> None:
    """A response in another coding could not be read."""
    assert forwarded(b"Accept-Encoding: " + value) == [b"Accept-Encoding: " + accepted]
    assert forwarded(b"Accept-Encoding: " + value, drop=(b"accept-encoding",)) == [b"Accept-Encoding: identity"]


@pytest.mark.parametrize("coding", [b"br", b"deflate", b"gzip, gzip", b"gzip;x", b"", b"zstd"])
def test_unsupported_coding_is_refused(coding: bytes) -> None:
    """Without the field the body would be read as something else."""
    for fine in (b"gzip", b"X-GZIP", b"identity"):
        forwarded(b"Content-Encoding: " + fine)
    with pytest.raises(RequestError, match="Content-Encoding is not served") as caught:
        forwarded(b"Content-Encoding: " + coding)
    assert (caught.value.reason, caught.value.status) == (Reason.UNSUPPORTED_CODING, 415)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/a b", FORGE), ("/a\r\nX: y", FORGE), ("/a%2e", FORGE), ("/é", FORGE), ("a", FORGE), ("", FORGE),
        ("//a", FORGE), ("/a/../b", FORGE), ("/a#b", FORGE),
        ("/p", ""), ("/p", "a\r\nX: y"), ("/p", "a b"), ("/p", "u@a"), ("/p", "é"),
    ],
)  # fmt: skip
def test_path_or_host_that_could_end_its_line_is_refused(path: str, host: str) -> None:
    """A mistake in a grant must not become a second request."""
    assert header_policy.upstream_head(b"GET", "/p", "[::1]:8443", request(), None, length=0)
    with pytest.raises(ValueError, match="of an upstream request is malformed"):
        header_policy.upstream_head(b"GET", path, host, request(), None, length=0)


@pytest.mark.parametrize(
    "login", [b"", b"Basic a\r\nX: y", b"Basic a\n", b"Basic \xe9", b" Basic a", b"Basic a ", b"a\0b"]
)
def test_credential_that_could_end_its_line_is_refused_and_not_shown(login: bytes) -> None:
    """A secret file with a stray newline must neither split the request nor be printed."""
    with pytest.raises(ValueError, match="the forge credential cannot be sent") as caught:
        header_policy.upstream_head(b"GET", "/p", FORGE, request(), login, length=0)
    assert "Basic" not in str(caught.value)


def test_relayed_response_has_the_field_order_of_git_http_backend() -> None:
    """Tests of git compare it."""
    kind = b"application/x-git-upload-pack-result"
    fixed = (
        b"Expires: Fri, 01 Jan 1980 00:00:00 GMT\r\n"
        b"Pragma: no-cache\r\n"
        b"Cache-Control: no-cache, max-age=0, must-revalidate\r\n"
        b"Content-Type: application/x-git-upload-pack-result\r\n"
    )
    assert header_policy.downstream_head(200, kind, length=None) == (
        b"HTTP/1.1 200 OK\r\n" + fixed + b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert header_policy.downstream_head(429, kind, length=3, gzip=True, retry_after=9, close=True) == (
        b"HTTP/1.1 429 Too Many Requests\r\n"
        + fixed
        + b"Content-Encoding: gzip\r\nRetry-After: 9\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert header_policy.downstream_head(299, kind, length=0).startswith(b"HTTP/1.1 299 Other\r\n")


def test_local_reply_has_length_and_type() -> None:
    """The length stays on HEAD."""
    reply = header_policy.local_reply(
        401, b"no\n", close=True, extra=[(b"WWW-Authenticate", b'Basic realm="credgate"')]
    )
    head_part, _, body = reply.partition(b"\r\n\r\n")
    assert body == b"no\n"
    assert head_part.split(b"\r\n")[4:] == [
        b"Content-Type: text/plain; charset=utf-8",
        b'WWW-Authenticate: Basic realm="credgate"',
        b"Content-Length: 3",
        b"Connection: close",
    ]
    assert header_policy.local_reply(200, b"ab", close=False, head_only=True).endswith(b"Content-Length: 2\r\n\r\n")
    assert header_policy.local_reply(200, b"{}", b"application/json", close=False).endswith(
        b"Content-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"X", b"a\r\nY: z"), (b"X", b"a\n"), (b"X", b""), (b"X", b"\xe9"), (b"X:", b"a"), (b"X\r\nY", b"a"), (b"", b"a")],
)
def test_own_field_that_could_end_its_line_is_refused(name: bytes, value: bytes) -> None:
    """No later change may split a response."""
    assert header_policy.local_reply(200, b"", close=False, extra=[(b"X", b"a")])
    with pytest.raises(ValueError, match="malformed"):
        header_policy.local_reply(200, b"", close=False, extra=[(name, value)])
    with pytest.raises(ValueError, match="malformed content type"):
        header_policy.local_reply(200, b"", b"a\r\n", close=False)


@pytest.mark.parametrize(
    ("value", "crosses"),
    [
        (b"application/x-git-receive-pack-advertisement", b"application/x-git-receive-pack-advertisement"),
        (b"APPLICATION/X-Git-Upload-Pack-Result", b"application/x-git-upload-pack-result"),
        (b"text/plain;charset=UTF-8", b"text/plain; charset=utf-8"),
        (b"text/plain; charset=" + SECRET, None),
        (b"application/" + SECRET, None),
        (b"text/html", None),
        (b"", None),
    ],
)
def test_content_type_is_relayed_as_a_constant_or_not_at_all(value: bytes, crosses: bytes | None) -> None:
    """A hostile forge can spell the credential in any value."""
    assert header_policy.content_type(response(b"Content-Type: " + value)) == crosses
    assert header_policy.content_type(response()) is None


def test_only_gzip_is_relayed() -> None:
    """A coding that was not requested can neither be read nor left out."""
    assert header_policy.is_gzip(response(b"Content-Encoding: gzip"))
    assert header_policy.is_gzip(response(b"Content-Encoding: X-GZip"))
    assert not header_policy.is_gzip(response(b"Content-Encoding: identity"))
    assert not header_policy.is_gzip(response())
    for value in (b"br", b"gzip, gzip", b""):
        with pytest.raises(ResponseError, match="Content-Encoding that was not asked for"):
            header_policy.is_gzip(response(b"Content-Encoding: " + value))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"120", 120),
        (b"999999", 86400),
        (b"1234567", None),
        (b"-1", None),
        (b"Fri, 01 Jan 1980 00:00:00 GMT", None),
        (b"1;" + SECRET, None),
        (b"", None),
    ],
)
def test_retry_after_is_relayed_as_a_bounded_number(value: bytes, seconds: int | None) -> None:
    """A client that obeys must not wait for years, nor get the forge's bytes."""
    assert header_policy.retry_after(response(b"Retry-After: " + value)) == seconds
    assert header_policy.retry_after(response()) is None


_values = st.from_regex(rb"\A[\x21-\x7e]{1,12}\Z")
_fields = st.lists(
    st.builds(
        lambda name, value: name + b": " + value,
        st.sampled_from([b"User-Agent", b"Accept", b"Pragma", b"Git-Protocol", b"Content-Type", b"Cookie", b"X-A"]),
        _values,
    ),
    max_size=5,
    unique_by=lambda line: line.partition(b":")[0],
)


@given(_fields, st.sampled_from([0, 5, None]))
def test_every_built_head_is_one_request_to_all_readers(fields: list[bytes], length: int | None) -> None:
    """Our strict reader, h11 and llhttp find exactly one head with one credential."""
    built = header_policy.upstream_head(b"POST", PATH, FORGE, request(*fields, line=POST), LOGIN, length=length)
    ours = RequestReader(16384).receive(built)[0]
    assert isinstance(ours, RequestHead)
    assert (ours.all(b"authorization"), ours.get(b"host"), ours.length) == ((LOGIN,), FORGE.encode(), length)
    assert ours.get(b"cookie") is None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(built)
    assert isinstance(connection.next_event(), h11.Request)
    httptools.HttpRequestParser(object()).feed_data(built)
