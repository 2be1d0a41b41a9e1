"""A git server that accepts the tokens of a fake API while that API says that they are valid.

As at real forges, a request's token is checked when the request starts: a running transfer continues when its token
ends. The server records each request's token and result.

What it does not prove: how soon a real forge's git servers know a token that was made or revoked.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from attrs import frozen

from tests.fakes.forge import PythonForge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Judge = Callable[[str, str, bool], bool]

_TARGET = re.compile(r"/(?P<path>.+?)(?:\.git)?/(?:info/refs|git-\w+-pack)")


@frozen
class Shown:
    """One request's token, where it went and whether it was taken."""

    token: str
    path: str
    write: bool
    taken: bool


class MintedForge(PythonForge):
    """``judge(token, path, write)`` says whether a token is good; nobody is judged until ``open`` is set."""

    def __init__(self, root: Path, scratch: Path, judge: Judge) -> None:
        self.judge = judge
        self.shown: list[Shown] = []
        self.asked, self.open = threading.Event(), threading.Event()
        self.open.set()
        super().__init__(root, "", scratch)

    def admits(self, login: str, target: str) -> bool:
        """Judge by the token alone; every forge has its own user name."""
        self.asked.set()
        self.open.wait(30)
        token = login.partition(":")[2]
        match = _TARGET.match(target)
        path, write = match["path"] if match else "", "git-receive-pack" in target
        taken = self.judge(token, path, write)
        self.shown.append(Shown(token, path, write, taken))
        return taken
