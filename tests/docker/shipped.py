"""What lies in ``docker/``, read: the compose files with every variable at its default, and the Dockerfiles by line."""

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
    """Read a compose file as compose would with these variables."""

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
        """What a COPY takes out of the build's context."""
        words = shlex.split(self.rest)
        return [] if any(word.startswith("--from") for word in words) else [w for w in words if w[:2] != "--"][:-1]


def dockerfile(name: str) -> list[Line]:
    """Read a Dockerfile: its instructions, each with the number of its stage (0: before the first)."""
    text = re.sub(r"^#.*\n", "", (DOCKER / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines: list[Line] = []
    stage = 0
    for line in filter(None, text.split("\n")):
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        lines.append(Line(stage, word, " ".join(rest.split())))
    return lines
