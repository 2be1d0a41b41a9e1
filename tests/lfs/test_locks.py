"""Locks: read strictly, written anew, page by page."""

from __future__ import annotations

import json

import pytest

from credgate.lfs.locks import CONFLICT_TEXT, MAX_LOCKS, answer, expected, forge_request
from credgate.lfs.refusals import LfsError
from credgate.lfs.target import Call
from credgate.values import Reason

LOCK = {"id": "12", "path": "a/ü b.bin", "locked_at": "2026-01-01T00:00:00Z", "owner": {"name": "Jane Doe"}}
NOISY = LOCK | {"secret": "x", "owner": {"name": "Jane Doe", "email": "secret"}}


def asked(call: Call, **members: object) -> object:
    """Write the forge's request for a client's."""
    return json.loads(forge_request(call, json.dumps(members).encode()))


def told(call: Call, status: int, **members: object) -> object:
    """Write the client's answer for a forge's."""
    written = b"".join(answer(call, status, json.dumps(members).encode(), "github.com"))
    assert b"secret" not in written
    return json.loads(written)


def test_requests_are_written_anew() -> None:
    """And no more: unknown members stay behind."""
    ref = {"ref": {"name": "refs/heads/main"}}
    assert asked(Call.LOCK, path="a/b", x=1, **ref) == {"path": "a/b", **ref}
    assert asked(Call.UNLOCK, force=True) == {"force": True}
    assert asked(Call.UNLOCK) == {"force": False}
    assert asked(Call.VERIFY_LOCKS, cursor="next?", limit=5, **ref) == {"cursor": "next?", "limit": 5, **ref}
    assert asked(Call.VERIFY_LOCKS, cursor="", limit=0, ref={}) == {}
    assert forge_request(Call.LOCKS, b"anything") == b""


@pytest.mark.parametrize(
    ("call", "members"),
    [
        (Call.LOCK, {}), (Call.LOCK, {"path": 5}), (Call.LOCK, {"path": "a\nb"}), (Call.LOCK, {"path": "a", "ref": 5}),
        (Call.UNLOCK, {"force": "yes"}), (Call.VERIFY_LOCKS, {"limit": -1}), (Call.VERIFY_LOCKS, {"limit": 10**6}),
        (Call.VERIFY_LOCKS, {"cursor": 5}), (Call.VERIFY_LOCKS, {"cursor": "\x1b"}),
    ],
)  # fmt: skip
def test_malformed_request_is_refused(call: Call, members: dict[str, object]) -> None:
    """With 422."""
    with pytest.raises(LfsError, match="malformed LFS lock request") as caught:
        asked(call, **members)
    assert (caught.value.reason, caught.value.status) == (Reason.LFS_MALFORMED, 422)


def test_answers_have_only_the_known_members_of_a_lock() -> None:
    """Id, path, time and a name."""
    assert told(Call.LOCK, 201, lock=NOISY, secret=1) == {"lock": LOCK}
    assert told(Call.UNLOCK, 200, lock={"id": "1", "path": "p"}) == {"lock": {"id": "1", "path": "p"}}
    assert told(Call.LOCKS, 200, locks=[NOISY], next_cursor="13") == {"locks": [LOCK], "next_cursor": "13"}
    assert told(Call.LOCKS, 200, locks=None, next_cursor="") == {"locks": []}
    assert told(Call.VERIFY_LOCKS, 200, ours=[NOISY], theirs=[]) == {"ours": [LOCK], "theirs": []}


def test_conflict_names_the_existing_lock() -> None:
    """With credgate's text; git-lfs prints the owner."""
    assert told(Call.LOCK, 409, lock=NOISY, message="secret") == {"lock": LOCK, "message": CONFLICT_TEXT}
    assert told(Call.LOCK, 409, message="secret") == {"message": CONFLICT_TEXT}


@pytest.mark.parametrize(
    ("call", "members"),
    [
        (Call.LOCK, {}), (Call.LOCK, {"lock": []}), (Call.UNLOCK, {"lock": {"id": "../x", "path": "p"}}),
        (Call.UNLOCK, {"lock": {"id": "a/b", "path": "p"}}), (Call.UNLOCK, {"lock": {"id": 5, "path": "p"}}),
        (Call.LOCKS, {"locks": [{"id": "1"}]}), (Call.LOCKS, {"locks": {}}), (Call.LOCKS, {"next_cursor": 5}),
        (Call.LOCKS, {"locks": [LOCK | {"locked_at": "<now>"}]}), (Call.LOCKS, {"locks": [LOCK | {"owner": "me"}]}),
        (Call.VERIFY_LOCKS, {"ours": [LOCK] * (MAX_LOCKS + 1)}),
    ],
)  # fmt: skip
def test_malformed_answer_is_refused(call: Call, members: dict[str, object]) -> None:
    """With 502."""
    with pytest.raises(LfsError, match=r"malformed LFS lock answer of github.com") as caught:
        told(call, 200, **members)
    assert caught.value.reason is Reason.FORGE_MALFORMED


def test_expected_statuses_of_each_call() -> None:
    """A lock is made or there already; anything else is trouble."""
    assert [status for status in (200, 201, 204, 403, 409) if expected(Call.LOCK, status)] == [200, 201, 409]
    assert [status for status in (200, 201, 409) if expected(Call.LOCKS, status)] == [200]
