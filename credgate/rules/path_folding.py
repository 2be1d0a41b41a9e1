r"""Other spellings of a path that some file system takes for the same: case, composition, ignored signs, NTFS's ways.

A tree may hold ``.GITHUB.`` or a ``.github`` with a zero-width sign in it: forges that read trees see another name, a
checkout on Windows or macOS writes the protected one. ``folded`` is what these have in common, ``short_name`` matches
the name of eight and three that NTFS gives a long one. Follows git's ``path.c`` (``is_ntfs_dotgit``) and ``utf8.c``
(``is_hfs_dot_generic``); wider than any one file system, for it only ever protects more. Decides nothing.

Normalisation takes time quadratic in a run of combining marks and holds the interpreter's lock all the while: callers
must check names and paths with ``fault`` first.
"""

from __future__ import annotations

import re
import unicodedata

# What HFS+ leaves out when it compares names (git's utf8.c, next_hfs_char).
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
# Only such names are spelt otherwise: not in ASCII, with a stream, or with dots or spaces at the end of a component.
_ODD = re.compile(rb"[^\x00-\x7f]|:|[. ](?:/|$)")
_SHORTENED = 8, 3
MAX_NAME = 255
"""Bytes of one name in a tree: the limit of ext4, XFS, Btrfs and (in other units) of NTFS and APFS."""
MAX_PATH = 4096
"""Bytes of a path from the top of the repository: ``PATH_MAX`` of Linux."""
MAX_DEPTH = 64
"""Names in a path."""
"""Characters of a name, and of what follows its dot, that need no short name."""


def fault(path: bytes) -> str | None:
    """Return why ``path`` is too long to be compared, or ``None``. Takes time linear in the path, and little."""
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
    """Return the spelling that all of a path's have in common, but for ASCII letters' case; often ``path`` itself."""
    return b"/".join(map(_component, path.split(b"/"))) if _ODD.search(path) else path


def short_name(name: str) -> bytes | None:
    """Return a regular expression for the short names of a path component; ``None`` if it needs none."""
    base, dot, extension = name.lstrip(".").rpartition(".")
    if not dot:
        base, extension = extension, ""
    if name[:1] != "." and "." not in base and len(base) <= _SHORTENED[0] and len(extension) <= _SHORTENED[1]:
        return None
    stem = re.sub(r"[. ]", "", base).encode()
    ending = rb"\." + re.escape(extension[:3].encode()) if extension else b""
    # Four of a kind are counted; behind them two letters and a hash stand for the name.
    return re.escape(stem[:6]) + rb"~[1-9]" + ending + b"|" + re.escape(stem[:2]) + rb"[0-9a-f]{4}~[1-9]" + ending


def _component(name: bytes) -> bytes:
    text = unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape")).translate(_IGNORED)
    text = unicodedata.normalize("NFC", text.casefold())
    stripped = text.partition(":")[0].rstrip(". ") or text
    return stripped.encode("utf-8", "surrogateescape")
