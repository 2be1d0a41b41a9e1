"""What ``credgate run --isolate`` lays over files and directories, so that nothing of them is seen inside.

A step is a kind and an absolute path: ``empty`` (an empty directory) or ``nothing`` (an empty file).

A mount hides a file until somebody outside renames another one over it: the kernel then drops the mount, and the new
file is seen inside. Programs that renew secrets replace them so. Where a secret lies in a directory that is closed to
all but its owner, the whole directory is hidden, which holds for every file that appears in it later.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.cli.output import UNUSABLE, CommandError

if TYPE_CHECKING:
    from collections.abc import Collection

    from credgate.config.named import Named

Step = tuple[str, str]


def emptied(path: Path) -> list[Step]:
    """Return the step that hides a place by all its symbolic links; none where there is no such place."""
    try:
        real = path.resolve(strict=True)
    except OSError:
        return []
    return [("empty" if real.is_dir() else "nothing", str(real))]


def concealed(named: Named, keep: Collection[Path]) -> list[Step]:
    """Return the steps that hide the files of a configuration. Raises Failed for a secret that cannot be hidden.

    ``keep`` are directories that the command needs: none that holds one of them is hidden whole.
    """
    keep = [*keep, *(one.resolve() for one in keep)]
    files = [*named.others, *(one for own in named.own for one in (own, *_beside(own)))]
    steps = [step for one in files for step in _hidden(one, keep)]
    for secret in named.secrets:
        try:
            status = secret.stat()
        except OSError as error:
            raise CommandError(f"--isolate cannot hide {secret}: {error.strerror}", UNUSABLE) from None
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            raise CommandError(f"--isolate cannot hide {secret}: it has {status.st_nlink} names (hard links)", UNUSABLE)
        steps += _hidden(secret, keep)
    return steps


def _hidden(file: Path, keep: Collection[Path]) -> list[Step]:
    """Return the steps that hide a file, or what is private around it; none where there is no such file."""
    hide_it = emptied(file)
    if not hide_it:
        return []
    real = Path(hide_it[0][1])
    if real.is_dir():
        # A command's argument: one that is open to everybody, as /etc is, holds no secret by itself.
        return hide_it if _is_private(real, keep) else []
    # A link may be put into the directory that was named, a new file into the one that links in it lead to.
    directories = dict.fromkeys([file.parent.resolve(), real.parent])
    private = [one for one in directories if _is_private(one, keep)]
    inside = any(one in real.parents for one in private)
    return [*(("empty", str(one)) for one in private), *([] if inside else hide_it)]


def _beside(own: Path) -> list[Path]:
    """Return the files whose names go on after this one's."""
    with suppress(OSError):
        return [one for one in own.parent.iterdir() if one.name.startswith((f"{own.name}.", f"{own.name}-"))]
    return []


def _is_private(directory: Path, keep: Collection[Path]) -> bool:
    closed = not directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return closed and not any(directory == one or directory in one.parents for one in keep)
