"""Refusals that git-lfs shows: JSON with a ``message``, or an ``error`` for one object of a batch.

What git-lfs makes of each was measured (git-over-http.md, section 2.7): a batch's or a lock's ``message`` is printed as
it is, plain text is lost; an object's ``error`` is printed once and never retried; an error at the transfer itself is
retried, with a new batch, up to eight times. So what can be known is said in the batch. Never decides anything, and
never repeats a byte that a forge wrote.
"""

from __future__ import annotations

import json
from typing import Final

from credgate.errors import CredgateError
from credgate.git.refusal import named
from credgate.lfs.target import Call
from credgate.values import Decision, Reason

MEDIA_TYPE: Final = b"application/vnd.git-lfs+json"
OBJECT_TYPE: Final = b"application/octet-stream"


class LfsError(CredgateError):
    """What an LFS request or answer asks cannot be done; ``str()`` is the sentence, ``status`` the HTTP status.

    ``retry_after`` is seconds after which asking again may help; 0: nobody knows.
    """

    def __init__(self, text: str, *, reason: Reason, status: int, rule: str = "lfs", retry_after: int = 0) -> None:
        super().__init__(text)
        self.reason, self.status, self.rule, self.retry_after = reason, status, rule, retry_after

    @classmethod
    def of(cls, decision: Decision, status: int) -> LfsError:
        """Make the error for a decision of another part of the gateway."""
        return cls(decision.text, reason=decision.reason, status=status, rule=decision.rule)

    @property
    def decision(self) -> Decision:
        """The same as a decision."""
        return Decision(allow=False, reason=self.reason, rule=self.rule, text=str(self))


STOPPING_AFTER: Final = 60
"""Seconds in which a gateway that stops is likely to be there again."""


def stopping(call: Call, text: str) -> LfsError:
    """Make the error for what a gateway that stops does not do any more.

    To git-lfs 3.3 a 503 for a batch is fatal, whatever its ``Retry-After``; after a 429 with one it waits that long and
    asks again. A 503 for an object costs one of its tries, and is followed by a new batch.
    """
    status = 429 if call is Call.BATCH else 503
    return LfsError(text, reason=Reason.SHUTDOWN, status=status, rule="shutdown", retry_after=STOPPING_AFTER)


def no_handle() -> LfsError:
    """Make the error for a handle that is gone, or was not given for this; git-lfs then asks for a new batch."""
    text = "this link to an LFS object is not good any more, or not for this; git-lfs asks for a new one by itself"
    return LfsError(text, reason=Reason.LFS_HANDLE, status=404)


def malformed(text: str) -> LfsError:
    """Make the error for a request that git-lfs does not send."""
    return LfsError(text, reason=Reason.LFS_MALFORMED, status=422)


def unusable(text: str, status: int = 502) -> LfsError:
    """Make the error for a forge's answer that cannot be used."""
    return LfsError(text, reason=Reason.FORGE_MALFORMED, status=status, rule="forge")


def message(text: str) -> bytes:
    """Write the body that git-lfs prints; it says who speaks."""
    return json.dumps({"message": named(text).decode()}).encode()


def object_error(code: int, text: str) -> dict[str, object]:
    """Make the ``error`` of one object; git-lfs prints its message and code."""
    return {"code": code, "message": named(text).decode()}


_SAID: Final = {
    404: "the LFS server of {forge} does not have this object",
    409: "the LFS server of {forge} uses another hash algorithm",
    410: "the LFS server of {forge} says that its owner removed this object",
    422: "the LFS server of {forge} does not take this object as it was described",
    507: "the LFS server of {forge} has no room left for this repository",
    509: "the LFS server of {forge} says that its bandwidth limit is reached",
}


def forge_said(forge: str, code: int) -> str:
    """Say in our words what the forge's ``error.code`` for one object means."""
    return _SAID.get(code, "the LFS server of {forge} refused this object").format(forge=forge)
