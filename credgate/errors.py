"""Every error that credgate raises.

    CredgateError
    ├── ConfigError        the operator wrote something that cannot be used: file, line, key and what was meant
    ├── StoreError         the session store is damaged, unwritable or of another version
    ├── CapacityError      a limit that the operator set is reached (sessions)
    ├── CredentialError    there is no credential for a forge now: carries our reason code
    ├── AddressError       a forge's name leads only to addresses that are not dialled: carries their kinds
    ├── TunnelError        the proxy before a forge opens no tunnel
    ├── InvalidValueError  a value handed to the control API is malformed: the text is for its sender
    └── ProtocolError      a peer broke its protocol: carries our reason code and the HTTP status to answer
        ├── RequestError   the sandbox's side
        └── ResponseError  the forge's side

A *refusal* is no error: rules answer with ``values.Decision``. Errors are for what cannot be judged at all.
No error text ever holds a credential, a session token or bytes of a body.
"""

from __future__ import annotations

from credgate.values import Reason


class CredgateError(Exception):
    """The root of the tree; never raised itself."""


class ConfigError(CredgateError):
    """The configuration cannot be used. ``str()`` is the one line that the operator reads."""

    def __init__(self, text: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        self.text, self.file, self.line, self.key = text, file, line, key
        place = ":".join(part for part in (file, str(line) if line else "") if part)
        super().__init__(": ".join(part for part in (place, key, text) if part))


class StoreError(CredgateError):
    """The session store cannot be used; the text names the file and what to do."""


class CapacityError(CredgateError):
    """``max_sessions`` is reached."""


class CredentialError(CredgateError):
    """A forge's credential cannot be had now. ``text`` is one line for people, without secrets or a forge's bytes.

    ``retry_after`` is seconds after which asking again may help; 0: nobody knows.
    """

    def __init__(self, text: str, *, reason: Reason = Reason.CREDENTIAL_UNAVAILABLE, retry_after: int = 0) -> None:
        super().__init__(text)
        self.text, self.reason, self.retry_after = text, reason, retry_after


class AddressError(CredgateError):
    """A name led only to addresses that are not dialled; ``kinds`` are their ranges, named as in ``dns.addresses``."""

    def __init__(self, kinds: frozenset[str]) -> None:
        super().__init__(f"its name resolves only to non-public addresses ({', '.join(sorted(kinds))})")
        self.kinds = kinds


class TunnelError(CredgateError):
    """A proxy opened no tunnel; the text is a few words of ours, none of the proxy's."""


class InvalidValueError(CredgateError):
    """A value in a control request is malformed. The text is shown to its sender."""


class ProtocolError(CredgateError):
    """A peer broke its protocol.

    ``reason`` is the stable code for the audit line, ``status`` the HTTP status that answers it.
    """

    def __init__(self, text: str, *, reason: Reason, status: int) -> None:
        super().__init__(text)
        self.reason, self.status = reason, status


class RequestError(ProtocolError):
    """The sandbox sent what no rule can judge; the connection cannot be kept."""

    def __init__(self, text: str, *, reason: Reason = Reason.MALFORMED_REQUEST, status: int = 400) -> None:
        super().__init__(text, reason=reason, status=status)


class ResponseError(ProtocolError):
    """The forge sent what cannot be relayed; its connection cannot be kept."""

    def __init__(self, text: str, *, reason: Reason = Reason.FORGE_MALFORMED, status: int = 502) -> None:
        super().__init__(text, reason=reason, status=status)
