"""Refusals in the form that git-lfs prints: JSON with a ``message``, or an ``error`` for one object of a batch.

The behaviour of git-lfs was measured. It prints the ``message`` of a batch or a lock, and no plain text. It prints the
``error`` of an object once and does not retry it. After an error of the transfer itself it retries with a new batch, up
to eight times. So whatever can be refused in the batch is refused there. No byte that a forge wrote is repeated.
"""

from __future__ import annotations

import json
from typing import Final

from credgate.errors import CredgateError
from credgate.lfs.target import Call
from credgate.refusal_text import named
from credgate.values import Decision, Reason

MEDIA_TYPE: Final = b"application/vnd.git-lfs+json"
OBJECT_TYPE: Final = b"application/octet-stream"


class LfsError(CredgateError):
    """An LFS request is refused; ``str()`` is the text, ``status`` the HTTP status.

    ``retry_after`` is the seconds after which a client may try again; 0: unknown.
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
        """The decision for the audit line."""
        return Decision(allow=False, reason=self.reason, rule=self.rule, text=str(self))


# Seconds after which a gateway that stops has probably been restarted.
STOPPING_AFTER: Final = 60


def stopping(call: Call, text: str) -> LfsError:
    """Return the error for a request that ends because the gateway stops.

    For git-lfs 3.3 a 503 for a batch is fatal, even with ``Retry-After``; after a 429 with ``Retry-After`` it waits and
    asks again. A 503 for an object costs one of its tries and is followed by a new batch.
    """
    status = 429 if call is Call.BATCH else 503
    return LfsError(text, reason=Reason.SHUTDOWN, status=status, rule="shutdown", retry_after=STOPPING_AFTER)


def no_handle() -> LfsError:
    """Return the error for a handle that is unknown, expired or of another session, repository or method."""
    text = "this link to an LFS object is not valid, or not any more; git-lfs asks for a new one by itself"
    return LfsError(text, reason=Reason.LFS_HANDLE, status=404)


def malformed(text: str) -> LfsError:
    """Return the error for a malformed request of a client."""
    return LfsError(text, reason=Reason.LFS_MALFORMED, status=422)


def unusable(text: str, status: int = 502) -> LfsError:
    """Return the error for a malformed answer of a forge."""
    return LfsError(text, reason=Reason.FORGE_MALFORMED, status=status, rule="forge")


def message(text: str) -> bytes:
    """Write the body that git-lfs prints, with credgate's name before the text."""
    return json.dumps({"message": named(text).decode()}).encode()


def object_error(code: int, text: str) -> dict[str, object]:
    """Return the ``error`` of one object; git-lfs prints its message and code."""
    return {"code": code, "message": named(text).decode()}


_OBJECT_ERRORS: Final = {
    404: "the LFS server of {forge} does not have this object",
    409: "the LFS server of {forge} uses another hash algorithm",
    410: "the owner of this object removed it from the LFS server of {forge}",
    422: "the LFS server of {forge} does not accept this object's name or size",
    507: "the LFS server of {forge} has no space left for this repository",
    509: "the bandwidth limit of the LFS server of {forge} is reached",
}


def forge_error_text(forge: str, code: int) -> str:
    """Return the text for the forge's ``error.code`` of one object."""
    return _OBJECT_ERRORS.get(code, "the LFS server of {forge} refused this object").format(forge=forge)
