"""Refusals in the forms that git-lfs shows."""

from __future__ import annotations

import json

from credgate.lfs import refusals
from credgate.lfs.refusals import LfsError
from credgate.values import Decision, Reason


def test_message_is_one_line_with_credgates_name() -> None:
    """git-lfs prints it as it is, so nothing in it can move a cursor."""
    assert json.loads(refusals.message("no\x1b[31m")) == {"message": "credgate: no?[31m"}
    assert len(json.loads(refusals.message("x" * 500))["message"]) == 200


def test_an_objects_error_has_a_code() -> None:
    """git-lfs prints both."""
    assert refusals.object_error(404, "not there") == {"code": 404, "message": "credgate: not there"}


def test_error_has_a_decision() -> None:
    """For the audit line."""
    error = LfsError("text", reason=Reason.LFS_HANDLE, status=404)
    assert error.decision == Decision(allow=False, reason=Reason.LFS_HANDLE, rule="lfs", text="text")
    assert (refusals.malformed("x").reason, refusals.unusable("x").reason) == (
        Reason.LFS_MALFORMED,
        Reason.FORGE_MALFORMED,
    )
