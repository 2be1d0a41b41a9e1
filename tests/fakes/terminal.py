"""A real terminal, by tmux: what a person sees, and the keys that they press."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from attrs import define

from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@define(eq=False)
class Terminal:
    """One window, on a tmux server of its own whose socket lies in ``folder``."""

    folder: Path
    environ: Mapping[str, str]
    width: int = 160
    height: int = 40

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self.folder / "tmux"), "-f", "/dev/null", *words]
        environ = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=30).stdout

    def start(self, *command: str) -> Terminal:
        """Run a command in it, from a shell whose prompt is ``$``; then the shell says its exit status."""
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environ.items())
        shell = f"env -i {given} TERM=tmux-256color PS1='$ ' sh"
        size = ["-x", str(self.width), "-y", str(self.height)]
        self._tmux("new-session", "-d", "-s", "one", *size, "-c", str(self.folder), shell)
        self.type(f'{shlex.join(command)}; echo "exit=$?"')
        return self

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-t", "one", "-l", text)
        self._tmux("send-keys", "-t", "one", "Enter")

    def press(self, key: str) -> None:
        """Press a key, by tmux's name for it: ``C-c``."""
        self._tmux("send-keys", "-t", "one", key)

    def screen(self, *, colours: bool = False) -> str:
        """Return what is on the screen, with the escapes of its colours where they are wanted."""
        return self._tmux("capture-pane", "-p", "-t", "one", *(["-e"] if colours else []))

    def shows(self, *texts: str) -> str:
        """Wait until all of it is on the screen; the screen."""

        def look() -> str:
            screen = self.screen()
            return screen if all(text in screen for text in texts) else ""

        try:
            return wait_until(look, f"the terminal shows {texts}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()}") from None

    def resize(self, width: int, height: int) -> None:
        """Change its size, as dragging a window's corner does."""
        self._tmux("resize-window", "-t", "one", "-x", str(width), "-y", str(height))

    def end(self) -> None:
        """End its server, and with it whatever runs in the window."""
        subprocess.run(["tmux", "-S", str(self.folder / "tmux"), "kill-server"], capture_output=True, check=False)
