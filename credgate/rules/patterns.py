r"""Patterns over ref names, repository paths and push options: read once, refused when written, matched as bytes.

    ``*``        any run of bytes inside one component, the empty one too
    ``**``       alone between slashes: any number of components, none too; at the end: one or more
    {session}    the session's public id      ref patterns only; a component that holds one holds no star,
    {label}      the session's label          or another session's name could be spelt by it

This is the part of git's wildmatch (``WM_PATHNAME``: ``git for-each-ref``, ``:(glob)`` pathspecs) on which nobody can
be mistaken: ``?``, ``[...]`` and backslashes are refused, and ``**`` inside a component, which git reads as ``*``. Ref
patterns are compared byte by byte. Path globs take a directory to mean all below it and ASCII letters in either case:
whoever protects ``Makefile`` means the file that a case-folding checkout would take for it, too, however it is spelt
there (``spelling``).

Never decides what a match allows. Matching takes time linear in the name, for every pattern.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.rules.path_folding import folded, short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PATTERN = 255
"""Characters of a pattern."""
ACROSS = "**"
PLACEHOLDERS = ("{session}", "{label}")

# git-check-ref-format(1): no component begins with "." or ends in "." or ".lock"; no control characters, space,
# ~ ^ : ? [ \ ; no ".." nor "@{" anywhere. ASCII only; "*" is the pattern's and braces are the placeholders'.
_REF_COMPONENT = re.compile(r"(?!\.)[!-.0-9;-Z\]_-z|]+(?<!\.)(?<!\.lock)")
_NOT_IN_REFS = ("..", "?")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_STAND_INS = {"{session}": "s-0123456789abcdef", "{label}": "label"}
_NEVER = rb"(?!)"


class PatternError(ValueError):
    """A pattern that cannot be used; the text says what was meant, and repeats none of it."""


@frozen(slots=True)
class RefPattern:
    """A pattern over ref names, for one session."""

    text: str
    """As written, placeholders expanded: what people are shown."""
    regex: bytes = field(repr=False, eq=False)
    """Matches a ref name whole, with ``DOTALL``; without groups of its own. Rules compile all of theirs as one."""

    def matches(self, ref: bytes) -> bool:
        """Whether ``ref``, a legal ref name, is one of those meant."""
        return _alone(self.regex).fullmatch(ref) is not None

    def covers(self, other: RefPattern) -> bool:
        """Whether this matches all that ``other`` matches. False also where that is not plain from their texts."""
        if other.regex is _NEVER:
            return True
        if self.regex is _NEVER:
            return False
        above = self.text.removesuffix(ACROSS)
        below = above != self.text and "*" not in above and other.text.startswith(above)
        return below or self.text == other.text

    @property
    def literal(self) -> bool:
        """Whether it means one ref."""
        return "*" not in self.text

    def matches_in_any_case(self, ref: bytes) -> bool:
        """Whether ``ref``, folded (``spelling``), is one of those meant but for the case of ASCII letters."""
        return re.fullmatch(self.regex, ref, re.DOTALL | re.IGNORECASE) is not None

    def names(self, namespace: bytes) -> bool:
        """Whether the pattern itself spells ``refs/<namespace>/``: no star stands for it."""
        return self.text.encode().startswith(b"refs/" + namespace + b"/")


def check_ref_pattern(text: str) -> None:
    """Judge a ref pattern as written. Raises :class:`PatternError`."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"it has more than {MAX_PATTERN} characters")
    _check_placeholders(text)
    plain = _PLACEHOLDER.sub(lambda match: _STAND_INS[match[0]], text)
    first, *rest = plain.split("/")
    if first != "refs" or not rest or any(bad in plain for bad in _NOT_IN_REFS):
        raise PatternError("a pattern of ref names is meant, such as refs/heads/agent/*")
    if len(rest) == 1 and rest != [ACROSS]:
        raise PatternError("no ref is called so; for all below it end in /**")
    if not all(_REF_COMPONENT.fullmatch(part) for part in rest):
        raise PatternError("no ref name can match it (see git help check-ref-format)")
    _check_stars(plain)


@lru_cache(maxsize=4096)
def ref_pattern(text: str, session: str, label: str) -> RefPattern:
    """Make the pattern of a session out of one that :func:`check_ref_pattern` took.

    A pattern with ``{label}`` matches nothing in a session without a label.
    """
    if "{label}" in text and not label:
        return RefPattern(text, _NEVER)
    expanded = expand(text, session, label)
    return RefPattern(expanded, _regex(expanded))


@lru_cache(maxsize=1024)
def _alone(regex: bytes) -> re.Pattern[bytes]:
    return re.compile(regex, re.DOTALL)


def expand(text: str, session: str, label: str) -> str:
    """Return a ref pattern with ``{session}`` and ``{label}`` put in; unchanged if it needs a missing label."""
    if "{label}" in text and not label:
        return text
    return text.replace("{session}", session).replace("{label}", label)


def check_path_glob(text: str) -> None:
    """Judge a path glob as written. Raises :class:`PatternError`."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"it has more than {MAX_PATTERN} characters")
    if not text.isprintable() or any(sign in text for sign in "?[\\"):
        raise PatternError("of all signs only * is special; ? [ ] and backslashes are not used")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise PatternError("a path from the top of the repository is meant, such as .github/workflows/**")
    _check_stars(text)


class PathGlobs:
    """What a list of path globs protects. Paths are bytes as trees hold them, joined by slashes, ``b""`` the top."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        # A path's other spellings are compared with the glob's own, see ``spelling``.
        same = [folded(text.encode()).decode() for text in texts]
        spelt = [(text, other) if text != other else (text,) for text, other in zip(texts, same, strict=True)]
        self._whole = [_compiled(_path_regex(each, rb"(?:/.*)?") for each in each_way) for each_way in spelt]
        self._above = [[one for each in each_way for one in _directories(each)] for each_way in spelt]
        self._parts = [_components(each) for each_way in spelt for each in each_way]

    def __bool__(self) -> bool:
        return bool(self.texts)

    def matches(self, path: bytes) -> bool:
        """Whether ``path`` is protected (``changed.Matcher``)."""
        return self.protects(path) is not None

    def protects(self, path: bytes) -> str | None:
        """Return the glob that means ``path`` or a directory above it; ``None``: nobody does."""
        for spelling in {path: None, folded(path): None}:
            for text, whole in zip(self.texts, self._whole, strict=True):
                if whole.fullmatch(spelling):
                    return text
        return None

    def shadows(self, path: bytes) -> str | None:
        """Return the glob that names ``path`` as a directory of its own: it must be, and stay, a directory.

        A link or a submodule in the place of ``.github`` brings workflows of its own. Only what a glob spells, at least
        in part, counts: a link that ``*`` or ``**`` alone would meet may stand anywhere and is like any file.
        """
        for text, directories in zip(self.texts, self._above, strict=True):
            if any(above.fullmatch(way) for way in (path, folded(path)) for above in directories):
                return text
        return None

    def below(self, directory: bytes) -> bool:
        """Whether something protected may lie in ``directory``: only such trees need to be looked at."""
        ways = [way.split(b"/") if way else [] for way in {directory: None, folded(directory): None}]
        return any(_reaches(parts, wanted) for parts in ways for wanted in self._parts)


def check_option(text: str) -> None:
    """Judge an entry of an allow-list of push options. Raises :class:`PatternError`."""
    if not 0 < len(text) <= MAX_PATTERN or not text.isprintable():
        raise PatternError(f"a push option is meant, of 1 to {MAX_PATTERN} printable characters, * for any run of them")
    if ACROSS in text:
        raise PatternError("one * stands for any run of characters; two say no more")


@lru_cache(maxsize=1024)
def option_pattern(text: str) -> re.Pattern[bytes]:
    """Return what matches, whole, the push options that ``text`` allows."""
    return re.compile(_starred(text, b"."), re.DOTALL)


def _check_placeholders(text: str) -> None:
    unknown = [found for found in _PLACEHOLDER.findall(text) if found not in PLACEHOLDERS]
    if unknown or any(brace in _PLACEHOLDER.sub("", text) for brace in "{}"):
        raise PatternError("in braces stands {session} or {label}, nothing else")
    if any("*" in part and "{" in part for part in text.split("/")):
        raise PatternError("a component with {session} or {label} holds no *, or it would meet other sessions' names")


def _check_stars(text: str) -> None:
    if any(ACROSS in part and part != ACROSS for part in text.split("/")):
        raise PatternError("** stands alone between slashes; inside a component write *")
    if f"{ACROSS}/{ACROSS}" in text:
        raise PatternError("**/** says no more than **")


def _components(text: str) -> list[re.Pattern[bytes] | None]:
    """Return one pattern a component; ``None`` for ``**``."""
    return [None if part == ACROSS else re.compile(_name(part), re.DOTALL | re.IGNORECASE) for part in text.split("/")]


def _directories(text: str) -> list[re.Pattern[bytes]]:
    """Return a pattern for each directory that the glob spells on its way down."""
    parts = text.split("/")
    spelled = [at for at, part in enumerate(parts) if part.strip("*") and at < len(parts) - 1]
    return [_compiled([_path_regex("/".join(parts[: at + 1]))]) for at in spelled]


def _compiled(ways: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(ways), re.DOTALL | re.IGNORECASE)


def _path_regex(text: str, below: bytes = b"") -> bytes:
    return b"(?:" + _regex(text, _name) + b")" + below


def _name(part: str) -> bytes:
    """Translate one component of a path glob; a spelt one is met by its short names, too."""
    short = None if "*" in part else short_name(part)
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
    """Translate a whole pattern.

    Between two ``**`` the first fit is as good as any later one, since ``**`` takes up whatever is left: so each is
    atomic and nothing is tried twice.
    """
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
    """Translate single stars; all but the last take the first fit, for the same reason."""
    first, *rest = [re.escape(piece.encode()) for piece in text.split("*")]
    if not rest:
        return first
    *middle, last = rest
    return first + b"".join(b"(?>%s*?%s)" % (any_byte, piece) for piece in middle) + any_byte + b"*" + last
