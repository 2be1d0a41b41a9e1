"""Refusals in git's own formats: the exact bytes that make each git command print our reason and fail.

Discovery is refused with an HTTP error and ``text/plain``, which git prints as ``remote:`` lines; a fetch with an
``ERR`` packet; a push with a report that has ``ng`` for every ref, because git hides the body of any HTTP error to a
POST and then prints "Everything up-to-date". Follows ``gitprotocol-http`` and ``gitprotocol-pack``, as measured with
real clients. Never sends a control byte other than the protocol's line feeds, and never a reason over 200 bytes.
Whether to refuse is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.git.pktline import FLUSH, MAX_PACKET, MAX_PAYLOAD, encode
from credgate.git.route import Kind
from credgate.refusal_text import named, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEXT = b"text/plain; charset=utf-8"
UPLOAD_PACK_RESULT = b"application/x-git-upload-pack-result"
RECEIVE_PACK_RESULT = b"application/x-git-receive-pack-result"

_BAND_REPORT, _BAND_TEXT = b"\x01", b"\x02"
_BAND_PAYLOAD = MAX_PAYLOAD - 1
_CONTENT_TYPES = {
    (kind, service): f"application/x-{service}-{'advertisement' if kind is Kind.ADVERTISEMENT else 'result'}".encode()
    for kind in Kind
    for service in ("git-upload-pack", "git-receive-pack")
}


def content_type(kind: Kind, service: str) -> bytes:
    """Return the one ``Content-Type`` of a good response to a request of this kind (gitprotocol-http)."""
    return _CONTENT_TYPES[kind, service]


def text_body(text: str, *more: str) -> bytes:
    """Return the ``text/plain`` body of a refused discovery; git prints ``remote:`` before each line."""
    return b"\n".join((named(text), *map(one_line, more))) + b"\n"


def err(text: str) -> bytes:
    """Return the body of a refused ``git-upload-pack`` POST, any protocol version: ``fatal: remote error: text``."""
    return encode(b"ERR " + named(text) + b"\n") + FLUSH


def report(
    refs: Iterable[bytes], reason: str, *, sideband: bool, lines: Sequence[str] = (), unpack: str = "ok"
) -> bytes:
    """Return the body of a refused push: every ref of ``refs`` with the same ``reason``; see :func:`status_report`."""
    return status_report([(ref, reason) for ref in refs], sideband=sideband, lines=lines, unpack=unpack)


def refused_lines(refused: Iterable[tuple[bytes, str]]) -> list[bytes]:
    """Return ``ng`` for each (ref, reason) as packets, except for a ref that leaves no room for its reason."""
    cut: dict[str, bytes] = {}  # thousands of refs may have one reason, which is shortened once
    lines = []
    for ref, reason in refused:
        text = cut.get(reason)
        if text is None:
            text = cut[reason] = one_line(reason)
        size = len(ref) + len(text) + 9
        # git shows a ref without a line as failed, too.
        if size <= MAX_PACKET:
            lines.append(b"%04xng %s %s\n" % (size, ref, text))
    return lines


def status_report(
    refused: Iterable[tuple[bytes, str]], *, sideband: bool, lines: Sequence[str] = (), unpack: str = "ok"
) -> bytes:
    """Return the report with ``ng`` for each (ref, reason); ``report-status`` and ``-v2`` spell it the same way.

    ``lines`` are shown as ``remote: credgate: ...``; without side-band they are not sent. ``refused`` must name every
    ref of the push, else git prints "remote failed to report status".
    """
    whole = b"".join((encode(b"unpack " + one_line(unpack) + b"\n"), *refused_lines(refused), FLUSH))
    # A band that the client did not ask for is "protocol error: bad band".
    if not sideband:
        return whole
    shown = b"".join(encode(_BAND_TEXT + named(line) + b"\n") for line in lines)
    pieces = range(0, len(whole), _BAND_PAYLOAD)
    return shown + b"".join(encode(_BAND_REPORT + whole[at : at + _BAND_PAYLOAD]) for at in pieces) + FLUSH
