"""The file system that a command of ``credgate run --isolate`` sees: a list of mounts, each over the ones before.

Everything is read-only except the current directory and the command's own directory. These are hidden: ``/run``,
``/tmp`` and ``/var/tmp``, directories and files where programs usually keep credentials, what ``--hide`` names, and the
files that the private gateway's configuration names. Everything else that the caller can read stays readable.

A mount hides a file until somebody outside renames another file over it: the kernel then removes the mount, and the new
file is visible inside. Programs that renew secrets replace files this way. So where a secret lies in a directory that
only its owner can enter, the whole directory is hidden, together with every file that appears in it later.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

import credgate
from credgate.cli.output import UNUSABLE, CommandError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from credgate.config.secret_locations import SecretLocations

EMPTIED = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - mounted over, not written to
SYSTEM = ("/etc/credgate", "/var/lib/credgate", "/root/.ssh", "/etc/ssl/private")
# Files of the whole machine that root may write without any capability. bubblewrap leaves /proc/sys writable.
OF_ROOT = tuple(f"/proc/{name}" for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "asound"))
AT_HOME = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".git-credentials", ".npmrc", ".pypirc"),
    *(".config/gh", ".config/glab-cli", ".config/git/credentials", ".config/gcloud", ".config/op", ".config/hub"),
    *(".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml", ".vault-token"),
    *(".local/share/keyrings", ".local/state/credgate", ".config/containers", ".password-store", ".1password"),
    *(".mozilla", ".config/google-chrome"),
)
ROOT = Path(credgate.__file__).parents[1]
"""The directory that this credgate is imported from."""

Mount = tuple[str, str]
"""A kind and an absolute path: ``empty`` (an empty directory), ``nothing`` (an empty file), ``read`` and ``write`` (the
original file or directory)."""


@frozen
class FileSystem:
    """The mounts, in order, and the command's current directory."""

    mounts: tuple[Mount, ...]
    cwd: str


def file_system(
    *, own: Path | None, cwd: Path, home: Path, hide: Sequence[Path], locations: SecretLocations
) -> FileSystem:
    """Return the file system for a command. Raises CommandError if a secret cannot be hidden.

    ``own`` is the command's own directory (None for a trial run), ``hide`` are more paths to hide, ``locations`` the
    files of the private gateway's configuration.
    """
    check_current_directory(cwd, [*map(Path, EMPTIED), *(path.resolve() for path in hide if path.is_dir())])
    mounts = [mount for path in EMPTIED for mount in hiding(Path(path))]
    mounts += [("read", path) for path in (*_python_below_emptied(), *filter(os.path.exists, OF_ROOT))]
    mounts.append(("write", str(cwd)))
    mounts += [
        mount for path in (*hide, *map(Path, SYSTEM), *(home / name for name in AT_HOME)) for mount in hiding(path)
    ]
    # A secret beside a program must not hide the program that is to be run.
    programs = [Path(path) for path in (*_python_paths(), *os.get_exec_path()) if Path(path).is_absolute()]
    mounts += hiding_configured(locations, keep=[cwd, home, *programs])
    # Last: it is below /tmp or /run, which are hidden by the first mounts.
    mounts += [("write", str(own))] if own is not None else []
    return FileSystem(tuple(dict.fromkeys(mounts)), str(cwd))


def check_current_directory(cwd: Path, emptied: Sequence[Path]) -> None:
    """Refuse a current directory that contains a hidden path: mounting it writable would reveal that path again."""
    for path in emptied:
        if path == cwd or cwd in path.parents:
            raise CommandError(
                f"--isolate keeps the current directory writable, but {cwd} contains {path}, which is hidden: "
                "change to the project's directory",
                UNUSABLE,
            )


def hiding(path: Path) -> list[Mount]:
    """Return the mount that hides a path, with symbolic links resolved; an empty list if it does not exist."""
    try:
        real = path.resolve(strict=True)
    except OSError:
        return []
    return [("empty" if real.is_dir() else "nothing", str(real))]


def hiding_configured(locations: SecretLocations, keep: Collection[Path]) -> list[Mount]:
    """Return the mounts that hide the files of a configuration. Raises CommandError for a secret that stays visible.

    ``keep`` are directories that the command needs: a directory that contains one of them is not hidden as a whole.
    """
    keep = [*keep, *(path.resolve() for path in keep)]
    files = [*locations.others, *(path for own in locations.own for path in (own, *_companions(own)))]
    mounts = [mount for path in files for mount in _hiding_file(path, keep)]
    for secret in locations.secrets:
        try:
            status = secret.stat()
        except OSError as error:
            raise CommandError(f"--isolate cannot hide {secret}: {error.strerror}", UNUSABLE) from None
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            # The other names are unknown and would stay readable.
            raise CommandError(f"--isolate cannot hide {secret}: it has {status.st_nlink} names (hard links)", UNUSABLE)
        mounts += _hiding_file(secret, keep)
    return mounts


def _hiding_file(path: Path, keep: Collection[Path]) -> list[Mount]:
    """Return the mounts that hide a file or the private directories that contain it."""
    mounts = hiding(path)
    if not mounts:
        return []
    real = Path(mounts[0][1])
    if real.is_dir():
        # From the arguments of a cmd://. A directory that everybody can enter, such as /etc, is not a secret itself.
        return mounts if _is_private(real, keep) else []
    # A file can be replaced in the directory that was named, and in the directory that symbolic links lead to.
    directories = dict.fromkeys([path.parent.resolve(), real.parent])
    private = [directory for directory in directories if _is_private(directory, keep)]
    covered = any(directory in real.parents for directory in private)
    return [*(("empty", str(directory)) for directory in private), *([] if covered else mounts)]


def _companions(own: Path) -> list[Path]:
    """Return the files that belong to ``own`` by their name: ``audit.log.1``, ``sessions.db-wal``."""
    with suppress(OSError):
        return [path for path in own.parent.iterdir() if path.name.startswith((f"{own.name}.", f"{own.name}-"))]
    return []


def _is_private(directory: Path, keep: Collection[Path]) -> bool:
    private = not directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return private and not any(directory == path or directory in path.parents for path in keep)


def _python_paths() -> list[str]:
    """Return the directories that Python and credgate are imported from."""
    paths = {sys.prefix, sys.base_prefix, str(ROOT), *(path for path in sys.path if Path(path).is_absolute())}
    return [path for path in sorted(paths) if Path(path).exists()]


def _python_below_emptied() -> list[str]:
    """Return those of them that are below a directory in ``EMPTIED``, without their subdirectories."""
    emptied = [Path(path) for path in EMPTIED]
    below = [path for path in _python_paths() if any(directory in Path(path).parents for directory in emptied)]
    return [path for path in below if not any(Path(other) in Path(path).parents for other in below)]
