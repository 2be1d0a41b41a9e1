"""Values that every package uses: reason codes, access, repository paths and decisions.

Nothing here decides. Reason codes are a contract: audit lines, refusals and operators' alerts name them, so a code is
never renamed, only added. A ``RepoPath`` is made by ``forges`` in its forge's normal form, so two are the same
repository if their fields are equal.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Reason(StrEnum):
    """Why a request ended as it did. Stable: operators alert on these."""

    ALLOWED = "allowed"

    # The form of the request.
    MALFORMED_REQUEST = "malformed-request"
    HEAD_TOO_LARGE = "head-too-large"
    HEAD_TIMEOUT = "head-timeout"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    UNSUPPORTED_CODING = "unsupported-coding"
    DUMB_PROTOCOL = "dumb-protocol"
    LFS_NOT_SERVED = "lfs-not-served"
    MALFORMED_PUSH = "malformed-push"

    # Authentication and load limits.
    NO_CREDENTIAL = "no-credential"
    BAD_CREDENTIAL = "bad-credential"
    FOREIGN_PEER = "foreign-peer"
    TOO_MANY_FAILURES = "too-many-failures"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TOO_MANY_TRANSFERS = "too-many-transfers"
    TOO_MANY_REQUESTS = "too-many-requests"
    TOO_MANY_BYTES = "too-many-bytes"

    # Authorization.
    UNKNOWN_FORGE = "unknown-forge"
    OUTSIDE_SESSION = "outside-session"
    READ_ONLY = "read-only"
    NO_FORGE_CREDENTIAL = "no-forge-credential"

    # Rules for pushes and fetches.
    PUSH_REF = "push-ref"
    PUSH_NAMESPACE = "push-namespace"
    PUSH_VERB = "push-verb"
    PUSH_FORCE = "push-force"
    PUSH_PATH = "push-path"
    PUSH_OLD_OID = "push-old-oid"
    PUSH_OPTION = "push-option"
    PUSH_TOO_MANY_REFS = "push-too-many-refs"
    PUSH_TOO_LARGE = "push-too-large"
    PUSH_UNKNOWN = "push-unknown"
    PUSH_NOT_ATTEMPTED = "push-not-attempted"
    FETCH_COMMAND = "fetch-command"
    FETCH_ARGUMENT = "fetch-argument"

    # LFS.
    LFS_MALFORMED = "lfs-malformed"
    LFS_TRANSFER = "lfs-transfer"
    LFS_OBJECT_TOO_LARGE = "lfs-object-too-large"
    LFS_HANDLE = "lfs-handle"
    LFS_STORAGE = "lfs-storage"
    LFS_MISMATCH = "lfs-mismatch"

    # DNS.
    DNS_NAME = "dns-name"
    DNS_DENIED = "dns-denied"
    DNS_TYPE = "dns-type"
    DNS_CLASS = "dns-class"
    DNS_NAME_FORM = "dns-name-form"
    DNS_TOO_MANY_NAMES = "dns-too-many-names"
    DNS_PRIVATE_ADDRESS = "dns-private-address"
    DNS_UNKNOWN_CLIENT = "dns-unknown-client"
    DNS_UPSTREAM_FAILED = "dns-upstream-failed"
    DNS_AUDIT_CUT = "dns-audit-cut"

    # The outcome.
    FORGE_UNREACHABLE = "forge-unreachable"
    FORGE_ADDRESS = "forge-address"
    FORGE_TIMEOUT = "forge-timeout"
    FORGE_MALFORMED = "forge-malformed"
    FORGE_CUT = "forge-cut"
    FORGE_REFUSED_CREDENTIAL = "forge-refused-credential"
    CREDENTIAL_UNAVAILABLE = "credential-unavailable"
    CREDENTIAL_LIMITED = "credential-limited"
    CREDENTIAL_DENIED = "credential-denied"
    CREDENTIAL_NOT_COVERING = "credential-not-covering"
    CREDENTIAL_RENEWED = "credential-renewed"
    FORGE_REFUSED = "forge-refused"
    FORGE_MOVED = "forge-moved"
    FORGE_ERROR = "forge-error"
    CLIENT_LEFT = "client-left"
    STALLED = "stalled"
    SESSION_ENDED = "session-ended"
    AUDIT_UNWRITABLE = "audit-unwritable"
    SHUTDOWN = "shutdown"
    INTERNAL = "internal-error"
    """Credgate itself failed; the traceback is in the log of the process."""


class Access(StrEnum):
    """What a grant allows on a repository. ``WRITE`` includes ``READ``."""

    READ = "read"
    WRITE = "write"

    def covers(self, needed: Access) -> bool:
        """Whether this access includes ``needed``."""
        return self is Access.WRITE or needed is Access.READ


@frozen(slots=True)
class RepoPath:
    """One repository on one forge, in the forge's normal form.

    ``forge`` is the configured name (``github.com``); ``path`` is ``owner/repo``, any depth, without ``.git``,
    case-folded where the forge folds.
    """

    forge: str
    path: str

    def __str__(self) -> str:
        return f"{self.forge}/{self.path}"


@frozen(slots=True)
class Decision:
    """The result of a rule: ``reason`` is a code, ``rule`` names the rule that decided, ``text`` is a line for people.

    ``text`` never holds bytes that a client sent unless they matched a closed character set.
    """

    allow: bool
    reason: Reason
    rule: str = ""
    text: str = ""


def refuse(reason: Reason, rule: str, text: str) -> Decision:
    """Return the decision that refuses, with its reason code, the rule that decided and the text for people."""
    return Decision(allow=False, reason=reason, rule=rule, text=text)
