"""Another sandbox's client, in a process of its own: asks until its stdin ends, then prints what it waited, as JSON.

The first line of stdin is its session (``TOKEN:SECRET``). By turns it asks for the gateway's own page on a kept
connection, which shows what the gateway makes it wait, and for a discovery on a connection of its own, which shows
that it is served, and includes the waits of the tests' own forge. ``failed`` counts what was not answered by 200.
"""

from __future__ import annotations

import json
import select
import sys
import time

from tests.attacks.rawclient import RawClient, login

SOURCE = "127.0.0.2"


def _ask(client: RawClient, request: bytes) -> bool:
    try:
        client.send(request)
        answers = client.hear(answers=1).answers
    except OSError:
        return False
    return len(answers) == 1 and answers[0].whole and answers[0].status == 200


def _summary(waited: dict[str, list[float]], failed: int) -> dict[str, float]:
    found: dict[str, float] = {"failed": failed}
    for name, times in waited.items():
        times.sort()
        found[f"{name} p50"] = times[len(times) // 2] * 1e3
        found[f"{name} p99"] = times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3
    return found | {"asked": sum(map(len, waited.values()))}


class _Asker:
    """Asks one of the two, and says whether that was answered."""

    def __init__(self, port: int, fields: bytes, repo: bytes) -> None:
        self._port = port
        self._page = b"GET /whoami HTTP/1.1\r\n" + fields
        self._discovery = b"GET /git/" + repo + b".git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + fields
        self._kept: RawClient | None = None

    def page(self) -> bool:
        if self._kept is not None and _ask(self._kept, self._page):
            return True
        if self._kept is not None:  # a kept connection may be closed at any time: every HTTP client asks once more
            self._kept.socket.close()
        self._kept = RawClient(self._port, source=SOURCE)
        return _ask(self._kept, self._page)

    def discovery(self) -> bool:
        with RawClient(self._port, source=SOURCE) as fresh:
            return _ask(fresh, self._discovery)


def main() -> None:
    """Ask, about fifty times a second."""
    line = sys.stdin.readline().strip()
    asker = _Asker(int(sys.argv[1]), b"Host: gateway\r\n" + login(line) + b"\r\n\r\n", sys.argv[2].encode())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waited: dict[str, list[float]] = {"page": [], "discovery": []}
    failed = 0
    while True:
        for name, times in waited.items():
            began = time.perf_counter()
            failed += not getattr(asker, name)()
            times.append(time.perf_counter() - began)
        if select.select([sys.stdin], [], [], 0.02)[0]:
            break
    sys.stdout.write(json.dumps(_summary(waited, failed)) + "\n")


if __name__ == "__main__":
    main()
