r"""Folds the spellings of a path that a file system may treat as equal: case, Unicode forms, ignored characters, NTFS.

A tree may contain ``.GITHUB.``, or ``.github`` with a zero-width character. A forge that reads trees sees a different
name, but a checkout on Windows or macOS writes the protected one. :func:`folded` returns the form that these spellings
have in common, and :func:`short_name` matches the 8.3 name that NTFS gives to a long name. Follows git's ``path.c``
(``is_ntfs_dotgit``) and ``utf8.c`` (``is_hfs_dot_generic``). It folds more than any single file system does, which can
only protect more.

Unicode normalisation takes quadratic time in a run of combining marks and holds the interpreter lock meanwhile. Callers
must therefore check a path with :func:`fault` first.
"""

from __future__ import annotations

import re
import unicodedata

# Characters that HFS+ ignores when it compares names (git's utf8.c, next_hfs_char).
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
# Only these paths change when folded: non-ASCII, with an NTFS stream, or with a component that ends in a dot or space.
_ODD = re.compile(rb"[^\x00-\x7f]|:|[. ](?:/|$)")
_SHORTENED = 8, 3  # characters of a name and of its extension that need no short name
# Bytes of one name: the limit of ext4, XFS and Btrfs, and (in other units) of NTFS and APFS.
MAX_NAME = 255
# Bytes of a path: ``PATH_MAX`` of Linux.
MAX_PATH = 4096
MAX_DEPTH = 64
"""Names in a path."""


def fault(path: bytes) -> str | None:
    """Return why ``path`` is too long to be folded and matched, or ``None``. Takes linear time."""
    if len(path) <= MAX_NAME and path.count(b"/") < MAX_DEPTH:
        return None
    names = path.split(b"/")
    if max(map(len, names)) > MAX_NAME:
        return f"a file name has more than {MAX_NAME} bytes"
    if len(path) > MAX_PATH:
        return f"a path has more than {MAX_PATH:,} bytes"
    if len(names) > MAX_DEPTH:
        return f"a path has more than {MAX_DEPTH} names"
    return None


def folded(path: bytes) -> bytes:
    """Return the common form of all spellings of a path, except for the case of ASCII letters."""
    return b"/".join(map(_component, path.split(b"/"))) if _ODD.search(path) else path


def short_name(name: str) -> bytes | None:
    """Return a regular expression for the 8.3 names of a path component, or ``None`` if it has none."""
    base, dot, extension = name.lstrip(".").rpartition(".")
    if not dot:
        base, extension = extension, ""
    if name[:1] != "." and "." not in base and len(base) <= _SHORTENED[0] and len(extension) <= _SHORTENED[1]:
        return None
    stem = re.sub(r"[. ]", "", base).encode()
    ending = rb"\." + re.escape(extension[:3].encode()) if extension else b""
    # NTFS numbers the first names of equal stems, and then uses two letters and a hash.
    return re.escape(stem[:6]) + rb"~[1-9]" + ending + b"|" + re.escape(stem[:2]) + rb"[0-9a-f]{4}~[1-9]" + ending


def _component(name: bytes) -> bytes:
    text = unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape")).translate(_IGNORED)
    text = unicodedata.normalize("NFC", text.casefold())
    stripped = text.partition(":")[0].rstrip(". ") or text
    return stripped.encode("utf-8", "surrogateescape")
