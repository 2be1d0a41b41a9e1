"""The secrets that minting needs: an App's key, a client's secret, first tokens, keys for what is kept.

Each is a reference, read once when the gateway starts, so that a bad one stops the start. A variable is then held (it
is removed from the environment); a file is read again whenever it is needed, so that it can be replaced at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from credgate.config.references import parse_reference
from credgate.config.secrets import located, read_document, read_reference
from credgate.errors import ConfigError, CredentialError
from credgate.minting import refusal
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred


class Secret:
    """One of them. ``lines``: it has any number of lines, as keys in PEM have."""

    def __init__(
        self,
        reference: str,
        environ: Mapping[str, str],
        in_thread: Callable[..., Deferred[Any]],
        *,
        lines: bool = False,
    ) -> None:
        """Read it once. Blocks. Raises ``ConfigError`` without place."""
        written = parse_reference(reference)
        self._read = read_document if lines else read_reference
        self.first = self._read(written, environ)
        """What it was at the start; of a variable, what it is."""
        self.variable = written.target if written.kind == "env" else ""
        self._file, self._in_thread = located(written, environ), in_thread

    async def read(self) -> str:
        """Return what it is now. Raises ``CredentialError``, without the secret and without a path's content."""
        if self.variable:
            return self.first
        try:
            return cast("str", await self._in_thread(self._read, self._file, {}))
        except ConfigError as error:
            text = f"no credential can be made: {error.text}; {refusal.OPERATOR}"
            raise CredentialError(text, reason=Reason.CREDENTIAL_UNAVAILABLE, retry_after=refusal.SOON) from None
