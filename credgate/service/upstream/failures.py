"""What went wrong with an upstream (a forge, its API, a storage): one table of words for the whole gateway.

The relay, LFS, push inspection, the credential sources and ``doctor`` describe a failure by these functions, so a
person reads the same words wherever it happens. A text never holds a library's message or a byte of an answer: either
could name a host, a path or a secret.
"""

from __future__ import annotations

import ssl

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.internet.defer import TimeoutError as DeferredTimeout

from credgate.errors import AddressError, ResponseError, TunnelError
from credgate.values import Decision, Reason

BAD_GATEWAY = 502
"""RFC 9110, section 15.6.3: the upstream could not be used."""
GATEWAY_TIMEOUT = 504
"""RFC 9110, section 15.6.5: the upstream did not answer in time."""

# Each text continues "github.com cannot be reached: " and "its API was asked, but ".
_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLCertVerificationError, VerificationError), "its TLS certificate is not accepted"),
    ((ssl.SSLError, SSL.Error), "the TLS handshake failed"),
    # An endpoint raises ConnectingCancelledError when the deadline of the pool cancels it.
    ((error.TimeoutError, DeferredTimeout, error.ConnectingCancelledError), "it does not answer in time"),
    ((error.ConnectionRefusedError,), "it refuses connections"),
    ((error.DNSLookupError,), "its name cannot be resolved"),
)


def failure_text(why: BaseException) -> str:
    """Return a few words for the reason why no connection could be made."""
    if isinstance(why, AddressError | TunnelError):
        return str(why)
    if isinstance(why, SSL.Error) and "certificate verify failed" in str(why):
        return "its TLS certificate is not accepted"  # pyOpenSSL has one class for all of its errors
    return next((words for kinds, words in _WORDS if isinstance(why, kinds)), "the connection failed")


def failure_decision(name: str, why: BaseException) -> tuple[Decision, int]:
    """Return the decision and the HTTP status for a failure of the upstream that people call ``name``.

    A ``ResponseError`` is an answer that is malformed, cut or too long; anything else failed before there was one.
    """
    if isinstance(why, ResponseError):
        return _refusal(why.reason, f"the answer of {name} cannot be used: {why}"), why.status
    if isinstance(why, AddressError):
        text = f"{name} is not dialled: {why}; its operator can declare it internal"
        return _refusal(Reason.FORGE_ADDRESS, text), BAD_GATEWAY
    text = f"{name} cannot be reached: {failure_text(why)}; try again later"
    return _refusal(Reason.FORGE_UNREACHABLE, text), BAD_GATEWAY


def no_answer_decision(name: str) -> tuple[Decision, int]:
    """Return the decision and the HTTP status for an upstream that was asked and did not answer in time."""
    return _refusal(Reason.FORGE_TIMEOUT, f"{name} did not answer in time; try again later"), GATEWAY_TIMEOUT


def _refusal(reason: Reason, text: str) -> Decision:
    return Decision(allow=False, reason=reason, rule="forge", text=text)
