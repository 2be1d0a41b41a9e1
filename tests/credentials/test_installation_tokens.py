"""A GitHub App's requests and what it takes for an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials import installation_tokens
from credgate.credentials.repositories import Repositories, TokenScope
from credgate.credentials.token_response import MalformedResponse, TokenResponse
from credgate.values import Access, Reason

HELLO = TokenScope(Repositories.of("octo/hello"), Access.READ)
BOTH = TokenScope(Repositories.of("octo/hello", "octo/world"), Access.WRITE)
MINTED: dict[str, Any] = {
    "token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
    "expires_at": "2026-07-11T22:14:10Z",
    "permissions": {"contents": "read", "metadata": "read"},
    "repository_selection": "selected",
    "repositories": [{"id": 7, "full_name": "Octo/Hello"}],
}


def answer(content: object, status: int = 201) -> TokenResponse:
    return TokenResponse(status, body=json.dumps(content).encode())


def test_a_jwt_is_backdated_and_ends_before_githubs_limit() -> None:
    """Clocks differ by a minute or two everywhere."""
    assert installation_tokens.claims("42", 1000.9) == {"iat": 940, "exp": 1480, "iss": "42"}


def test_permissions_are_these_and_no_others() -> None:
    """Reading, writing, and workflows by a word of their own."""
    assert installation_tokens.permissions(HELLO) == {"contents": "read", "metadata": "read"}
    assert installation_tokens.permissions(BOTH) == {"contents": "write", "metadata": "read"}
    with_workflows = TokenScope(BOTH.repositories, Access.WRITE, workflows=True)
    assert installation_tokens.permissions(with_workflows) == {
        "contents": "write",
        "metadata": "read",
        "workflows": "write",
    }


def test_a_request_names_repositories_until_all_ids_are_known() -> None:
    """One of the two lists is always there, and never empty."""
    first = json.loads(installation_tokens.mint(9, BOTH, {"octo/hello": 1}, "jwt").body)
    assert (first["repositories"], "repository_ids" in first) == (["hello", "world"], False)
    known = json.loads(installation_tokens.mint(9, BOTH, {"octo/hello": 1, "octo/world": 2}, "jwt").body)
    assert (known["repository_ids"], "repositories" in known) == ([1, 2], False)


def test_requests_carry_the_jwt_in_a_header_alone() -> None:
    """Paths are logged by proxies."""
    for request in (
        installation_tokens.find_installation("octo/x.y", "j.w.t"),
        installation_tokens.mint(9, HELLO, {}, "j.w.t"),
        installation_tokens.revoke("j.w.t"),
    ):
        assert request.headers["Authorization"] == "Bearer j.w.t"
        assert "j.w.t" not in request.path
        assert b"j.w.t" not in request.body
    assert installation_tokens.find_installation("octo/x.y", "j").path == "/repos/octo/x.y/installation"


@pytest.mark.parametrize("said", [{}, {"id": 0}, {"id": True}, {"id": "7"}, {"id": 2**60}, {"id": None}])
def test_an_installation_has_an_id(said: object) -> None:
    """It becomes a part of a path."""
    assert installation_tokens.read_installation(answer({"id": 7})) == 7
    with pytest.raises(MalformedResponse, match="its id is not valid"):
        installation_tokens.read_installation(answer(said))


def test_an_installation_token_is_read() -> None:
    """Names in their normal form."""
    minted = installation_tokens.read_minted(answer(MINTED))
    assert (minted.ids, minted.expires_at, minted.selection) == ({"octo/hello": 7}, 1783808050.0, "selected")
    assert minted.token not in repr(minted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": None},
        {"token": "a b"},
        {"expires_at": "tomorrow"},
        {"permissions": []},
        {"permissions": {"contents": 1}},
        {"repositories": None},
        {"repositories": ["octo/hello"]},
        {"repositories": [{"id": 7}]},
        {"repositories": [{"full_name": "octo/hello", "id": "7"}]},
    ],
)
def test_an_unreadable_response_is_refused(wrong: dict[str, object]) -> None:
    """Could not tell is no."""
    with pytest.raises(MalformedResponse):
        installation_tokens.read_minted(answer(MINTED | wrong))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(MINTED)), JSON))
def test_any_answer_is_read_or_malformed(wrong: dict[str, object]) -> None:
    """And what is read has the right types."""
    try:
        minted = installation_tokens.read_minted(answer(MINTED | wrong))
    except MalformedResponse:
        return
    assert all(isinstance(number, int) for number in minted.ids.values())
    assert isinstance(installation_tokens.excess(minted, HELLO, {}), str)


@pytest.mark.parametrize(
    ("scope", "ids", "said", "text"),
    [
        (HELLO, {}, {}, ""),
        (HELLO, {"octo/hello": 7}, {"repositories": [{"id": 7, "full_name": "octo/renamed"}]}, ""),
        (HELLO, {"octo/hello": 8}, {}, "other repositories than were asked for"),
        (HELLO, {}, {"repositories": []}, "other repositories than were asked for"),
        (HELLO, {}, {"repository_selection": "all"}, "other repositories than were asked for"),
        (BOTH, {}, {}, "other repositories than were asked for"),
        (HELLO, {}, {"permissions": {"contents": "write"}}, "more permissions than were asked for"),
        (HELLO, {}, {"permissions": {"contents": "owner"}}, "more permissions than were asked for"),
        (HELLO, {}, {"permissions": {"contents": "read", "issues": "read"}}, "more permissions than were asked for"),
        (HELLO, {}, {"permissions": {}}, "fewer permissions than were asked for"),
    ],
)
def test_a_token_is_compared_with_its_request(
    scope: TokenScope, ids: dict[str, int], said: dict[str, object], text: str
) -> None:
    """A token that is good for anything else is not used."""
    assert installation_tokens.excess(installation_tokens.read_minted(answer(MINTED | said)), scope, ids) == text


@pytest.mark.parametrize(
    ("given_answer", "refused"),
    [
        (answer({"message": "'Expiration time' claim ('exp') is too far in the future"}, 401), True),
        (answer({"message": "'Issued at' claim ('iat') must be an Integer"}, 401), True),
        (TokenResponse(401, {"date": "Thu, 01 Jan 1970 00:10:00 GMT"}), True),
        (answer({"message": "A JSON web token could not be decoded"}, 401), False),
        (answer({"message": "'Expiration time' claim ('exp')"}, 403), False),
        (TokenResponse(401), False),
    ],
)
def test_a_jwt_refused_for_its_times_is_recognised(given_answer: TokenResponse, refused: bool) -> None:  # noqa: FBT001 - a table
    """Only then another one helps."""
    assert installation_tokens.clock_refused(given_answer, 0.0) is refused


@pytest.mark.parametrize(
    ("said", "status", "reason", "text"),
    [
        ("Bad credentials", 401, Reason.CREDENTIAL_DENIED, "it refuses the App's id or private key"),
        ("This installation has been suspended", 403, Reason.CREDENTIAL_DENIED, "is suspended"),
        ("no", 403, Reason.CREDENTIAL_DENIED, "its API answered 403: it does not accept credgate's login"),
        ("no", 404, Reason.CREDENTIAL_DENIED, "its API answered 404"),
        ("The permissions requested are not granted", 422, Reason.CREDENTIAL_NOT_COVERING, "contents: read"),
        ("There is at least one repository", 422, Reason.CREDENTIAL_NOT_COVERING, "octo/hello is not among"),
        ("x", 503, Reason.CREDENTIAL_UNAVAILABLE, "reports an internal error"),
    ],
)
def test_each_refusal_says_what_it_means(said: str, status: int, reason: Reason, text: str) -> None:
    error = installation_tokens.mint_error("f", HELLO, answer({"message": said + " <script>"}, status), 0.0)
    assert error.reason is reason
    assert text in error.text
    assert "script" not in error.text


def test_a_failure_for_several_repositories_names_none() -> None:
    """GitHub does not say which."""
    error = installation_tokens.mint_error("f", BOTH, answer({"message": "There is at least one repository"}, 422), 0.0)
    assert "one of the session's repositories is not among" in error.text
