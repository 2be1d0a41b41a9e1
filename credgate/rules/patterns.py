r"""Patterns for ref names, repository paths and push options, checked when they are written and matched as bytes.

    ``*``        any run of bytes inside one component, also empty
    ``**``       a whole component: any number of components, also none; at the end: one or more
    {session}    the session's public id      ref patterns only. A component that contains one cannot contain a star,
    {label}      the session's label          or it would match other sessions' names

This is the unambiguous part of git's wildmatch (``WM_PATHNAME``: ``git for-each-ref``, ``:(glob)`` pathspecs). ``?``,
``[...]`` and backslashes are refused, and so is ``**`` inside a component, which git reads as ``*``. Ref patterns are
compared byte by byte. A path glob that names a directory also covers everything below it. Path globs ignore the case of
ASCII letters and match every spelling that :mod:`path_folding` folds: a rule for ``Makefile`` also covers the names
that a case-insensitive file system treats as the same file.

This module does not decide what a match allows. Matching takes linear time for every pattern.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.rules import path_folding
from credgate.rules.path_folding import folded, short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PATTERN = 255
"""Characters of a pattern."""
ACROSS = "**"
PLACEHOLDERS = ("{session}", "{label}")

# git-check-ref-format(1): no component begins with "." or ends in "." or ".lock"; no control characters, space,
# ~ ^ : ? [ \ ; no ".." or "@{" anywhere. ASCII only. "*" is the wildcard, and braces mark placeholders. The
# expression of a component accepts "?" and "..", which are excluded separately.
_REF_COMPONENT = re.compile(r"(?!\.)[!-.0-9;-Z\]_-z|]+(?<!\.)(?<!\.lock)")
_NOT_IN_REFS = ("..", "?")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
# Values in place of the placeholders when a pattern is checked.
_STAND_INS = {"{session}": "s-0123456789abcdef", "{label}": "label"}
_NEVER = rb"(?!)"  # matches nothing


class PatternError(ValueError):
    """An invalid pattern. The text says what is allowed, and does not quote the pattern."""


@frozen(slots=True)
class RefPattern:
    """A pattern for ref names, expanded for one session."""

    text: str
    """As written, with placeholders expanded: shown to users."""
    regex: bytes = field(repr=False, eq=False)
    """For ``fullmatch`` with ``DOTALL``, without capturing groups. The rules of a push compile theirs as one."""

    def matches(self, ref: bytes) -> bool:
        """Whether ``ref``, a valid ref name, matches."""
        return _compiled_ref(self.regex).fullmatch(ref) is not None

    def covers(self, other: RefPattern) -> bool:
        """Whether this matches every ref that ``other`` matches. False also where the texts do not show it."""
        if other.regex is _NEVER:
            return True
        if self.regex is _NEVER:
            return False
        above = self.text.removesuffix(ACROSS)
        below = above != self.text and "*" not in above and other.text.startswith(above)
        return below or self.text == other.text

    @property
    def literal(self) -> bool:
        """Whether the pattern can match only one ref."""
        return "*" not in self.text

    def matches_in_any_case(self, ref: bytes) -> bool:
        """Whether ``ref``, folded by :mod:`path_folding`, matches if the case of ASCII letters is ignored."""
        return re.fullmatch(self.regex, ref, re.DOTALL | re.IGNORECASE) is not None

    def names(self, namespace: bytes) -> bool:
        """Whether the pattern names ``refs/<namespace>/`` literally, not by a wildcard."""
        return self.text.encode().startswith(b"refs/" + namespace + b"/")


def check_ref_pattern(text: str) -> None:
    """Check a ref pattern as written. Raises :class:`PatternError`."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    _check_placeholders(text)
    plain = _PLACEHOLDER.sub(lambda match: _STAND_INS[match[0]], text)
    first, *rest = plain.split("/")
    if first != "refs" or not rest:
        raise PatternError("must be a pattern of full ref names, such as refs/heads/agent/*")
    if len(rest) == 1 and rest != [ACROSS]:
        raise PatternError("matches no ref; for all refs below it, end with /**")
    if any(bad in plain for bad in _NOT_IN_REFS) or not all(map(_REF_COMPONENT.fullmatch, rest)):
        raise PatternError("no valid ref name can match it (see git help check-ref-format)")
    _check_stars(plain)


# Patterns are expanded for each push; a session's few patterns stay compiled.
@lru_cache(maxsize=4096)
def ref_pattern(text: str, session: str, label: str) -> RefPattern:
    """Expand a pattern that :func:`check_ref_pattern` accepted for one session.

    A pattern with ``{label}`` matches nothing in a session without a label.
    """
    if "{label}" in text and not label:  # an empty label would make the pattern wider
        return RefPattern(text, _NEVER)
    expanded = expand(text, session, label)
    return RefPattern(expanded, _regex(expanded))


@lru_cache(maxsize=1024)
def _compiled_ref(regex: bytes) -> re.Pattern[bytes]:
    return re.compile(regex, re.DOTALL)


def expand(text: str, session: str, label: str) -> str:
    """Return a ref pattern with its placeholders replaced, or unchanged if it needs a label that is missing."""
    if "{label}" in text and not label:
        return text
    return text.replace("{session}", session).replace("{label}", label)


def check_path_glob(text: str) -> None:
    """Check a path glob as written. Raises :class:`PatternError`."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    if not text.isprintable() or any(sign in text for sign in "?[\\"):
        raise PatternError("the only wildcard is *; ? [ ] and backslashes are not supported")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise PatternError("must be a path from the top of the repository, such as .github/workflows/**")
    _check_stars(text)


class PathGlobs:
    """A list of path globs (a ``changed_paths.Matcher``). Paths are bytes, joined by slashes; ``b""`` is the top."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        # A path is compared as written and folded, so each glob is compiled in both forms.
        forms = [tuple(dict.fromkeys((text, folded(text.encode()).decode()))) for text in texts]
        self._whole = [_compiled(_path_regex(form, rb"(?:/.*)?") for form in both) for both in forms]
        self._above = [[directory for form in both for directory in _directories(form)] for both in forms]
        self._parts = [_components(form) for both in forms for form in both]

    def __bool__(self) -> bool:
        return bool(self.texts)

    def matches(self, path: bytes) -> bool:
        """Whether ``path`` is protected."""
        return self.protects(path) is not None

    def protects(self, path: bytes) -> str | None:
        """Return the first glob that matches ``path`` or a directory above it, or ``None``."""
        for form in dict.fromkeys((path, folded(path))):
            for text, whole in zip(self.texts, self._whole, strict=True):
                if whole.fullmatch(form):
                    return text
        return None

    def shadows(self, path: bytes) -> str | None:
        """Return the first glob that names ``path`` as a directory, which must then be and stay a directory.

        A link or submodule in place of ``.github`` brings workflows of its own. Only a component that the glob spells
        at least in part counts: ``*`` or ``**`` alone may match a link anywhere, which is then an ordinary file.
        """
        for text, directories in zip(self.texts, self._above, strict=True):
            if any(above.fullmatch(form) for form in (path, folded(path)) for above in directories):
                return text
        return None

    def below(self, directory: bytes) -> bool:
        """Whether ``directory`` may contain a protected path. Other trees need not be read."""
        forms = [form.split(b"/") if form else [] for form in dict.fromkeys((directory, folded(directory)))]
        return any(_reaches(parts, wanted) for parts in forms for wanted in self._parts)

    def fault(self, path: bytes) -> str | None:
        """Return why ``path`` is too long to be matched, or ``None``."""
        return path_folding.fault(path)


def check_option(text: str) -> None:
    """Check an entry of an allowlist of push options. Raises :class:`PatternError`."""
    if not 0 < len(text) <= MAX_PATTERN or not text.isprintable():
        raise PatternError(f"must be 1 to {MAX_PATTERN} printable characters; * matches any run of characters")
    if ACROSS in text:
        raise PatternError("** is not supported; a single * matches any run of characters")


@lru_cache(maxsize=1024)
def option_pattern(text: str) -> re.Pattern[bytes]:
    """Return the regular expression (for ``fullmatch``) of the push options that ``text`` allows."""
    return re.compile(_starred(text, b"."), re.DOTALL)


def _check_placeholders(text: str) -> None:
    unknown = [found for found in _PLACEHOLDER.findall(text) if found not in PLACEHOLDERS]
    if unknown or any(brace in _PLACEHOLDER.sub("", text) for brace in "{}"):
        raise PatternError("the only placeholders are {session} and {label}")
    if any("*" in part and "{" in part for part in text.split("/")):
        raise PatternError(
            "a component with {session} or {label} cannot contain *, or it would match other sessions' names"
        )


def _check_stars(text: str) -> None:
    if any(ACROSS in part and part != ACROSS for part in text.split("/")):
        raise PatternError("** must be a whole component; inside a component use *")
    if f"{ACROSS}/{ACROSS}" in text:
        raise PatternError("**/** means the same as **; write **")


def _components(text: str) -> list[re.Pattern[bytes] | None]:
    """Return a pattern for each component; ``None`` for ``**``."""
    return [None if part == ACROSS else re.compile(_name(part), re.DOTALL | re.IGNORECASE) for part in text.split("/")]


def _directories(text: str) -> list[re.Pattern[bytes]]:
    """Return a pattern for each directory that the glob spells."""
    parts = text.split("/")
    named = [at for at, part in enumerate(parts) if part.strip("*") and at < len(parts) - 1]
    return [_compiled([_path_regex("/".join(parts[: at + 1]))]) for at in named]


def _compiled(ways: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(ways), re.DOTALL | re.IGNORECASE)


def _path_regex(text: str, below: bytes = b"") -> bytes:
    return b"(?:" + _regex(text, _name) + b")" + below


def _name(part: str) -> bytes:
    """Translate one component of a path glob. A component without a star also matches its 8.3 names."""
    short = None if "*" in part else short_name(part)  # the 8.3 name of a wildcard is not known
    plain = _starred(part, b"[^/]")
    return plain if short is None else b"(?:" + plain + b"|" + short + b")"


def _reaches(parts: list[bytes], wanted: list[re.Pattern[bytes] | None]) -> bool:
    for part, want in zip(parts, wanted, strict=False):
        if want is None:
            return True
        if want.fullmatch(part) is None:
            return False
    return True


def _in_component(part: str) -> bytes:
    return _starred(part, b"[^/]")


def _regex(text: str, component: Callable[[str], bytes] = _in_component) -> bytes:
    """Translate a whole pattern."""
    # Between two ``**``, the first match is as good as any later one, because the second ``**`` accepts whatever
    # follows. So each group is atomic, and matching never backtracks into it: the time stays linear.
    groups: list[list[bytes]] = [[]]
    for part in text.split("/"):
        if part == ACROSS:
            groups.append([])
        else:
            groups[-1].append(component(part))
    if len(groups) == 1:
        return b"/".join(groups[0])
    first, *middle, last = groups
    fits = [rb"(?>(?:[^/]++/)*?" + _each(group) + rb")" for group in middle]
    end = rb"(?:[^/]++/)*" + b"/".join(last) if last else rb".+"
    return _each(first) + b"".join(fits) + end


def _each(group: list[bytes]) -> bytes:
    return b"".join(part + b"/" for part in group)


def _starred(text: str, any_byte: bytes) -> bytes:
    """Translate single stars. All but the last take the first match, for the same reason as in :func:`_regex`."""
    first, *rest = [re.escape(piece.encode()) for piece in text.split("*")]
    if not rest:
        return first
    *middle, last = rest
    return first + b"".join(b"(?>%s*?%s)" % (any_byte, piece) for piece in middle) + any_byte + b"*" + last
