"""Secrets in files, written as programs that care write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_secret(path: Path, secret: str) -> Path:
    """Rotate: write beside it, rename over it. Returns the path."""
    beside = path.with_suffix(".new")
    beside.write_text(secret)
    beside.chmod(0o600)
    beside.rename(path)
    return path
