"""The file that a session's secret is printed to, once: one line ``TOKEN:SECRET``, as the credential helper reads it.

Made anew (``O_EXCL``: neither a link nor a file of that name is written through) and 0400 from its first moment, before
the session is asked for, so that a place that cannot be used leaves no session behind; removed again if the session is
not made.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from credgate.cli.output import UNUSABLE, CommandError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TokenFile:
    """A file that is there, and empty, between ``with`` and ``write``; gone if nothing was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._written = False

    def __enter__(self) -> Self:
        """Make it. Raises Failed."""
        try:
            self._fd = os.open(self.path, _FLAGS, 0o400)
        except FileExistsError:
            raise CommandError(
                f"{self.path} is there already; a secret is written to a new file only", UNUSABLE
            ) from None
        except OSError as error:
            raise CommandError(f"{self.path} cannot be made: {error.strerror}", UNUSABLE) from None
        return self

    def write(self, token: str, secret: str) -> None:
        """Write the line. Raises Failed."""
        try:
            os.write(self._fd, f"{token}:{secret}\n".encode())
            os.fsync(self._fd)
        except OSError as error:
            raise CommandError(f"{self.path} cannot be written: {error.strerror}", UNUSABLE) from None
        self._written = True

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Close it, and remove it if it holds nothing."""
        os.close(self._fd)
        if not self._written:
            with suppress(OSError):
                self.path.unlink()
