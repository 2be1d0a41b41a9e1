"""Every error that credgate raises.

    CredgateError
    ├── ConfigError        the configuration is invalid: file, line, key and the reason
    ├── StoreError         the session store is damaged, not writable or of another version
    ├── CapacityError      a configured limit is reached (sessions)
    ├── CredentialError    no credential for a forge is available now: has a reason code
    ├── AddressError       a forge's name resolves only to addresses that are not dialled: has their kinds
    ├── TunnelError        the proxy of a forge refused to open a tunnel
    ├── InvalidValueError  a value in a control request is malformed: the text is for its sender
    └── ProtocolError      a peer violated its protocol: has a reason code and the HTTP status to answer
        ├── RequestError   the sandbox's side
        └── ResponseError  the forge's side

A *refusal* is not an error: rules return ``values.Decision``. Errors are for input that cannot be judged at all.
No error text ever holds a credential, a session token or bytes of a body.
"""

from __future__ import annotations

from credgate.values import Reason


class CredgateError(Exception):
    """The base class of all errors; never raised itself."""


class ConfigError(CredgateError):
    """The configuration is invalid. ``str()`` is the one line that the operator reads."""

    def __init__(self, text: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        self.text, self.file, self.line, self.key = text, file, line, key
        place = ":".join(part for part in (file, str(line) if line else "") if part)
        super().__init__(": ".join(part for part in (place, key, text) if part))


class StoreError(CredgateError):
    """The session store cannot be used; the text names the file and a remedy."""


class CapacityError(CredgateError):
    """``max_sessions`` is reached."""


class CredentialError(CredgateError):
    """A forge's credential is not available now. ``text`` is one line for people, without secrets or a forge's bytes.

    ``retry_after`` is seconds after which a retry may succeed; 0: unknown.
    """

    def __init__(self, text: str, *, reason: Reason = Reason.CREDENTIAL_UNAVAILABLE, retry_after: int = 0) -> None:
        super().__init__(text)
        self.text, self.reason, self.retry_after = text, reason, retry_after


class AddressError(CredgateError):
    """A name resolved only to addresses that are not dialled; ``kinds`` are their ranges as in ``dns.addresses``."""

    def __init__(self, kinds: frozenset[str]) -> None:
        super().__init__(f"its name resolves only to non-public addresses ({', '.join(sorted(kinds))})")
        self.kinds = kinds


class TunnelError(CredgateError):
    """A proxy refused to open a tunnel; the text holds no byte of the proxy's response."""


class InvalidValueError(CredgateError):
    """A value in a control request is malformed. The text is sent to the client."""


class ProtocolError(CredgateError):
    """A peer violated its protocol.

    ``reason`` is the stable code for the audit line, ``status`` the HTTP status of the answer.
    """

    def __init__(self, text: str, *, reason: Reason, status: int) -> None:
        super().__init__(text)
        self.reason, self.status = reason, status


class RequestError(ProtocolError):
    """The sandbox sent a malformed request; its connection must be closed."""

    def __init__(self, text: str, *, reason: Reason = Reason.MALFORMED_REQUEST, status: int = 400) -> None:
        super().__init__(text, reason=reason, status=status)


class ResponseError(ProtocolError):
    """The forge sent a malformed response; its connection must be closed."""

    def __init__(self, text: str, *, reason: Reason = Reason.FORGE_MALFORMED, status: int = 502) -> None:
        super().__init__(text, reason=reason, status=status)
