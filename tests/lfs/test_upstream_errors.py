"""What a forge's or a storage's answer means, and which statuses git-lfs is shown."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.lfs.target import Call
from credgate.lfs.upstream_errors import of_forge, of_storage
from credgate.values import Access, Reason

LAB = driver_for(ForgeConfig("lab", "generic", "https://lab.example"))
AZURE = driver_for(ForgeConfig("azure", "azure", "https://dev.azure.com"))


@pytest.mark.parametrize(
    ("status", "shown", "reason", "text"),
    [
        (301, 502, Reason.FORGE_MOVED, "redirect, which credgate does not follow"),
        (202, 502, Reason.FORGE_MALFORMED, "answered 202, which is not an answer to this LFS request"),
        (401, 502, Reason.FORGE_REFUSED_CREDENTIAL, "stored credential"),
        (403, 403, Reason.FORGE_REFUSED, "may not"),
        (404, 404, Reason.FORGE_REFUSED, "LFS is disabled"),
        (400, 502, Reason.FORGE_REFUSED, "did not accept"),
        (422, 422, Reason.FORGE_REFUSED, "does not accept this request"),
        (429, 429, Reason.FORGE_REFUSED, "try again later"),
        (418, 502, Reason.FORGE_REFUSED, "418"),
        (500, 502, Reason.FORGE_ERROR, "an internal error"),
        (501, 501, Reason.FORGE_ERROR, "does not support this request"),
        (507, 507, Reason.FORGE_ERROR, "no space left"),
        (509, 509, Reason.FORGE_ERROR, "bandwidth limit"),
    ],
)
def test_statuses_of_the_forge(status: int, shown: int, reason: Reason, text: str) -> None:
    """A 401 never reaches a client: it would be about the session's credential."""
    error = of_forge(status, LAB, Access.READ, anonymous=False, retry_after=7)
    assert (error.status, error.reason) == (shown, reason)
    assert text in str(error)
    assert "lab answered" in str(error)
    assert error.retry_after == (7 if status >= 400 else 0)


def test_anonymous_request_that_is_refused_names_the_missing_credential() -> None:
    """Where none is configured, no credential is wrong; and where a sign-in page says no, that is a refusal."""
    assert of_forge(401, LAB, Access.READ, anonymous=True).reason is Reason.NO_FORGE_CREDENTIAL
    assert of_forge(302, AZURE, Access.READ, anonymous=True).reason is Reason.NO_FORGE_CREDENTIAL
    assert of_forge(203, AZURE, Access.READ, anonymous=False).reason is Reason.FORGE_REFUSED_CREDENTIAL
    assert of_forge(404, LAB, Access.READ, anonymous=True).reason is Reason.FORGE_REFUSED


@pytest.mark.parametrize(
    ("status", "call", "shown", "text"),
    [
        (302, Call.DOWNLOAD, 502, "redirect"), (400, Call.DOWNLOAD, 502, "did not accept this transfer"),
        (204, Call.DOWNLOAD, 502, "answered 204"),
        (401, Call.UPLOAD, 502, "did not accept this transfer"), (403, Call.UPLOAD, 403, "the link has expired"),
        (404, Call.DOWNLOAD, 404, "does not have"), (416, Call.DOWNLOAD, 416, "did not accept"),
        (422, Call.VERIFY, 422, "could not verify"), (503, Call.UPLOAD, 503, "answered 503"),
    ],
)  # fmt: skip
def test_statuses_of_the_storage(status: int, call: Call, shown: int, text: str) -> None:
    """The text does not name the host of the storage."""
    error = of_storage(status, LAB, call)
    assert (error.status, text in str(error)) == (shown, True)
    assert "the storage of lab" in str(error)
