"""The texts and decisions for a failure of an upstream."""

from __future__ import annotations

import ssl

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.internet.defer import TimeoutError as DeferredTimeout

from credgate.errors import AddressError, ResponseError, TunnelError
from credgate.service.upstream.failures import failure_decision, failure_text, no_answer_decision
from credgate.values import Reason

CERTIFICATE = "its TLS certificate is not accepted"
NOT_PUBLIC = AddressError(frozenset({"private", "loopback"}))


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (ssl.SSLCertVerificationError("secret"), CERTIFICATE),
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), CERTIFICATE),
        (VerificationError(errors=[]), CERTIFICATE),
        (ssl.SSLError("secret"), "the TLS handshake failed"),
        (SSL.Error([("SSL routines", "", "wrong version number")]), "the TLS handshake failed"),
        (error.TimeoutError(), "it does not answer in time"),
        (DeferredTimeout(), "it does not answer in time"),
        (error.ConnectingCancelledError(None), "it does not answer in time"),
        (error.ConnectionRefusedError("secret"), "it refuses connections"),
        (error.DNSLookupError("secret"), "its name cannot be resolved"),
        (error.NoRouteError("secret"), "the connection failed"),
        (TunnelError("the proxy answered 403"), "the proxy answered 403"),
        (NOT_PUBLIC, "its name resolves only to non-public addresses (loopback, private)"),
    ],
)
def test_failure_text_is_plain_and_holds_no_text_of_a_library(why: Exception, text: str) -> None:
    """A library's message may name a host, a path or a secret."""
    assert failure_text(why) == text


@pytest.mark.parametrize(
    ("why", "reason", "status", "text"),
    [
        (
            error.ConnectionRefusedError(),
            Reason.FORGE_UNREACHABLE,
            502,
            "lab cannot be reached: it refuses connections; try again later",
        ),
        # Trying again does not help: the operator, or the owner of the name, must act.
        (
            NOT_PUBLIC,
            Reason.FORGE_ADDRESS,
            502,
            f"lab is not dialled: {NOT_PUBLIC}; its operator can declare it internal",
        ),
        (
            ResponseError("the forge's answer is too long"),
            Reason.FORGE_MALFORMED,
            502,
            "the answer of lab cannot be used: the forge's answer is too long",
        ),
        (
            ResponseError("cut", reason=Reason.FORGE_CUT, status=504),
            Reason.FORGE_CUT,
            504,
            "the answer of lab cannot be used: cut",
        ),
    ],
)
def test_failure_decision_names_the_upstream(why: Exception, reason: Reason, status: int, text: str) -> None:
    """With the reason code and the HTTP status that the relay and LFS answer."""
    decision, answered = failure_decision("lab", why)
    assert (decision.allow, decision.reason, decision.rule, answered) == (False, reason, "forge", status)
    assert decision.text == text


def test_missing_answer_is_a_gateway_timeout() -> None:
    """RFC 9110, section 15.6.5."""
    decision, status = no_answer_decision("lab")
    assert (decision.allow, decision.reason, status) == (False, Reason.FORGE_TIMEOUT, 504)
    assert decision.text == "lab did not answer in time; try again later"
