"""Parsers for the compose files and the Dockerfiles in ``docker/``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?::-(?P<default>[^}]*))?\}")


def compose(name: str, **environ: str) -> dict[str, Any]:
    """Parse a compose file with these variables; others have their defaults."""

    def value(found: re.Match[str]) -> str:
        return environ.get(found["name"], "") or found["default"] or ""

    read: dict[str, Any] = yaml.safe_load(VARIABLE.sub(value, (DOCKER / name).read_text()))
    return read


@frozen
class Line:
    """One instruction of a Dockerfile."""

    stage: int
    word: str
    rest: str

    @property
    def sources(self) -> list[str]:
        """The files that a COPY takes from the build context."""
        words = shlex.split(self.rest)
        return [] if any(word.startswith("--from") for word in words) else [w for w in words if w[:2] != "--"][:-1]


def dockerfile(name: str) -> list[Line]:
    """Return the instructions of a Dockerfile, each with the number of its stage (0: before the first)."""
    text = re.sub(r"^#.*\n", "", (DOCKER / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines: list[Line] = []
    stage = 0
    for line in filter(None, text.split("\n")):
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        lines.append(Line(stage, word, " ".join(rest.split())))
    return lines
